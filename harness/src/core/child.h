/* SPDX-License-Identifier: MIT */
/* Work in a child process, so that a crash, a hang, an exit or a runaway allocation ends there. The
 * child is a fork: it begins with all that the parent has in memory, copied as it is written to,
 * and gives back messages only.
 *
 * Contained: signals (SIGSEGV, SIGABRT from a broken heap, ...), exit and _exit, endless loops,
 * memory, closed or overwritten file descriptors, children of the child, kill(0, ...). Not
 * contained: what a process may do to others of the same user and to files (kill(getppid(), ...),
 * kill(-1, ...), unlink), and messages that are well-formed but wrong. */
#ifndef CORE_CHILD_H
#define CORE_CHILD_H

#include "core/error.h"
#include "core/note.h"

#include <stddef.h>
#include <stdint.h>

struct child_options {
    double timeout_s; /* wall time of it all; 0: no limit */
    double stall_s;   /* longest time in which the note does not change; 0, or no note: no limit */
    int64_t memory_bytes; /* beyond what the parent has when it forks; 0: no limit */
    struct note *note;    /* what the child is doing, for the message; may be NULL */
};

enum child_end {
    CHILD_RETURNED, /* the body came back; child_run gives its status and its error */
    CHILD_REFUSED,  /* the parent's side failed: no fork, or `receive` gave an error */
    /* The child is gone, and how: */
    CHILD_SIGNAL,
    CHILD_EXITED,
    CHILD_CLOSED, /* it closed its connection, or wrote to it what is no message */
    CHILD_TIMEOUT,
    CHILD_STALLED,
    CHILD_MEMORY /* died at its memory limit, of whatever followed from that */
};

struct child; /* the child's side of the connection */

/* Runs in the child, on a copy of *arg. The child has this one thread: a pool must be made anew.
 * What it leaves open or allocated goes with the process. */
typedef pare_status (*child_body)(void *arg, struct child *child, struct error *err);

/* Runs in the parent, for each message. `data` (n_bytes) lives for the call only, is aligned for
 * any type, and must be checked like a file: it may come from a process with a broken heap. A
 * failure ends the child. */
typedef pare_status (*child_receive)(void *arg, int32_t kind, const void *data, size_t n_bytes,
                                     struct error *err);

/* In the child: gives a message (kind >= 0, at most 64 MiB) to `receive`, and returns when that has
 * returned. PARE_E_IO when the connection is gone. */
pare_status child_send(struct child *child, int32_t kind, const void *data, size_t n_bytes,
                       struct error *err);

/* Forks, runs body(arg) in the child, passes its messages on, and returns when the child and all of
 * its process group are gone. The status and *err say how it went: those of the body, or
 * PARE_E_PLUGIN or PARE_E_LIMIT with "killed by SIGSEGV (Segmentation fault) in apply of method
 * ptq", or those of the parent's side; *end, set in any case, tells the three apart. The child dies
 * with its parent. Memory is limited by RLIMIT_DATA: private writable memory, thread stacks in full
 * size among it; mere reservations of addresses, as of allocators and sanitizers, do not count.
 * [main]
 */
pare_status child_run(const struct child_options *options, child_body body, void *arg,
                      child_receive receive, void *receive_arg, struct error *err,
                      enum child_end *end);

#endif
