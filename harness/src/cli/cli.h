/* SPDX-License-Identifier: MIT */
/* The command line: a table of commands, one parser for all, and what several commands share. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "core/error.h"
#include "core/table.h"
#include "measure/latency.h"
#include "model/model.h"
#include "plugin/registry.h"
#include "record/record.h"

#include <stddef.h>
#include <stdint.h>

/* Exit statuses. */
enum { CLI_DONE = 0, CLI_FAILED = 1, CLI_UNUSABLE = 2 };

struct flag {
    const char *name;  /* "out" for --out */
    const char *value; /* "FILE.csv"; NULL: a switch */
    const char *doc;
    int repeats; /* may be given more than once */
};

struct cli;

struct command {
    const char *name; /* "run", "data list" */
    const char *args; /* "SCRIPT.lua", "" */
    int min_args, max_args;
    const char *doc;          /* one or two sentences */
    const struct flag *flags; /* ended by a NULL name; --help, and where they apply --format and
                                 --plugin-path, are added to them */
    int has_format, has_plugins;
    const char *const *examples; /* NULL-terminated, whole command lines */
    int (*run)(struct cli *cli);
    int is_of_plugin; /* its argument is one: takes --trust-plugin-path, but not --plugin-path */
};

/* The table of all commands, ended by a NULL name. */
const struct command *cli_commands(void);

/* All flags of a command, those that are added included; returns how many. */
enum { CLI_MAX_FLAGS = 32 };
size_t cli_flags(const struct command *command, const struct flag *flags[CLI_MAX_FLAGS]);

/* What `pare` was called with, parsed. */
struct cli {
    const struct command *command;
    size_t n_args;
    const char **args;
    size_t n_given;
    struct given {
        const char *name, *value;
    } * given;
    enum table_format format;
};

int cli_main(int argc, char **argv);

/* ---- for commands ---- */

/* Value of a flag, or `missing`; a switch has the value "". */
const char *cli_value(const struct cli *cli, const char *name, const char *missing);
int cli_has(const struct cli *cli, const char *name);
/* All values of a flag that repeats, in order; *values is freed by the caller. */
pare_status cli_values(const struct cli *cli, const char *name, struct error *err,
                       const char ***values, size_t *n);
/* An integer flag; the message names flag and range. */
pare_status cli_integer(const struct cli *cli, const char *name, int64_t min, int64_t max,
                        int64_t missing, struct error *err, int64_t *out);

/* Prints "pare run: text" on stderr and returns CLI_UNUSABLE. */
int cli_fail(const struct cli *cli, const struct error *err);
void cli_warn(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Tells of each record file among the arguments whose last row is left out. */
void cli_warn_of_cut_files(const struct cli *cli);

/* Prints a table on stdout as --format says, fitted to the terminal where there is one. */
void cli_print(const struct cli *cli, const struct table *table);

/* All plugins: those of --plugin-path first (a folder or one file; a file that cannot be loaded is
 * an error), then the default ones. Other plugins that cannot be loaded are told on stderr. */
pare_status cli_registry(const struct cli *cli, struct error *err, struct registry **out);

/* "3x32x32" or "32x32x3" -> dims (H,W,C): the smaller end is the channels. "a=1" -> a parameter
 * written as text. */
pare_status cli_parse_dims(const char *text, struct error *err, int32_t dims[3]);
pare_status cli_parse_setting(const char *text, struct error *err, struct param_input *out);

/* A model by name: a checkpoint's name or file, or a network's name ("resnet20", "nets.lua:mine"),
 * built with --input, --classes and --option, its weights initialised from `seed`. *is_trained: it
 * came from a checkpoint. */
pare_status cli_model(const struct cli *cli, const char *name, uint64_t seed, struct error *err,
                      struct model **out, int *is_trained);
/* The flags that cli_model reads, for tables of flags. */
#define CLI_MODEL_FLAGS                                                                            \
    {"input", "3x32x32", "Image size, for a network by name; default: the network's own.", 0},     \
        {"classes", "N", "Number of classes, for a network by name; default: 10.", 0}, {           \
        "option", "K=V", "Option of a network by name, such as shortcut=B.", 1                     \
    }

/* ---- printing records ---- */

/* One column of a view on records: for people under its header and formatted, for programs under
 * the record's own column name and raw. */
struct view_column {
    const char *header; /* '>' first: right-aligned; NULL: for programs only */
    int column;         /* enum column; -1: for people only */
    void (*format)(const char *cell, char text[32]);        /* NULL: the cell as it is */
    void (*make)(const struct record *rec, char text[128]); /* for people, instead of format */
    const char *name; /* for programs, where it is not the column's own name; NULL */
};

/* Prints rows as --format asks; columns (n). Columns that are empty in every row are left out of
 * tables for people. With `upright`, a table for people has one line per column instead of one per
 * row. */
pare_status cli_print_rows(const struct cli *cli, const struct record *rows, size_t n_rows,
                           const struct view_column *columns, size_t n, int upright,
                           struct error *err);

/* The column confusion_json as a table of its own, after an empty line. */
pare_status cli_print_confusion(const struct cli *cli, const char *json, struct error *err);

/* The column layer_times_json of rows, for people: a table of its own, after an empty line.
 * Programs have it in each row: nothing for csv and json. */
pare_status cli_print_layers(const struct cli *cli, const struct record *rows, size_t n,
                             struct error *err);

/* Formatting for people; "" when the cell is empty. */
void cli_format_percent(const char *cell, char text[32]); /* 0.9912 -> "99.12 %" */
void cli_format_bytes(const char *cell, char text[32]);   /* 431080 -> "431.1 kB" */
void cli_format_ns(const char *cell, char text[32]);      /* 84000 -> "84 us" */
void cli_format_factor(const char *cell, char text[32]);  /* 3.96 -> "3.96x" */
void cli_format_short(const char *cell, char text[32]);   /* 4 significant digits */
/* The interval of the median latency: "83.1..85.2 us". */
void cli_make_interval(const struct record *rec, char text[128]);

/* ---- the commands ---- */
int run_command(struct cli *cli);
int bench_command(struct cli *cli);
int list_command(struct cli *cli);
int describe_command(struct cli *cli);
int check_command(struct cli *cli);
int env_command(struct cli *cli);
int data_list_command(struct cli *cli);
int data_fetch_command(struct cli *cli);
int data_verify_command(struct cli *cli);
int model_info_command(struct cli *cli);
int model_eval_command(struct cli *cli);
int model_quantize_command(struct cli *cli);
int model_export_command(struct cli *cli);
int merge_command(struct cli *cli);
int compare_command(struct cli *cli);
int report_command(struct cli *cli);
int completion_command(struct cli *cli);
int man_command(struct cli *cli);

#endif
