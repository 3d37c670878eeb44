/* SPDX-License-Identifier: MIT */
#include "core/progress.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define TTY_INTERVAL_NS INT64_C(250000000)
#define PLAIN_INTERVAL_NS INT64_C(10000000000)

int64_t clock_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Digits behind the point, so that three stand in all. */
static int decimals(double value) {
    return value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
}

void format_duration(double seconds, char text[32]) {
    /* Each bound is half a last digit below the unit, so that nothing is shown as "60.0 s". */
    if (!(seconds >= 0) || seconds > 1e9)
        snprintf(text, 32, "?");
    else if (seconds < 999.5e-9)
        snprintf(text, 32, "%.0f ns", seconds * 1e9);
    else if (seconds < 999.5e-6)
        snprintf(text, 32, "%.*f us", decimals(seconds * 1e6), seconds * 1e6);
    else if (seconds < 999.5e-3)
        snprintf(text, 32, "%.*f ms", decimals(seconds * 1e3), seconds * 1e3);
    else if (seconds < 59.95)
        snprintf(text, 32, "%.1f s", seconds);
    else if (seconds < 3599.5)
        snprintf(text, 32, "%ld min %02ld s", lround(seconds) / 60, lround(seconds) % 60);
    else
        snprintf(text, 32, "%ld h %02ld min", lround(seconds / 60) / 60, lround(seconds / 60) % 60);
}

void progress_begin(struct progress *p, const char *label, int64_t total) {
    *p = (struct progress){
        .label = label,
        .total = total,
        .start_ns = clock_ns(),
        .is_tty = isatty(STDERR_FILENO),
    };
    p->last_ns = p->start_ns;
}

/* "training lenet5  42%  197/469  1.2 s  left 1.7 s  loss 0.123" */
static void compose(const struct progress *p, int64_t done, int64_t now_ns, const char *note,
                    char *line, size_t size) {
    double elapsed = (double)(now_ns - p->start_ns) * 1e-9;
    char spent[32], left[48] = "";
    format_duration(elapsed, spent);
    if (done > 0 && done < p->total) {
        char text[32];
        format_duration(elapsed * (double)(p->total - done) / (double)done, text);
        snprintf(left, sizeof left, ", %s left", text);
    }
    char share[64] = "";
    if (p->total > 0)
        snprintf(share, sizeof share, "%3.0f %%  %lld/%lld  ",
                 100.0 * (double)done / (double)p->total, (long long)done, (long long)p->total);
    snprintf(line, size, "%s  %s%s%s%s%s", p->label, share, spent, left, note[0] ? "  " : "", note);
}

void progress_redraw(const char *line) {
    struct winsize window;
    int columns = 80;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 1)
        columns = window.ws_col;
    fprintf(stderr, "\r%.*s\033[K", columns - 1, line);
    fflush(stderr);
}

void progress_update(struct progress *p, int64_t done, const char *note) {
    int64_t now_ns = clock_ns();
    int64_t interval_ns = p->is_tty ? TTY_INTERVAL_NS : PLAIN_INTERVAL_NS;
    if (p->quiet || now_ns - p->last_ns < interval_ns)
        return;
    p->last_ns = now_ns;
    char line[512];
    compose(p, done, now_ns, note, line, sizeof line);
    if (p->is_tty)
        progress_redraw(line);
    else
        fprintf(stderr, "%s\n", line);
}

void progress_end(struct progress *p, const char *note) {
    if (p->quiet)
        return;
    char spent[32];
    format_duration((double)(clock_ns() - p->start_ns) * 1e-9, spent);
    fprintf(stderr, "%s%s: %s%s%s%s\n", p->is_tty ? "\r" : "", p->label, spent, note[0] ? ", " : "",
            note, p->is_tty ? "\033[K" : "");
}
