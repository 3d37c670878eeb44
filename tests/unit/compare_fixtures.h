/* SPDX-License-Identifier: MIT */
/* Record files made cell by cell, and their comparison. */
#ifndef TESTS_COMPARE_FIXTURES_H
#define TESTS_COMPARE_FIXTURES_H

#include "compare/compare.h"
#include "scratch.h"

#include <stdarg.h>

/* A file being made: each row has the cells below unless it says otherwise. */
struct sheet {
    FILE *file;
};

static const char *const sheet_columns[][2] = {{"schema_version", "1"},
                                               {"run_id", "r"},
                                               {"trial_id", "t"},
                                               {"arm_id", "a"},
                                               {"time_utc", ""},
                                               {"status", "ok"},
                                               {"error", ""},
                                               {"model", "m"},
                                               {"dataset", "d"},
                                               {"pipeline", "p"},
                                               {"seed", "1"},
                                               {"base_sha256", "s"},
                                               {"n_samples", "10000"},
                                               {"split", "test"},
                                               {"top1", ""},
                                               {"top1_baseline", ""},
                                               {"flips_lost", ""},
                                               {"flips_won", ""},
                                               {"bytes_file", ""},
                                               {"bytes_activations", ""},
                                               {"backend", "ref"},
                                               {"threads", "1"},
                                               {"batch", "1"},
                                               {"scenario", "single"},
                                               {"min_ns", ""},
                                               {"median_ns", ""},
                                               {"median_ci_lo_ns", ""},
                                               {"median_ci_hi_ns", ""},
                                               {"ratio", ""},
                                               {"ratio_ci_lo", ""},
                                               {"ratio_ci_hi", ""},
                                               {"ratio_arm_id", ""},
                                               {"cache_state", "hot"},
                                               {"samples_per_query", "1"},
                                               {"peak_gmacs", ""},
                                               {"aa_ratio", ""},
                                               {"aa_ratio_ci_lo", ""},
                                               {"aa_ratio_ci_hi", ""},
                                               {"host", "h"},
                                               {"cpu", "c"},
                                               {"cores", "2"},
                                               {"governor", "performance"},
                                               {"git_commit", "g"},
                                               {"disturbed", ""},
                                               {"experiment", "e"},
                                               {"params_json", ""}};
#define N_SHEET_COLUMNS (sizeof sheet_columns / sizeof *sheet_columns)

static inline struct sheet sheet_open(const char *dir, const char *name) {
    struct sheet sheet = {fopen(scratch_path(dir, name), "w")};
    if (!sheet.file)
        abort();
    for (size_t c = 0; c < N_SHEET_COLUMNS; c++)
        fprintf(sheet.file, "%s%s", c ? "," : "", sheet_columns[c][0]);
    fputc('\n', sheet.file);
    return sheet;
}

static inline void sheet_close(struct sheet *sheet) {
    if (fclose(sheet->file) != 0)
        abort();
}

/* "arm_id=x ratio=0.5 ..": cells without blanks in them. */
static inline void sheet_row(struct sheet *sheet, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static inline void sheet_row(struct sheet *sheet, const char *format, ...) {
    char cells[1024];
    va_list list;
    va_start(list, format);
    vsnprintf(cells, sizeof cells, format, list);
    va_end(list);
    size_t n_used = 0, n_given = 0;
    for (const char *s = cells; *s; s++)
        n_given += *s == '=';
    for (size_t c = 0; c < N_SHEET_COLUMNS; c++) {
        char key[64];
        snprintf(key, sizeof key, " %s=", sheet_columns[c][0]);
        const char *at =
            strncmp(cells, key + 1, strlen(key) - 1) == 0 ? cells - 1 : strstr(cells, key);
        const char *value = at ? at + strlen(key) : sheet_columns[c][1];
        int length = at ? (int)strcspn(value, " ") : (int)strlen(value);
        fprintf(sheet->file, "%s%.*s", c ? "," : "", length, value);
        n_used += at != NULL;
    }
    fputc('\n', sheet->file);
    if (n_used != n_given) { /* a cell of no column: the test would test nothing */
        fprintf(stderr, "no such column in: %s\n", cells);
        abort();
    }
}

/* A latency with its interval of +- half (relative), against the baseline "base". */
#define RATIO(value, half)                                                                         \
    "ratio_arm_id=base median_ns=1000 ratio=%.17g ratio_ci_lo=%.17g ratio_ci_hi=%.17g", (value),   \
        (value) / (1 + (half)), (value) * (1 + (half))

#endif
