/* SPDX-License-Identifier: MIT */
/* What a plugin changed of the whole process is put back, and told if figures depend on it. */
#include "core/surroundings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void nothing_changed(void **state) {
    struct surroundings before;
    struct error err = {0};
    (void)state;
    surroundings_take(&before);
    assert_int_equal(surroundings_restore(&before, &err), PARE_OK);
    assert_string_equal(err.text, "");
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
        cmocka_unit_test(the_folder_is_put_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
