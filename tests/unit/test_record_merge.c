/* SPDX-License-Identifier: MIT */
/* record_merge: what is joined, what is dropped, what is a conflict. */
#include "record/record.h"
#include "scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static char dir[256];

static int make_dir(void **state) {
    (void)state;
    scratch_make(dir);
    return 0;
}
static int remove_dir(void **state) {
    (void)state;
    scratch_remove(dir);
    return 0;
}

#define HEADER "schema_version,arm_id,host,status,top1,median_ns"

static void write_text(const char *name, const char *text) {
    scratch_write(dir, name, text, strlen(text));
}

static pare_status merge(struct error *err) {
    char a[300], b[300];
    snprintf(a, sizeof a, "%s/a.csv", dir);
    snprintf(b, sizeof b, "%s/b.csv", dir);
    const char *const paths[] = {a, b};
    return record_merge(paths, 2, scratch_path(dir, "new/out.csv"), err);
}

/* Merges the two texts; the ids and top1 of the rows must be `wanted`: "x=0.5 y=0.25 ". */
static void merges_to(const char *a, const char *b, const char *wanted) {
    struct error err;
    struct record *rows;
    size_t n;
    write_text("a.csv", a);
    write_text("b.csv", b);
    if (merge(&err) != PARE_OK)
        fail_msg("%s", err.text);
    assert_int_equal(record_read(scratch_path(dir, "new/out.csv"), &err, &rows, &n), PARE_OK);
    char got[256] = "";
    for (size_t k = 0; k < n; k++) {
        size_t used = strlen(got);
        snprintf(got + used, sizeof got - used, "%s=%s ", record_get(&rows[k], COL_arm_id),
                 record_get(&rows[k], COL_top1));
    }
    assert_string_equal(got, wanted);
    record_rows_free(rows, n);
}

static void rows_keep_the_order_of_first_appearance(void **state) {
    (void)state;
    merges_to(HEADER "\n1,x,h,ok,0.5,10\n1,y,h,ok,0.25,10\n",
              HEADER "\n1,z,h,ok,0.75,10\n1,x,h,ok,0.5,99\n", "x=0.5 y=0.25 z=0.75 ");
}

static void another_host_is_another_measurement(void **state) {
    (void)state;
    merges_to(HEADER "\n1,x,board,ok,0.5,10\n", HEADER "\n1,x,laptop,ok,0.4,10\n", "x=0.5 x=0.4 ");
}

static void an_ok_row_replaces_a_failed_one(void **state) {
    (void)state;
    merges_to(HEADER "\n1,x,h,failed,,\n1,y,h,ok,0.25,\n", HEADER "\n1,x,h,ok,0.5,10\n",
              "x=0.5 y=0.25 ");
    merges_to(HEADER "\n1,x,h,ok,0.5,10\n", HEADER "\n1,x,h,failed,,\n", "x=0.5 ");
}

static void rows_without_an_arm_are_all_kept(void **state) {
    (void)state;
    merges_to(HEADER "\n1,,h,ok,0.5,10\n", HEADER "\n1,,h,ok,0.5,10\n", "=0.5 =0.5 ");
}

static void a_column_that_one_file_lacks_is_no_conflict(void **state) {
    (void)state;
    merges_to(HEADER "\n1,x,h,ok,0.5,10\n", "schema_version,arm_id,host,status\n1,x,h,ok\n",
              "x=0.5 ");
}

static void many_rows_are_found_again(void **state) {
    (void)state;
    enum { ROWS = 3000 };
    char *a = malloc(ROWS * 40 + 100), *b = malloc(ROWS * 40 + 100);
    assert_true(a && b);
    int n_a = sprintf(a, HEADER "\n"), n_b = sprintf(b, HEADER "\n");
    for (int k = 0; k < ROWS; k++) {
        n_a += sprintf(a + n_a, "1,arm%d,h,ok,0.5,%d\n", k, k);
        n_b += sprintf(b + n_b, "1,arm%d,h,ok,0.5,%d\n", ROWS - 1 - k + 10, k);
    }
    write_text("a.csv", a);
    write_text("b.csv", b);
    free(a);
    free(b);
    struct error err;
    struct record *rows;
    size_t n;
    assert_int_equal(merge(&err), PARE_OK);
    assert_int_equal(record_read(scratch_path(dir, "new/out.csv"), &err, &rows, &n), PARE_OK);
    assert_int_equal(n, ROWS + 10);
    assert_string_equal(record_get(&rows[ROWS - 1], COL_median_ns), "2999");
    record_rows_free(rows, n);
}

static void columns_of_others_are_kept(void **state) {
    (void)state;
    struct error err;
    write_text("a.csv", "note,schema_version,arm_id\nmine,1,x\n");
    write_text("b.csv", "schema_version,arm_id,board,note\n1,y,pi,\"yours, too\"\n");
    assert_int_equal(merge(&err), PARE_OK);
    char *text = scratch_read(scratch_path(dir, "new/out.csv"), NULL);
    assert_memory_equal(text, "schema_version,run_id,", 22);
    assert_message(text, ",topology,note,board\n", ",mine,\n", ",\"yours, too\",pi\n");
    free(text);
}

static void a_difference_in_a_repeatable_column_is_a_conflict(void **state) {
    (void)state;
    struct error err;
    write_text("a.csv", HEADER "\n1,w,h,ok,1,1\n1,x,h,ok,0.5,10\n");
    write_text("b.csv", HEADER "\n1,x,h,ok,0.75,10\n");
    write_text("new/out.csv", "kept");
    assert_int_equal(merge(&err), PARE_E_FORMAT);
    assert_message(err.text, "arm x: top1 is '0.5' at ", "a.csv line 3", "'0.75' at ",
                   "b.csv line 2", "remove the wrong row");
    char *text = scratch_read(scratch_path(dir, "new/out.csv"), NULL);
    assert_string_equal(text, "kept"); /* nothing was written */
    free(text);
}

static void bad_input_is_told(void **state) {
    (void)state;
    struct error err;
    write_text("a.csv", HEADER "\n1,x,h,ok,0.5,10\n");
    write_text("b.csv", HEADER "\n7,x,h,ok,0.5,10\n");
    assert_int_equal(merge(&err), PARE_E_FORMAT);
    assert_message(err.text, "b.csv: line 2: schema_version is '7'");
    assert_int_equal(unlink(scratch_path(dir, "b.csv")), 0);
    assert_int_equal(merge(&err), PARE_E_NOT_FOUND);
    assert_message(err.text, "b.csv: cannot open for reading");
    assert_int_equal(record_merge(NULL, 0, "x.csv", &err), PARE_E_ARG);
    write_text("b.csv", HEADER "\n1,x,h,ok,0.5,10\n1,y,h,ok,0.");
    merges_to(HEADER "\n", HEADER "\n1,x,h,ok,0.5,10\n1,y,h,ok,0.", "x=0.5 ");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_keep_the_order_of_first_appearance),
        cmocka_unit_test(another_host_is_another_measurement),
        cmocka_unit_test(an_ok_row_replaces_a_failed_one),
        cmocka_unit_test(rows_without_an_arm_are_all_kept),
        cmocka_unit_test(a_column_that_one_file_lacks_is_no_conflict),
        cmocka_unit_test(many_rows_are_found_again),
        cmocka_unit_test(columns_of_others_are_kept),
        cmocka_unit_test(a_difference_in_a_repeatable_column_is_a_conflict),
        cmocka_unit_test(bad_input_is_told),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
