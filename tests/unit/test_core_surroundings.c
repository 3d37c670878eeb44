/* SPDX-License-Identifier: MIT */
/* What a plugin changed of the whole process is put back, and told if figures depend on it. */
#include "core/surroundings.h"

#include <fenv.h>
#include <float.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#include <cmocka.h>

static void nothing_changed(void **state) {
    struct surroundings before;
    struct error err = {0};
    (void)state;
    surroundings_take(&before);
    assert_int_equal(surroundings_restore(&before, &err), PARE_OK);
    assert_string_equal(err.text, "");
}

static void rounding_is_put_back(void **state) {
    static const int modes[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
    (void)state;
    for (size_t k = 0; k < sizeof modes / sizeof *modes; k++) {
        struct surroundings before;
        struct error err = {0};
        surroundings_take(&before);
        assert_int_equal(fesetround(modes[k]), 0);
        assert_int_equal(surroundings_restore(&before, &err), PARE_E_PLUGIN);
        assert_non_null(strstr(err.text, "the rounding mode"));
        assert_int_equal(fegetround(), FE_TONEAREST);
    }
}

static void subnormals_are_put_back(void **state) {
    struct surroundings before;
    struct error err = {0};
    volatile float x = FLT_MIN;
    (void)state;
    surroundings_take(&before);
#if defined(__SSE__)
    _mm_setcsr(_mm_getcsr() | 0x8000);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"(UINT64_C(1) << 24));
#else
    skip();
#endif
    assert_int_equal(surroundings_restore(&before, &err), PARE_E_PLUGIN);
    assert_non_null(strstr(err.text, "subnormal"));
    x = x / 2;
    assert_true(x > 0);
}

static void the_folder_is_put_back(void **state) {
    struct surroundings before;
    struct error err = {0};
    char here[4096], after[4096];
    (void)state;
    assert_non_null(getcwd(here, sizeof here));
    surroundings_take(&before);
    assert_int_equal(chdir("/"), 0);
    assert_int_equal(surroundings_restore(&before, &err), PARE_OK);
    assert_non_null(getcwd(after, sizeof after));
    assert_string_equal(after, here);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_changed),
        cmocka_unit_test(rounding_is_put_back),
        cmocka_unit_test(subnormals_are_put_back),
        cmocka_unit_test(the_folder_is_put_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
