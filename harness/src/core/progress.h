/* SPDX-License-Identifier: MIT */
/* Progress of long work on stderr: one line that is redrawn on a terminal, a plain line now and
 * then otherwise. */
#ifndef CORE_PROGRESS_H
#define CORE_PROGRESS_H

#include <stdint.h>

struct progress {
    const char *label; /* "training resnet20" */
    int64_t total;     /* in units of work */
    int64_t start_ns, last_ns;
    int is_tty, quiet;
};

/* Sets every member and prints nothing; set p->quiet afterwards for silence. `label` is borrowed
 * until progress_end. total 0: unknown, no share and no time left are shown. */
void progress_begin(struct progress *p, const char *label, int64_t total);
/* `note` is a short text shown at the end of the line ("loss 0.123"); it may be "". Prints at most
 * a few times a second (terminal) or every 10 s (otherwise), with an estimate of the time left. */
void progress_update(struct progress *p, int64_t done, const char *note);
/* Leaves one line that says how long it took, and the note. */
void progress_end(struct progress *p, const char *note);

/* Redraws the terminal's line on stderr, cut so that it does not wrap. */
void progress_redraw(const char *line);

/* Monotonic clock, ns. */
int64_t clock_ns(void);
/* "1.2 s", "3 min 20 s", "840 us" */
void format_duration(double seconds, char text[32]);

#endif
