/* SPDX-License-Identifier: MIT */
/* Two files of records, arm by arm: what got worse, what got better, what cannot be told.
 * README.md in this folder gives the rules and why they are so. */
#ifndef COMPARE_COMPARE_H
#define COMPARE_COMPARE_H

#include "core/error.h"

#include <stddef.h>

/* From the one that outweighs all others to the one that any other outweighs. */
enum verdict {
    VERDICT_REGRESSED,
    VERDICT_FAILED, /* failed to measure: BASE has the figure, NEW has not */
    VERDICT_INCONCLUSIVE,
    VERDICT_IMPROVED,
    VERDICT_SAME, /* within the threshold */
    N_VERDICTS
};
const char *verdict_name(enum verdict verdict); /* "regressed", .., "failed-to-measure" */

enum quantity {
    QUANTITY_LATENCY,
    QUANTITY_TOP1,
    QUANTITY_FILE,
    QUANTITY_ACTIVATIONS,
    N_QUANTITIES
};
const char *quantity_name(enum quantity quantity); /* "latency", "top1", "bytes_file", .. */

/* Of one quantity of one arm. The change is relative ((new - base) / base), of top1 a difference.
 */
struct change {
    int is_compared; /* 0: neither file has it; the rest is then unset */
    enum verdict verdict;
    double value, lo, hi; /* with its 95 % interval; NaN where unknown */
    const char *basis;    /* "ratio" or "time" for latency, else "" */
    char reason[192];     /* why inconclusive or failed; else "" */
};

struct compared_arm {
    /* Of the row in BASE; of the one in NEW where BASE has none. Borrowed from the comparison. */
    const char *arm_id, *trial_id, *model, *dataset, *pipeline, *seed, *backend, *threads, *batch,
        *scenario;
    enum verdict verdict; /* the weightiest of its quantities' */
    int fails_gate;       /* regressed, or not measured any more */
    struct change changes[N_QUANTITIES];
    char reason[224]; /* what decided, in words */
};

struct compare_options {
    double threshold;       /* of latency, relative, > 0: 0.02 */
    double threshold_top1;  /* of top1, a difference, >= 0: 0.002 */
    double threshold_bytes; /* of bytes, relative, >= 0: 0.01 */
    int across_machines;    /* 1: machines may differ, and times then count only as ratios */
};
void compare_default_options(struct compare_options *options);

struct comparison {
    struct compared_arm *arms; /* (n_arms) in the order of BASE */
    size_t n_arms, n_of[N_VERDICTS], n_failing_gate;
    size_t n_tests;    /* comparisons that noise can fool; the intervals allow for all of them */
    size_t n_only_new; /* arms that only NEW has; not compared */
    size_t n_without_id[2]; /* rows of BASE and NEW without an arm_id; not compared */
    int has_several_models;
    char notes[8][256]; /* (n_notes) what a reader should know before believing it */
    size_t n_notes;
    char host[128], newest[32]; /* machine and time of NEW's last row, "" when unknown */
    struct compare_options options;
    struct side *sides; /* what the strings above are borrowed from */
};

/* Compares NEW with BASE. PARE_E_FORMAT, PARE_E_IO, PARE_E_NOT_FOUND: a file that cannot be read, a
 * cell that is no number or out of its range, files that share no arm; PARE_E_ARG: another machine,
 * or an arm that stands for several ones. [main] */
pare_status compare_files(const char *base_path, const char *new_path,
                          const struct compare_options *options, struct error *err,
                          struct comparison **out);
void compare_destroy(struct comparison *cmp);

/* "+3.1 % [+2.6, +3.7]", "-0.12 points", "" when not compared. */
void compare_describe(const struct compared_arm *arm, enum quantity quantity, char text[64]);
/* The pipeline, with its model before it where the comparison has several: "lenet5-mnist: fp32". */
void compare_describe_subject(const struct comparison *cmp, const struct compared_arm *arm,
                              char text[256]);
/* "ref, 1 thread, batch 1, single" */
void compare_describe_run(const struct compared_arm *arm, char text[128]);

/* JUnit XML: a test case per arm; regressed is a failure, failed-to-measure an error (skipped where
 * BASE had not measured it either), inconclusive is skipped. Markdown for the summary page of a CI
 * job. Both write the file whole or not at all. */
pare_status compare_write_junit(const struct comparison *cmp, const char *path, struct error *err);
pare_status compare_write_markdown(const struct comparison *cmp, const char *path,
                                   struct error *err);

#endif
