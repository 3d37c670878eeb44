/* SPDX-License-Identifier: MIT */
/* What went wrong, in words. A function that can fail takes a struct error * (never NULL) before
 * its out parameters, returns a pare_status, and leaves its out parameters untouched on failure. */
#ifndef CORE_ERROR_H
#define CORE_ERROR_H

#include <pare/status.h>

struct error {
    pare_status status;
    char text[1024]; /* one line: what, where, got, wanted, what to do */
};

/* Fills *err and returns `status`: `return error_set(err, PARE_E_RANGE, "...", ...);`. Newlines and
 * control characters in the formatted text are replaced, so that a message stays one line. */
pare_status error_set(struct error *err, pare_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "prefix: " before the text already there; returns err->status. */
pare_status error_prefix(struct error *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The name ("E_RANGE") and the text ("out of range") of a status. */
const char *status_name(pare_status status);
const char *status_text(pare_status status);

#endif
