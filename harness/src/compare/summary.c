/* SPDX-License-Identifier: MIT */
/* A comparison in words, as JUnit XML and as Markdown. */
#include "compare/compare.h"
#include "core/file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Longer tables are cut: pages of CI jobs have limits. */
#define MAX_ROWS 200

void compare_describe(const struct compared_arm *arm, enum quantity quantity, char text[64]) {
    const struct change *c = &arm->changes[quantity];
    const char *unit = quantity == QUANTITY_TOP1 ? "points" : "%";
    int digits = quantity == QUANTITY_TOP1 ? 2 : 1;
    text[0] = '\0';
    if (!c->is_compared || isnan(c->value))
        return;
    int is_equal = quantity == QUANTITY_TOP1 && fabs(c->value) <= 0;
    if (isnan(c->lo) || !(c->lo < c->hi) || is_equal) /* no interval, or an exact figure */
        snprintf(text, 64, "%+.*f %s", digits, 100 * c->value, unit);
    else
        snprintf(text, 64, "%+.*f %s [%+.*f, %+.*f]", digits, 100 * c->value, unit, digits,
                 100 * c->lo, digits, 100 * c->hi);
}

void compare_describe_subject(const struct comparison *cmp, const struct compared_arm *arm,
                              char text[256]) {
    if (cmp->has_several_models)
        snprintf(text, 256, "%.80s: %.170s", arm->model, arm->pipeline);
    else
        snprintf(text, 256, "%.255s", arm->pipeline);
}

void compare_describe_run(const struct compared_arm *arm, char text[128]) {
    snprintf(text, 128, "%.40s, %.8s thread%s, batch %.12s, %.16s", arm->backend, arm->threads,
             strcmp(arm->threads, "1") == 0 ? "" : "s", arm->batch, arm->scenario);
}

static pare_status finish(FILE *file, char **text, size_t *n, const char *path, struct error *err) {
    int failed = ferror(file);
    if (fclose(file) != 0 || failed)
        return error_set(err, PARE_E_NOMEM, "%s: out of memory", path);
    return file_write(path, *text, *n, err);
}

/* ---- JUnit ---- */

/* Bytes from s that form one UTF-8 character that XML allows; 0: none do. */
static int character(const unsigned char *s) {
    static const unsigned long least[] = {0, 0, 0x80, 0x800, 0x10000};
    int n = s[0] < 0x80 ? 1 : s[0] >> 5 == 6 ? 2 : s[0] >> 4 == 14 ? 3 : s[0] >> 3 == 30 ? 4 : 0;
    unsigned long code = n == 1 ? s[0] : s[0] & (0x7fu >> n);
    for (int k = 1; k < n; k++) {
        if (s[k] >> 6 != 2)
            return 0;
        code = code << 6 | (s[k] & 0x3f);
    }
    if (n == 0 || code < least[n] || code > 0x10ffff || (code < 0x20 && code != '\t') ||
        (code >= 0xd800 && code < 0xe000) || code == 0xfffe || code == 0xffff)
        return 0;
    return n;
}

/* Text for XML or Markdown; what is not text becomes a question mark, a new line a blank. */
static void escape(FILE *file, const char *text, const char *special,
                   void (*put)(FILE *file, char c)) {
    for (const char *s = text; *s;) {
        int n = character((const unsigned char *)s);
        if (*s == '\n' || *s == '\r' || *s == '\t')
            fputc(' ', file);
        else if (n == 0)
            fputc('?', file);
        else if (n == 1 && strchr(special, *s))
            put(file, *s);
        else
            fwrite(s, 1, (size_t)n, file);
        s += n ? n : 1;
    }
}

static void put_entity(FILE *file, char c) {
    fprintf(file, "&#%d;", c);
}

static void xml(FILE *file, const char *text) {
    escape(file, text, "<>&\"'", put_entity);
}

static void junit_case(FILE *file, const struct compared_arm *arm) {
    static const char *const elements[N_VERDICTS] = {[VERDICT_REGRESSED] = "failure",
                                                     [VERDICT_FAILED] = "error",
                                                     [VERDICT_INCONCLUSIVE] = "skipped"};
    const char *element = elements[arm->verdict];
    if (arm->verdict == VERDICT_FAILED && !arm->fails_gate)
        element = "skipped";
    char run[128], text[64];
    compare_describe_run(arm, run);
    fprintf(file, "    <testcase classname=\"");
    xml(file, arm->model);
    fprintf(file, " on ");
    xml(file, arm->dataset);
    fprintf(file, "\" name=\"");
    xml(file, arm->pipeline);
    fprintf(file, " (");
    xml(file, run);
    fprintf(file, ", seed ");
    xml(file, arm->seed);
    fprintf(file, ")\" time=\"0\"");
    if (!element) {
        fprintf(file, "/>\n");
        return;
    }
    fprintf(file, ">\n      <%s type=\"%s\" message=\"", element, verdict_name(arm->verdict));
    xml(file, arm->reason);
    fprintf(file, "\">arm_id ");
    xml(file, arm->arm_id);
    for (int q = 0; q < N_QUANTITIES; q++) {
        compare_describe(arm, (enum quantity)q, text);
        if (!text[0])
            continue;
        fprintf(file, "\n%s: %s, ", quantity_name((enum quantity)q),
                verdict_name(arm->changes[q].verdict));
        xml(file, text);
    }
    fprintf(file, "</%s>\n    </testcase>\n", element);
}

/* A time without its zone, as the schema of Ant's JUnit task wants it. */
static void junit_time(const struct comparison *cmp, char text[20]) {
    const char *pattern = "dddd-dd-ddTdd:dd:dd";
    snprintf(text, 20, "%.19s", cmp->newest);
    for (int k = 0; k < 19; k++)
        if (pattern[k] == 'd' ? text[k] < '0' || text[k] > '9' : text[k] != pattern[k]) {
            strcpy(text, "1970-01-01T00:00:00");
            return;
        }
}

pare_status compare_write_junit(const struct comparison *cmp, const char *path, struct error *err) {
    char *text = NULL, time[20];
    size_t n = 0, n_errors = 0;
    FILE *file = open_memstream(&text, &n);
    if (!file)
        return error_set(err, PARE_E_NOMEM, "%s: out of memory", path);
    for (size_t k = 0; k < cmp->n_arms; k++)
        n_errors += cmp->arms[k].verdict == VERDICT_FAILED && cmp->arms[k].fails_gate;
    junit_time(cmp, time);
    fprintf(file,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n"
            "  <testsuite name=\"pare compare\" package=\"pare\" id=\"0\" tests=\"%zu\" "
            "failures=\"%zu\" errors=\"%zu\" skipped=\"%zu\" time=\"0\" timestamp=\"%s\" "
            "hostname=\"",
            cmp->n_arms, cmp->n_of[VERDICT_REGRESSED], n_errors,
            cmp->n_of[VERDICT_INCONCLUSIVE] + cmp->n_of[VERDICT_FAILED] - n_errors, time);
    xml(file, cmp->host[0] ? cmp->host : "localhost");
    fprintf(file, "\">\n    <properties/>\n");
    for (size_t k = 0; k < cmp->n_arms; k++)
        junit_case(file, &cmp->arms[k]);
    fprintf(file, "    <system-out>");
    for (size_t k = 0; k < cmp->n_notes; k++) {
        xml(file, cmp->notes[k]);
        fputc('\n', file);
    }
    fprintf(file, "</system-out>\n    <system-err/>\n  </testsuite>\n</testsuites>\n");
    pare_status status = finish(file, &text, &n, path, err);
    free(text);
    return status;
}

/* ---- Markdown ---- */

static void put_escaped(FILE *file, char c) {
    if (c == '<' || c == '>' || c == '&' || c == '|' || c == '@')
        fprintf(file, "&#%d;", c); /* also inside tables; @ would call somebody */
    else
        fprintf(file, "\\%c", c);
}

static void markdown(FILE *file, const char *text) {
    escape(file, text, "\\`*_{}[]<>()#+!|~&@", put_escaped);
}

static void markdown_row(FILE *file, const struct comparison *cmp, const struct compared_arm *arm) {
    static const char *const marks[N_VERDICTS] = {"❌", "⚠️", "❔", "✅", "➖"};
    char run[128], text[64], subject[256];
    fprintf(file, "| %s %s | ", marks[arm->verdict], verdict_name(arm->verdict));
    compare_describe_subject(cmp, arm, subject);
    markdown(file, subject);
    fprintf(file, " (seed ");
    markdown(file, arm->seed);
    fprintf(file, ") | ");
    compare_describe_run(arm, run);
    markdown(file, run);
    for (int q = 0; q < N_QUANTITIES; q++) {
        compare_describe(arm, (enum quantity)q, text);
        fprintf(file, " | ");
        markdown(file, text);
    }
    fprintf(file, " | ");
    markdown(file, arm->reason);
    fprintf(file, " |\n");
}

static void markdown_table(FILE *file, const struct comparison *cmp, int same) {
    size_t n = 0, n_left = 0;
    fprintf(file, "\n| verdict | pipeline | arm | latency | top-1 | file | activations | why |\n"
                  "|---|---|---|---|---|---|---|---|\n");
    for (int v = 0; v < N_VERDICTS; v++)
        for (size_t k = 0; k < cmp->n_arms; k++) {
            if ((int)cmp->arms[k].verdict != v || (v == VERDICT_SAME) != same)
                continue;
            if (n++ < MAX_ROWS)
                markdown_row(file, cmp, &cmp->arms[k]);
            else
                n_left++;
        }
    if (n_left)
        fprintf(file, "\n%zu more; `pare compare --format csv` lists all.\n", n_left);
}

pare_status compare_write_markdown(const struct comparison *cmp, const char *path,
                                   struct error *err) {
    char *text = NULL;
    size_t n = 0;
    FILE *file = open_memstream(&text, &n);
    if (!file)
        return error_set(err, PARE_E_NOMEM, "%s: out of memory", path);
    fprintf(file, "### pare compare: %s\n\n", cmp->n_failing_gate ? "worse" : "nothing worse");
    for (int v = 0; v < N_VERDICTS; v++)
        fprintf(file, "%s%zu %s", v ? ", " : "", cmp->n_of[v], verdict_name((enum verdict)v));
    fprintf(file, " of %zu arms", cmp->n_arms);
    if (cmp->n_only_new)
        fprintf(file, "; %zu only in NEW, not compared", cmp->n_only_new);
    fprintf(file, ".\n");
    for (size_t k = 0; k < cmp->n_notes; k++) {
        fprintf(file, "\n> ");
        markdown(file, cmp->notes[k]);
        fputc('\n', file);
    }
    if (cmp->n_of[VERDICT_SAME] < cmp->n_arms)
        markdown_table(file, cmp, 0);
    if (cmp->n_of[VERDICT_SAME]) {
        fprintf(file, "\n<details><summary>%zu the same</summary>\n", cmp->n_of[VERDICT_SAME]);
        markdown_table(file, cmp, 1);
        fprintf(file, "\n</details>\n");
    }
    fprintf(file,
            "\nChanges are NEW against BASE with 95 %% intervals. A verdict on a change allows for "
            "%zu comparisons. Thresholds: latency %g %%, top-1 %g points, bytes %g %%.\n",
            cmp->n_tests, 100 * cmp->options.threshold, 100 * cmp->options.threshold_top1,
            100 * cmp->options.threshold_bytes);
    pare_status status = finish(file, &text, &n, path, err);
    free(text);
    return status;
}
