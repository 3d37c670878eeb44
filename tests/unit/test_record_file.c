/* SPDX-License-Identifier: MIT */
/* record: cells, files, what is refused, what survives. */
#include "record/record.h"
#include "scratch.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

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

/* Appends rows with arm_id "<name>-0", "<name>-1", ...; aborts the test on failure. */
static void append_rows(const char *path, const char *name, int n) {
    struct error err;
    struct record_file *file = NULL;
    if (record_open(path, &err, &file) != PARE_OK)
        fail_msg("%s", err.text);
    for (int k = 0; k < n; k++) {
        struct record rec = {0};
        char id[64];
        snprintf(id, sizeof id, "%s-%d", name, k);
        record_set(&rec, COL_arm_id, id);
        record_set(&rec, COL_status, "ok");
        record_set(&rec, COL_error, "a, \"b\"\nc");
        if (record_append(file, &rec, &err) != PARE_OK)
            fail_msg("%s", err.text);
        record_clear(&rec);
    }
    record_close(file);
}

static size_t count_rows(const char *path) {
    struct error err;
    struct record *rows;
    size_t n;
    if (record_read(path, &err, &rows, &n) != PARE_OK)
        fail_msg("%s", err.text);
    for (size_t k = 0; k < n; k++)
        assert_string_equal(record_get(&rows[k], COL_error), "a, \"b\"\nc");
    record_rows_free(rows, n);
    return n;
}

static pare_status open_error(const char *path, struct error *err) {
    struct record_file *file = NULL;
    pare_status status = record_open(path, err, &file);
    record_close(file);
    return status;
}

/* ---- cells ---- */

static void numbers_read_back_and_are_short(void **state) {
    (void)state;
    const struct {
        double value;
        const char *text;
    } cases[] = {{0.1, "0.1"},
                 {1200000, "1200000"},
                 {-0.0, "0"},
                 {0.9912, "0.9912"},
                 {1.0 / 3, "0.3333333333333333"},
                 {1e300, "1e+300"},
                 {5e-324, "5e-324"},
                 {123456.75, "123456.75"},
                 {-2, "-2"}};
    struct record rec = {0};
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        record_set_real(&rec, COL_top1, cases[k].value);
        assert_string_equal(record_get(&rec, COL_top1), cases[k].text);
        assert_true(strtod(record_get(&rec, COL_top1), NULL) == cases[k].value);
    }
    uint64_t bits = 88172645463325252u;
    for (int k = 0; k < 20000; k++) { /* any bits at all */
        bits ^= bits << 13, bits ^= bits >> 7, bits ^= bits << 17;
        double value;
        memcpy(&value, &bits, sizeof value);
        record_set_real(&rec, COL_top1, value);
        if (value - value == 0)
            assert_true(strtod(record_get(&rec, COL_top1), NULL) == value);
        else
            assert_string_equal(record_get(&rec, COL_top1), "");
    }
    record_set_int(&rec, COL_seed, INT64_MIN);
    assert_string_equal(record_get(&rec, COL_seed), "-9223372036854775808");
    record_set(&rec, COL_seed, NULL);
    assert_string_equal(record_get(&rec, COL_seed), "");
    record_clear(&rec);
}

static void columns_are_well_formed(void **state) {
    (void)state;
    const struct column_info *infos = column_infos();
    const char *groups[] = {"identity",  "subject", "accuracy", "size",
                            "execution", "latency", "counters", "machine"};
    size_t group = 0;
    for (int k = 0; k < N_COLUMNS; k++) {
        for (int j = 0; j < k; j++)
            assert_string_not_equal(infos[k].name, infos[j].name);
        if (strcmp(infos[k].group, groups[group]) != 0)
            group++;
        assert_true(group < 8);
        assert_string_equal(infos[k].group, groups[group]);
        assert_true(strcmp(infos[k].type, "text") == 0 || strcmp(infos[k].type, "int") == 0 ||
                    strcmp(infos[k].type, "real") == 0);
        size_t n = strlen(infos[k].doc);
        assert_true(n > 5 && infos[k].doc[n - 1] == '.');
        /* A unit in the name is the unit of the column. */
        size_t end = strlen(infos[k].name);
        if (end > 3 && strcmp(infos[k].name + end - 3, "_ns") == 0)
            assert_string_equal(infos[k].unit, "ns");
    }
    assert_int_equal(group, 7);
}

/* ---- files ---- */

static void rows_come_back_as_they_were(void **state) {
    (void)state;
    struct error err;
    struct record_file *file;
    const char *path = scratch_path(dir, "a/b/c.csv"); /* folders are made */
    assert_int_equal(record_open(path, &err, &file), PARE_OK);
    const char *awkward[] = {"plain",    "with, comma", "\"quoted\"", "two\nlines",  "\r\n",
                             " blanks ", "\"",          ",",          "caf\xc3\xa9", "'"};
    struct record rec = {0};
    for (size_t k = 0; k < 10; k++) {
        record_set(&rec, COL_error, awkward[k]);
        record_set(&rec, COL_disturbed, awkward[9 - k]); /* the last column */
        record_set_int(&rec, COL_seed, (int64_t)k);
        assert_int_equal(record_append(file, &rec, &err), PARE_OK);
    }
    record_clear(&rec);
    record_close(file);
    struct record *rows;
    size_t n;
    assert_int_equal(record_read(path, &err, &rows, &n), PARE_OK);
    assert_int_equal(n, 10);
    for (size_t k = 0; k < n; k++) {
        assert_string_equal(record_get(&rows[k], COL_error), awkward[k]);
        assert_string_equal(record_get(&rows[k], COL_disturbed), awkward[9 - k]);
        assert_string_equal(record_get(&rows[k], COL_schema_version), "1");
        assert_string_equal(record_get(&rows[k], COL_top1), "");
    }
    record_rows_free(rows, n);
}

static void order_of_columns_is_the_files_own(void **state) {
    (void)state;
    struct error err;
    const char *text = "\xef\xbb\xbfnote,top1,schema_version,arm_id,model\r\n"
                       "\r\n" /* a blank line is nothing */
                       "\"mine, \",0.5,1,old,\"le\nnet\"\r\n";
    scratch_write(dir, "own.csv", text, strlen(text));
    const char *path = scratch_path(dir, "own.csv");
    struct record_file *file;
    assert_int_equal(record_open(path, &err, &file), PARE_OK);
    struct record rec = {0};
    record_set(&rec, COL_arm_id, "new");
    record_set_real(&rec, COL_top1, 0.25);
    record_set_real(&rec, COL_loss, 2); /* the file has no such column */
    assert_int_equal(record_append(file, &rec, &err), PARE_OK);
    record_clear(&rec);
    record_close(file);
    char *now = scratch_read(path, NULL);
    assert_memory_equal(now, text, strlen(text));
    assert_string_equal(now + strlen(text), ",0.25,1,new,\n");
    free(now);
    struct record *rows;
    size_t n;
    assert_int_equal(record_read(path, &err, &rows, &n), PARE_OK);
    assert_int_equal(n, 2);
    assert_string_equal(record_get(&rows[0], COL_model), "le\nnet");
    assert_string_equal(record_get(&rows[1], COL_arm_id), "new");
    record_rows_free(rows, n);
}

/* ---- what is refused: nothing in the file changes ---- */

static void refuse(const char *text, pare_status wanted, const char *part1, const char *part2) {
    struct error err;
    scratch_write(dir, "bad.csv", text, strlen(text));
    const char *path = scratch_path(dir, "bad.csv");
    assert_int_equal(open_error(path, &err), wanted);
    assert_message(err.text, path, part1, part2);
    char *now = scratch_read(path, NULL);
    assert_string_equal(now, text);
    free(now);
}

static void bad_files_are_refused_untouched(void **state) {
    (void)state;
    refuse("schema_version,arm_id\n1,a\n2,b\n", PARE_E_FORMAT, "line 3: schema_version is '2'",
           "this pare reads and writes 1");
    refuse("schema_version,arm_id\n,a\n", PARE_E_FORMAT, "line 2: schema_version is ''", "wr");
    refuse("schema_version,arm_id\n1x,a\n", PARE_E_FORMAT, "schema_version is '1x'", "1");
    refuse("schema_version,top1,seed,top1\n", PARE_E_FORMAT, "'top1' twice", "columns 2 and 4");
    refuse("name,value\na,b\n", PARE_E_FORMAT, "not a file of records", "no column schema_version");
    refuse("name, without a newline", PARE_E_FORMAT, "not a file of records", "name another file");
    refuse("schema_version,arm_id\n1,a,b\n", PARE_E_FORMAT, "line 2: row has 3 cells",
           "the header has 2");
    refuse("schema_version,arm_id\n1\n1,b\n", PARE_E_FORMAT, "line 2: row has 1 cells", "repair");
    refuse("schema_version,arm_id\n1,a\"b\n", PARE_E_FORMAT, "line 2: misplaced quote", "wanted");
    refuse("schema_version,arm_id\n1,\"a\n1,b\n1,c\n", PARE_E_FORMAT,
           "line 2: a quote opens a cell that never ends", "whole rows follow");
    struct error err;
    scratch_write(dir, "nul.csv", "schema_version,arm_id\n1,a\0b\n", 28);
    assert_int_equal(open_error(scratch_path(dir, "nul.csv"), &err), PARE_E_FORMAT);
    assert_message(err.text, "line 2: holds a NUL byte");
    struct record *rows;
    size_t n;
    assert_int_equal(record_read(scratch_path(dir, "none.csv"), &err, &rows, &n), PARE_E_NOT_FOUND);
    assert_message(err.text, "none.csv", "No such file");
    scratch_write(dir, "empty.csv", "", 0);
    assert_int_equal(record_read(scratch_path(dir, "empty.csv"), &err, &rows, &n), PARE_E_FORMAT);
    assert_message(err.text, "no whole header line");
}

static void unwritable_places_are_refused(void **state) {
    (void)state;
    struct error err;
    assert_int_equal(open_error(dir, &err), PARE_E_IO);
    assert_message(err.text, dir, "cannot open for writing");
    scratch_write(dir, "plain", "x", 1);
    assert_int_equal(open_error(scratch_path(dir, "plain/a.csv"), &err), PARE_E_IO);
    assert_message(err.text, "plain/a.csv: cannot write records", "cannot make folder");
    assert_int_equal(open_error("/dev/null", &err), PARE_E_IO);
    assert_message(err.text, "/dev/null: not a regular file");
    append_rows(scratch_path(dir, "locked.csv"), "a", 1);
    assert_int_equal(chmod(scratch_path(dir, "locked.csv"), 0444), 0);
    assert_int_equal(chmod(dir, 0755), 0);
    pid_t child = fork();
    if (child == 0) { /* root may write anything: be somebody else */
        int ok = getuid() != 0 || setuid(65534) == 0;
        ok = ok && open_error(scratch_path(dir, "locked.csv"), &err) == PARE_E_IO;
        _exit(ok && strstr(err.text, "Permission denied") ? 0 : 1);
    }
    int result;
    waitpid(child, &result, 0);
    assert_int_equal(result, 0);
}

/* ---- what survives ---- */

static void half_row_is_cut(void **state) {
    (void)state;
    const char *path = scratch_path(dir, "half.csv");
    append_rows(path, "a", 2);
    size_t n_bytes;
    char *whole = scratch_read(path, &n_bytes);
    size_t first_row = (size_t)(strchr(whole, '\n') - whole) + 1;
    /* Cut anywhere in the last row, the quoted line feed in it included. */
    size_t second_row = first_row + (n_bytes - first_row) / 2;
    for (size_t cut = second_row; cut <= n_bytes; cut += cut > second_row + 30 ? 13 : 1) {
        scratch_write(dir, "half.csv", whole, cut);
        append_rows(path, "b", 1);
        assert_int_equal(count_rows(path), cut == n_bytes ? 3 : 2);
    }
    /* Cut anywhere in the header: as if new. */
    for (size_t cut = 0; cut < first_row; cut += 97) {
        scratch_write(dir, "half.csv", whole, cut);
        append_rows(path, "b", 1);
        assert_int_equal(count_rows(path), 1);
    }
    free(whole);
}

static void half_row_of_another_writer_is_cut_while_open(void **state) {
    (void)state;
    struct error err;
    const char *path = scratch_path(dir, "other.csv");
    struct record_file *file;
    assert_int_equal(record_open(path, &err, &file), PARE_OK);
    append_rows(path, "other", 1);
    FILE *raw = fopen(path, "ab");
    fputs("1,run,\"half", raw);
    fclose(raw);
    struct record rec = {0};
    record_set(&rec, COL_error, "a, \"b\"\nc");
    assert_int_equal(record_append(file, &rec, &err), PARE_OK);
    assert_int_equal(count_rows(path), 2);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(record_append(file, &rec, &err), PARE_E_IO);
    assert_message(err.text, "was removed or replaced");
    record_clear(&rec);
    record_close(file);
}

/* Fills what the path may hold; the last append fails and leaves whole rows. */
static void fill_up(const char *path, const char *reason) {
    struct error err;
    struct record_file *file;
    assert_int_equal(record_open(path, &err, &file), PARE_OK);
    struct record rec = {0};
    char *large = malloc(5001);
    memset(large, 'x', 5000);
    large[5000] = 0;
    record_set(&rec, COL_kernels, large);
    record_set(&rec, COL_error, "a, \"b\"\nc");
    free(large);
    size_t n_done = 0;
    while (record_append(file, &rec, &err) == PARE_OK && n_done < 1000)
        n_done++;
    assert_in_range(n_done, 2, 999);
    assert_message(err.text, path, "cannot append a row of", reason, "keeps its whole rows",
                   "--resume");
    char *text = scratch_read(path, NULL);
    assert_int_equal(text[strlen(text) - 1], '\n');
    free(text);
    assert_int_equal(count_rows(path), n_done);
    record_clear(&rec);
    record_close(file);
}

static void full_disk_leaves_whole_rows(void **state) {
    (void)state;
    char mounted[300];
    snprintf(mounted, sizeof mounted, "%s/small", dir);
    assert_int_equal(mkdir(mounted, 0755), 0);
    if (mount("tmpfs", mounted, "tmpfs", 0, "size=64k") == 0) {
        fill_up(scratch_path(mounted, "full.csv"), "No space left on device");
        assert_int_equal(umount(mounted), 0);
    } else
        print_message("cannot mount a small tmpfs here: a file size limit stands in for it\n");
    /* Without rights to mount: the same path through a limit on the file's size. */
    struct rlimit old, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 50000;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    fill_up(scratch_path(dir, "limited.csv"), "File too large");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_DFL);
    append_rows(scratch_path(dir, "limited.csv"), "later", 1); /* and it goes on */
}

static void two_processes_write_whole_rows(void **state) {
    (void)state;
    enum { WRITERS = 4, ROWS = 25 };
    const char *path = scratch_path(dir, "shared.csv");
    pid_t children[WRITERS];
    for (int w = 0; w < WRITERS; w++) {
        children[w] = fork();
        if (children[w] == 0) {
            char name[8] = {(char)('a' + w), 0};
            append_rows(path, name, ROWS);
            _exit(0);
        }
    }
    for (int w = 0; w < WRITERS; w++) {
        int result;
        waitpid(children[w], &result, 0);
        assert_int_equal(result, 0);
    }
    assert_int_equal(count_rows(path), WRITERS * ROWS);
    struct error err;
    struct record *rows;
    size_t n;
    assert_int_equal(record_read(path, &err, &rows, &n), PARE_OK);
    int next[WRITERS] = {0}; /* each writer's rows stand in its own order */
    for (size_t k = 0; k < n; k++) {
        const char *id = record_get(&rows[k], COL_arm_id);
        assert_int_equal(atoi(id + 2), next[id[0] - 'a']++);
    }
    record_rows_free(rows, n);
}

static void writers_wait_for_the_lock(void **state) {
    (void)state;
    const char *path = scratch_path(dir, "waiting.csv");
    scratch_write(dir, "waiting.csv", "", 0);
    int fd = open(path, O_RDWR), told[2];
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_int_equal(pipe(told), 0);
    pid_t child = fork();
    if (child == 0) {
        close(fd);
        append_rows(path, "waiter", 1);
        _exit(write(told[1], "x", 1) != 1);
    }
    struct pollfd done = {.fd = told[0], .events = POLLIN};
    assert_int_equal(poll(&done, 1, 300), 0); /* not even the header is written */
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 0);
    assert_int_equal(flock(fd, LOCK_UN), 0);
    assert_int_equal(poll(&done, 1, 20000), 1);
    int result;
    waitpid(child, &result, 0);
    assert_int_equal(result, 0);
    assert_int_equal(count_rows(path), 1);
    close(fd);
    close(told[0]);
    close(told[1]);
}

static void killed_writer_loses_at_most_its_row(void **state) {
    (void)state;
    const char *path = scratch_path(dir, "killed.csv");
    unsigned seed = (unsigned)time(NULL);
    print_message("seed %u\n", seed);
    size_t before = 0;
    for (int round = 0; round < 15; round++) {
        int told[2]; /* the child says how many rows it has written */
        assert_int_equal(pipe(told), 0);
        pid_t child = fork();
        if (child == 0) {
            struct error err;
            struct record_file *file;
            struct record rec = {0};
            record_set(&rec, COL_error, "a, \"b\"\nc");
            if (record_open(path, &err, &file) != PARE_OK)
                _exit(1);
            while (record_append(file, &rec, &err) == PARE_OK)
                if (write(told[1], "x", 1) != 1)
                    _exit(1);
            _exit(1);
        }
        close(told[1]);
        usleep((useconds_t)(1000 + rand_r(&seed) % 20000));
        kill(child, SIGKILL);
        int result;
        waitpid(child, &result, 0);
        assert_true(WIFSIGNALED(result));
        size_t written = 0;
        char byte;
        while (read(told[0], &byte, 1) == 1)
            written++;
        close(told[0]);
        if (access(path, F_OK) != 0)
            continue;
        append_rows(path, "survivor", 1);
        size_t now = count_rows(path);
        /* Every row that was told is there; one may be there that was not told. */
        assert_in_range(now, before + written + 1, before + written + 2);
        before = now;
    }
}

static void rows_travel_as_bytes(void **state) {
    (void)state;
    struct record rec = {0}, back = {0};
    struct error err;
    size_t n_bytes = 0;
    record_set(&rec, COL_error, "a \"quote\", a comma,\nand a line");
    record_set(&rec, COL_seed, "7");
    char *data = record_pack(&rec, &n_bytes);
    assert_non_null(data);
    assert_int_equal(record_unpack(data, n_bytes, &err, &back), PARE_OK);
    for (int k = 0; k < N_COLUMNS; k++)
        assert_string_equal(record_get(&rec, (enum column)k), record_get(&back, (enum column)k));
    record_clear(&back);
    /* One byte less, and one more, hold no row. */
    assert_int_equal(record_unpack(data, n_bytes - 1, &err, &back), PARE_E_FORMAT);
    char *more = calloc(1, n_bytes + 1);
    memcpy(more, data, n_bytes);
    assert_int_equal(record_unpack(more, n_bytes + 1, &err, &back), PARE_E_FORMAT);
    assert_int_equal(record_unpack(more, 0, &err, &back), PARE_E_FORMAT);
    free(more);
    free(data);
    rec.exhausted = 1;
    assert_null(record_pack(&rec, &n_bytes));
    record_clear(&rec);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_read_back_and_are_short),
        cmocka_unit_test(columns_are_well_formed),
        cmocka_unit_test(rows_come_back_as_they_were),
        cmocka_unit_test(rows_travel_as_bytes),
        cmocka_unit_test(order_of_columns_is_the_files_own),
        cmocka_unit_test(bad_files_are_refused_untouched),
        cmocka_unit_test(unwritable_places_are_refused),
        cmocka_unit_test(half_row_is_cut),
        cmocka_unit_test(half_row_of_another_writer_is_cut_while_open),
        cmocka_unit_test(full_disk_leaves_whole_rows),
        cmocka_unit_test(two_processes_write_whole_rows),
        cmocka_unit_test(writers_wait_for_the_lock),
        cmocka_unit_test(killed_writer_loses_at_most_its_row),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
