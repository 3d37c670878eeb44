/* SPDX-License-Identifier: MIT */
#include "core/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Messages are one line: whatever a file or a plugin put in, it cannot break the terminal. */
static void clean_line(char *text) {
    for (unsigned char *p = (unsigned char *)text; *p; p++) {
        if (*p < 0x20 || *p == 0x7f)
            *p = ' ';
    }
}

pare_status error_set(struct error *err, pare_status status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    /* Formatted apart first: an argument may be err->text itself. */
    char text[sizeof err->text];
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    clean_line(text);
    err->status = status;
    memcpy(err->text, text, sizeof text);
    return status;
}

pare_status error_prefix(struct error *err, const char *format, ...) {
    char prefix[sizeof err->text];
    va_list args;
    va_start(args, format);
    vsnprintf(prefix, sizeof prefix, format, args);
    va_end(args);
    return error_set(err, err->status, "%s: %s", prefix, err->text);
}

const char *status_name(pare_status status) {
    switch (status) {
#define PARE_STATUS(name, value, text)                                                             \
    case PARE_##name:                                                                              \
        return #name;
#include <pare/status.inc>
#undef PARE_STATUS
    }
    return "E_UNKNOWN";
}

const char *status_text(pare_status status) {
    switch (status) {
#define PARE_STATUS(name, value, text)                                                             \
    case PARE_##name:                                                                              \
        return text;
#include <pare/status.inc>
#undef PARE_STATUS
    }
    return "unknown status";
}
