/* SPDX-License-Identifier: MIT */
/* What is seen between two looks at the machine: by made-up readings, by files that stand for the
 * system's, and on this machine. */
#include "core/file.h"
#include "measure/machine_watch.h"

#include <math.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct machine_glance calm = {100, 7, 2000000, 3};

static void nothing_changed_is_nothing(void **state) {
    struct machine_watch w = {.root = ""};
    char text[96];
    (void)state;
    for (int k = 0; k < 5; k++)
        assert_int_equal(machine_watch_note(&w, &calm), 0);
    assert_int_equal(w.n_blocks, 4);
    machine_watch_text(&w, text, sizeof text);
    assert_string_equal(text, "");
}

static void each_cause_is_told_apart(void **state) {
    const struct machine_glance steps[] = {
        {101, 7, 2000000, 3},  /* steal */
        {101, 9, 2000000, 3},  /* preempted */
        {101, 9, 2099000, 3},  /* 4.95 %: not a change */
        {101, 9, 1500000, 3},  /* slower */
        {101, 9, 1500000, 4},  /* throttled */
        {105, 12, 1500000, 4}, /* two at once: one block */
    };
    static const int wanted[] = {1, 1, 0, 1, 1, 1};
    struct machine_watch w = {.root = ""};
    char text[160];
    (void)state;
    machine_watch_note(&w, &calm);
    for (size_t k = 0; k < sizeof steps / sizeof *steps; k++)
        assert_int_equal(machine_watch_note(&w, &steps[k]), wanted[k]);
    machine_watch_text(&w, text, sizeof text);
    assert_string_equal(text, "5 of 6 blocks (steal 2, preempted 2, frequency 1, throttled 1)");
    machine_watch_text(&w, text, 12); /* cut, not overrun */
    assert_string_equal(text, "5 of 6 bloc");
}

/* What cannot be read never changes, also when it appears or disappears. */
static void unknown_is_no_change(void **state) {
    const struct machine_glance unknown = {-1, -1, -1, -1};
    struct machine_watch w = {.root = ""};
    (void)state;
    machine_watch_note(&w, &unknown);
    assert_int_equal(machine_watch_note(&w, &unknown), 0);
    assert_int_equal(machine_watch_note(&w, &calm), 0);
    assert_int_equal(machine_watch_note(&w, &unknown), 0);
}

static void put(const char *root, const char *path, const char *text) {
    struct error err = {0};
    char full[256];
    snprintf(full, sizeof full, "%s%s", root, path);
    *strrchr(full, '/') = '\0';
    assert_int_equal(file_make_dirs(full, &err), PARE_OK);
    snprintf(full, sizeof full, "%s%s", root, path);
    assert_int_equal(file_write(full, text, strlen(text), &err), PARE_OK);
}

static void files_of_the_system_are_read(void **state) {
    char root[] = "/tmp/pare_watch_XXXXXX", command[64];
    struct machine_glance now;
    (void)state;
    assert_non_null(mkdtemp(root));
    machine_glance(root, 2, &now);
    assert_int_equal(now.steal_ticks, -1);
    assert_int_equal(now.freq_khz, -1);
    assert_int_equal(now.throttles, -1);
    put(root, "/proc/stat", "cpu  10 0 20 30 1 0 2 55 0 0\n");
    put(root, "/sys/devices/system/cpu/cpu2/cpufreq/scaling_cur_freq", "1800000\n");
    put(root, "/sys/devices/system/cpu/cpu2/thermal_throttle/core_throttle_count", "9\n");
    machine_glance(root, 2, &now);
    assert_int_equal(now.steal_ticks, 55);
    assert_int_equal(now.freq_khz, 1800000);
    assert_int_equal(now.throttles, 9);
    put(root, "/sys/devices/system/cpu/cpu2/cpufreq/scaling_cur_freq", "<unknown>\n");
    machine_glance(root, 2, &now);
    assert_int_equal(now.freq_khz, -1);
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    assert_int_equal(system(command), 0);
}

static void this_machine_can_be_watched(void **state) {
    struct machine_watch w;
    (void)state;
    machine_watch_start(&w);
    assert_int_equal(machine_watch_look(&w), 0); /* the first look compares with nothing */
    machine_watch_look(&w);
    assert_int_equal(w.n_blocks, 1);
    assert_true(w.last.preemptions >= 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_changed_is_nothing),
        cmocka_unit_test(each_cause_is_told_apart),
        cmocka_unit_test(unknown_is_no_change),
        cmocka_unit_test(files_of_the_system_are_read),
        cmocka_unit_test(this_machine_can_be_watched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
