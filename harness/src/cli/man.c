/* SPDX-License-Identifier: MIT */
/* pare man: the manual page, made of the table of commands. */
#include "cli/cli.h"
#include "measure/machine.h"

#include <stdio.h>
#include <string.h>

/* Text of a line in roff: no character of it means anything to roff. */
static void print_text(const char *text) {
    if (text[0] == '.' || text[0] == '\'')
        printf("\\&");
    for (; *text; text++)
        switch (*text) {
        case '\\':
            printf("\\e");
            break;
        case '-':
            printf("\\-");
            break;
        case '\'':
            printf("\\(aq");
            break;
        case '`':
            printf("\\(ga");
            break;
        case '^':
            printf("\\(ha");
            break;
        case '~':
            printf("\\(ti");
            break;
        default:
            putchar(*text);
        }
}

static void print_line(const char *text) {
    print_text(text);
    putchar('\n');
}

/* A paragraph with a tag in bold, and behind it what it takes. */
static void print_tag(const char *prefix, const char *tag, const char *value) {
    printf(".TP\n\\fB");
    print_text(prefix);
    print_text(tag);
    printf("\\fR");
    if (value && value[0]) {
        putchar(' ');
        print_text(value);
    }
    putchar('\n');
}

static void print_command(const struct command *command) {
    const struct flag *flags[CLI_MAX_FLAGS];
    size_t n = cli_flags(command, flags);
    printf(".SS \"pare %s", command->name);
    if (command->args[0]) {
        putchar(' ');
        print_text(command->args);
    }
    printf("\"\n");
    print_line(command->doc);
    for (size_t k = 0; k < n; k++) {
        print_tag("--", flags[k]->name, flags[k]->value);
        print_text(flags[k]->doc);
        printf("%s\n", flags[k]->repeats ? " May be repeated." : "");
    }
    printf(".PP\n.nf\n");
    for (size_t k = 0; command->examples[k]; k++)
        print_line(command->examples[k]);
    printf(".fi\n");
}

int man_command(struct cli *cli) {
    static const char *const variables[][2] = {
        {"PARE_DATASETS", "Folders, parted by colons, in which datasets are looked for first."},
        {"PARE_CACHE", "Where fetched datasets are kept; default: ~/.cache/pare/datasets."},
        {"PARE_PLUGIN_PATH", "Folders and files of further plugins, parted by colons."},
        {"PARE_TRUST_PLUGIN_PATH", "1: plugins are also loaded from where everybody may write."},
        {"PARE_HOME", "Where scripts and checkpoints lie; default: found from the program."},
        {"PARE_DEBUG", "Set: what plugins say for debugging is shown."},
    };
    static const char *const statuses[][2] = {
        {"0", "Done."},
        {"1", "Done, but trials failed, or with --gate something regressed."},
        {"2", "Usage, or input that cannot be used."},
    };
    (void)cli;
    printf(".TH PARE 1 \"\" \"pare %s\" \"User commands\"\n.SH NAME\n"
           "pare \\- benchmarks neural\\-network compression\n.SH SYNOPSIS\n",
           pare_version());
    for (const struct command *c = cli_commands(); c->name; c++) {
        printf(".B pare %s\n", c->name);
        print_text(c->args);
        printf("%s[flags]\n.br\n", c->args[0] ? " " : "");
    }
    printf(
        ".SH DESCRIPTION\n"
        "Takes a network, compresses it with methods of quantization and pruning, runs the result "
        "as it would\nbe deployed, and writes a row per measurement to a CSV file. Methods and "
        "backends are plugins;\nexperiments are scripts in Lua.\n.SH COMMANDS\n");
    for (const struct command *c = cli_commands(); c->name; c++)
        print_command(c);
    printf(".SH ENVIRONMENT\n");
    for (size_t k = 0; k < sizeof variables / sizeof *variables; k++) {
        print_tag("", variables[k][0], NULL);
        print_line(variables[k][1]);
    }
    printf(".SH EXIT STATUS\n");
    for (size_t k = 0; k < sizeof statuses / sizeof *statuses; k++) {
        print_tag("", statuses[k][0], NULL);
        print_line(statuses[k][1]);
    }
    return CLI_DONE;
}
