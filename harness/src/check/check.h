/* SPDX-License-Identifier: MIT */
/* Does a plugin keep the contract of <pare/plugin.h>? Each check is a number of cases, each case
 * runs in a child process, so that a crash or a hang is a verdict, too. */
#ifndef CHECK_CHECK_H
#define CHECK_CHECK_H

#include "core/error.h"
#include "plugin/registry.h"

#include <stdint.h>

enum check_verdict { CHECK_PASS, CHECK_FAIL, CHECK_NOT_APPLICABLE };

struct check_options {
    const char *path;                    /* the plugin's file */
    const char *method, *backend, *only; /* only this one, only this check; NULL: all */
    int64_t only_case;                   /* of check `only`; -1: all */
    uint64_t seed;
    int64_t n_graphs;                   /* random graphs that a backend is compared on */
    double timeout_s;                   /* of one case */
    const struct param_input *settings; /* parameters that are not to have their defaults */
    size_t n_settings;
    struct registry *others; /* where the backend "ref" is found; NULL: nowhere */
};

/* What became of one check. Texts live for the call. */
struct check_row {
    const char *subject; /* "plugin", "method ptq", "backend x86" */
    const char *check;   /* "alloc" */
    const char *doc;     /* what it looks at */
    enum check_verdict verdict;
    int64_t n_cases, n_failed;
    int64_t failed_case; /* the first that failed; -1: none */
    const char *reason;  /* of the verdict; "" */
};

typedef pare_status (*check_sink)(void *arg, const struct check_row *row, struct error *err);

/* Checks the plugin and all its methods and backends (or those asked for). *n_failed counts failed
 * checks. An error: there is no such file, method, backend, check or case. [main] */
pare_status check_plugin(const struct check_options *options, check_sink sink, void *arg,
                         struct error *err, int *n_failed);

const char *check_verdict_name(enum check_verdict verdict); /* "pass" */

#endif
