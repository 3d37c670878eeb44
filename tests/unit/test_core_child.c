/* SPDX-License-Identifier: MIT */
/* core/child, core/note: work in a child process, and every way in which it may die. */
#include "core/alloc.h"
#include "core/child.h"
#include "scratch.h"

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- what the parent gets ---- */

struct inbox {
    size_t n;
    int32_t kinds[8];
    size_t sizes[8];
    unsigned char first[8], last[8];
    int refuse; /* the message that is refused; 0: none */
};

static pare_status receive(void *arg, int32_t kind, const void *data, size_t n_bytes,
                           struct error *err) {
    struct inbox *inbox = arg;
    size_t k = inbox->n++ % 8;
    inbox->kinds[k] = kind;
    inbox->sizes[k] = n_bytes;
    inbox->first[k] = n_bytes ? *(const unsigned char *)data : 0;
    inbox->last[k] = n_bytes ? ((const unsigned char *)data)[n_bytes - 1] : 0;
    if (inbox->refuse && (int)inbox->n == inbox->refuse)
        return error_set(err, PARE_E_IO, "the disk is full");
    return PARE_OK;
}

/* ---- the child comes back ---- */

struct job {
    int value;
    struct note *note;
    int pipe[2];
};

static pare_status send_three(void *arg, struct child *child, struct error *err) {
    struct job *job = arg;
    static unsigned char large[3000000];
    memset(large, 7, sizeof large);
    large[sizeof large - 1] = 9;
    job->value = 99; /* in the child's copy */
    if (child_send(child, 0, NULL, 0, err) || child_send(child, 5, "abc", 3, err))
        return err->status;
    return child_send(child, 1, large, sizeof large, err);
}

static void messages_arrive_whole_and_in_order(void **state) {
    (void)state;
    struct child_options options = {0};
    struct inbox inbox = {0};
    struct job job = {.value = 1};
    struct error err;
    enum child_end end;
    assert_int_equal(child_run(&options, send_three, &job, receive, &inbox, &err, &end), PARE_OK);
    assert_int_equal(end, CHILD_RETURNED);
    assert_int_equal(job.value, 1);
    assert_int_equal(inbox.n, 3);
    assert_int_equal(inbox.kinds[1], 5);
    assert_int_equal(inbox.sizes[1], 3);
    assert_int_equal(inbox.sizes[2], 3000000);
    assert_int_equal(inbox.first[2], 7);
    assert_int_equal(inbox.last[2], 9);
}

static pare_status return_error(void *arg, struct child *child, struct error *err) {
    (void)arg, (void)child;
    return error_set(err, PARE_E_NUMERIC, "conv1: scale is nan");
}

static void the_bodys_error_comes_back(void **state) {
    (void)state;
    struct child_options options = {0};
    struct error err;
    enum child_end end;
    assert_int_equal(child_run(&options, return_error, NULL, receive, NULL, &err, &end),
                     PARE_E_NUMERIC);
    assert_int_equal(end, CHILD_RETURNED);
    assert_string_equal(err.text, "conv1: scale is nan");
}

static void a_refused_message_ends_the_child(void **state) {
    (void)state;
    struct child_options options = {0};
    struct inbox inbox = {.refuse = 2};
    struct job job = {0};
    struct error err;
    enum child_end end;
    assert_int_equal(child_run(&options, send_three, &job, receive, &inbox, &err, &end), PARE_E_IO);
    assert_int_equal(end, CHILD_REFUSED);
    assert_string_equal(err.text, "the disk is full");
    assert_int_equal(inbox.n, 2);
}

/* ---- the child dies ---- */

static void segfault(void) {
    raise(SIGSEGV); /* and not by a null pointer, which sanitizers make an exit */
}

static void abort_it(void) {
    abort();
}

static void exit_0(void) {
    exit(0);
}

static void exit_3(void) {
    _exit(3);
}

static void spin(void) {
    for (volatile int go = 1; go;)
        ;
}

/* Touches what it gets and, like most, does not look whether it got it. */
static void use_memory(void) {
    for (int k = 0; k < 256; k++) { /* 2 GB, where nothing limits it */
        char *p = mmap(NULL, 8 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
            raise(SIGSEGV);
        memset(p, 1, 8 << 20);
    }
}

static void close_all(void) {
    for (int fd = 3; fd < 256; fd++)
        close(fd);
}

static void close_all_and_stay(void) {
    close_all();
    for (;;)
        pause();
}

static void write_garbage(void) {
    static const char text[64] = "epoch 1, loss 0.5, and so on and so forth";
    for (int fd = 3; fd < 64; fd++) {
        ssize_t ignored = write(fd, text, sizeof text);
        (void)ignored;
    }
    for (;;)
        pause();
}

static void kill_the_group(void) {
    kill(0, SIGKILL);
}

struct death {
    const char *name;
    void (*act)(void);
    enum child_end end;
    pare_status status;
    const char *words;
};

struct dying {
    const struct death *death;
    struct note *note;
};

static pare_status act(void *arg, struct child *child, struct error *err) {
    const struct dying *dying = arg;
    const int handled[] = {SIGSEGV, SIGABRT}; /* by cmocka, which would jump out of the child */
    for (size_t k = 0; k < sizeof handled / sizeof *handled; k++)
        signal(handled[k], SIG_DFL);
    note_enter(dying->note, "method bad", "apply");
    dying->death->act();
    note_leave(dying->note);
    return child_send(child, 1, "x", 1, err); /* for those that live on with a broken connection */
}

static const struct death deaths[] = {
    {"segfault", segfault, CHILD_SIGNAL, PARE_E_PLUGIN, "killed by SIGSEGV (Segmentation fault)"},
    {"abort", abort_it, CHILD_SIGNAL, PARE_E_PLUGIN, "killed by SIGABRT (Aborted)"},
    {"exit(0)", exit_0, CHILD_EXITED, PARE_E_PLUGIN, "exit status 0"},
    {"_exit(3)", exit_3, CHILD_EXITED, PARE_E_PLUGIN, "exit status 3"},
    {"endless loop", spin, CHILD_STALLED, PARE_E_LIMIT, "nothing happened for 0.6 s"},
    {"memory", use_memory, CHILD_MEMORY, PARE_E_LIMIT, "at its memory limit of 100 MB"},
    {"closed and silent", close_all_and_stay, CHILD_CLOSED, PARE_E_PLUGIN, "lost its connection"},
    {"closed", close_all, CHILD_CLOSED, PARE_E_PLUGIN, "lost its connection"},
    {"garbage", write_garbage, CHILD_CLOSED, PARE_E_PLUGIN, "lost its connection"},
    {"kill(0)", kill_the_group, CHILD_SIGNAL, PARE_E_PLUGIN, "killed by SIGKILL"},
};

static void every_death_is_told(void **state) {
    (void)state;
    struct error err;
    struct note *note;
    assert_int_equal(note_create(&err, &note), PARE_OK);
    for (size_t k = 0; k < sizeof deaths / sizeof *deaths; k++) {
        struct child_options options = {.stall_s = 0.6, .memory_bytes = 100000000, .note = note};
        struct dying dying = {&deaths[k], note};
        struct inbox inbox = {0};
        enum child_end end;
        pare_status status = child_run(&options, act, &dying, receive, &inbox, &err, &end);
        print_message("%-18s %s\n", deaths[k].name, err.text);
        assert_int_equal(status, deaths[k].status);
        assert_int_equal(status, err.status);
        assert_int_equal(inbox.n, 0);
        assert_message(err.text, deaths[k].words, "apply of method bad");
        assert_int_equal(end, deaths[k].end);
    }
    note_destroy(note);
}

/* ---- time ---- */

static pare_status work_slowly(void *arg, struct child *child, struct error *err) {
    const struct job *job = arg;
    (void)child, (void)err;
    for (int i = 0; i < 20; i++) {
        usleep(50000);
        note_beat(job->note);
    }
    return PARE_OK;
}

static void signs_of_life_count_and_time_in_all_too(void **state) {
    (void)state;
    struct error err;
    struct job job = {0};
    enum child_end end;
    assert_int_equal(note_create(&err, &job.note), PARE_OK);
    struct child_options options = {.stall_s = 0.5, .note = job.note};
    assert_int_equal(child_run(&options, work_slowly, &job, receive, NULL, &err, &end), PARE_OK);
    options.timeout_s = 0.3;
    assert_int_equal(child_run(&options, work_slowly, &job, receive, NULL, &err, &end),
                     PARE_E_LIMIT);
    assert_int_equal(end, CHILD_TIMEOUT);
    assert_string_equal(err.text, "killed: not done after 0.3 s");
    note_destroy(job.note);
}

/* ---- nothing is left behind ---- */

/* 1 when the other end of the pipe, which only processes that should be gone held open, closes. */
static int closes(int fd) {
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    char c;
    return poll(&poll_fd, 1, 5000) == 1 && read(fd, &c, 1) == 0;
}

static pare_status leave_a_child(void *arg, struct child *child, struct error *err) {
    (void)arg, (void)child, (void)err;
    if (fork() == 0)
        for (;;)
            pause();
    return PARE_OK;
}

static void children_of_the_child_are_ended(void **state) {
    (void)state;
    struct child_options options = {0};
    struct job job = {0};
    struct error err;
    enum child_end end;
    assert_int_equal(pipe(job.pipe), 0);
    assert_int_equal(child_run(&options, leave_a_child, &job, receive, NULL, &err, &end), PARE_OK);
    close(job.pipe[1]);
    assert_true(closes(job.pipe[0]));
    close(job.pipe[0]);
}

static pare_status wait_for_ever(void *arg, struct child *child, struct error *err) {
    const struct job *job = arg;
    (void)err;
    child_send(child, 1, "here", 4, err);
    ssize_t ignored = write(job->pipe[1], "1", 1);
    (void)ignored;
    pause();
    return PARE_OK;
}

static void a_child_dies_with_its_parent(void **state) {
    (void)state;
    struct job job = {0};
    char c;
    assert_int_equal(pipe(job.pipe), 0);
    pid_t parent = fork();
    if (parent == 0) {
        struct child_options options = {0};
        struct inbox inbox = {0};
        struct error err;
        enum child_end end;
        child_run(&options, wait_for_ever, &job, receive, &inbox, &err, &end);
        _exit(0);
    }
    close(job.pipe[1]);
    assert_int_equal(read(job.pipe[0], &c, 1), 1); /* the child lives */
    kill(parent, SIGKILL);
    assert_int_equal(waitpid(parent, NULL, 0), parent);
    assert_true(closes(job.pipe[0]));
    close(job.pipe[0]);
}

/* ---- what it costs ---- */

static pare_status do_nothing(void *arg, struct child *child, struct error *err) {
    (void)arg, (void)child, (void)err;
    return PARE_OK;
}

/* Of this process and of its dead children: unlike wall time, not that of others. */
static double cpu_ms(void) {
    struct rusage usage[2];
    double ms = 0;
    getrusage(RUSAGE_SELF, &usage[0]);
    getrusage(RUSAGE_CHILDREN, &usage[1]);
    for (int k = 0; k < 2; k++) {
        ms += 1e3 * (double)(usage[k].ru_utime.tv_sec + usage[k].ru_stime.tv_sec);
        ms += 1e-3 * (double)(usage[k].ru_utime.tv_usec + usage[k].ru_stime.tv_usec);
    }
    return ms;
}

static void a_child_costs_under_20_ms(void **state) {
    (void)state;
    size_t n_bytes = (size_t)128 << 20; /* twice MNIST as it lies in memory */
    char *memory = alloc_array(n_bytes, 1);
    assert_non_null(memory);
    memset(memory, 1, n_bytes);
    struct child_options options = {.memory_bytes = (int64_t)1 << 30};
    double least_ms = 1e9;
    for (int i = 0; i < 10; i++) {
        struct error err;
        enum child_end end;
        double start_ms = cpu_ms();
        assert_int_equal(child_run(&options, do_nothing, memory, receive, NULL, &err, &end),
                         PARE_OK);
        double ms = cpu_ms() - start_ms;
        least_ms = ms < least_ms ? ms : least_ms;
    }
    print_message("a child of a process of 128 MB: %.2f ms of processor time\n", least_ms);
#ifndef __SANITIZE_ADDRESS__ /* whose tables a fork copies too */
    assert_true(least_ms < 20);
#endif
    free(memory);
}

/* ---- notes ---- */

static void notes_say_where(void **state) {
    (void)state;
    struct error err;
    struct note *note;
    char text[NOTE_TEXT_BYTES], long_name[300];
    assert_int_equal(note_create(&err, &note), PARE_OK);
    note_describe(note, text);
    assert_string_equal(text, "");
    note_enter(note, "backend ref", "run");
    note_describe(note, text);
    assert_string_equal(text, "in run of backend ref");
    note_leave(note);
    note_describe(note, text);
    assert_string_equal(text, "after run of backend ref");
    assert_int_equal(note_count(note), 2);
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    note_enter(note, long_name, long_name);
    note_describe(note, text);
    assert_true(strlen(text) < NOTE_TEXT_BYTES);
    note_reset(note);
    assert_int_equal(note_count(note), 0);
    note_destroy(note);
    note_enter(NULL, "nobody", "nothing");
    note_describe(NULL, text);
    assert_string_equal(text, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_arrive_whole_and_in_order),
        cmocka_unit_test(the_bodys_error_comes_back),
        cmocka_unit_test(a_refused_message_ends_the_child),
        cmocka_unit_test(every_death_is_told),
        cmocka_unit_test(signs_of_life_count_and_time_in_all_too),
        cmocka_unit_test(children_of_the_child_are_ended),
        cmocka_unit_test(a_child_dies_with_its_parent),
        cmocka_unit_test(a_child_costs_under_20_ms),
        cmocka_unit_test(notes_say_where),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
