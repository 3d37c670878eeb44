/* SPDX-License-Identifier: MIT */
/* The masks of torch.nn.utils.prune (tests/golden/prune.golden.json), element by element. */
#include "core/file.h"
#include "fixtures.h"
#include "model/safetensors.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

static const char *text_of(const json_t *object, const char *key) {
    return json_string_value(json_object_get(object, key));
}

/* Whole numbers times 2^exponent; freed by the caller. */
static float *values_of(const json_t *tensor) {
    const json_t *values = json_object_get(tensor, "values");
    const int exponent = (int)json_integer_value(json_object_get(tensor, "exponent"));
    float *data = malloc(json_array_size(values) * sizeof *data);
    for (size_t i = 0; data && i < json_array_size(values); i++) {
        data[i] = ldexpf((float)json_integer_value(json_array_get(values, i)), exponent);
    }
    assert_non_null(data);
    return data;
}

static int32_t dim_of(const json_t *tensor, size_t k) {
    return (int32_t)json_integer_value(json_array_get(json_object_get(tensor, "dims"), k));
}

static int32_t add_layer(struct model *m, const json_t *tensor, int32_t in, int *is_flat) {
    const char *name = text_of(tensor, "name");
    if (json_array_size(json_object_get(tensor, "dims")) == 4) {
        return add(m, (struct node_spec){.op = PARE_OP_CONV2D,
                                         .name = name,
                                         .inputs = {in},
                                         .out_channels = dim_of(tensor, 0),
                                         .kernel_h = dim_of(tensor, 1),
                                         .kernel_w = dim_of(tensor, 2)});
    }
    int32_t x = *is_flat ? in : add_op(m, PARE_OP_FLATTEN, "flatten", in);
    *is_flat = 1;
    return add_linear(m, name, x, dim_of(tensor, 0));
}

/* The layers of a case in a chain; the first convolution spans the whole image. */
static struct model *build(const json_t *tensors) {
    const json_t *first = json_array_get(tensors, 0);
    const int is_conv = json_array_size(json_object_get(first, "dims")) == 4;
    struct model *m = is_conv ? model_start(dim_of(first, 1), dim_of(first, 2), dim_of(first, 3))
                              : model_start(1, 1, dim_of(first, 1));
    int32_t x = 0;
    int is_flat = 0;
    size_t k;
    const json_t *tensor;
    json_array_foreach(tensors, k, tensor) {
        x = add_layer(m, tensor, x, &is_flat);
    }
    if (!is_flat) {
        add_op(m, PARE_OP_FLATTEN, "flatten", x);
    }
    model_end(m);
    return m;
}

static const pare_weight *weight_of(const struct model *m, const char *layer) {
    char name[64];
    snprintf(name, sizeof name, "%s.weight", layer);
    return weight_named(m, name);
}

static void fill(struct model *m, const json_t *tensors) {
    struct error err = {PARE_OK, ""};
    size_t k;
    const json_t *tensor;
    json_array_foreach(tensors, k, tensor) {
        float *data = values_of(tensor);
        const pare_weight *w = weight_of(m, text_of(tensor, "name"));
        must(model_set_weight(m, w->index, data, &err), &err);
        free(data);
    }
}

/* The step's numbers, named as the weights, in a safetensors file. */
static void write_file(const struct model *m, const json_t *tensors, const char *path) {
    struct st_writer writer = {0};
    struct error err = {PARE_OK, ""};
    uint8_t *bytes = NULL;
    size_t n_bytes = 0, k;
    const json_t *tensor;
    json_array_foreach(tensors, k, tensor) {
        const pare_weight *w = weight_of(m, text_of(tensor, "name"));
        float *data = values_of(tensor);
        void *to = NULL;
        must(st_add(&writer, w->name, ST_F32, w->rank, w->dims, &err, &to), &err);
        memcpy(to, data, (size_t)w->n_elems * sizeof *data);
        free(data);
    }
    json_t *metadata = json_object();
    must(st_write(&writer, metadata, &err, &bytes, &n_bytes), &err);
    must(file_write(path, bytes, n_bytes, &err), &err);
    json_decref(metadata);
    free(bytes);
    st_writer_clear(&writer);
}

static void check_mask(const struct model *m, const char *at, const char *layer,
                       const json_t *wanted) {
    const pare_weight *w = weight_of(m, layer);
    if (json_is_integer(wanted)) {
        if (n_pruned(w) != json_integer_value(wanted)) {
            fail_msg("%s, %s: %lld are pruned, PyTorch prunes %lld", at, layer,
                     (long long)n_pruned(w), (long long)json_integer_value(wanted));
        }
        return;
    }
    const char *mask = json_string_value(wanted); /* NULL: PyTorch holds none */
    for (int64_t i = 0; i < w->n_elems; i++) {
        const int kept = !w->mask || w->mask[i];
        if (kept != (!mask || mask[i] == '1') || (!kept && w->data[i] != 0.0f)) {
            fail_msg("%s, %s[%lld]: kept is %d, PyTorch has %c", at, layer, (long long)i, kept,
                     mask ? mask[i] : '1');
        }
    }
    if (mask && strchr(mask, '0') == NULL) {
        return; /* a mask that keeps all may be none */
    }
    assert_true((mask != NULL) == (w->mask != NULL));
}

static void run_step(struct model *m, const char *name, const json_t *step, const char *path) {
    const char *method = text_of(step, "method");
    const char *plugin = strcmp(method, "permanent") == 0 ? "mask" : method;
    const char *settings = text_of(step, "settings");
    const char *file = strstr(settings, "=FILE");
    char full[256], at[320];
    snprintf(full, sizeof full, "%.*s%s", file ? (int)(file + 1 - settings) : (int)sizeof full - 1,
             settings, file ? path : "");
    snprintf(at, sizeof at, "%s: %s %s", name, method, full);
    if (file) {
        write_file(m, json_object_get(step, "files"), path);
    }
    struct error err = {PARE_OK, ""};
    if (try_step(m, plugin, method, full, &err) != PARE_OK) {
        fail_msg("%s: %s", at, err.text);
    }
    const char *layer;
    const json_t *wanted;
    json_object_foreach(json_object_get(step, "masks"), layer, wanted) {
        check_mask(m, at, layer, wanted);
    }
}

static void run_case(const json_t *one, const char *path) {
    struct model *m = build(json_object_get(one, "tensors"));
    fill(m, json_object_get(one, "tensors"));
    size_t k;
    const json_t *step;
    json_array_foreach(json_object_get(one, "steps"), k, step) {
        run_step(m, text_of(one, "name"), step, path);
    }
    model_destroy(m);
}

static void test_masks_of_pytorch(void **state) {
    (void)state;
    json_error_t error;
    json_t *cases = json_load_file(TEST_SOURCE_DIR "/tests/golden/prune.golden.json", 0, &error);
    if (!cases) {
        fail_msg("prune.golden.json: %s", error.text);
    }
    assert_true(json_array_size(cases) > 100);
    char path[] = "/tmp/pare-parity-XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    size_t k;
    const json_t *one;
    json_array_foreach(cases, k, one) {
        run_case(one, path);
    }
    unlink(path);
    json_decref(cases);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_masks_of_pytorch)};
    return cmocka_run_group_tests_name("parity with torch.nn.utils.prune", tests, NULL, NULL);
}
