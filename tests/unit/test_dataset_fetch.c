/* SPDX-License-Identifier: MIT */
/* Fetching, from file:// mirrors only: checksums, resuming, archives; nothing half-done stays. */
#include "core/file.h"
#include "dataset/dataset.h"
#include "dataset/sources.h"
#include "scratch.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cmocka.h>

static char dir[256], mirror[300], url[320], target[300];

/* Each test has a mirror folder and a target folder of its own. */
static int make_dirs(void **state) {
    (void)state;
    scratch_make(dir);
    snprintf(mirror, sizeof mirror, "%s/mirror", dir);
    snprintf(url, sizeof url, "file://%s", mirror);
    snprintf(target, sizeof target, "%s/target", dir);
    mkdir(mirror, 0755);
    return 0;
}
static int remove_dirs(void **state) {
    (void)state;
    scratch_remove(dir);
    return 0;
}

enum { N_DATA = 300000 };
static uint8_t data[N_DATA];
static char data_digest[80];

/* A manifest of one file with these contents. */
static struct manifest_file one_file(void) {
    char hex[65];
    for (size_t k = 0; k < N_DATA; k++)
        data[k] = (uint8_t)(k * k >> 7);
    bytes_sha256(data, N_DATA, hex);
    snprintf(data_digest, sizeof data_digest, "sha256:%s", hex);
    return (struct manifest_file){
        "tiny", "https://nowhere.invalid/a/data.gz", "data", N_DATA, data_digest, ""};
}

static void assert_target_is_data(void) {
    size_t n;
    char *got = scratch_read(scratch_path(target, "data.gz"), &n);
    assert_int_equal(n, N_DATA);
    assert_memory_equal(got, data, N_DATA);
    free(got);
    assert_false(file_exists(scratch_path(target, "data.gz.part")));
}

static void assert_nothing_left(void) {
    assert_false(file_exists(scratch_path(target, "data.gz")));
    assert_false(file_exists(scratch_path(target, "data.gz.part")));
}

static void good_file_arrives(void **state) {
    (void)state;
    struct error err;
    struct manifest_file file = one_file();
    scratch_write(mirror, "data.gz", data, N_DATA);
    if (fetch_files(&file, 1, url, target, &err) != PARE_OK)
        fail_msg("%s", err.text);
    assert_target_is_data();
    /* Already there: the mirror is not asked again. */
    unlink(scratch_path(mirror, "data.gz"));
    assert_int_equal(fetch_files(&file, 1, url, target, &err), PARE_OK);
    /* Damaged meanwhile: asked again, and the damaged one stays until a good one comes. */
    data[5] ^= 1;
    scratch_write(target, "data.gz", data, N_DATA);
    data[5] ^= 1;
    assert_int_equal(fetch_files(&file, 1, url, target, &err), PARE_E_IO);
    scratch_write(mirror, "data.gz", data, N_DATA);
    assert_int_equal(fetch_files(&file, 1, url, target, &err), PARE_OK);
    assert_target_is_data();
}

static void md5_is_understood(void **state) {
    (void)state;
    struct error err;
    struct manifest_file file = one_file();
    file.packed_digest = "md5:5d41402abc4b2a76b9719d911017c592";
    scratch_write(mirror, "data.gz", "hello", 5);
    assert_int_equal(fetch_files(&file, 1, url, target, &err), PARE_OK);
    scratch_write(target, "data.gz", "hallo", 5);
    scratch_write(mirror, "data.gz", "hullo", 5);
    assert_int_equal(fetch_files(&file, 1, url, target, &err), PARE_E_FORMAT);
    assert_message(err.text, "wanted md5:5d41402abc4b2a76b9719d911017c592");
}

static void corrupted_file_is_refused(void **state) {
    (void)state;
    struct error err;
    struct manifest_file file = one_file();
    data[1000] ^= 1;
    scratch_write(mirror, "data.gz", data, N_DATA);
    assert_int_equal(fetch_files(&file, 1, url, target, &err), PARE_E_FORMAT);
    assert_message(err.text, "data.gz.part: checksum differs: got sha256:", "(300000 bytes)",
                   "wanted ", data_digest, "another mirror");
    assert_nothing_left();
}

static void truncated_file_is_refused(void **state) {
    (void)state;
    struct error err;
    struct manifest_file file = one_file();
    for (size_t n = 0; n < N_DATA; n += 149999) {
        scratch_write(mirror, "data.gz", data, n);
        assert_int_not_equal(fetch_files(&file, 1, url, target, &err), PARE_OK);
        assert_nothing_left();
    }
    assert_message(err.text, "checksum differs", "(299998 bytes)");
}

static void too_long_file_is_refused(void **state) {
    (void)state;
    struct error err;
    struct manifest_file file = one_file();
    size_t n = N_DATA + (2u << 20);
    uint8_t *longer = calloc(n, 1);
    assert_non_null(longer);
    scratch_write(mirror, "data.gz", longer, n);
    free(longer);
    assert_int_equal(fetch_files(&file, 1, url, target, &err), PARE_E_LIMIT);
    assert_message(err.text, "data.gz: more than the 1348576 bytes");
    assert_nothing_left();
}

static void missing_file_is_told(void **state) {
    (void)state;
    struct error err;
    struct manifest_file file = one_file();
    assert_int_equal(fetch_files(&file, 1, url, target, &err), PARE_E_IO);
    assert_message(err.text, url, "/data.gz: cannot fetch: ", "run the command again", "mirror");
    assert_nothing_left();
    assert_int_equal(fetch_files(&file, 1, "http://plain.invalid", target, &err), PARE_E_ARG);
    assert_message(err.text, "mirror 'http://plain.invalid'", "https://", "file:///");
}

static void part_is_resumed(void **state) {
    (void)state;
    struct error err;
    struct manifest_file file = one_file();
    mkdir(target, 0755);
    scratch_write(target, "data.gz.part", data, N_DATA / 2);
    /* The mirror's first half is spoilt: only going on from the middle can give the right file. */
    memset(data, 0, N_DATA / 2);
    scratch_write(mirror, "data.gz", data, N_DATA);
    file = one_file();
    if (fetch_files(&file, 1, url, target, &err) != PARE_OK)
        fail_msg("%s", err.text);
    assert_target_is_data();
}

static void wrong_part_is_thrown_away(void **state) {
    (void)state;
    struct error err;
    struct manifest_file file = one_file();
    scratch_write(mirror, "data.gz", data, N_DATA);
    mkdir(target, 0755);
    const size_t sizes[] = {1, 100, N_DATA, N_DATA + 1, N_DATA + (2u << 20)};
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        uint8_t *other = calloc(sizes[k], 1);
        assert_non_null(other);
        scratch_write(target, "data.gz.part", other, sizes[k]);
        free(other);
        unlink(scratch_path(target, "data.gz"));
        if (fetch_files(&file, 1, url, target, &err) != PARE_OK)
            fail_msg("part of %zu bytes: %s", sizes[k], err.text);
        assert_target_is_data();
    }
    /* A part that was complete already needs no mirror at all. */
    unlink(scratch_path(target, "data.gz"));
    unlink(scratch_path(mirror, "data.gz"));
    scratch_write(target, "data.gz.part", data, N_DATA);
    assert_int_equal(fetch_files(&file, 1, url, target, &err), PARE_OK);
    assert_target_is_data();
}

static void another_packing_of_the_contents_is_right(void **state) {
    (void)state;
    struct error err;
    struct manifest_file file = one_file();
    file.content_digest = data_digest;
    file.packed_digest = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
    scratch_write_gz(mirror, "data.gz", data, N_DATA);
    if (fetch_files(&file, 1, url, target, &err) != PARE_OK)
        fail_msg("%s", err.text);
    unlink(scratch_path(target, "data.gz"));
    data[7] ^= 1;
    scratch_write_gz(mirror, "data.gz", data, N_DATA);
    assert_int_equal(fetch_files(&file, 1, url, target, &err), PARE_E_FORMAT);
    assert_nothing_left();
}

static void second_fetch_at_once_is_refused(void **state) {
    (void)state;
    struct error err;
    struct manifest_file file = one_file();
    scratch_write(mirror, "data.gz", data, N_DATA);
    mkdir(target, 0755);
    int fd = open(scratch_path(target, "data.gz.part"), O_RDWR | O_CREAT, 0666);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_int_equal(fetch_files(&file, 1, url, target, &err), PARE_E_STATE);
    assert_message(err.text, "another process is fetching it");
    close(fd);
    assert_int_equal(fetch_files(&file, 1, url, target, &err), PARE_OK);
}

/* ---- archives ---- */

/* Adds a ustar entry, returns its padded length. */
static size_t add_entry(uint8_t *tar, const char *name, char type, const char *text) {
    size_t n = strlen(text);
    memset(tar, 0, 512);
    memcpy(tar, name, strlen(name));
    memcpy(tar + 100, "0000644", 8);
    sprintf((char *)tar + 124, "%011zo", n);
    memset(tar + 148, ' ', 8);
    tar[156] = (uint8_t)type;
    memcpy(tar + 257, "ustar", 6);
    unsigned sum = 0;
    for (int k = 0; k < 512; k++)
        sum += tar[k];
    sprintf((char *)tar + 148, "%06o", sum);
    memset(tar + 512, 0, 512);
    memcpy(tar + 512, text, n);
    return 512 + (n + 511) / 512 * 512;
}

static const char hello_digest[] =
    "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

/* An archive with files that are wanted, and some that are not. */
static size_t make_tar(uint8_t tar[8192]) {
    memset(tar, 0, 8192);
    size_t n = add_entry(tar, "folder/", '5', "");
    n += add_entry(tar + n, "folder/readme.html", '0', "not wanted");
    n += add_entry(tar + n, "folder/one.bin", '0', "hello");
    n += add_entry(tar + n, "/../../two.bin", '0', "hello");
    return n + 1024;
}

static const struct manifest_file archive_rows[] = {
    {"tiny", "https://nowhere.invalid/all.tar.gz", "all.tar", 8192, NULL, ""},
    {"tiny", "", "one.bin", 5, "", hello_digest},
    {"tiny", "", "two.bin", 5, "", hello_digest},
};

static void archive_is_unpacked(void **state) {
    (void)state;
    struct error err;
    uint8_t tar[8192];
    size_t n = make_tar(tar);
    scratch_write_gz(mirror, "all.tar.gz", tar, n);
    char hex[65], digest[80];
    assert_int_equal(file_sha256(scratch_path(mirror, "all.tar.gz"), &err, hex), PARE_OK);
    snprintf(digest, sizeof digest, "sha256:%s", hex);
    struct manifest_file rows[3];
    memcpy(rows, archive_rows, sizeof rows);
    rows[0].packed_digest = digest;
    if (fetch_files(rows, 3, url, target, &err) != PARE_OK)
        fail_msg("%s", err.text);
    const char *names[] = {"one.bin", "two.bin"};
    for (int k = 0; k < 2; k++) {
        char *text = scratch_read(scratch_path(target, names[k]), NULL);
        assert_string_equal(text, "hello");
        free(text);
    }
    assert_false(file_exists(scratch_path(target, "all.tar.gz")));
    assert_false(file_exists(scratch_path(target, "readme.html")));
    unlink(scratch_path(mirror, "all.tar.gz"));
    assert_int_equal(fetch_files(rows, 3, url, target, &err), PARE_OK); /* nothing to do */
    unlink(scratch_path(target, "one.bin"));
    assert_int_equal(fetch_files(rows, 3, url, target, &err), PARE_E_IO);
}

static void refuse_tar(const uint8_t *tar, size_t n, const char *part) {
    struct error err;
    mkdir(target, 0755);
    assert_int_equal(tar_unpack("t.tar", tar, n, archive_rows, 3, target, &err), PARE_E_FORMAT);
    assert_message(err.text, "t.tar: ", part);
}

static void bad_archives_are_refused(void **state) {
    (void)state;
    uint8_t tar[8192];
    size_t n = make_tar(tar);
    refuse_tar(tar, 0, "truncated: one.bin is not in it");
    refuse_tar(tar, 512 + 1024 + 1024, "truncated: two.bin is not in it");
    refuse_tar(tar, 512 + 1024 + 512, "truncated: an entry of 5 bytes, 0 are left");
    tar[3] ^= 1;
    refuse_tar(tar, n, "damaged tar header at byte 0");
    make_tar(tar);
    memcpy(tar + 124, "77777777777\0", 12);
    memcpy(tar + 148, "        ", 8);
    unsigned sum = 0;
    for (int k = 0; k < 512; k++)
        sum += tar[k];
    sprintf((char *)tar + 148, "%06o", sum);
    refuse_tar(tar, n, "truncated: an entry of 8589934591 bytes");
    make_tar(tar);
    tar[512 + 1024 + 512] ^= 1; /* in the contents of one.bin */
    refuse_tar(tar, n, "checksum of one.bin is sha256:");
    make_tar(tar);
    add_entry(tar + 512 + 1024, "one.bin", '0', "hello!");
    refuse_tar(tar, n, "one.bin has 6 bytes, wanted 5");
    make_tar(tar);
    add_entry(tar + 512 + 1024, "one.bin", '2', "hello"); /* a link is no file */
    refuse_tar(tar, n, "one.bin is not in it");
}

/* ---- datasets ---- */

static void note(void *arg, const char *file, const char *verdict) {
    char *text = arg;
    size_t used = strlen(text);
    snprintf(text + used, 4000 - used, "%s: %s\n", file, verdict);
}

static void manifest_is_well_formed(void **state) {
    (void)state;
    size_t n;
    const struct manifest_file *files = manifest_files(&n);
    for (size_t k = 0; k < n; k++) {
        struct error err;
        assert_non_null(dataset_find_info(files[k].dataset, &err));
        const char *digests[] = {files[k].packed_digest, files[k].content_digest};
        size_t n_digests = 0;
        for (int d = 0; d < 2; d++) {
            size_t length = strlen(digests[d]);
            n_digests += length > 0;
            if (strncmp(digests[d], "sha256:", 7) == 0)
                assert_int_equal(length, 7 + 64);
            else if (length)
                assert_int_equal(length, 4 + 32);
            const char *hex = strchr(digests[d], ':');
            if (hex)
                assert_int_equal(strspn(hex + 1, "0123456789abcdef"), strlen(hex + 1));
        }
        assert_true(n_digests > 0 && files[k].n_bytes > 0);
        if (files[k].url[0])
            assert_memory_equal(files[k].url, "https://", 8);
    }
}

static void datasets_are_verified(void **state) {
    (void)state;
    struct error err;
    char text[4000] = "", folder[320];
    setenv("PARE_HOME", dir, 1);
    setenv("PARE_CACHE", dir, 1);
    unsetenv("PARE_DATASETS");
    snprintf(folder, sizeof folder, "%s/mnist", dir);
    assert_int_equal(dataset_fetch("glyphs", NULL, NULL, &err), PARE_E_ARG);
    assert_message(err.text, "embedded");
    assert_int_equal(dataset_fetch("cifar10-jpeg", NULL, NULL, &err), PARE_E_UNSUPPORTED);
    assert_int_equal(dataset_fetch("mnist", url, NULL, &err), PARE_E_IO); /* an empty mirror */
    assert_message(err.text, url, "train-images-idx3-ubyte.gz: cannot fetch");
    assert_int_equal(dataset_verify("mnist", note, text, &err), PARE_E_NOT_FOUND);
    const char *names[] = {"train-images-idx3-ubyte", "train-labels-idx1-ubyte",
                           "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"};
    for (int k = 0; k < 4; k++)
        scratch_write(folder, names[k], "x", 1);
    assert_int_equal(dataset_verify("mnist", note, text, &err), PARE_E_FORMAT);
    assert_message(err.text, "dataset mnist: 4 files in ", folder, "damaged");
    assert_message(text, "t10k-labels-idx1-ubyte: differs: got sha256:2d711642b726b0440",
                   "wanted sha256:ff7bcfd416de3373");
    text[0] = 0;
    assert_int_equal(dataset_verify("glyphs", note, text, &err), PARE_OK);
}

/* With MNIST at hand: a mirror of it is fetched, resumed and verified. */
static void real_mnist_is_fetched_from_a_mirror(void **state) {
    (void)state;
    struct error err;
    char *where = NULL, text[4000] = "";
    const char *datasets = getenv("TEST_DATASETS");
    if (!datasets) {
        print_message("SKIPPED: MNIST is not here (PARE_DATASETS)\n");
        skip();
    }
    setenv("PARE_DATASETS", datasets, 1);
    pare_status status = dataset_locate("mnist", &err, &where);
    unsetenv("PARE_DATASETS");
    if (status != PARE_OK || !file_exists(scratch_path(where, "t10k-labels-idx1-ubyte.gz"))) {
        print_message("SKIPPED: MNIST is not here (PARE_DATASETS): %s\n", err.text);
        free(where);
        skip();
    }
    char from[600];
    snprintf(from, sizeof from, "file://%s", where);
    if (dataset_fetch("mnist", from, target, &err) != PARE_OK)
        fail_msg("%s", err.text);
    setenv("PARE_DATASETS", target, 1);
    setenv("PARE_HOME", dir, 1);
    char *found = NULL;
    assert_int_equal(dataset_locate("mnist", &err, &found), PARE_OK);
    assert_string_equal(found, scratch_path(target, "mnist"));
    if (dataset_verify("mnist", note, text, &err) != PARE_OK)
        fail_msg("%s: %s", err.text, text);
    free(found);
    free(where);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make_dirs, remove_dirs)

int main(void) {
    /* Kept for the one test that wants real data; the others see none. */
    if (getenv("PARE_DATASETS"))
        setenv("TEST_DATASETS", getenv("PARE_DATASETS"), 1);
    const struct CMUnitTest tests[] = {
        CASE(good_file_arrives),
        CASE(md5_is_understood),
        CASE(corrupted_file_is_refused),
        CASE(truncated_file_is_refused),
        CASE(too_long_file_is_refused),
        CASE(missing_file_is_told),
        CASE(part_is_resumed),
        CASE(wrong_part_is_thrown_away),
        CASE(another_packing_of_the_contents_is_right),
        CASE(second_fetch_at_once_is_refused),
        CASE(archive_is_unpacked),
        CASE(bad_archives_are_refused),
        CASE(manifest_is_well_formed),
        CASE(datasets_are_verified),
        CASE(real_mnist_is_fetched_from_a_mirror),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
