/* SPDX-License-Identifier: MIT */
/* The connection is a pair of sockets. Child to parent: a header and its bytes, the last message of
 * all carrying the body's status and error; parent to child: one byte when a message was dealt
 * with, so that the parent is at rest while the child measures. */
#include "core/child.h"

#include "core/alloc.h"
#include "core/progress.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KIND_END = -1, MAX_MESSAGE_BYTES = 64 << 20 };
/* Exit status of a child that could not send its end. */
enum { EXIT_LOST = 113 };
/* Between two looks at the limits; the end of the child itself is seen at once. */
enum { LOOK_MS = 250 };
/* How long a child that has closed its connection may take to die on its own. */
#define LAST_WORDS_NS INT64_C(2000000000)

struct header {
    uint32_t magic;
    int32_t kind;
    uint64_t n_bytes;
};
#define MAGIC UINT32_C(0x65726170)

struct child {
    int fd;
    pid_t pid;
};

/* ---- the child's side ---- */

static int send_all(int fd, const void *data, size_t n_bytes) {
    const char *at = data;
    while (n_bytes > 0) {
        ssize_t n = send(fd, at, n_bytes, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return 0;
        at += n;
        n_bytes -= (size_t)n;
    }
    return 1;
}

static int wait_for_answer(int fd) {
    char answer;
    ssize_t n;
    do
        n = recv(fd, &answer, 1, 0);
    while (n < 0 && errno == EINTR);
    return n == 1;
}

static int send_message(int fd, int32_t kind, const void *data, size_t n_bytes) {
    struct header header = {MAGIC, kind, n_bytes};
    return send_all(fd, &header, sizeof header) && send_all(fd, data, n_bytes) &&
           wait_for_answer(fd);
}

pare_status child_send(struct child *child, int32_t kind, const void *data, size_t n_bytes,
                       struct error *err) {
    if (kind < 0 || n_bytes > MAX_MESSAGE_BYTES)
        return error_set(err, PARE_E_ARG,
                         "child: message of kind %d and %zu bytes, wanted 0.. and "
                         "at most %d",
                         (int)kind, n_bytes, (int)MAX_MESSAGE_BYTES);
    /* A child of the child, forked and not ended by what ran in it: not a word from that. */
    if (getpid() != child->pid)
        _exit(EXIT_LOST);
    if (!send_message(child->fd, kind, data, n_bytes))
        return error_set(err, PARE_E_IO, "the connection to the parent process is gone");
    return PARE_OK;
}

/* Of this process, in bytes: all of its data, and what of its memory is resident and no file; 0
 * where they cannot be read. */
static void read_memory(int64_t *data_bytes, int64_t *resident_bytes) {
    long long resident = 0, shared = 0, data = 0, page = sysconf(_SC_PAGESIZE);
    FILE *file = fopen("/proc/self/statm", "re");
    if (file && fscanf(file, "%*s %lld %lld %*s %*s %lld", &resident, &shared, &data) != 3)
        resident = shared = data = 0;
    if (file)
        fclose(file);
    *data_bytes = data * page;
    *resident_bytes = (resident - shared) * page;
}

static void limit_memory(int64_t memory_bytes) {
    struct rlimit limit;
    int64_t now, resident, wanted;
    read_memory(&now, &resident);
    wanted = now + memory_bytes;
    if (memory_bytes <= 0 || getrlimit(RLIMIT_DATA, &limit) != 0)
        return;
    if (limit.rlim_cur == RLIM_INFINITY || (int64_t)limit.rlim_cur > wanted) {
        limit.rlim_cur = (rlim_t)wanted;
        setrlimit(RLIMIT_DATA, &limit);
    }
    /* Where memory runs out for all, this process goes first. Needs no right; may fail. */
    FILE *file = fopen("/proc/self/oom_score_adj", "we");
    if (file) {
        fputs("500", file);
        fclose(file);
    }
}

/* A group of its own: kill(0, ...) stays inside, and what the child leaves running can be ended.
 * Ctrl-C therefore reaches the parent only, with which the child dies. */
static void settle_in(pid_t parent, const struct child_options *options) {
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    /* A crash ends the child, whatever handlers the parent has (a test's, a script's). */
    static const int deadly[] = {SIGINT, SIGTERM, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS};
    for (size_t k = 0; k < sizeof deadly / sizeof deadly[0]; k++)
        signal(deadly[k], SIG_DFL);
    signal(SIGTTOU, SIG_IGN);                  /* writing to the terminal from the background */
    int nothing = open("/dev/null", O_RDONLY); /* reading from there would stop it */
    if (nothing > STDIN_FILENO) {
        dup2(nothing, STDIN_FILENO);
        close(nothing);
    }
    limit_memory(options->memory_bytes);
}

_Noreturn static void live(int fd, pid_t parent, const struct child_options *options,
                           child_body body, void *arg) {
    struct child child = {fd, getpid()};
    struct error err = {.status = PARE_OK};
    settle_in(parent, options);
    err.status = body(arg, &child, &err);
    fflush(NULL);
    if (getpid() != child.pid)
        _exit(EXIT_LOST);
    _exit(send_message(fd, KIND_END, &err, sizeof err) ? 0 : EXIT_LOST);
}

/* ---- the parent's side ---- */

struct watch {
    const struct child_options *options;
    pid_t pid;
    int fd;
    int64_t start_ns, changed_ns; /* changed: the note, as last seen */
    int64_t resident_bytes;       /* of the parent, and so of the child as it begins */
    uint64_t count;
    enum child_end end; /* CHILD_RETURNED as long as nothing has gone wrong */
};

static int has_died(const struct watch *w) {
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)w->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == w->pid;
}

static double seconds_since(int64_t then_ns) {
    return (double)(clock_ns() - then_ns) * 1e-9;
}

static int is_over_time(struct watch *w) {
    const struct child_options *o = w->options;
    uint64_t count = note_count(o->note);
    if (count != w->count) {
        w->count = count;
        w->changed_ns = clock_ns();
    }
    if (o->timeout_s > 0 && seconds_since(w->start_ns) > o->timeout_s)
        w->end = CHILD_TIMEOUT;
    else if (o->stall_s > 0 && o->note && seconds_since(w->changed_ns) > o->stall_s)
        w->end = CHILD_STALLED;
    return w->end != CHILD_RETURNED;
}

/* Until the next look at the limits. */
static int pause_ms(const struct watch *w) {
    double left_s = LOOK_MS * 1e-3;
    const struct child_options *o = w->options;
    if (o->timeout_s > 0 && o->timeout_s - seconds_since(w->start_ns) < left_s)
        left_s = o->timeout_s - seconds_since(w->start_ns);
    return left_s > 0 ? (int)(left_s * 1e3) + 1 : 1;
}

/* Exactly n_bytes from the child; 0 when they do not come, w->end then saying why. */
static int receive_all(struct watch *w, void *data, size_t n_bytes) {
    char *at = data;
    while (n_bytes > 0) {
        struct pollfd poll_fd = {.fd = w->fd, .events = POLLIN};
        int ready = poll(&poll_fd, 1, pause_ms(w));
        ssize_t n = ready > 0 ? recv(w->fd, at, n_bytes, MSG_DONTWAIT) : -1;
        if (n > 0) {
            at += n;
            n_bytes -= (size_t)n;
            continue;
        }
        if (n == 0 || (ready > 0 && errno != EAGAIN && errno != EINTR) ||
            (ready == 0 && has_died(w))) {
            w->end = CHILD_CLOSED;
            return 0;
        }
        if (is_over_time(w))
            return 0;
    }
    return 1;
}

/* One message; *data is malloc'd. */
static int receive_message(struct watch *w, struct header *header, void **data) {
    if (is_over_time(w) || !receive_all(w, header, sizeof *header))
        return 0;
    w->changed_ns = clock_ns();
    int is_sound = header->magic == MAGIC && header->kind >= KIND_END &&
                   header->n_bytes <= MAX_MESSAGE_BYTES &&
                   (header->kind != KIND_END || header->n_bytes == sizeof(struct error));
    *data = is_sound ? alloc_array((size_t)header->n_bytes, 1) : NULL;
    if (!*data) {
        w->end = CHILD_CLOSED;
        return 0;
    }
    if (receive_all(w, *data, (size_t)header->n_bytes))
        return 1;
    free(*data);
    return 0;
}

/* Passes messages on until the body's end has come, or until something goes wrong. */
static pare_status serve(struct watch *w, child_receive receive, void *arg, struct error *err) {
    for (;;) {
        struct header header;
        void *data = NULL;
        if (!receive_message(w, &header, &data))
            return PARE_OK; /* w->end says it */
        pare_status status = PARE_OK;
        int is_last = header.kind == KIND_END;
        if (is_last) {
            struct error said;
            memcpy(&said, data, sizeof said);
            said.text[sizeof said.text - 1] = '\0';
            status = error_set(err, said.status, "%s", said.text);
        } else {
            status = receive(arg, header.kind, data, (size_t)header.n_bytes, err);
            if (status != PARE_OK)
                w->end = CHILD_REFUSED;
        }
        free(data);
        if (is_last || status != PARE_OK)
            return status;
        if (!send_all(w->fd, "", 1))
            w->end = CHILD_CLOSED;
        if (w->end != CHILD_RETURNED)
            return PARE_OK;
        w->changed_ns = clock_ns(); /* what the parent took does not count */
    }
}

/* A child that has closed its connection is about to die, as a rule, and how is worth knowing. */
static void wait_for_death(const struct watch *w) {
    const int64_t begin_ns = clock_ns();
    while (!has_died(w) && clock_ns() - begin_ns < LAST_WORDS_NS)
        poll(NULL, 0, 1);
}

/* Ends the child with all of its group, and tells how it had died, if it had. */
static void reap(struct watch *w, int *wait_status, struct rusage *usage, int *was_dead) {
    if (w->end == CHILD_CLOSED)
        wait_for_death(w);
    *was_dead = has_died(w);
    /* Before it is reaped: until then its number cannot be another's. */
    kill(-w->pid, SIGKILL);
    kill(w->pid, SIGKILL);
    while (wait4(w->pid, wait_status, 0, usage) < 0 && errno == EINTR)
        ;
}

struct story {
    char how[96], why[128]; /* what stands before and behind the place where it happened */
};

static void describe_death(struct watch *w, int wait_status, struct story *story) {
    if (!WIFSIGNALED(wait_status)) {
        w->end = CHILD_EXITED;
        snprintf(story->how, sizeof story->how, "ended the process with exit status %d",
                 WEXITSTATUS(wait_status));
        return;
    }
    int number = WTERMSIG(wait_status);
    const char *name = sigabbrev_np(number), *words = sigdescr_np(number);
    w->end = CHILD_SIGNAL;
    snprintf(story->how, sizeof story->how, "killed by SIG%s (%s)", name ? name : "?",
             words ? words : "?");
    if (number == SIGKILL)
        snprintf(story->why, sizeof story->why,
                 " (not by pare: by itself, by hand, or by the "
                 "system for want of memory)");
}

/* Was the memory limit reached? The peak of resident memory tells where memory was used as well as
 * asked for, as it is by most; a refusal by the host's own allocator is noted by that. */
static int is_at_memory_limit(const struct watch *w, const struct rusage *usage) {
    int64_t limit = w->options->memory_bytes;
    int64_t grown = (int64_t)usage->ru_maxrss * 1024 - w->resident_bytes;
    return limit > 0 && (note_was_refused(w->options->note) || (double)grown > 0.9 * (double)limit);
}

static pare_status explain(struct watch *w, int wait_status, const struct rusage *usage,
                           int was_dead, struct error *err) {
    const struct child_options *o = w->options;
    struct story story = {"killed", ""};
    char where[NOTE_TEXT_BYTES];
    note_describe(o->note, where);
    int is_lost = WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == EXIT_LOST;
    if (w->end == CHILD_TIMEOUT)
        snprintf(story.why, sizeof story.why, ": not done after %g s", o->timeout_s);
    else if (w->end == CHILD_STALLED)
        snprintf(story.why, sizeof story.why, ": nothing happened for %g s", o->stall_s);
    else if (was_dead && !is_lost)
        describe_death(w, wait_status, &story);
    else
        snprintf(story.how, sizeof story.how,
                 "lost its connection to pare (file descriptors closed or written to)");
    int died_itself = w->end == CHILD_SIGNAL || w->end == CHILD_EXITED;
    if (died_itself && is_at_memory_limit(w, usage)) {
        w->end = CHILD_MEMORY;
        snprintf(story.why, sizeof story.why, ", at its memory limit of %.0f MB",
                 (double)o->memory_bytes * 1e-6);
    }
    int is_limit = w->end == CHILD_TIMEOUT || w->end == CHILD_STALLED || w->end == CHILD_MEMORY;
    return error_set(err, is_limit ? PARE_E_LIMIT : PARE_E_PLUGIN, "%s%s%s%s", story.how,
                     where[0] ? " " : "", where, story.why);
}

/* The connection's parent end in *fd. */
static pare_status start(const struct child_options *options, child_body body, void *arg,
                         struct error *err, pid_t *pid, int *fd) {
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
        return error_set(err, PARE_E_LIMIT, "no connection to a child process: %s",
                         strerror(errno));
    note_reset(options->note);
    fflush(NULL); /* or the child would write it once more */
    pid_t parent = getpid();
    *pid = fork();
    if (*pid == 0) {
        close(fds[0]);
        live(fds[1], parent, options, body, arg);
    }
    close(fds[1]);
    if (*pid < 0) {
        error_set(err, PARE_E_LIMIT, "no child process: %s", strerror(errno));
        close(fds[0]);
        return err->status;
    }
    setpgid(*pid, *pid); /* whoever comes first */
    *fd = fds[0];
    return PARE_OK;
}

pare_status child_run(const struct child_options *options, child_body body, void *arg,
                      child_receive receive, void *receive_arg, struct error *err,
                      enum child_end *end) {
    const struct sigaction by_default = {.sa_handler = SIG_DFL};
    struct sigaction before;
    struct watch w = {.options = options};
    struct rusage usage = {0};
    int64_t data;
    int wait_status = 0, was_dead = 0;
    *end = CHILD_REFUSED;
    /* Where SIGCHLD is ignored, as some starters leave it, nobody learns how a child died. */
    sigaction(SIGCHLD, &by_default, &before);
    read_memory(&data, &w.resident_bytes);
    pare_status status = start(options, body, arg, err, &w.pid, &w.fd);
    if (status == PARE_OK) {
        w.start_ns = w.changed_ns = clock_ns();
        status = serve(&w, receive, receive_arg, err);
        reap(&w, &wait_status, &usage, &was_dead);
        close(w.fd);
        if (w.end != CHILD_RETURNED && w.end != CHILD_REFUSED)
            status = explain(&w, wait_status, &usage, was_dead, err);
        *end = w.end;
    }
    sigaction(SIGCHLD, &before, NULL);
    return status;
}
