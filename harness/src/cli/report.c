/* SPDX-License-Identifier: MIT */
/* pare report: pages and figures from record files. */
#include "script/report.h"

#include "cli/cli.h"
#include "core/alloc.h"
#include "core/file.h"

#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

extern char **environ;

static const char *title_of(const struct cli *cli) {
    return cli_value(cli, "title", "pare report");
}

/* The one page to --out. */
static pare_status write_page(const struct cli *cli, const char *format, const char *out,
                              struct error *err) {
    struct report_page *pages;
    size_t n;
    pare_status status = report_make(cli_value(cli, "script", NULL), format, title_of(cli),
                                     cli->args, cli->n_args, err, &pages, &n);
    if (status != PARE_OK)
        return status;
    if (n != 1)
        status = error_set(err, PARE_E_ARG, "%s: made %zu pages, wanted 1",
                           cli_value(cli, "script", "report.lua"), n);
    else
        status = file_write(out, pages[0].text, pages[0].n_bytes, err);
    report_pages_free(pages, n);
    return status;
}

/* ---- figures ---- */

/* SVG to PNG at twice its size, by librsvg's program. */
static pare_status convert(const char *svg, struct error *err) {
    char *png = alloc_printf("%.*s.png", (int)strlen(svg) - 4, svg);
    if (!png)
        return error_set(err, PARE_E_NOMEM, "%s: out of memory", svg);
    char *args[] = {"rsvg-convert", "--zoom", "2", "--output", png, (char *)svg, NULL};
    pid_t pid;
    int how = 0, failed = posix_spawnp(&pid, args[0], NULL, NULL, args, environ);
    while (!failed && waitpid(pid, &how, 0) < 0 && errno == EINTR)
        continue;
    if (failed || how != 0)
        error_set(err, PARE_E_IO, "%s: rsvg-convert %s; the SVG figures are written%s", png,
                  failed == ENOENT || WEXITSTATUS(how) == 127 ? "is not here" : "failed",
                  failed == ENOENT || WEXITSTATUS(how) == 127 ? ", install librsvg2-bin for PNG"
                                                              : "");
    free(png);
    return failed || how != 0 ? err->status : PARE_OK;
}

static pare_status write_figure(const char *dir, const struct report_page *page, int png,
                                struct error *err) {
    char *path = file_join(dir, page->name);
    if (!path)
        return error_set(err, PARE_E_NOMEM, "%s: out of memory", dir);
    pare_status status = file_write(path, page->text, page->n_bytes, err);
    size_t n = strlen(path);
    if (status == PARE_OK && png && n > 4 && strcmp(path + n - 4, ".svg") == 0)
        status = convert(path, err);
    free(path);
    return status;
}

static pare_status write_figures(const struct cli *cli, const char *dir, struct error *err) {
    struct report_page *pages = NULL;
    size_t n = 0;
    pare_status status = report_make(cli_value(cli, "script", NULL), "figures", title_of(cli),
                                     cli->args, cli->n_args, err, &pages, &n);
    if (status == PARE_OK)
        status = file_make_dirs(dir, err);
    for (size_t k = 0; k < n && status == PARE_OK; k++)
        status = write_figure(dir, &pages[k], 0, err);
    for (size_t k = 0; k < n && status == PARE_OK && cli_has(cli, "png"); k++)
        status = write_figure(dir, &pages[k], 1, err);
    if (status == PARE_OK)
        fprintf(stderr, "pare report: %zu figures in %s\n", n, dir);
    report_pages_free(pages, n);
    return status;
}

int report_command(struct cli *cli) {
    struct error err;
    const char *format = cli_value(cli, "format", "html");
    const char *figures = cli_value(cli, "figures", NULL);
    const char *out = cli_value(cli, "out", NULL);
    if (strcmp(format, "html") != 0 && strcmp(format, "md") != 0) {
        error_set(&err, PARE_E_ARG, "--format is '%.32s', wanted html or md", format);
        return cli_fail(cli, &err);
    }
    if (!out && !figures) {
        error_set(&err, PARE_E_ARG, "wanted --out FILE (-o for short) or --figures DIR");
        return cli_fail(cli, &err);
    }
    if (cli_has(cli, "png") && !figures) {
        error_set(&err, PARE_E_ARG, "--png goes with --figures DIR");
        return cli_fail(cli, &err);
    }
    if ((out && write_page(cli, format, out, &err)) ||
        (figures && write_figures(cli, figures, &err)))
        return cli_fail(cli, &err);
    cli_warn_of_cut_files(cli);
    return CLI_DONE;
}
