/* SPDX-License-Identifier: MIT */
/* The methods mask and permanent, and what a host says of files of tensors. That masks compose as
 * in PyTorch stands in test_method_parity.c. */
#include "core/file.h"
#include "fixtures.h"
#include "model/safetensors.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

static char path[] = "/tmp/pare-mask-XXXXXX";

static int make_path(void **state) {
    (void)state;
    const int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_path(void **state) {
    (void)state;
    return unlink(path);
}

/* One tensor of 24 values, all 1 but the first. */
static void write_tensor(const char *name, enum st_dtype dtype, int32_t rank, const int64_t *dims,
                         float first) {
    struct st_writer writer = {0};
    struct error err = {PARE_OK, ""};
    uint8_t *bytes = NULL;
    size_t n_bytes = 0;
    void *data = NULL;
    must(st_add(&writer, name, dtype, rank, dims, &err, &data), &err);
    for (int i = 0; i < 24; i++) {
        const float value = i == 0 ? first : 1.0f;
        if (dtype == ST_U8) {
            ((uint8_t *)data)[i] = (uint8_t)value;
        } else {
            ((float *)data)[i] = value;
        }
    }
    json_t *metadata = json_object();
    must(st_write(&writer, metadata, &err, &bytes, &n_bytes), &err);
    must(file_write(path, bytes, n_bytes, &err), &err);
    json_decref(metadata);
    free(bytes);
    st_writer_clear(&writer);
}

/* The method mask on fc1 (6,4) alone. */
static pare_status mask_fc1(struct model *m, const char *more, struct error *err) {
    const char *include = "fc1";
    const struct instance_env env = {.include = &include, .n_include = 1};
    char settings[128];
    snprintf(settings, sizeof settings, "file=%s%s", path, more);
    struct loaded mask = load_method("mask", "mask", settings, &env);
    const pare_status status = apply_loaded(&mask, m, err);
    unload(&mask);
    return status;
}

static const int64_t shape[2] = {6, 4};

static void test_bytes_and_floats(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    for (int dtype = ST_F32; dtype <= ST_U8; dtype++) {
        struct model *m = model_two_layers();
        write_tensor("fc1.weight", (enum st_dtype)dtype, 2, shape, 0.0f);
        must(mask_fc1(m, "", &err), &err);
        const pare_weight *w = weight_named(m, "fc1.weight");
        assert_true(n_pruned(w) == 1 && !w->mask[0] && w->data[0] == 0.0f && w->data[1] != 0.0f);
        assert_null(weight_named(m, "fc2.weight")->mask);
        model_destroy(m);
    }
}

static void refuse(const char *text) {
    struct error err = {PARE_OK, ""};
    struct model *m = model_two_layers();
    char wanted[512];
    assert_int_not_equal(mask_fc1(m, "", &err), PARE_OK);
    snprintf(wanted, sizeof wanted, "method mask: %s%s", path, text);
    assert_string_equal(err.text, wanted);
    assert_null(weight_named(m, "fc1.weight")->mask);
    model_destroy(m);
}

static void test_bad_files(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    write_tensor("fc1.weight", ST_F32, 2, shape, 0.5f);
    refuse(": fc1.weight[0] is 0.5, wanted 0 (pruned) or 1 (kept)");
    write_tensor("fc1.weight", ST_U8, 2, shape, 2.0f);
    refuse(": fc1.weight[0] is 2, wanted 0 (pruned) or 1 (kept)");
    write_tensor("fc1.weight", ST_F32, 2, shape, NAN);
    struct model *m = model_two_layers();
    assert_int_equal(mask_fc1(m, "", &err), PARE_E_NUMERIC);
    model_destroy(m);
    write_tensor("fc1.weight", ST_F32, 2, (int64_t[]){4, 6}, 0.0f);
    refuse(": fc1.weight: its shape is (4, 6), wanted (6, 4), as the weight's");
    write_tensor("fc1.weight", ST_F32, 1, (int64_t[]){24}, 0.0f);
    refuse(": fc1.weight: its shape is (24), wanted (6, 4), as the weight's");
    write_tensor("fc1.weigth", ST_F32, 2, shape, 0.0f);
    refuse(": has no tensor fc1.weight, wanted one for every selected layer (exclude the others)");
    must(file_write(path, "not safetensors", 15, &err), &err);
    m = model_two_layers();
    assert_int_equal(mask_fc1(m, "", &err), PARE_E_FORMAT);
    model_destroy(m);
}

/* Two masks that leave nothing together. */
static void test_empty(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    struct model *m = model_two_layers();
    uint8_t first[24] = {1};
    must(model_set_mask(m, weight_named(m, "fc1.weight")->index, first, &err), &err);
    write_tensor("fc1.weight", ST_F32, 2, shape, 0.0f);
    assert_int_equal(mask_fc1(m, "", &err), PARE_E_RANGE);
    assert_non_null(strstr(err.text, "fc1.weight: all its 24 elements would be pruned"));
    assert_int_equal(n_pruned(weight_named(m, "fc1.weight")), 23);
    must(mask_fc1(m, " allow_empty=true", &err), &err);
    assert_int_equal(n_pruned(weight_named(m, "fc1.weight")), 24);
    model_destroy(m);
}

static void test_permanent(void **state) {
    (void)state;
    struct error err = {PARE_OK, ""};
    struct model *m = model_two_layers();
    assert_int_equal(try_step(m, "mask", "permanent", "", &err), PARE_E_STATE);
    assert_string_equal(err.text,
                        "method permanent: fc1.weight: has no mask to remove; put a step that "
                        "prunes it before this one, or exclude the layer");
    do_step(m, "magnitude", "magnitude", "sparsity=0.5");
    const pare_weight *w = weight_named(m, "fc1.weight");
    float before[24];
    memcpy(before, w->data, sizeof before);
    do_step(m, "mask", "permanent", "");
    assert_null(w->mask);
    assert_memory_equal(w->data, before, sizeof before);
    model_destroy(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_and_floats),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_permanent),
    };
    return cmocka_run_group_tests_name("method mask", tests, make_path, remove_path);
}
