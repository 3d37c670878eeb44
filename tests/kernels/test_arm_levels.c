/* SPDX-License-Identifier: MIT */
/* Which level the arm backend takes, on this processor and on ones that lack features. */
#include "graph_maker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#ifdef __aarch64__
#include "arm.h"

/* Compiles on a processor with these features; the level taken, "" when it is refused. */
static const char *level_taken(uint32_t features, const char *isa, struct test_host *host) {
    static char taken[64];
    struct maker m;
    void *instance;
    void *exe = NULL;
    maker_init(&m, 3, 4, 4, 3);
    int32_t conv = maker_conv(&m, 0, 5, 3, 1, 1, 1, 1);
    maker_linear(&m, maker_simple(&m, PARE_OP_GLOBAL_AVG_POOL, conv), 4, 1);
    test_host_init(host);
    assert_int_equal(tiled_create_with(&host->host, &arm_levels, features, &instance), PARE_OK);
    pare_compile_options options = {sizeof options, 1, isa};
    pare_status status = arm_backend.compile(instance, &m.graph, &options, &exe);
    taken[0] = '\0';
    if (status == PARE_OK) {
        const pare_executable_info *info;
        assert_int_equal(arm_backend.executable_info(exe, &info), PARE_OK);
        strcpy(taken, info->isa);
    } else {
        assert_int_equal(status, PARE_E_UNSUPPORTED);
        assert_null(exe);
    }
    arm_backend.executable_destroy(exe);
    arm_backend.destroy(instance);
    assert_int_equal(host->n_live, 0);
    maker_free(&m);
    return taken;
}

#define ALL (ARM_HAS_DOTPROD | ARM_HAS_I8MM)

static void test_best_level(void **state) {
    (void)state;
    struct test_host host;
    assert_string_equal(level_taken(0, NULL, &host), "neon");
    assert_string_equal(level_taken(ARM_HAS_DOTPROD, NULL, &host), "neon-dotprod");
    assert_string_equal(level_taken(ALL, NULL, &host), "neon-i8mm");
    /* Its source is compiled with dot products, too. */
    assert_string_equal(level_taken(ARM_HAS_I8MM, NULL, &host), "neon");
}

static void test_forced_level(void **state) {
    (void)state;
    struct test_host host;
    assert_string_equal(level_taken(ALL, "neon", &host), "neon");
    assert_string_equal(level_taken(ALL, "neon-dotprod", &host), "neon-dotprod");
    assert_string_equal(level_taken(ARM_HAS_DOTPROD, "neon-i8mm", &host), "");
    assert_string_equal(host.text, "isa is \"neon-i8mm\", this machine has neon, neon-dotprod");
    assert_string_equal(level_taken(0, "avx2", &host), "");
    assert_string_equal(host.text, "isa is \"avx2\", this machine has neon");
}

/* The probe names the level that compiling takes, and prefers arm to ref. */
static void test_probe(void **state) {
    (void)state;
    struct test_host host;
    test_host_init(&host);
    pare_probe probe = {.struct_size = sizeof probe};
    assert_int_equal(arm_backend.probe(&host.host, &probe), PARE_OK);
    assert_true(probe.score > 1);
    assert_string_equal(probe.isa, level_taken(arm_cpu_features(), NULL, &host));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_best_level),
        cmocka_unit_test(test_forced_level),
        cmocka_unit_test(test_probe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#else
int main(void) {
    return 0; /* there is no arm backend on this machine */
}
#endif
