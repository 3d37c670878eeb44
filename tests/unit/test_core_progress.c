/* SPDX-License-Identifier: MIT */
#include "core/progress.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Runs begin, one update that lies `age_ns` after the start, and end, and gives what reached
 * stderr. */
static void captured(int is_tty, int quiet, int64_t age_ns, char *text, size_t size) {
    FILE *file = tmpfile();
    fflush(stderr);
    int saved = dup(STDERR_FILENO);
    dup2(fileno(file), STDERR_FILENO);
    struct progress p;
    progress_begin(&p, "training", 200);
    p.is_tty = is_tty;
    p.quiet = quiet;
    p.start_ns -= age_ns;
    p.last_ns -= age_ns;
    progress_update(&p, 50, "loss 0.5");
    progress_update(&p, 51, "at once");
    progress_end(&p, "loss 0.1");
    fflush(stderr);
    dup2(saved, STDERR_FILENO);
    close(saved);
    rewind(file);
    text[fread(text, 1, size - 1, file)] = '\0';
    fclose(file);
}

static void plain_lines(void **state) {
    (void)state;
    char text[1024];
    captured(0, 0, INT64_C(11000000000), text, sizeof text);
    assert_string_equal(text, "training   25 %  50/200  11.0 s, 33.0 s left  loss 0.5\n"
                              "training: 11.0 s, loss 0.1\n");
    captured(0, 0, INT64_C(9000000000), text, sizeof text);
    assert_string_equal(text, "training: 9.0 s, loss 0.1\n");
}

static void one_line_on_a_terminal(void **state) {
    (void)state;
    char text[1024];
    captured(1, 0, INT64_C(2000000000), text, sizeof text);
    assert_string_equal(text, "\rtraining   25 %  50/200  2.0 s, 6.0 s left  loss 0.5\033[K"
                              "\rtraining: 2.0 s, loss 0.1\033[K\n");
}

static void quiet_is_quiet(void **state) {
    (void)state;
    char text[1024];
    captured(1, 1, INT64_C(20000000000), text, sizeof text);
    assert_string_equal(text, "");
}

static void durations(void **state) {
    (void)state;
    static const struct {
        double seconds;
        const char *text;
    } cases[] = {
        {5e-9, "5 ns"},
        {840e-6, "840 us"},
        {999.6e-6, "1.00 ms"},
        {0.0123, "12.3 ms"},
        {17.24e-6, "17.2 us"},
        {1.5e-6, "1.50 us"},
        {0.456, "456 ms"},
        {1.2, "1.2 s"},
        {59.97, "1 min 00 s"},
        {200, "3 min 20 s"},
        {3599.7, "1 h 00 min"},
        {7500, "2 h 05 min"},
        {-1, "?"},
        {NAN, "?"},
        {INFINITY, "?"},
        {0, "0 ns"},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        char text[32];
        format_duration(cases[k].seconds, text);
        assert_string_equal(text, cases[k].text);
    }
}

static void clock_moves_forward(void **state) {
    (void)state;
    int64_t before = clock_ns();
    usleep(2000);
    int64_t passed = clock_ns() - before;
    assert_true(passed >= 2000000 && passed < INT64_C(60000000000));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_lines),         cmocka_unit_test(one_line_on_a_terminal),
        cmocka_unit_test(quiet_is_quiet),      cmocka_unit_test(durations),
        cmocka_unit_test(clock_moves_forward),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
