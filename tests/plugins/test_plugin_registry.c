/* SPDX-License-Identifier: MIT */
/* The loader: one wrong plugin per message. */
#include "core/file.h"
#include "plugin/open.h"
#include "plugin/registry.h"

#include <elf.h>
#include <fenv.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char scratch[] = "/tmp/pare_registry_XXXXXX";

static const char *wrong(const char *name) {
    static char path[512];
    snprintf(path, sizeof path, "%s/%s.so", WRONG_PLUGIN_DIR, name);
    return path;
}

static struct registry *new_registry(void) {
    struct error err;
    struct registry *reg = NULL;
    assert_int_equal(registry_create(&err, &reg), PARE_OK);
    return reg;
}

/* Loading `path` fails with a message that begins with the path and holds `text`. */
static void refuse(const char *path, pare_status status, const char *text) {
    struct error err = {PARE_OK, ""};
    struct registry *reg = new_registry();
    pare_status got = registry_load(reg, path, &err);
    char start[600];
    snprintf(start, sizeof start, "plugin %s: ", path);
    if (got != status || strncmp(err.text, start, strlen(start)) != 0 || !strstr(err.text, text)) {
        fail_msg("got %d \"%s\", wanted %d \"%s%s\"", got, err.text, status, start, text);
    }
    assert_int_equal(registry_n_entries(reg), 0);
    registry_destroy(reg);
}

static void test_good(void **state) {
    (void)state;
    struct error err;
    struct registry *reg = new_registry();
    const struct plugin_entry *entry = NULL;
    assert_int_equal(registry_load(reg, wrong("good"), &err), PARE_OK);
    assert_int_equal(registry_load(reg, wrong("good"), &err), PARE_OK); /* again: nothing happens */
    assert_int_equal(registry_n_entries(reg), 1);
    assert_int_equal(registry_find_method(reg, "good", &err, &entry), PARE_OK);
    assert_ptr_equal(entry, registry_entry(reg, 0));
    assert_string_equal(entry->owner, "method good");
    assert_null(entry->backend);
    assert_int_equal(registry_param_table(entry).n, 1);
    assert_null(registry_entry(reg, 1));
    assert_int_equal(registry_find_method(reg, "goood", &err, &entry), PARE_E_NOT_FOUND);
    assert_string_equal(err.text, "unknown method \"goood\"; did you mean \"good\"?");
    assert_int_equal(registry_find_backend(reg, "good", &err, &entry), PARE_E_NOT_FOUND);
    assert_int_equal(registry_find_backend(reg, "auto", &err, &entry), PARE_E_NOT_FOUND);
    assert_string_equal(err.text, "backend \"auto\": none can run here (no backend is loaded)");
    registry_destroy(reg);
    registry_destroy(NULL);
}

static void test_wrong_plugins(void **state) {
    (void)state;
    refuse(wrong("no_symbol"), PARE_E_ABI, "exports no symbol pare_plugin_entry");
    refuse(wrong("null_entry"), PARE_E_ABI, "pare_plugin_entry returned NULL");
    refuse(wrong("wrong_magic"), PARE_E_ABI, "magic is 0x12345678, wanted 0x45524150");
    refuse(wrong("wrong_major"), PARE_E_ABI, "is for plugin ABI 2.0, this pare has 1.0");
    refuse(wrong("newer_quant"), PARE_E_ABI,
           "pare_quant has 48 bytes, here it has 40: the plugin was "
           "built against a newer pare (its ABI 1.1, here 1.0)");
    refuse(wrong("large_node"), PARE_E_ABI, "the plugin was built against a newer pare");
    refuse(wrong("small_host"), PARE_E_ABI, "pare_host has ");
    refuse(wrong("other_quant"), PARE_E_ABI, "pare_quant has 32 bytes, ABI 1.0 has at least 40");
    refuse(wrong("no_license"), PARE_E_ABI, "has no license");
    refuse(wrong("empty"), PARE_E_ABI, "has 0 methods and 0 backends, wanted 1..64 of them");
    refuse(wrong("short_method"), PARE_E_ABI, "method 0: its struct_size is ");
    refuse(wrong("bad_id"), PARE_E_ABI, "id of a method is \"Good-One\", wanted 1..31 of a-z");
    refuse(wrong("long_id"), PARE_E_ABI, "id of a method is \"a_name_of_more");
    refuse(wrong("no_doc"), PARE_E_ABI, "method other: has no doc");
    refuse(wrong("no_create"), PARE_E_ABI, "method other: required function create is NULL");
    refuse(wrong("no_run"), PARE_E_ABI, "backend no_run: required function probe is NULL");
    refuse(wrong("bad_default"), PARE_E_ABI,
           "default value: level: got 9, wanted 1..5 (method other)");
    refuse(wrong("twice_in_table"), PARE_E_ABI, "level: declared twice (method other)");
    refuse(wrong("bad_choices"), PARE_E_ABI, "level: choices \"low||high\" hold an empty one");
    refuse(wrong("fractional_bounds"), PARE_E_ABI,
           "level: bounds 0.5..5 of an INT are not whole numbers (method other)");
    refuse(wrong("new_aspect"), PARE_E_ABI, "method other: writes is 0x20002, ");
    refuse(wrong("auto_backend"), PARE_E_ABI, "id of a backend is \"auto\"");
    refuse(wrong("twice_in_file"), PARE_E_ABI, "method other is already provided by ");
    refuse(wrong("missing_library"), PARE_E_ABI, "a_function_that_no_library_has");
}

/* What crashes or ends the process while it is loaded is an error like any other. */
static void test_deadly_plugins(void **state) {
    (void)state;
    refuse(wrong("crashing_constructor"), PARE_E_PLUGIN,
           "cannot even be loaded: killed by SIGSEGV");
    refuse(wrong("crashing_entry"), PARE_E_PLUGIN, "cannot even be loaded: killed by SIGBUS");
    refuse(wrong("exiting_entry"), PARE_E_PLUGIN, "cannot even be loaded: ");
    /* A table shorter than it says: what lies behind it is no row, or out of reach. */
    struct error err;
    struct registry *reg = new_registry();
    assert_true(registry_load(reg, wrong("lying_count"), &err) < 0);
    assert_int_equal(registry_n_entries(reg), 0);
    registry_destroy(reg);
}

/* What a plugin changes in how floats are rounded would change the results of all others. */
static void test_changed_rounding(void **state) {
    (void)state;
    refuse(wrong("rounds_up"), PARE_E_PLUGIN,
           "loading it leaves the processor rounding in another");
    struct error err;
    void *handle = NULL;
    const pare_plugin *plugin = NULL;
    assert_int_equal(open_plugin(wrong("rounds_up"), &err, &handle, &plugin), PARE_E_PLUGIN);
    assert_int_equal(fegetround(), FE_TONEAREST);
}

/* Nobody writes to the pipe: it is not waited for. */
static void test_pipe(void **state) {
    (void)state;
    char path[400];
    snprintf(path, sizeof path, "%s/pipe.so", scratch);
    assert_int_equal(mkfifo(path, 0644), 0);
    refuse(path, PARE_E_IO, "is not a regular file");
    unlink(path);
}

/* A newer minor is welcome, although its structs are longer. */
static void test_newer_minor(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    struct registry *reg = new_registry();
    assert_int_equal(registry_load(reg, wrong("newer_minor"), &err), PARE_OK);
    assert_int_equal(registry_n_entries(reg), 1);
    registry_destroy(reg);
}

static void test_duplicate_id(void **state) {
    (void)state;
    struct error err;
    char wanted[700];
    struct registry *reg = new_registry();
    assert_int_equal(registry_load(reg, wrong("good"), &err), PARE_OK);
    snprintf(wanted, sizeof wanted, "plugin %s: method good is already provided by %s",
             wrong("duplicate"), "");
    assert_int_equal(registry_load(reg, wrong("duplicate"), &err), PARE_E_ABI);
    assert_memory_equal(err.text, wanted, strlen(wanted));
    assert_non_null(strstr(err.text, "/good.so"));
    assert_int_equal(registry_n_entries(reg), 1);
    registry_destroy(reg);
}

/* Loads one method and makes an instance of it with its defaults. */
static pare_status load_and_create(const char *name, struct error *err) {
    struct registry *reg = new_registry();
    struct params *params = NULL;
    struct instance *inst = NULL;
    struct instance_env env = {0};
    assert_int_equal(registry_load(reg, wrong(name), err), PARE_OK);
    struct param_table table = registry_param_table(registry_entry(reg, 0));
    assert_int_equal(params_resolve(&table, 1, NULL, 0, err, &params), PARE_OK);
    pare_status status = instance_create(registry_entry(reg, 0), params, 0, &env, err, &inst);
    instance_destroy(inst, NULL);
    params_destroy(params);
    registry_destroy(reg);
    return status;
}

/* A method without extensions needs no function that says so. */
static void test_no_extensions(void **state) {
    (void)state;
    struct error err;
    assert_int_equal(load_and_create("no_extensions", &err), PARE_OK);
}

/* An extension's table is looked at when an instance is made: scanning calls only the entry. */
static void test_half_extension(void **state) {
    (void)state;
    struct error err;
    assert_int_equal(load_and_create("half_extension", &err), PARE_E_ABI);
    assert_string_equal(err.text,
                        "method other: extension pare.method.calibrate/1: begin, observe or "
                        "end is NULL");
    assert_int_equal(load_and_create("half_gradients", &err), PARE_E_ABI);
    assert_string_equal(err.text,
                        "method other: extension pare.method.gradients/1: begin, observe or "
                        "end is NULL");
    assert_int_equal(load_and_create("half_norm", &err), PARE_E_ABI);
    assert_non_null(strstr(err.text, "extension pare.method.norm/1 has"));
    assert_non_null(strstr(err.text, "n_batches not NULL"));
}

/* ---- files that are no plugins for this machine ---- */

/* Writes the first n_bytes of the good plugin with one byte changed; returns the path. */
static const char *make_file(const char *name, size_t n_bytes, size_t offset, int value) {
    static char path[512];
    struct error err;
    uint8_t *data = NULL;
    size_t n = 0;
    assert_int_equal(file_read(wrong("good"), 1 << 24, &err, &data, &n), PARE_OK);
    if (offset < n) {
        data[offset] = (uint8_t)value;
    }
    snprintf(path, sizeof path, "%s/%s", scratch, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    n = n_bytes < n ? n_bytes : n;
    assert_int_equal(fwrite(data, 1, n, file), n);
    fclose(file);
    free(data);
    return path;
}

static void test_not_elf(void **state) {
    (void)state;
    char path[512];
    snprintf(path, sizeof path, "%s/nothing.so", scratch);
    refuse(path, PARE_E_NOT_FOUND, "cannot be opened: No such file or directory");
    refuse(scratch, PARE_E_IO, "is not a regular file");
    refuse(make_file("empty.so", 0, SIZE_MAX, 0), PARE_E_FORMAT, "is not an ELF shared object");
    refuse(make_file("magic.so", SIZE_MAX, 1, 'e'), PARE_E_FORMAT, "is not an ELF shared object");
}

static void test_truncated(void **state) {
    (void)state;
    refuse(make_file("t20.so", 20, SIZE_MAX, 0), PARE_E_FORMAT, "is truncated");
    refuse(make_file("t70.so", 70, SIZE_MAX, 0), PARE_E_FORMAT, "is truncated");
    refuse(make_file("t1000.so", 1000, SIZE_MAX, 0), PARE_E_FORMAT, "is truncated");
    struct stat info;
    assert_int_equal(stat(wrong("good"), &info), 0);
    refuse(make_file("t_half.so", (size_t)info.st_size / 2, SIZE_MAX, 0), PARE_E_FORMAT,
           "is truncated");
    refuse(make_file("t_one.so", (size_t)info.st_size - 1, SIZE_MAX, 0), PARE_E_FORMAT,
           "is truncated");
}

static void test_other_machine(void **state) {
    (void)state;
    size_t machine = offsetof(Elf64_Ehdr, e_machine);
#if defined(__x86_64__)
    refuse(make_file("arm.so", SIZE_MAX, machine, EM_AARCH64), PARE_E_ABI,
           "is for AArch64, this is x86-64");
#elif defined(__aarch64__)
    refuse(make_file("x86.so", SIZE_MAX, machine, EM_X86_64), PARE_E_ABI,
           "is for x86-64, this is AArch64");
#endif
    refuse(make_file("strange.so", SIZE_MAX, machine, 2), PARE_E_ABI,
           "is for ELF machine 2, this is ");
    refuse(make_file("class.so", SIZE_MAX, EI_CLASS, ELFCLASS32), PARE_E_ABI,
           "is a 32-bit ELF file, this is a 64-bit pare");
    refuse(make_file("data.so", SIZE_MAX, EI_DATA, ELFDATA2MSB), PARE_E_ABI,
           "is big-endian, this machine is little-endian");
    refuse(make_file("type.so", SIZE_MAX, offsetof(Elf64_Ehdr, e_type), ET_REL), PARE_E_FORMAT,
           "is an ELF file of type 1, wanted a shared object");
}

/* ---- folders ---- */

static void copy_good(const char *path) {
    char command[2000];
    snprintf(command, sizeof command, "mkdir -p \"$(dirname '%s')\" && cp '%s' '%s'", path,
             wrong("good"), path);
    assert_int_equal(system(command), 0);
}

/* Loads the file, and scans its folder: both work, or both are refused. */
static void load_and_scan(const char *folder, const char *path, int works) {
    struct error err;
    struct registry *reg = new_registry();
    assert_int_equal(registry_load(reg, path, &err), works ? PARE_OK : PARE_E_STATE);
    if (!works) {
        assert_non_null(strstr(err.text, "is writable by everybody"));
        assert_non_null(strstr(err.text, "--trust-plugin-path"));
    }
    registry_destroy(reg);
    reg = new_registry();
    pare_status status = registry_scan(reg, folder, &err);
    assert_int_equal(status == PARE_OK && registry_n_rejects(reg) == 0, works);
    assert_int_equal(registry_n_entries(reg), works ? 1 : 0);
    registry_destroy(reg);
}

/* Where everybody may write, everybody may put code. */
static void test_writable_by_everybody(void **state) {
    (void)state;
    char folder[300], path[400];
    snprintf(folder, sizeof folder, "%s/sp ace \xc3\xa9", scratch);
    snprintf(path, sizeof path, "%s/good.so", folder);
    copy_good(path);
    chmod(folder, 0755);
    chmod(path, 0644);
    load_and_scan(folder, path, 1);
    chmod(path, 0646);
    load_and_scan(folder, path, 0);
    chmod(path, 0644);
    chmod(folder, 0777);
    load_and_scan(folder, path, 0);
    setenv("PARE_TRUST_PLUGIN_PATH", "yes", 1); /* only 1 says so */
    load_and_scan(folder, path, 0);
    setenv("PARE_TRUST_PLUGIN_PATH", "1", 1);
    load_and_scan(folder, path, 1);
    unsetenv("PARE_TRUST_PLUGIN_PATH");
    /* As in /tmp: others may add files, but not replace this one. */
    struct error err;
    struct registry *reg = new_registry();
    chmod(folder, 01777);
    assert_int_equal(registry_load(reg, path, &err), PARE_OK);
    registry_destroy(reg);
    reg = new_registry();
    assert_int_equal(registry_scan(reg, folder, &err), PARE_E_STATE);
    assert_non_null(strstr(err.text, "plugin folder "));
    registry_destroy(reg);
    chmod(folder, 0755);
}

static void test_scan_remembers_rejects(void **state) {
    (void)state;
    struct error err;
    struct registry *reg = new_registry();
    assert_int_equal(registry_scan(reg, WRONG_PLUGIN_DIR, &err), PARE_OK);
    /* In name order: duplicate.so comes before good.so; half_extension and newer_minor both have
     * the id "other", and half_extension comes first. */
    const struct plugin_entry *entry = NULL;
    assert_int_equal(registry_find_method(reg, "good", &err, &entry), PARE_OK);
    assert_non_null(strstr(entry->path, "/duplicate.so"));
    assert_int_equal(registry_find_method(reg, "other", &err, &entry), PARE_OK);
    assert_non_null(strstr(entry->path, "/half_extension.so"));
    assert_int_equal(registry_n_entries(reg), 2);
    int found = 0;
    for (size_t k = 0; k < registry_n_rejects(reg); k++) {
        const struct plugin_reject *reject = registry_reject(reg, k);
        found += strstr(reject->path, "/wrong_magic.so") && strstr(reject->reason, "magic is");
    }
    assert_int_equal(found, 1);
    assert_null(registry_reject(reg, registry_n_rejects(reg)));
    registry_destroy(reg);
}

static void test_scan_default(void **state) {
    (void)state;
    struct error err;
    struct registry *reg = new_registry();
    const struct plugin_entry *entry = NULL;
    char path[600];
    snprintf(path, sizeof path, "%s::%s/", WRONG_PLUGIN_DIR, WRONG_PLUGIN_DIR);
    setenv("PARE_PLUGIN_PATH", path, 1);
    assert_int_equal(registry_scan_default(reg, &err), PARE_OK);
    assert_int_equal(registry_find_method(reg, "good", &err, &entry), PARE_OK);
    assert_int_equal(registry_find_method(reg, "ptq", &err, &entry), PARE_OK);
    assert_int_equal(registry_find_method(reg, "magnitude", &err, &entry), PARE_OK);
    registry_destroy(reg);
    reg = new_registry();
    setenv("PARE_PLUGIN_PATH", "/no/such/folder", 1);
    assert_int_equal(registry_scan_default(reg, &err), PARE_E_NOT_FOUND);
    assert_string_equal(err.text,
                        "PARE_PLUGIN_PATH: plugin folder /no/such/folder: cannot be read: No "
                        "such file or directory");
    unsetenv("PARE_PLUGIN_PATH");
    registry_destroy(reg);
}

static int make_scratch(void **state) {
    (void)state;
    return mkdtemp(scratch) ? 0 : -1;
}

static int remove_scratch(void **state) {
    (void)state;
    char command[600];
    snprintf(command, sizeof command, "rm -r '%s'", scratch);
    return system(command);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_wrong_plugins),
        cmocka_unit_test(test_newer_minor),
        cmocka_unit_test(test_duplicate_id),
        cmocka_unit_test(test_no_extensions),
        cmocka_unit_test(test_half_extension),
        cmocka_unit_test(test_not_elf),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_other_machine),
        cmocka_unit_test(test_scan_remembers_rejects),
        cmocka_unit_test(test_scan_default),
        cmocka_unit_test(test_deadly_plugins),
        cmocka_unit_test(test_changed_rounding),
        cmocka_unit_test(test_pipe),
        cmocka_unit_test(test_writable_by_everybody),
    };
    return cmocka_run_group_tests_name("plugin registry", tests, make_scratch, remove_scratch);
}
