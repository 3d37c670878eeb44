/* SPDX-License-Identifier: MIT */
/* core: errors, allocation, random numbers, files, names. */
#include "core/alloc.h"
#include "core/error.h"
#include "core/file.h"
#include "core/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

static void errors_are_one_line_and_nest(void **state) {
    (void)state;
    struct error err;
    assert_int_equal(error_set(&err, PARE_E_RANGE, "bits\n%d\x1b[31m", 9), PARE_E_RANGE);
    assert_string_equal(err.text, "bits 9 [31m");
    assert_int_equal(error_prefix(&err, "method %s", "ptq"), PARE_E_RANGE);
    assert_string_equal(err.text, "method ptq: bits 9 [31m");
    error_set(&err, PARE_E_IO, "again: %s", err.text); /* its own text as an argument */
    assert_string_equal(err.text, "again: method ptq: bits 9 [31m");
    assert_string_equal(status_name(PARE_E_RANGE), "E_RANGE");
    assert_string_equal(status_text((pare_status)-99), "unknown status");
}

static void allocation_refuses_overflow_and_aligns(void **state) {
    (void)state;
    assert_null(alloc_array(SIZE_MAX / 2, 3));
    assert_null(alloc_array(SIZE_MAX - 8, 1));
    assert_null(alloc_resize(NULL, SIZE_MAX / 2, 3));
    float *x = alloc_array(3, sizeof *x);
    assert_non_null(x);
    assert_int_equal((uintptr_t)x % 64, 0);
    assert_true(x[0] == 0.0f && x[2] == 0.0f);
    free(x);
}

static void random_streams_are_pinned_and_apart(void **state) {
    (void)state;
    /* xoshiro256** from the state 1,2,3,4: values of the authors' reference code. */
    pare_rng r = {{1, 2, 3, 4}};
    const uint64_t wanted[] = {11520, 0, 1509978240, 1215971899390074240};
    for (size_t i = 0; i < 4; i++)
        assert_true(rng_next(&r) == wanted[i]);
    pare_rng a, b, c, d;
    rng_init(&a, 1, "augment", 0);
    rng_init(&b, 1, "augment", 1);
    rng_init(&c, 2, "augment", 0);
    rng_init(&d, 1, "shuffle", 0);
    uint64_t x = rng_next(&a);
    assert_true(x != rng_next(&b) && x != rng_next(&c) && x != rng_next(&d));
    /* Whatever changes here changes every published result: the streams are part of the format. */
    assert_true(x == 0xc01615630e4228cbu);
}

static void random_numbers_are_uniform(void **state) {
    (void)state;
    pare_rng r;
    rng_init(&r, 7, "uniform", 0);
    int counts[10] = {0};
    double sum = 0;
    for (int i = 0; i < 100000; i++) {
        counts[rng_below(&r, 10)]++;
        double u = rng_double(&r);
        float v = rng_float(&r);
        assert_true(u >= 0 && u < 1 && v >= 0 && v < 1);
        sum += u;
    }
    for (int k = 0; k < 10; k++)
        assert_in_range(counts[k], 9500, 10500); /* 5 sigma is 474 */
    assert_true(sum / 100000 > 0.495 && sum / 100000 < 0.505);
    uint32_t items[100];
    uint8_t seen[100] = {0};
    for (uint32_t i = 0; i < 100; i++)
        items[i] = i;
    rng_shuffle(&r, items, 100);
    int moved = 0;
    for (uint32_t i = 0; i < 100; i++) {
        seen[items[i]] = 1;
        moved += items[i] != i;
    }
    for (int i = 0; i < 100; i++)
        assert_true(seen[i]);
    assert_true(moved > 80);
}

static void files_are_read_written_and_hashed(void **state) {
    (void)state;
    char dir[] = "/tmp/pare-core-XXXXXX";
    assert_non_null(mkdtemp(dir));
    struct error err;
    char *deep = file_join(dir, "a/b/c"), *path = file_join(dir, "a/b/c/x.bin");
    assert_int_equal(file_make_dirs(deep, &err), PARE_OK);
    assert_int_equal(file_make_dirs(deep, &err), PARE_OK);
    assert_int_equal(file_write(path, "abc", 3, &err), PARE_OK);
    char hex[65];
    assert_int_equal(file_sha256(path, &err, hex), PARE_OK);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    char hex2[65];
    bytes_sha256("abc", 3, hex2);
    assert_string_equal(hex, hex2);
    uint8_t *data = NULL;
    size_t n = 0;
    assert_int_equal(file_read(path, 3, &err, &data, &n), PARE_OK);
    assert_int_equal(n, 3);
    assert_string_equal((char *)data, "abc");
    free(data);
    assert_int_equal(file_read(path, 2, &err, &data, &n), PARE_E_LIMIT);
    assert_non_null(strstr(err.text, "2 bytes"));
    assert_int_equal(file_read(dir, 10, &err, &data, &n), PARE_E_IO);
    char *fifo = file_join(dir, "fifo");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(file_read(fifo, 10, &err, &data, &n), PARE_E_IO); /* and does not wait */
    unlink(fifo);
    free(fifo);
    assert_int_equal(file_read("/nonexistent/x", 10, &err, &data, &n), PARE_E_NOT_FOUND);
    assert_int_equal(file_write("/nonexistent/x", "abc", 3, &err), PARE_E_IO);
    assert_int_equal(file_make_dirs(path, &err), PARE_E_IO); /* a file is in the way */
    unlink(path);
    free(path);
    free(deep);
}

static void gzip_is_unpacked_and_damage_is_told(void **state) {
    (void)state;
    char path[] = "/tmp/pare-gz-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    gzFile gz = gzdopen(fd, "wb");
    char block[1000];
    for (int i = 0; i < 1000; i++)
        block[i] = (char)(i * 7919 >> 3);
    for (int i = 0; i < 200; i++)
        gzwrite(gz, block, sizeof block);
    gzclose(gz);
    struct error err;
    uint8_t *data;
    size_t n;
    assert_int_equal(file_read(path, 200000, &err, &data, &n), PARE_OK);
    assert_int_equal(n, 200000);
    assert_memory_equal(data + 199000, block, 1000);
    free(data);
    assert_int_equal(file_read(path, 199999, &err, &data, &n), PARE_E_LIMIT); /* a bomb's bound */
    assert_int_equal(truncate(path, 100), 0);
    assert_int_equal(file_read(path, 200000, &err, &data, &n), PARE_E_FORMAT);
    unlink(path);
}

static void names_are_suggested_and_matched(void **state) {
    (void)state;
    const char *names[] = {"bits", "observer", "weight_bits"};
    assert_string_equal(nearest_name("bit", names, 3), "bits");
    assert_string_equal(nearest_name("obsrever", names, 3), "observer");
    assert_string_equal(nearest_name("weight", names, 3), "weight_bits");
    assert_null(nearest_name("zzzzzzzz", names, 3));
    assert_true(pattern_match("layer1.*", "layer1.0.conv1"));
    assert_false(pattern_match("conv1", "layer1.0.conv1"));
    char *home = home_path("scripts/lib");
    assert_non_null(strstr(home, "scripts/lib"));
    free(home);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_are_one_line_and_nest),
        cmocka_unit_test(allocation_refuses_overflow_and_aligns),
        cmocka_unit_test(random_streams_are_pinned_and_apart),
        cmocka_unit_test(random_numbers_are_uniform),
        cmocka_unit_test(files_are_read_written_and_hashed),
        cmocka_unit_test(gzip_is_unpacked_and_damage_is_told),
        cmocka_unit_test(names_are_suggested_and_matched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
