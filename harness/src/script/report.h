/* SPDX-License-Identifier: MIT */
/* Reports: record files, given to a Lua module that makes pages of them. */
#ifndef SCRIPT_REPORT_H
#define SCRIPT_REPORT_H

#include "core/error.h"

#include <stddef.h>

struct report_page {
    char *name; /* "report.html", "accuracy-bytes-1.svg"; of letters, digits, _ - and . */
    char *text; /* (n_bytes) */
    size_t n_bytes;
};

/* Calls function `format` ("html", "md" or "figures") of the Lua module `script` (NULL:
 * scripts/lib/report.lua, which tells what it gets and returns) in a sandbox of its own, with all
 * rows of the files; *pages (n) is freed by report_pages_free. Errors of the module carry its line.
 * [main] */
pare_status report_make(const char *script, const char *format, const char *title,
                        const char *const *paths, size_t n_paths, struct error *err,
                        struct report_page **pages, size_t *n);
void report_pages_free(struct report_page *pages, size_t n);

#endif
