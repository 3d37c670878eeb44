/* SPDX-License-Identifier: MIT */
/* The parser, --help, and main's dispatch. */
#include "cli/cli.h"
#include "core/alloc.h"
#include "core/file.h"
#include "measure/machine.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const struct flag help_flag = {"help", NULL, "Show this text.", 0};
static const struct flag format_flag = {"format", "table|csv|json|md",
                                        "How to print the result; default: table.", 0};
static const struct flag plugin_flag = {
    "plugin-path", "DIR|FILE.so",
    "Also load these plugins; they win over those that come with pare.", 1};

static const struct flag trust_flag = {
    "trust-plugin-path", NULL,
    "Load plugins also from where everybody may write; as PARE_TRUST_PLUGIN_PATH=1.", 0};

size_t cli_flags(const struct command *command, const struct flag *flags[CLI_MAX_FLAGS]) {
    size_t n = 0;
    for (const struct flag *f = command->flags; f && f->name && n < CLI_MAX_FLAGS - 4; f++)
        flags[n++] = f;
    if (command->has_plugins)
        flags[n++] = &plugin_flag;
    if (command->has_plugins || command->is_of_plugin)
        flags[n++] = &trust_flag;
    if (command->has_format)
        flags[n++] = &format_flag;
    flags[n++] = &help_flag;
    return n;
}

/* ---- help ---- */

enum { HELP_WIDTH = 80 };

/* "  left   text", the text from column `indent` on, its lines broken between words. */
static void print_item(FILE *file, const char *left, int indent, const char *text) {
    int column = left[0] ? fprintf(file, "  %s", left) : 0;
    if (column + 2 > indent && column > 0) {
        putc('\n', file);
        column = 0;
    }
    while (*text) {
        int n = (int)strcspn(text, " ");
        if (column > indent && column + 1 + n > HELP_WIDTH) {
            putc('\n', file);
            column = 0;
        }
        column += column > indent ? fprintf(file, " ") : fprintf(file, "%*s", indent - column, "");
        column += fprintf(file, "%.*s", n, text);
        text += n + (text[n] == ' ');
    }
    putc('\n', file);
}

static void print_help(const struct command *command) {
    const struct flag *flags[CLI_MAX_FLAGS];
    size_t n = cli_flags(command, flags);
    printf("usage: pare %s%s%s [flags]\n\n", command->name, command->args[0] ? " " : "",
           command->args);
    print_item(stdout, "", 0, command->doc);
    printf("\nflags:\n");
    for (size_t k = 0; k < n; k++) {
        char left[64], doc[256];
        snprintf(left, sizeof left, "--%s%s%s", flags[k]->name, flags[k]->value ? " " : "",
                 flags[k]->value ? flags[k]->value : "");
        snprintf(doc, sizeof doc, "%s%s", flags[k]->doc,
                 flags[k]->repeats ? " May be repeated." : "");
        print_item(stdout, left, 28, doc);
    }
    printf("\nexamples:\n");
    for (size_t k = 0; command->examples[k]; k++)
        printf("  %s\n", command->examples[k]);
}

static void print_overview(FILE *file) {
    fprintf(file,
            "pare %s: benchmarks neural-network compression\n\n"
            "usage: pare COMMAND [arguments] [flags]\n\n",
            pare_version());
    for (const struct command *c = cli_commands(); c->name; c++) {
        char left[64], doc[256];
        snprintf(left, sizeof left, "%s %s", c->name, c->args);
        snprintf(doc, sizeof doc, "%.*s", (int)(strcspn(c->doc, ".") + 1), c->doc);
        print_item(file, left, 28, doc);
    }
    fprintf(file, "\n`pare COMMAND --help` shows a command's flags and examples.\n"
                  "Exit status: 0 done, 1 done with failed trials or (--gate) a regression,\n"
                  "2 usage or unusable input.\n");
}

/* ---- parsing ---- */

static const struct flag *find_flag(const struct command *command, const char *name, size_t length,
                                    struct error *err) {
    const struct flag *flags[CLI_MAX_FLAGS];
    const char *names[CLI_MAX_FLAGS];
    size_t n = cli_flags(command, flags);
    for (size_t k = 0; k < n; k++) {
        names[k] = flags[k]->name;
        if (strlen(names[k]) == length && memcmp(names[k], name, length) == 0)
            return flags[k];
    }
    char wanted[64];
    snprintf(wanted, sizeof wanted, "%.*s", (int)(length < 60 ? length : 60), name);
    const char *near = nearest_name(wanted, names, n);
    error_set(err, PARE_E_ARG, "unknown flag --%s%s%s%s; see pare %s --help", wanted,
              near ? ", did you mean --" : "", near ? near : "", near ? "?" : "", command->name);
    return NULL;
}

/* One flag at argv[*k]; moves *k past its value. */
static pare_status parse_flag(struct cli *cli, int argc, char **argv, int *k, struct error *err) {
    const char *text = argv[*k];
    /* -o is the one short flag, for --out. */
    const char *name = text[1] == '-' ? text + 2 : strcmp(text, "-o") == 0 ? "out" : text + 1;
    size_t length = strcspn(name, "=");
    const struct flag *flag = find_flag(cli->command, name, length, err);
    if (!flag)
        return err->status;
    if (cli_has(cli, flag->name) && !flag->repeats)
        return error_set(err, PARE_E_ARG, "--%s is given twice", flag->name);
    const char *value = name[length] == '=' ? name + length + 1 : NULL;
    if (!flag->value && value)
        return error_set(err, PARE_E_ARG, "--%s takes no value", flag->name);
    if (flag->value && !value) {
        if (*k + 1 >= argc)
            return error_set(err, PARE_E_ARG, "--%s needs a value: --%s %s", flag->name, flag->name,
                             flag->value);
        value = argv[++*k];
    }
    cli->given[cli->n_given++] = (struct given){flag->name, value ? value : ""};
    return PARE_OK;
}

static pare_status parse_arguments(struct cli *cli, int argc, char **argv, struct error *err) {
    int only_args = 0;
    cli->args = alloc_array((size_t)argc, sizeof *cli->args);
    cli->given = alloc_array((size_t)argc, sizeof *cli->given);
    if (!cli->args || !cli->given)
        return error_set(err, PARE_E_NOMEM, "out of memory");
    for (int k = 0; k < argc; k++) {
        if (!only_args && strcmp(argv[k], "--") == 0)
            only_args = 1;
        else if (only_args || argv[k][0] != '-' || argv[k][1] == '\0')
            cli->args[cli->n_args++] = argv[k];
        else if (parse_flag(cli, argc, argv, &k, err))
            return err->status;
    }
    if (cli_has(cli, "help"))
        return PARE_OK;
    const struct command *command = cli->command;
    if (cli->n_args < (size_t)command->min_args || cli->n_args > (size_t)command->max_args)
        return error_set(err, PARE_E_ARG, "%zu argument%s, wanted: pare %s %s", cli->n_args,
                         cli->n_args == 1 ? "" : "s", command->name, command->args);
    if (!command->has_format)
        return PARE_OK; /* a --format of its own, or none */
    return table_parse_format(cli_value(cli, "format", "table"), err, &cli->format);
}

/* The second words of the commands that begin with `group`: "info, eval"; 0 if there are none. */
static int list_group(const char *group, char *text, size_t size) {
    size_t length = strlen(group), used = 0;
    text[0] = '\0';
    for (const struct command *c = cli_commands(); c->name; c++)
        if (strncmp(c->name, group, length) == 0 && c->name[length] == ' ' && used < size)
            used += (size_t)snprintf(text + used, size - used, "%s%s", used ? ", " : "",
                                     c->name + length + 1);
    return used > 0;
}

/* The command of the first one or two words; *n_words of them. */
static const struct command *find_command(int argc, char **argv, int *n_words, struct error *err) {
    const char *names[64];
    size_t n = 0;
    char two[64];
    snprintf(two, sizeof two, "%s %s", argv[1], argc > 2 ? argv[2] : "");
    for (const struct command *c = cli_commands(); c->name; c++) {
        names[n++] = c->name;
        *n_words = strchr(c->name, ' ') ? 2 : 1;
        if (strcmp(c->name, *n_words == 2 ? two : argv[1]) == 0)
            return c;
    }
    char all[128];
    const char *near = nearest_name(two, names, n);
    if ((!near || argc == 2) && list_group(argv[1], all, sizeof all)) {
        error_set(err, PARE_E_ARG, "pare %s needs one of: %s", argv[1], all);
        return NULL;
    }
    near = near ? near : nearest_name(argv[1], names, n);
    error_set(err, PARE_E_ARG, "unknown command '%s'%s%s%s; `pare --help` lists them",
              near && strchr(near, ' ') ? two : argv[1], near ? ", did you mean '" : "",
              near ? near : "", near ? "'?" : "");
    return NULL;
}

int cli_main(int argc, char **argv) {
    struct error err;
    int n_words = 0;
    /* A limit on file sizes (`ulimit -f`) is an error of the write, told as such. */
    signal(SIGXFSZ, SIG_IGN);
    if (argc < 2) {
        print_overview(stderr);
        return CLI_UNUSABLE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
        print_overview(stdout);
        return CLI_DONE;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("pare %s\n", pare_version());
        return CLI_DONE;
    }
    const struct command *command = find_command(argc, argv, &n_words, &err);
    if (!command) {
        fprintf(stderr, "pare: %s\n", err.text);
        return CLI_UNUSABLE;
    }
    struct cli cli = {.command = command};
    int status;
    if (parse_arguments(&cli, argc - 1 - n_words, argv + 1 + n_words, &err)) {
        status = cli_fail(&cli, &err);
    } else if (cli_has(&cli, "help")) {
        print_help(command);
        status = CLI_DONE;
    } else {
        /* Read where plugins are loaded, in this process and its children. */
        if (cli_has(&cli, "trust-plugin-path"))
            setenv("PARE_TRUST_PLUGIN_PATH", "1", 1);
        status = command->run(&cli);
    }
    /* A full disk or a closed pipe must not look like success. */
    if (fflush(stdout) != 0 && status == CLI_DONE) {
        error_set(&err, PARE_E_IO, "standard output: cannot write the result: %s", strerror(errno));
        status = cli_fail(&cli, &err);
    }
    free(cli.args);
    free(cli.given);
    return status;
}

/* ---- values ---- */

const char *cli_value(const struct cli *cli, const char *name, const char *missing) {
    for (size_t k = cli->n_given; k-- > 0;)
        if (strcmp(cli->given[k].name, name) == 0)
            return cli->given[k].value;
    return missing;
}

int cli_has(const struct cli *cli, const char *name) {
    return cli_value(cli, name, NULL) != NULL;
}

pare_status cli_values(const struct cli *cli, const char *name, struct error *err,
                       const char ***values, size_t *n) {
    const char **found = alloc_array(cli->n_given, sizeof *found);
    if (!found)
        return error_set(err, PARE_E_NOMEM, "out of memory");
    *n = 0;
    for (size_t k = 0; k < cli->n_given; k++)
        if (strcmp(cli->given[k].name, name) == 0)
            found[(*n)++] = cli->given[k].value;
    *values = found;
    return PARE_OK;
}

static int parse_integer(const char *text, int64_t *out) {
    char *end;
    if (text[0] != '-' && (text[0] < '0' || text[0] > '9'))
        return 0;
    long long value = strtoll(text, &end, 10);
    *out = value;
    return *end == '\0' && value > INT64_MIN && value < INT64_MAX;
}

pare_status cli_integer(const struct cli *cli, const char *name, int64_t min, int64_t max,
                        int64_t missing, struct error *err, int64_t *out) {
    const char *text = cli_value(cli, name, NULL);
    int64_t value = missing;
    if (text && !parse_integer(text, &value))
        return error_set(err, PARE_E_ARG, "--%s is '%s', wanted an integer", name, text);
    if (value < min || value > max)
        return error_set(err, PARE_E_RANGE, "--%s is %lld, wanted %lld..%lld", name,
                         (long long)value, (long long)min, (long long)max);
    *out = value;
    return PARE_OK;
}

pare_status cli_parse_dims(const char *text, struct error *err, int32_t dims[3]) {
    int32_t d[3];
    int used = 0;
    if (sscanf(text, "%5dx%5dx%5d%n", &d[0], &d[1], &d[2], &used) != 3 || text[used] != '\0' ||
        d[0] < 1 || d[1] < 1 || d[2] < 1)
        return error_set(err, PARE_E_ARG, "--input is '%s', wanted three sizes: 3x32x32 or 32x32x3",
                         text);
    int channels_first = d[0] <= d[2];
    dims[0] = channels_first ? d[1] : d[0];
    dims[1] = channels_first ? d[2] : d[1];
    dims[2] = channels_first ? d[0] : d[2];
    return PARE_OK;
}

pare_status cli_parse_setting(const char *text, struct error *err, struct param_input *out) {
    const char *equals = strchr(text, '=');
    if (!equals || equals == text)
        return error_set(err, PARE_E_ARG, "'%s': wanted NAME=VALUE", text);
    struct param_input input = {.kind = INPUT_STRING, .from_text = 1};
    input.name = strndup(text, (size_t)(equals - text));
    input.string = strdup(equals + 1);
    if (!input.name || !input.string) {
        param_input_clear(&input);
        return error_set(err, PARE_E_NOMEM, "out of memory");
    }
    *out = input;
    return PARE_OK;
}

/* ---- saying things ---- */

int cli_fail(const struct cli *cli, const struct error *err) {
    fflush(stdout);
    fprintf(stderr, "pare %s: %s\n", cli->command->name, err->text);
    return CLI_UNUSABLE;
}

void cli_warn(const struct cli *cli, const char *format, ...) {
    va_list list;
    fprintf(stderr, "pare %s: warning: ", cli->command->name);
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
}

void cli_warn_of_cut_files(const struct cli *cli) {
    for (size_t k = 0; k < cli->n_args; k++)
        if (record_is_cut(cli->args[k]))
            cli_warn(cli, "the last row of %s is cut off in the middle and left out", cli->args[k]);
}

void cli_print(const struct cli *cli, const struct table *table) {
    struct winsize window;
    int width = 0;
    if (isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0)
        width = window.ws_col;
    table_print(table, stdout, cli->format, width);
}
