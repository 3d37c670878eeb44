/* SPDX-License-Identifier: MIT */
/* Each plugin that is wrong on purpose is caught by its check, with its reason. */
#include "check/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct registry *others;

/* What a run said. */
struct heard {
    char failed[512]; /* names of failed checks, parted by spaces */
    char reason[1100], subject[64];
    const char *wanted; /* the check whose reason is kept */
    int64_t failed_case, n_rows, n_passed;
};

static pare_status hear(void *arg, const struct check_row *row, struct error *err) {
    struct heard *heard = arg;
    (void)err;
    heard->n_rows++;
    heard->n_passed += row->verdict == CHECK_PASS;
    if (row->verdict == CHECK_FAIL) {
        size_t used = strlen(heard->failed);
        snprintf(heard->failed + used, sizeof heard->failed - used, "%s ", row->check);
    }
    if (heard->wanted && strcmp(row->check, heard->wanted) == 0) {
        snprintf(heard->reason, sizeof heard->reason, "%s", row->reason);
        snprintf(heard->subject, sizeof heard->subject, "%s", row->subject);
        heard->failed_case = row->failed_case;
    }
    return PARE_OK;
}

static struct check_options options_of(const char *name, char path[512]) {
    snprintf(path, 512, "%s/%s.so", WRONG_DIR, name);
    return (struct check_options){.path = path,
                                  .only_case = -1,
                                  .seed = 1,
                                  .n_graphs = 12,
                                  .timeout_s = 60,
                                  .others = others};
}

static void run(const struct check_options *options, struct heard *heard) {
    struct error err;
    int n_failed = 0;
    if (check_plugin(options, hear, heard, &err, &n_failed) != PARE_OK) {
        fail_msg("%s: %s", options->path, err.text);
    }
}

static void test_right_ones_pass(void **state) {
    (void)state;
    static const char *const names[] = {"good", "backend_good"};
    for (int k = 0; k < 2; k++) {
        char path[512];
        struct check_options options = options_of(names[k], path);
        struct heard heard = {.wanted = "gradient"};
        run(&options, &heard);
        assert_string_equal(heard.failed, "");
        assert_true(heard.n_rows >= 10 && heard.n_passed >= heard.n_rows - 1);
        assert_string_equal(heard.reason, k == 0 ? "linear layers, activations: it has no forward "
                                                   "and backward of activations (3 of 6 cases not "
                                                   "applicable)"
                                                 : "");
    }
}

struct mistake {
    const char *plugin, *check, *text; /* part of the reason */
    double timeout_s;                  /* 0: the usual */
};

static const struct mistake mistakes[] = {
    {"crashes_on_load", "load", "SIGSEGV", 0},
    {"crashes_in_entry", "load", "SIGSEGV", 0},
    {"half_a_pair", "load", "forward without backward", 0},
    {"extra_export", "exports", "exports helper_of_mine", 0},
    {"calls_exit", "exports", "calls exit", 0},
    {"hangs", "life", "apply", 1},
    {"leak", "memory", "has not freed 16 bytes", 0},
    {"overrun", "memory", "writes outside a block of 16 bytes", 0},
    {"freed_twice", "memory", "frees memory that it does not hold", 0},
    {"main_in_pool", "threads", "calls set_mask from a pool thread", 0},
    {"prints", "output", "prints \"hello\"", 0},
    {"uses_garbage", "repeat", "another result, from the same seed", 0},
    {"global_state", "repeat", "another result, from the same seed", 0},
    {"order", "repeat", "parallel work in the reverse order: another result", 0},
    {"malloc_leak", "loops", "bytes of malloc'd memory more after each life", 0},
    {"open_files", "loops", "leaves files open", 0},
    {"leaves_threads", "loops", "leaves threads behind", 0},
    {"rounds_up", "life", "create leaves the processor rounding in another way", 0},
    {"flushes", "life", "create leaves the processor rounding in another way", 0},
    {"sets_locale", "exports", "calls setlocale", 0},
    {"no_message", "params", "level = 1000: method wrong: create failed: out of range", 0},
    {"lying_table", "params", "level = 1000: killed by SIGSEGV", 0},
    {"unchecked_alloc", "alloc", "allocation 0 of ", 0},
    {"leak_on_failure", "alloc", "leaks ", 0},
    {"wrong_status", "alloc", "returns another status than PARE_E_NOMEM", 0},
    {"undeclared_write", "effects", "changes MASK (first: fc1.weight)", 0},
    {"forgets_mask", "effects", "was pruned before and is ", 0},
    {"ignores_selected", "effects", "although the user left its layer out", 0},
    {"wrong_gradient", "gradient", "differences of forward", 0},
    {"not_linear", "gradient", "times -4 does not give", 0},
    {"backwards_staircase", "gradient", "points against its slope", 0},
    {"backend_no_bias", "graphs", "ref gives", 0},
#ifdef __SANITIZE_ADDRESS__ /* which ends the process at the first read of freed memory */
    {"backend_borrows", "life", "ended the process with exit status 1 in run", 0},
#else
    {"backend_borrows", "graphs", "", 0},
#endif
    {"backend_bleeds", "graphs", "image 1 alone gives another result", 0},
    {"backend_beyond", "memory", "run writes beyond its output", 0},
    {"backend_alloc_in_run", "threads", "run calls alloc, although it is [hot]", 0},
    {"backend_contradicts", "life", "supports refuses what compile takes", 0},
    {"backend_odd_info", "life", "execution is \"fast\"", 0},
    {"backend_profile_differs", "graphs", "profile gives another result than run", 0},
    {"backend_profile_invents", "graphs", "profile tells of kernel 1, of 0..0", 0},
    {"backend_profile_forgets", "graphs", "profile does not tell that kernel 0 (wrong_linear)", 0},
};

/* The check fails for the right reason, and so does the one case that it names, alone. */
static void test_wrong_ones_fail(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof mistakes / sizeof mistakes[0]; k++) {
        const struct mistake *m = &mistakes[k];
        char path[512];
        struct check_options options = options_of(m->plugin, path);
        struct heard heard = {.wanted = m->check};
        if (m->timeout_s > 0) {
            options.timeout_s = m->timeout_s;
        }
        run(&options, &heard);
        if (!strstr(heard.failed, m->check) || !strstr(heard.reason, m->text)) {
            fail_msg("%s: wanted %s to fail with \"%s\", failed: %s; it says \"%s\"", m->plugin,
                     m->check, m->text, heard.failed, heard.reason);
        }
        options.only = m->check;
        options.only_case = heard.failed_case;
        struct heard again = {.wanted = m->check};
        run(&options, &again);
        if (!strstr(again.failed, m->check) || !strstr(again.reason, m->text)) {
            fail_msg("%s: case %lld of %s alone says \"%s\"", m->plugin,
                     (long long)heard.failed_case, m->check, again.reason);
        }
    }
}

static void test_what_is_not_there(void **state) {
    (void)state;
    char path[512];
    struct error err;
    struct heard heard = {0};
    int n_failed = 0;
    struct check_options options = options_of("good", path);
    options.only = "allocs";
    assert_int_equal(check_plugin(&options, hear, &heard, &err, &n_failed), PARE_E_NOT_FOUND);
    assert_string_equal(err.text, "unknown check \"allocs\"; did you mean \"alloc\"?");
    options.only = "params";
    options.only_case = 1000;
    assert_int_equal(check_plugin(&options, hear, &heard, &err, &n_failed), PARE_E_RANGE);
    assert_non_null(strstr(err.text, "--case is 1000, check params of method wrong has "));
    options = options_of("good", path);
    options.method = "right";
    assert_int_equal(check_plugin(&options, hear, &heard, &err, &n_failed), PARE_E_NOT_FOUND);
    options = options_of("nothing", path);
    assert_int_equal(check_plugin(&options, hear, &heard, &err, &n_failed), PARE_E_NOT_FOUND);
    struct param_input setting = {
        .name = "speed", .kind = INPUT_STRING, .from_text = 1, .string = "1"};
    options = options_of("good", path);
    options.settings = &setting;
    options.n_settings = 1;
    assert_int_equal(check_plugin(&options, hear, &heard, &err, &n_failed), PARE_E_NOT_FOUND);
    assert_non_null(strstr(err.text, "has no parameter \"speed\""));
}

static int load_ref(void **state) {
    struct error err;
    (void)state;
    if (registry_create(&err, &others) ||
        registry_load(others, TEST_BINARY_DIR "/plugins/ref.so", &err)) {
        fprintf(stderr, "%s\n", err.text);
        return -1;
    }
    return 0;
}

static int unload(void **state) {
    (void)state;
    registry_destroy(others);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_right_ones_pass),
        cmocka_unit_test(test_wrong_ones_fail),
        cmocka_unit_test(test_what_is_not_there),
    };
    return cmocka_run_group_tests_name("plugin checks", tests, load_ref, unload);
}
