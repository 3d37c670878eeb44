/* SPDX-License-Identifier: MIT */
/* Model files: what is stored comes back bit for bit, and no damaged file is believed. */
#include "core/file.h"
#include "core/rng.h"
#include "model/pack.h"
#include "model_fixtures.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <unistd.h>

static void expect(pare_status got, pare_status wanted, const struct error *err, const char *text) {
    if (got != wanted)
        fail_msg("status %d (%s), wanted %d and \"%s\"", got, err->text, wanted, text);
    if (wanted != PARE_OK && strstr(err->text, text) == NULL)
        fail_msg("message is \"%s\", wanted \"%s\" in it", err->text, text);
}

/* ---- packing ---- */

static void test_pack(void **state) {
    (void)state;
    pare_rng rng;
    rng_init(&rng, 1, "pack", 0);
    for (int32_t bits = 1; bits <= 16; bits++)
        for (int64_t n = 0; n < 40; n++) {
            int32_t qmax = bits == 1 ? 1 : (1 << (bits - 1)) - 1;
            int16_t codes[40], back[40];
            uint8_t bytes[80 + 1];
            for (int64_t i = 0; i < n; i++)
                codes[i] =
                    bits == 1
                        ? (int16_t)(2 * (int)rng_below(&rng, 2) - 1)
                        : (int16_t)((int32_t)rng_below(&rng, (uint64_t)(2 * qmax + 1)) - qmax);
            size_t size = pack_n_bytes(bits, n);
            assert_int_equal(size, bits == 2 ? (n + 4) / 5 : (n * bits + 7) / 8);
            bytes[size] = 0xa5;
            pack_codes(codes, n, bits, qmax, bytes);
            assert_int_equal(bytes[size], 0xa5);
            int64_t bad = -1;
            assert_true(pack_read_codes(bytes, n, bits, qmax, back, &bad));
            assert_memory_equal(codes, back, (size_t)n * sizeof *codes);
        }
}

/* The layout itself, by hand. */
static void test_pack_layout(void **state) {
    (void)state;
    const int16_t binary[9] = {1, -1, 1, 1, -1, -1, -1, -1, 1}, four[3] = {-7, 0, 7};
    const int16_t ternary[6] = {-1, 0, 1, 1, 1, 0}, three[3] = {3, -3, 1};
    uint8_t out[4];
    pack_codes(binary, 9, 1, 1, out);
    assert_true(out[0] == 0x0d && out[1] == 0x01);
    pack_codes(four, 3, 4, 7, out);
    assert_true(out[0] == 0x70 && out[1] == 0x0e);
    pack_codes(ternary, 6, 2, 1, out);
    assert_true(out[0] == 0 + 3 * 1 + 9 * 2 + 27 * 2 + 81 * 2 && out[1] == 1);
    pack_codes(three, 3, 3, 3, out);
    assert_true(out[0] == (6 | 0 << 3 | (4 << 6 & 0xff)) && out[1] == 4 >> 2);
    int16_t codes[10];
    int64_t bad = -1;
    out[0] = 243; /* no 5 digits of base 3 */
    assert_false(pack_read_codes(out, 5, 2, 1, codes, &bad));
    out[0] = 0xf0; /* 15 is no 4-bit code */
    assert_false(pack_read_codes(out, 2, 4, 7, codes, &bad));
    assert_int_equal(bad, 1);
    out[0] = 0x10; /* rest not 0 */
    assert_false(pack_read_codes(out, 1, 4, 7, codes, &bad));
    assert_int_equal(bad, 1);
}

/* ---- round trips ---- */

static void check_same_quant(const pare_quant *a, const pare_quant *b) {
    assert_int_equal(a->bits, b->bits);
    if (a->bits == 0)
        return;
    assert_int_equal(a->qmin, b->qmin);
    assert_int_equal(a->qmax, b->qmax);
    assert_int_equal(a->axis, b->axis);
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->scale, b->scale, (size_t)a->n * sizeof(float));
    assert_int_equal(a->zero_point == NULL, b->zero_point == NULL);
    if (a->zero_point != NULL)
        assert_int_equal(*a->zero_point, *b->zero_point);
}

static void check_same_weight(const pare_weight *a, const pare_weight *b) {
    size_t n = (size_t)a->n_elems;
    assert_string_equal(a->name, b->name);
    assert_int_equal(a->role, b->role);
    assert_int_equal(a->node, b->node);
    assert_int_equal(a->rank, b->rank);
    assert_memory_equal(a->dims, b->dims, sizeof a->dims);
    assert_memory_equal(a->data, b->data, n * sizeof(float));
    assert_int_equal(a->mask == NULL, b->mask == NULL);
    if (a->mask != NULL)
        assert_memory_equal(a->mask, b->mask, n);
    assert_int_equal(a->codes == NULL, b->codes == NULL);
    if (a->codes != NULL)
        assert_memory_equal(a->codes, b->codes, n * sizeof(int16_t));
    check_same_quant(&a->quant, &b->quant);
}

static void check_same_model(const pare_graph *a, const pare_graph *b) {
    assert_string_equal(a->name, b->name);
    assert_memory_equal(a->input_dims, b->input_dims, sizeof a->input_dims);
    assert_int_equal(a->n_classes, b->n_classes);
    assert_int_equal(a->n_nodes, b->n_nodes);
    assert_int_equal(a->n_weights, b->n_weights);
    for (int32_t i = 0; i < a->n_nodes; i++) {
        const pare_node *x = a->nodes[i], *y = b->nodes[i];
        assert_string_equal(x->name, y->name);
        /* every plain field, op to eps; the names have been compared */
        assert_int_equal(x->op, y->op);
        assert_memory_equal(&x->n_inputs, &y->n_inputs,
                            offsetof(pare_node, weights) - offsetof(pare_node, n_inputs));
        check_same_quant(&x->activation, &y->activation);
    }
    for (int32_t i = 0; i < a->n_weights; i++)
        check_same_weight(a->weights[i], b->weights[i]);
}

/* Stores, loads, compares; stores again, and the bytes must be the same. Returns the size. */
static size_t round_trip(const struct model *m) {
    struct error err = {0};
    uint8_t *data = NULL, *again = NULL;
    size_t n = 0, n_again = 0;
    struct model *loaded = NULL;
    expect(model_serialize(m, NULL, 0, &err, &data, &n), PARE_OK, &err, "");
    expect(model_parse(data, n, "memory", &err, &loaded), PARE_OK, &err, "");
    check_same_model(&m->graph, &loaded->graph);
    expect(model_verify(loaded, &err), PARE_OK, &err, "");
    expect(model_serialize(loaded, NULL, 0, &err, &again, &n_again), PARE_OK, &err, "");
    assert_int_equal(n, n_again);
    assert_memory_equal(data, again, n);
    model_destroy(loaded);
    free(data);
    free(again);
    return n;
}

static void test_round_trip_float(void **state) {
    (void)state;
    struct model *models[] = {make_lenet300(), make_lenet5(), make_resnet(3, 'A', 28, 1),
                              make_resnet(1, 'B', 32, 3)};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        model_init_weights(models[i], i);
        round_trip(models[i]);
        model_destroy(models[i]);
    }
}

/* Every operator, every attribute away from its default. */
static void test_round_trip_ops(void **state) {
    (void)state;
    struct error err;
    struct model *m = new_model("every-op", 13, 11, 4);
    int32_t x = add_node(m, (struct node_spec){.op = PARE_OP_CONV2D,
                                               .name = "conv",
                                               .inputs = {0},
                                               .out_channels = 6,
                                               .kernel_h = 3,
                                               .kernel_w = 2,
                                               .stride_h = 1,
                                               .stride_w = 2,
                                               .pad_h = 2,
                                               .pad_w = 1,
                                               .groups = 2});
    x = add_node(
        m, (struct node_spec){.op = PARE_OP_BATCH_NORM, .name = "bn", .inputs = {x}, .eps = 0.1f});
    x = add_node(m, (struct node_spec){.op = PARE_OP_MAX_POOL,
                                       .name = "max",
                                       .inputs = {x},
                                       .kernel_h = 3,
                                       .kernel_w = 2,
                                       .pad_h = 1});
    x = add_node(m, (struct node_spec){.op = PARE_OP_SHORTCUT_A,
                                       .name = "shortcut",
                                       .inputs = {x},
                                       .out_channels = 9,
                                       .stride_h = 2,
                                       .stride_w = 1});
    int32_t a = add_simple(m, PARE_OP_RELU, "relu", x);
    x = add_node(m, (struct node_spec){.op = PARE_OP_ADD, .name = "add", .inputs = {a, x}});
    x = add_pool(m, PARE_OP_AVG_POOL, "avg", x, 2, 1);
    int32_t b = add_simple(m, PARE_OP_GLOBAL_AVG_POOL, "global", x);
    x = add_simple(m, PARE_OP_QUANTIZE, "quantize", x);
    x = add_linear(m, "fc1", add_simple(m, PARE_OP_FLATTEN, "flat", x), 9);
    x = add_node(m, (struct node_spec){.op = PARE_OP_ADD, .name = "sum", .inputs = {x, b}});
    x = add_node(m, (struct node_spec){
                        .op = PARE_OP_LINEAR, .name = "fc2", .inputs = {x}, .out_channels = 3});
    add_simple(m, PARE_OP_SOFTMAX, "softmax", x);
    uint8_t *data = NULL;
    size_t n = 0;
    expect(model_serialize(m, NULL, 0, &err, &data, &n), PARE_E_STATE, &err, "not finished");
    finish_model(m);
    model_init_weights(m, 1);
    round_trip(m);
    model_destroy(m);
}

/* A mask that keeps about one in `every`, at random; the kept values may be 0. */
static void mask_random(struct model *m, int32_t weight, pare_rng *rng, uint64_t every) {
    struct error err;
    size_t n = (size_t)m->graph.weights[weight]->n_elems;
    uint8_t *mask = malloc(n);
    for (size_t i = 0; i < n; i++)
        mask[i] = rng_below(rng, every) == 0;
    expect(model_set_mask(m, weight, mask, &err), PARE_OK, &err, "");
    free(mask);
}

static void quantize(struct model *m, int32_t weight, int32_t bits, int32_t axis, pare_rng *rng) {
    struct error err;
    const pare_weight *w = m->graph.weights[weight];
    int32_t qmax = bits == 1 ? 1 : (1 << (bits - 1)) - 1;
    int32_t n = axis == 0 ? (int32_t)w->dims[0] : 1;
    float *scale = malloc((size_t)n * sizeof *scale);
    for (int32_t i = 0; i < n; i++)
        scale[i] = (0.05f + rng_float(rng)) / (float)qmax;
    pare_quant q = {bits, -qmax, qmax, axis, n, scale, NULL};
    expect(model_set_weight_quant(m, weight, &q, NULL, &err), PARE_OK, &err, "");
    free(scale);
}

/* Every width, dense and masked, one scale and many. */
static void test_round_trip_quantized(void **state) {
    (void)state;
    pare_rng rng;
    for (int32_t bits = 1; bits <= 16; bits++)
        for (int every = 0; every < 12; every += 3) {
            struct model *m = make_resnet(1, 'A', 8, 3);
            rng_init(&rng, (uint64_t)bits, "file", (uint64_t)every);
            model_init_weights(m, 1);
            for (int32_t i = 0; i < m->graph.n_weights; i++) {
                if (m->graph.weights[i]->role != PARE_ROLE_WEIGHT)
                    continue;
                if (every > 0 && bits > 1)
                    mask_random(m, i, &rng, (uint64_t)every);
                quantize(m, i, bits, i % 2 == 0 ? 0 : -1, &rng);
            }
            round_trip(m);
            model_destroy(m);
        }
}

/* Random mixtures, activations included. */
static void test_round_trip_random(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct error err;
        pare_rng rng;
        rng_init(&rng, seed, "random model", 0);
        struct model *m =
            make_resnet((int32_t)rng_below(&rng, 2) + 1, rng_below(&rng, 2) ? 'A' : 'B', 12, 2);
        model_init_weights(m, seed);
        if (rng_below(&rng, 2))
            expect(model_fold_batch_norm(m, &err), PARE_OK, &err, "");
        for (int32_t i = 0; i < m->graph.n_weights; i++) {
            pare_role role = m->graph.weights[i]->role;
            int is_masked =
                role != PARE_ROLE_MEAN && role != PARE_ROLE_VAR && rng_below(&rng, 3) == 0;
            if (is_masked)
                mask_random(m, i, &rng, 1 + rng_below(&rng, 20));
            if (role == PARE_ROLE_WEIGHT && rng_below(&rng, 2))
                quantize(m, i, 1 + is_masked + (int32_t)rng_below(&rng, 15),
                         rng_below(&rng, 2) ? 0 : -1, &rng);
        }
        for (int32_t i = 0; i < m->graph.n_nodes; i++) {
            const float scale = rng_float(&rng) + 1e-30f;
            const int32_t zero = (int32_t)rng_below(&rng, 16) - 8;
            pare_quant q = {4, -8, 7, -1, 1, &scale, &zero};
            if (rng_below(&rng, 2)) /* refused where nothing is stored: that is fine here */
                model_set_activation_quant(m, i, &q, &err);
        }
        round_trip(m);
        model_destroy(m);
    }
}

/* What is stored is what is counted: the tensors' bytes, whichever encoding is smaller. */
static void test_sizes(void **state) {
    (void)state;
    struct error err;
    struct model *m = make_lenet300();
    pare_rng rng;
    struct model_sizes plain, sizes;
    model_init_weights(m, 1);
    expect(model_measure_sizes(m, &err, &plain), PARE_OK, &err, "");
    assert_int_equal(plain.bytes_fp32, plain.bytes_file);
    assert_in_range(plain.bytes_fp32, 4 * 266610, 4 * 266610 + 2500);
    assert_true(plain.bytes_zstd > 800000 && plain.bytes_zstd < plain.bytes_file);
    int32_t fc1 = model_find_weight(m, "fc1.weight");
    rng_init(&rng, 1, "sizes", 0);
    quantize(m, fc1, 4, -1, &rng);
    expect(model_measure_sizes(m, &err, &sizes), PARE_OK, &err, "");
    assert_int_equal(sizes.bytes_fp32, plain.bytes_fp32);
    int64_t saved = 235200 * 4 - 235200 / 2;
    assert_in_range(sizes.bytes_file, plain.bytes_file - saved, plain.bytes_file - saved + 400);
    /* fp32, one in ten kept: less than bitmap and values, but no less than the bits of the
     * mantissas and signs, which are random, and the entropy of the places: 0.469 bits each */
    model_init_weights(m, 1);
    mask_random(m, fc1, &rng, 10);
    struct model_counts counts;
    model_count(m, &counts);
    int64_t kept = counts.params_nonzero - (266610 - 235200);
    expect(model_measure_sizes(m, &err, &sizes), PARE_OK, &err, "");
    const int64_t others = plain.bytes_file - 235200 * 4, places = 235200 * 469 / 8000;
    assert_true(sizes.bytes_file < others + kept * 4 + 235200 / 8);
    assert_true(sizes.bytes_file > others + kept * 3 + places - 2500); /* the header shrinks */
    model_destroy(m);
}

static void test_notes_and_files(void **state) {
    (void)state;
    struct error err;
    struct model *m = make_lenet300(), *loaded = NULL;
    char path[] = "/tmp/pare-test-model-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    const struct model_note notes[] = {{"dataset", "mnist"}, {"text", "line\n\"quoted\" \xc3\xa9"}};
    const struct model_note twice[] = {{"a", "1"}, {"a", "2"}}, bad[] = {{"a", "\xff"}};
    expect(model_save(m, path, notes, 2, &err), PARE_OK, &err, "");
    expect(model_load(path, &err, &loaded), PARE_OK, &err, "");
    assert_string_equal(model_note(loaded, "dataset"), "mnist");
    assert_string_equal(model_note(loaded, "text"), notes[1].value);
    assert_null(model_note(loaded, "absent"));
    expect(model_save(m, path, twice, 2, &err), PARE_E_ARG, &err, "note a: it is given twice");
    expect(model_save(m, path, bad, 1, &err), PARE_E_ARG, &err, "not valid UTF-8");
    model_destroy(loaded);
    unlink(path);
    expect(model_load(path, &err, &loaded), PARE_E_NOT_FOUND, &err, path);
    model_weight_data(m, 0)[5] = NAN;
    expect(model_save(m, path, NULL, 0, &err), PARE_E_NUMERIC, &err, "fc1.weight[5]");
    assert_int_equal(access(path, F_OK), -1);
    model_destroy(m);
}

/* ---- damaged files ---- */

/* A file: its header as text, and its data. */
struct raw {
    char *header;
    uint8_t *data;
    size_t n_data;
};

/* 4 -> relu -> 2: fc1 is float under a mask, fc2 has 4-bit codes. */
static struct raw make_raw(void) {
    struct error err;
    struct model *m = new_model("tiny", 1, 1, 4);
    int32_t x = add_linear(m, "fc1", add_simple(m, PARE_OP_FLATTEN, "flat", 0), 4);
    add_linear(m, "fc2", add_simple(m, PARE_OP_RELU, "relu", x), 2);
    finish_model(m);
    model_init_weights(m, 1);
    const uint8_t mask[16] = {1, 0, 0, 0, 0, 1};
    const float scale[2] = {0.1f, 0.2f};
    pare_quant q = {4, -7, 7, 0, 2, scale, NULL}, a = {8, -128, 127, -1, 1, scale, NULL};
    expect(model_set_mask(m, 0, mask, &err), PARE_OK, &err, "");
    expect(model_set_weight_quant(m, 2, &q, NULL, &err), PARE_OK, &err, "");
    expect(model_set_activation_quant(m, 0, &a, &err), PARE_OK, &err, "");
    uint8_t *file = NULL;
    size_t n = 0;
    expect(model_serialize(m, NULL, 0, &err, &file, &n), PARE_OK, &err, "");
    model_destroy(m);
    size_t header = (size_t)file[0] | (size_t)file[1] << 8;
    struct raw raw = {strndup((char *)file + 8, header), malloc(n), n - 8 - header};
    memcpy(raw.data, file + 8 + header, raw.n_data);
    free(file);
    return raw;
}

static void free_raw(struct raw *raw) {
    free(raw->header);
    free(raw->data);
}

/* Replaces the first `from` in the header, which must be there. */
static void replace(struct raw *raw, const char *from, const char *to) {
    char *at = strstr(raw->header, from);
    if (at == NULL)
        fail_msg("\"%s\" is not in %s", from, raw->header);
    size_t before = (size_t)(at - raw->header), size = strlen(raw->header) + strlen(to) + 1;
    char *text = malloc(size);
    snprintf(text, size, "%.*s%s%s", (int)before, raw->header, to, at + strlen(from));
    free(raw->header);
    raw->header = text;
}

static pare_status parse_raw(const struct raw *raw, struct error *err) {
    size_t header = strlen(raw->header), n = 8 + header + raw->n_data;
    uint8_t *file = calloc(1, n);
    struct model *model = NULL;
    for (int i = 0; i < 8; i++)
        file[i] = (uint8_t)(header >> (8 * i));
    memcpy(file + 8, raw->header, header);
    memcpy(file + 8 + header, raw->data, raw->n_data);
    pare_status status = model_parse(file, n, "tiny.safetensors", err, &model);
    assert_int_equal(status == PARE_OK, model != NULL);
    model_destroy(model);
    free(file);
    return status;
}

/* One replacement in the header, and the message it must lead to. */
static void refuse(const char *from, const char *to, pare_status status, const char *text) {
    struct error err = {0};
    struct raw raw = make_raw();
    expect(parse_raw(&raw, &err), PARE_OK, &err, "");
    replace(&raw, from, to);
    expect(parse_raw(&raw, &err), status, &err, text);
    assert_memory_equal(err.text, "tiny.safetensors: ", 18);
    free_raw(&raw);
}

static void bad_header(const char *from, const char *to, const char *text) {
    refuse(from, to, PARE_E_FORMAT, text);
}

static void test_bad_container(void **state) {
    (void)state;
    bad_header("{\"__meta", "[\"__meta", "header: not valid JSON");
    bad_header("{\"__meta", "1 {\"__meta", "header: not valid JSON");
    bad_header("\"dtype\":\"F32\"", "\"dtype\":\"F64\"", "dtype is \"F64\"");
    bad_header("\"dtype\":\"F32\"", "\"dtype\":7", "dtype is \"(not a string)\"");
    bad_header("\"dtype\":\"F32\"", "\"dtype\":\"F32\",\"dtype\":\"F32\"", "duplicate");
    bad_header("\"fc1.bias\":{", "\"fc1.bias\":{\"more\":1,", "fc1.bias: its entry");
    bad_header("\"fc1.bias\":{", "\"fc1.bias\":[[[[]]]],\"x\":{", "nested more than 3 deep");
    bad_header("\"fc1.bias\":{\"dtype\":\"F32\",\"shape\":[4]",
               "\"fc1.bias\":{\"dtype\":\"F32\",\"shape\":[-4]", "fc1.bias: dimension 0 is not");
    bad_header("\"shape\":[4]", "\"shape\":[4.0]", "dimension 0 is not a whole number");
    bad_header("\"shape\":[4]", "\"shape\":[1,1,1,1,4]", "shape is not a list of at most 4");
    bad_header("\"shape\":[4]", "\"shape\":[4611686018427387904,4]", "larger than the file's data");
    bad_header("\"shape\":[4]", "\"shape\":[99999999999999999999]", "header: not valid JSON");
    bad_header("\"shape\":[4]", "\"shape\":[3]", "its shape needs 12");
    bad_header("\"format\":\"pare\"", "\"format\":5", "__metadata__: \"format\" is not a string");
    bad_header("\"__metadata__\":{", "\"__metadata__\":\"x\",\"y\":{",
               "__metadata__: is not an object");
    refuse("\"pare.graph\"", "\"other.graph\"", PARE_E_FORMAT, "no \"pare.graph\"");
}

/* Where the tensors of the tiny model lie is pinned here, as the README documents it. */
static void test_bad_offsets(void **state) {
    (void)state;
    struct raw raw = make_raw();
    assert_non_null(
        strstr(raw.header,
               "\"fc1.weight.values\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}"));
    assert_non_null(strstr(
        raw.header, "\"fc1.bias\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[8,24]}"));
    assert_non_null(
        strstr(raw.header,
               "\"fc2.weight.packed\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[42,46]}"));
    assert_int_equal(raw.n_data, 46);
    assert_int_equal(strlen(raw.header) % 8, 0);
    free_raw(&raw);
    bad_header("[8,24]", "[4,20]", "fc1.bias: overlaps fc1.weight.values");
    bad_header("[0,8]", "[8,0]", "fc1.weight.values: data_offsets are [8,0]");
    bad_header("[42,46]", "[43,47]",
               "fc2.weight.packed: data_offsets are [43,47], wanted within 0..46");
    bad_header("[42,46]", "[-4,0]", "data_offsets are [-4,0]");
    bad_header("[42,46]", "[42]", "not a list of two whole numbers");
    bad_header("[42,46]", "[42,46.0]", "not a list of two whole numbers");
    bad_header("\"shape\":[4],\"data_offsets\":[42,46]", "\"shape\":[3],\"data_offsets\":[43,46]",
               "fc2.weight.packed: begins at 43, leaving a hole from 42");
    bad_header("\"shape\":[4],\"data_offsets\":[42,46]", "\"shape\":[3],\"data_offsets\":[42,45]",
               "data has 46 bytes, but the tensors end at 45");
}

static void test_bad_tensors(void **state) {
    (void)state;
    bad_header("\"fc1.bias\"", "\"fc1.other\"", "fc1.bias: the tensor is missing");
    bad_header("\"fc1.bias\":{\"dtype\":\"F32\",\"shape\":[4]",
               "\"fc1.bias\":{\"dtype\":\"U8\",\"shape\":[16]",
               "fc1.bias: dtype is U8, wanted F32");
    bad_header("\"shape\":[4]", "\"shape\":[2,2]", "fc1.bias: rank is 2, wanted 1");
    bad_header("\"__metadata__\"",
               "\"extra\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},\"__metadata__\"",
               "extra: the tensor belongs to no weight");
    bad_header("\"shape\":[4],\"data_offsets\":[42", "\"shape\":[2,2],\"data_offsets\":[42",
               "fc2.weight.packed: rank");
}

static void test_bad_graph(void **state) {
    (void)state;
    bad_header("\"{\\\"schema", "\"x{\\\"schema", "graph: not valid JSON");
    refuse("schema\\\":1", "schema\\\":2", PARE_E_UNSUPPORTED,
           "graph: schema is 2, this pare reads 1");
    bad_header("\\\"classes\\\":2", "\\\"classes\\\":3", "classes is 3, but the last node makes 2");
    bad_header("\\\"classes\\\"", "\\\"klasses\\\"", "graph: unknown key \"klasses\"");
    bad_header("\\\"op\\\":\\\"relu\\\"", "\\\"op\\\":\\\"gelu\\\"", "relu: op is \"gelu\"");
    refuse("\\\"relu\\\",\\\"inputs\\\":[2]", "\\\"relu\\\",\\\"inputs\\\":[3]", PARE_E_RANGE,
           "relu: input 0 is node 3, wanted an earlier node");
    refuse("\\\"relu\\\",\\\"inputs\\\":[2]", "\\\"relu\\\",\\\"inputs\\\":[-1]", PARE_E_RANGE,
           "relu: input 0 is node -1");
    bad_header("\\\"relu\\\",\\\"inputs\\\":[2]", "\\\"relu\\\",\\\"inputs\\\":[2,2]",
               "relu: inputs is missing or not a list of 1");
    refuse("\\\"relu\\\",\\\"inputs\\\":[2]", "\\\"relu\\\",\\\"inputs\\\":[1]", PARE_E_ARG,
           "fc1: nothing reads this node");
    bad_header("\\\"relu\\\",\\\"inputs\\\":[2]", "\\\"relu\\\",\\\"inputs\\\":[2147483648]",
               "out of range");
    bad_header("\\\"relu\\\",\\\"inputs\\\":[2]", "\\\"relu\\\",\\\"inputs\\\":[2],\\\"x\\\":1",
               "relu: unknown key \"x\"");
    refuse("\\\"out_channels\\\":4", "\\\"out_channels\\\":0", PARE_E_RANGE,
           "fc1: out_channels is 0");
    bad_header("\\\"input\\\":[1,1,4]", "\\\"input\\\":[1024,1024,4]",
               "fc1.weight: needs 16777216 elements, more than the whole file");
    refuse("\\\"input\\\":[1,1,4]", "\\\"input\\\":[1,1,99999]", PARE_E_RANGE,
           "dimension 2 is 99999");
    bad_header("\\\"input\\\":[1,1,4]", "\\\"input\\\":[1,1]",
               "graph: input is missing or not a list of 3");
    bad_header("\\\"bias\\\":true", "\\\"bias\\\":1", "fc1: bias is not true or false");
    bad_header("\\\"nodes\\\":[", "\\\"nodes\\\":[[[[[]]]],",
               "graph: JSON is nested more than 5 deep");
    bad_header("\\\"nodes\\\":[", "\\\"nodes\\\":3,\\\"x\\\":[", "graph: unknown key");
    bad_header("\"{\\\"schema", "\"[1]\",\"y\":\"{\\\"schema", "graph: JSON is not an object");
    bad_header("\\\"schema\\\":1", "\\\"schema\\\":true",
               "graph: schema is missing or not a whole number");
    bad_header("\\\"nodes\\\":[", "\\\"nodes\\\":[3,", "node 0: is not a JSON object");
    bad_header("\\\"op\\\":\\\"input\\\"", "\\\"op\\\":\\\"relu\\\"", "node 0: wanted op input");
}

static void test_bad_quantization(void **state) {
    (void)state;
    bad_header("\\\"encoding\\\":\\\"bitmap\\\"", "\\\"encoding\\\":\\\"csr\\\"",
               "fc1.weight: encoding is \"csr\"");
    bad_header("\\\"storage\\\":{\\\"weight\\\"", "\\\"storage\\\":{\\\"gamma\\\"",
               "fc1: storage names \"gamma\"");
    bad_header("\\\"bits\\\":4", "\\\"bits\\\":17", "fc2.weight: bits is 17");
    bad_header("\\\"bits\\\":4", "\\\"bits\\\":5", "fc2.weight.packed: dimension 0 is 4, wanted 5");
    refuse("\\\"qmax\\\":7", "\\\"qmax\\\":9", PARE_E_RANGE,
           "fc2.weight: codes of 4 bits are in [-9,9]");
    bad_header("\\\"axis\\\":0", "\\\"axis\\\":-1", "fc2.weight.scale: dimension 0 is 2, wanted 1");
    bad_header("\\\"axis\\\":0", "\\\"axle\\\":0", "fc2.weight: unknown key \"axle\"");
    refuse("\\\"zero_point\\\":0", "\\\"zero_point\\\":200", PARE_E_RANGE,
           "input: zero point is 200");
    refuse("\\\"scale\\\":0.1", "\\\"scale\\\":-0.1", PARE_E_NUMERIC, "input: scale 0 is -0.1");
    refuse("0.10000000149011612", "1e39", PARE_E_NUMERIC, "input: scale 0 is inf");
    refuse("0.10000000149011612", "1e999", PARE_E_FORMAT, "graph: not valid JSON");
    bad_header("0.10000000149011612", "\\\"1\\\"", "input: scale is missing or not a number");
    bad_header(",\\\"zero_point\\\":0", "", "input: zero_point is missing");
    bad_header("\\\"storage\\\":{\\\"weight\\\":{\\\"encoding\\\":\\\"bitmap\\\"}}",
               "\\\"storage\\\":[1]", "fc1: storage is not a JSON object");
    bad_header("\\\"qmax\\\":7,", "", "fc2.weight: qmax is missing");
    bad_header("\\\"bits\\\":4,", "", "fc2.weight: bits is missing");
    bad_header("\\\"bits\\\":8", "\\\"bits\\\":0", "input: activation bits is 0");
}

/* Changes one byte of the data. */
static void bad_byte(size_t at, uint8_t value, pare_status status, const char *text) {
    struct error err = {0};
    struct raw raw = make_raw();
    raw.data[at] = value;
    expect(parse_raw(&raw, &err), status, &err, text);
    free_raw(&raw);
}

/* Data: fc1.weight.values 0..8, fc1.bias 8..24, fc2.weight.scale 24..32, fc2.bias 32..40,
 * fc1.weight.mask 40..42, fc2.weight.packed 42..46. */
static void test_bad_values(void **state) {
    (void)state;
    struct error err = {0};
    struct raw raw = make_raw();
    memset(raw.data + 28, 0, 4);
    expect(parse_raw(&raw, &err), PARE_E_NUMERIC, &err, "fc2.weight: scale 1 is 0");
    memset(raw.data + 28, 0xff, 4);
    expect(parse_raw(&raw, &err), PARE_E_NUMERIC, &err, "fc2.weight: scale 1 is");
    free_raw(&raw);
    raw = make_raw();
    memset(raw.data + 8, 0xff, 4);
    expect(parse_raw(&raw, &err), PARE_E_NUMERIC, &err, "fc1.bias[0]: value is");
    free_raw(&raw);
    bad_byte(42, 0xff, PARE_E_FORMAT, "fc2.weight.packed: code 0 of 8");
    bad_byte(43, 0x0f, PARE_E_FORMAT, "fc2.weight.packed: code 2 of 8");
    bad_byte(40, 0xff, PARE_E_FORMAT, "fc1.weight.values: dimension 0 is 2, wanted 8");
}

/* Any prefix of a file, any length of the header: an error, never a crash. */
static void test_truncated(void **state) {
    (void)state;
    struct error err;
    struct model *m = make_resnet(1, 'A', 8, 1), *out = NULL;
    uint8_t *file = NULL;
    size_t n = 0;
    model_init_weights(m, 1);
    expect(model_serialize(m, NULL, 0, &err, &file, &n), PARE_OK, &err, "");
    for (size_t k = 0; k < n; k += k < 9000 ? 7 : 997) {
        uint8_t *part = malloc(k + 1); /* its own block, so that a sanitizer sees a byte too many */
        memcpy(part, file, k);
        assert_int_equal(model_parse(part, k, "part", &err, &out), PARE_E_FORMAT);
        free(part);
    }
    file[7] = 0x80;
    expect(model_parse(file, n, "part", &err, &out), PARE_E_FORMAT, &err,
           "header is 92233720368547");
    assert_null(out);
    free(file);
    model_destroy(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pack),
        cmocka_unit_test(test_pack_layout),
        cmocka_unit_test(test_round_trip_float),
        cmocka_unit_test(test_round_trip_ops),
        cmocka_unit_test(test_round_trip_quantized),
        cmocka_unit_test(test_round_trip_random),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_notes_and_files),
        cmocka_unit_test(test_bad_container),
        cmocka_unit_test(test_bad_offsets),
        cmocka_unit_test(test_bad_tensors),
        cmocka_unit_test(test_bad_graph),
        cmocka_unit_test(test_bad_quantization),
        cmocka_unit_test(test_bad_values),
        cmocka_unit_test(test_truncated),
    };
    return cmocka_run_group_tests_name("model_file", tests, NULL, NULL);
}
