/* SPDX-License-Identifier: MIT */
/* How weights lie in files: prefix codes, coded rows, gaps and pairs; that the smallest way is
 * chosen, comes back bit for bit, and that no damaged row is believed. */
#include "core/rng.h"
#include "model/coded.h"
#include "model/compact.h"
#include "model/storage.h"
#include "model_fixtures.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>

static void expect(pare_status got, pare_status wanted, const struct error *err, const char *text) {
    if (got != wanted)
        fail_msg("status %d (%s), wanted %d and \"%s\"", got, err->text, wanted, text);
    if (wanted != PARE_OK && strstr(err->text, text) == NULL)
        fail_msg("message is \"%s\", wanted \"%s\" in it", err->text, text);
}

/* ---- prefix codes ---- */

/* The example of RFC 1951, section 3.2.2: A..H of lengths 3,3,3,3,3,2,4,4 have codes
 * 010 011 100 101 110 00 1110 1111. */
static void test_canonical(void **state) {
    (void)state;
    const uint8_t lengths[8] = {3, 3, 3, 3, 3, 2, 4, 4};
    const uint16_t codes[8] = {2, 6, 1, 5, 3, 0, 7, 15}; /* first bit least significant */
    struct huffman_encoder encoder;
    struct huffman_decoder decoder;
    huffman_encoder_init(lengths, 8, &encoder);
    assert_memory_equal(encoder.codes, codes, sizeof codes);
    assert_true(huffman_decoder_init(lengths, 8, &decoder));
    const uint8_t bytes[] = {0x3f}; /* 1111 1100: H, then 00 */
    struct bit_reader bits = {bytes, bytes + 1, 0, 0};
    int32_t symbol = -1;
    assert_true(huffman_next(&decoder, &bits, &symbol) && symbol == 7);
    bits_get(&bits, 2, (uint32_t[1]){0});
    assert_true(huffman_next(&decoder, &bits, &symbol) && symbol == 5);
    assert_false(huffman_next(&decoder, &bits, &symbol));
}

/* Least total length, by hand; and a count that is alone takes no bits. */
static void test_lengths(void **state) {
    (void)state;
    const int64_t counts[7] = {0, 8, 0, 1, 4, 2, 1}, alone[3] = {0, 5, 0};
    const uint8_t wanted[7] = {0, 1, 0, 4, 2, 3, 4};
    uint8_t lengths[7];
    huffman_lengths(counts, 7, lengths);
    assert_memory_equal(lengths, wanted, sizeof wanted);
    huffman_lengths(alone, 3, lengths);
    assert_true(lengths[0] == 0 && lengths[1] == 0 && lengths[2] == 0);
}

/* Fibonacci's numbers ask for codes as long as there are symbols; they must fit all the same. */
static void test_length_limit(void **state) {
    (void)state;
    int64_t counts[60] = {1, 1};
    uint8_t lengths[HUFFMAN_MAX_SYMBOLS];
    struct huffman_decoder decoder;
    int64_t most[HUFFMAN_MAX_SYMBOLS];
    for (int i = 2; i < 60; i++)
        counts[i] = counts[i - 1] + counts[i - 2];
    for (int32_t n = 2; n <= 60; n++) {
        huffman_lengths(counts, n, lengths);
        assert_true(huffman_decoder_init(lengths, n, &decoder)); /* complete, 15 bits at most */
        for (int32_t i = 1; i < n; i++)
            assert_true(lengths[i] <= lengths[i - 1]);
    }
    for (int i = 0; i < HUFFMAN_MAX_SYMBOLS; i++)
        most[i] = (int64_t)1 << (i % 40);
    huffman_lengths(most, HUFFMAN_MAX_SYMBOLS, lengths);
    assert_true(huffman_decoder_init(lengths, HUFFMAN_MAX_SYMBOLS, &decoder));
}

static void test_bad_lengths(void **state) {
    (void)state;
    struct huffman_decoder decoder;
    assert_false(huffman_decoder_init((const uint8_t[]){1, 1, 1}, 3, &decoder));
    assert_false(huffman_decoder_init((const uint8_t[]){1, 2, 2, 15}, 4, &decoder));
    assert_false(huffman_decoder_init((const uint8_t[]){1, 2}, 2, &decoder));
    assert_false(huffman_decoder_init((const uint8_t[]){0, 0}, 2, &decoder));
    assert_false(huffman_decoder_init((const uint8_t[]){1}, 1, &decoder));
    assert_true(huffman_decoder_init((const uint8_t[]){0}, 1, &decoder));
    assert_true(huffman_decoder_init((const uint8_t[]){2, 0, 1, 2}, 4, &decoder));
}

/* ---- rows ---- */

/* Coded, and read back to the last bit. Returns the bytes it took. */
static int64_t check_row(const uint32_t *numbers, int64_t n) {
    struct error err = {0};
    struct coded_plan plan;
    struct coded_reader reader;
    coded_choose(numbers, n, &plan);
    uint8_t *bytes = malloc((size_t)plan.n_bytes + 1);
    bytes[plan.n_bytes] = 0xa5;
    coded_write(&plan, numbers, n, bytes);
    assert_int_equal(bytes[plan.n_bytes], 0xa5);
    expect(coded_open(bytes, (size_t)plan.n_bytes, "row", &err, &reader), PARE_OK, &err, "");
    for (int64_t i = 0; i < n; i++) {
        uint32_t number = 0;
        assert_true(coded_next(&reader, &number));
        assert_int_equal(number, numbers[i]);
    }
    assert_true(bits_at_end(&reader.bits));
    free(bytes);
    return plan.n_bytes;
}

static void test_rows(void **state) {
    (void)state;
    enum { N = 3000 };
    uint32_t numbers[N];
    pare_rng rng;
    for (uint32_t width = 0; width <= 32; width++)
        for (int64_t n = 1; n <= N; n = n * 3 + 1) {
            rng_init(&rng, width, "row", (uint64_t)n);
            for (int64_t i = 0; i < n; i++)
                numbers[i] =
                    (uint32_t)(rng_next(&rng) >> 32) & (uint32_t)((UINT64_C(1) << width) - 1);
            int64_t n_bytes = check_row(numbers, n);
            assert_true(n_bytes <= 5 + 256 + n * (width + 1) / 8 + 2);
        }
    const uint32_t ends[3] = {0, UINT32_MAX, 1};
    check_row(ends, 3);
    for (int i = 0; i < N; i++)
        numbers[i] = UINT32_MAX;
    assert_int_equal(check_row(numbers, N), 5 + 1 + (int64_t)N * 16 / 8);
    for (int i = 0; i < N; i++)
        numbers[i] = 7;
    assert_int_equal(check_row(numbers, N), 6); /* one symbol: no bits at all */
}

/* A geometric row comes within 3 % of its entropy. */
static void test_near_entropy(void **state) {
    (void)state;
    enum { N = 20000 };
    static uint32_t numbers[N];
    pare_rng rng;
    rng_init(&rng, 1, "geometric", 0);
    for (int i = 0; i < N; i++)
        for (numbers[i] = 0; rng_below(&rng, 50) != 0;)
            numbers[i]++;
    double p = 1.0 / 50, bits = (-p * log2(p) - (1 - p) * log2(1 - p)) / p;
    assert_true((double)check_row(numbers, N) * 8 < 1.03 * bits * N);
}

static void bad_row(const uint8_t *bytes, size_t n, const char *text) {
    struct error err = {0};
    struct coded_reader reader;
    uint8_t *copy = malloc(n + 1); /* its own block: a sanitizer sees a byte too many */
    memcpy(copy, bytes, n);
    expect(coded_open(copy, n, "row", &err, &reader), PARE_E_FORMAT, &err, text);
    free(copy);
}

static void test_bad_rows(void **state) {
    (void)state;
    bad_row((const uint8_t[]){0, 0, 0, 0}, 4, "row: has 4 bytes, wanted at least 5");
    bad_row((const uint8_t[]){31, 0, 0, 0, 0, 0}, 6, "row: has 31 raw bits");
    bad_row((const uint8_t[]){0, 0, 0, 0, 2, 0}, 6, "and 513 symbols");
    bad_row((const uint8_t[]){0, 0, 0, 3, 0, 0x22}, 6, "row: has 6 bytes, its table alone takes 7");
    bad_row((const uint8_t[]){0, 0, 0, 2, 0, 0x11, 0x01}, 7, "make no complete prefix code");
    bad_row((const uint8_t[]){0, 0, 0, 2, 0, 0xff, 0x0f}, 7, "make no complete prefix code");
    bad_row((const uint8_t[]){0, 0, 0, 2, 0, 0x21, 0x12}, 7, "goes on after its last symbol");
    bad_row((const uint8_t[]){30, 255, 255, 0, 0, 0}, 6, "more than 32 bits");
}

/* ---- floats, gaps, pairs ---- */

static void test_floats(void **state) {
    (void)state;
    const float values[] = {0.0f, -0.0f, 1.0f, -1.5f, 1e-45f, -3.4028235e38f, 0.1f};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        float back = storage_to_float(storage_from_float(values[i]));
        assert_memory_equal(&back, &values[i], sizeof back);
    }
    assert_int_equal(storage_from_float(1.0f), 127u << 24);
    assert_int_equal(storage_from_float(-1.0f), 127u << 24 | 1u << 23);
}

/* Elements 1, 4 and 14 kept, in 3 bits: 1, 2, and 9 = a filler of 7 and 2 (Han et al., figure 2,
 * whose filler is a stored zero). */
static void test_gaps(void **state) {
    (void)state;
    uint8_t mask[20] = {0};
    uint32_t gaps[8];
    mask[1] = mask[4] = mask[14] = 1;
    assert_int_equal(storage_gaps(mask, 20, 3, NULL), 4);
    assert_int_equal(storage_gaps(mask, 20, 3, gaps), 4);
    assert_true(gaps[0] == 1 && gaps[1] == 2 && gaps[2] == 7 && gaps[3] == 2);
    assert_int_equal(storage_gaps(mask, 20, 4, gaps), 3);
    assert_int_equal(storage_gaps(mask, 0, 4, gaps), 0);
    mask[14] = 0;
    mask[12] = 1; /* a gap of exactly the filler's 7 */
    assert_int_equal(storage_gaps(mask, 20, 3, gaps), 4);
    assert_true(gaps[2] == 7 && gaps[3] == 0);
}

static void test_pairs(void **state) {
    (void)state;
    static const uint8_t two[6] = {3, 5, 9, 6, 10, 12};
    pare_rng rng;
    rng_init(&rng, 1, "pairs", 0);
    for (int64_t quads = 0; quads < 40; quads++) {
        uint8_t mask[160], back[160], bytes[16];
        for (int64_t q = 0; q < quads; q++) {
            uint8_t p = two[rng_below(&rng, 6)];
            for (int k = 0; k < 4; k++)
                mask[4 * q + k] = p >> k & 1;
        }
        int64_t n = storage_pairs_bytes(4 * quads);
        assert_int_equal(n, (quads + 2) / 3);
        bytes[n] = 0xa5;
        storage_write_pairs(mask, 4 * quads, bytes);
        assert_int_equal(bytes[n], 0xa5);
        assert_true(storage_read_pairs(bytes, 4 * quads, back));
        assert_memory_equal(mask, back, (size_t)(4 * quads));
    }
    uint8_t mask[12];
    assert_true(storage_read_pairs((const uint8_t[]){215}, 12, mask));
    assert_false(storage_read_pairs((const uint8_t[]){216}, 12, mask));
    assert_false(storage_read_pairs((const uint8_t[]){36}, 8, mask));
}

/* ---- the choice ---- */

enum { SIDE = 128 };

/* One linear layer of SIDE x SIDE weights, then one of SIDE x 2. */
static struct model *make_square(void) {
    struct model *m = new_model("square", 1, 1, SIDE);
    int32_t x = add_linear(m, "fc1", add_simple(m, PARE_OP_FLATTEN, "flat", 0), SIDE);
    add_linear(m, "fc2", add_simple(m, PARE_OP_RELU, "relu", x), 2);
    finish_model(m);
    model_init_weights(m, 1);
    float *w =
        model_weight_data(m, 0); /* more small ones than large ones, as trained weights have */
    for (int i = 0; i < SIDE * SIDE; i++)
        w[i] = 90.0f * w[i] * w[i] * w[i];
    return m;
}

static void keep_one_in(struct model *m, uint64_t every) {
    static uint8_t mask[SIDE * SIDE];
    struct error err;
    pare_rng rng;
    rng_init(&rng, 1, "keep", every);
    for (int i = 0; i < SIDE * SIDE; i++)
        mask[i] = rng_below(&rng, every) == 0;
    expect(model_set_mask(m, 0, mask, &err), PARE_OK, &err, "");
}

static void keep_two_of_four(struct model *m) {
    static const uint8_t two[6] = {3, 5, 9, 6, 10, 12};
    static uint8_t mask[SIDE * SIDE];
    struct error err;
    pare_rng rng;
    rng_init(&rng, 1, "two of four", 0);
    for (int q = 0; q < SIDE * SIDE / 4; q++) {
        uint8_t p = two[rng_below(&rng, 6)];
        for (int k = 0; k < 4; k++)
            mask[4 * q + k] = p >> k & 1;
    }
    expect(model_set_mask(m, 0, mask, &err), PARE_OK, &err, "");
}

static void quantize(struct model *m, int32_t bits) {
    struct error err;
    const int32_t qmax = (1 << (bits - 1)) - 1;
    const float scale = 0.2f / (float)qmax;
    pare_quant q = {bits, -qmax, qmax, -1, 1, &scale, NULL};
    expect(model_set_weight_quant(m, 0, &q, NULL, &err), PARE_OK, &err, "");
}

/* Every kept weight becomes one of n values, all about as frequent. */
static void share_values(struct model *m, int n) {
    float *w = model_weight_data(m, 0);
    for (int i = 0; i < SIDE * SIDE; i++)
        w[i] = w[i] == 0.0f ? 0.0f : (float)(1 + (i * 7 + i / 3) % n) / 64.0f;
}

/* The file without the outer one, as it would be if nothing were special about it. */
static uint8_t *open_form(const struct model *m, size_t *n_bytes) {
    struct error err = {0};
    struct st_file file = {0};
    uint8_t *data = NULL, *inner = NULL;
    size_t n = 0;
    expect(model_serialize(m, NULL, 0, &err, &data, &n), PARE_OK, &err, "");
    expect(st_read(data, n, &err, &file), PARE_OK, &err, "");
    if (!compact_is(&file)) {
        st_file_clear(&file);
        *n_bytes = n;
        return data;
    }
    expect(compact_open(&file, &err, &inner, n_bytes), PARE_OK, &err, "");
    st_file_clear(&file);
    free(data);
    return inner;
}

/* fc1.weight is stored as `name`, and is the same, mask and codes too, when it is loaded: from the
 * file as it is, and from its open form. Returns its bytes. */
static int64_t check_stored(struct model *m, const char *name) {
    struct error err = {0};
    struct model_storage storage;
    const pare_weight *a = m->graph.weights[0];
    const size_t n = (size_t)a->n_elems;
    expect(model_weight_storage(a, &err, &storage), PARE_OK, &err, "");
    assert_string_equal(storage.name, name);
    for (int form = 0; form < 2; form++) {
        struct model *loaded = NULL;
        uint8_t *data = NULL, *again = NULL;
        size_t n_bytes = 0, n_again = 0;
        if (form == 0)
            expect(model_serialize(m, NULL, 0, &err, &data, &n_bytes), PARE_OK, &err, "");
        else
            data = open_form(m, &n_bytes);
        expect(model_parse(data, n_bytes, "file", &err, &loaded), PARE_OK, &err, "");
        const pare_weight *b = loaded->graph.weights[0];
        assert_memory_equal(a->data, b->data, n * sizeof(float));
        assert_int_equal(a->mask == NULL, b->mask == NULL);
        if (a->mask != NULL)
            assert_memory_equal(a->mask, b->mask, n);
        if (a->codes != NULL)
            assert_memory_equal(a->codes, b->codes, n * sizeof(int16_t));
        expect(model_serialize(loaded, NULL, 0, &err, &again, &n_again), PARE_OK, &err, "");
        if (form == 0) {
            assert_int_equal(n_bytes, n_again);
            assert_memory_equal(data, again, n_bytes);
        }
        model_destroy(loaded);
        free(data);
        free(again);
    }
    return storage.n_bytes;
}

/* Each way where it is the smallest; sizes against what theory says of them. */
static void test_choice(void **state) {
    (void)state;
    const int64_t n = SIDE * SIDE;
    struct model *m = make_square();
    assert_int_equal(check_stored(m, "fp32"), 4 * n);
    keep_one_in(m, 1); /* nothing pruned, under a mask */
    assert_true(check_stored(m, "fp32-huffman") < 4 * n);
    keep_two_of_four(m);
    quantize(m, 8);
    assert_true(check_stored(m, "packed-2:4-huffman") <= n / 2 + (n / 4 + 2) / 3 + 4);
    model_destroy(m);

    m = make_square();
    keep_one_in(m, 2);
    assert_true(check_stored(m, "fp32-bitmap-huffman") < n / 8 + 2 * n + 200);
    model_destroy(m);

    m = make_square();
    keep_one_in(m, 10);
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++)
        kept += m->graph.weights[0]->mask[i];
    int64_t n_bytes = check_stored(m, "fp32-relative-huffman");
    assert_true(n_bytes < 4 * kept + n / 16); /* 0.47 bits of entropy a place, of 1 in a bitmap */
    quantize(m, 4);
    assert_true(check_stored(m, "packed-relative-huffman") < kept / 2 + n / 15);
    model_destroy(m);

    m = make_square();
    share_values(m, 16);
    assert_int_equal(check_stored(m, "codebook"), n / 2 + 64); /* all as frequent: no Huffman */
    keep_one_in(m, 20);
    share_values(m, 8);
    check_stored(m, "codebook-relative-huffman");
    model_destroy(m);
}

/* Nothing kept, one kept, and the last one kept; also what a kept zero needs. */
static void test_extremes(void **state) {
    (void)state;
    static uint8_t mask[SIDE * SIDE];
    struct error err;
    struct model *m = make_square();
    memset(mask, 0, sizeof mask);
    mask[SIDE * SIDE - 1] = 1;
    expect(model_set_mask(m, 0, mask, &err), PARE_OK, &err, "");
    assert_true(check_stored(m, "fp32-relative") < 20);
    mask[SIDE * SIDE - 1] = 0;
    expect(model_set_mask(m, 0, mask, &err), PARE_OK, &err, "");
    assert_int_equal(check_stored(m, "fp32-huffman"), 6); /* a row of zeros, which takes no bits */
    memset(mask, 1, 64);                                  /* kept, though all of them are 0 */
    expect(model_set_mask(m, 0, mask, &err), PARE_OK, &err, "");
    struct model_storage storage;
    expect(model_weight_storage(m->graph.weights[0], &err, &storage), PARE_OK, &err, "");
    check_stored(m, storage.name);
    model_destroy(m);
}

/* A small file cannot ask for more memory than MAX_ELEMS_PER_BYTE allows; one that needs it is made
 * long enough. */
static void test_much_of_nothing(void **state) {
    (void)state;
    struct error err = {0};
    struct model *m = new_model("nothing", 1, 1, 4096), *loaded = NULL;
    add_linear(m, "fc", add_simple(m, PARE_OP_FLATTEN, "flat", 0), 1024);
    finish_model(m);
    uint8_t *mask = calloc(1, 4096 * 1024), *data = NULL;
    size_t n_bytes = 0;
    expect(model_set_mask(m, 0, mask, &err), PARE_OK, &err, "");
    expect(model_serialize(m, NULL, 0, &err, &data, &n_bytes), PARE_OK, &err, "");
    assert_in_range(n_bytes, 4096, 4096 + 32);
    expect(model_parse(data, n_bytes, "file", &err, &loaded), PARE_OK, &err, "");
    assert_memory_equal(loaded->graph.weights[0]->mask, mask, 4096 * 1024);
    model_destroy(loaded);
    model_destroy(m);
    free(mask);
    free(data);
}

/* ---- damaged files ---- */

/* A file in its open form, taken apart. */
struct taken {
    char *header;
    uint8_t *data;
    size_t n_data;
};

static struct taken take_apart(const struct model *m) {
    size_t n = 0;
    uint8_t *file = open_form(m, &n);
    size_t header = (size_t)file[0] | (size_t)file[1] << 8 | (size_t)file[2] << 16;
    struct taken t = {strndup((char *)file + 8, header), malloc(n), n - 8 - header};
    memcpy(t.data, file + 8 + header, t.n_data);
    free(file);
    return t;
}

static void refused(struct taken *t, const char *text) {
    struct error err = {0};
    size_t header = strlen(t->header), n = 8 + header + t->n_data;
    uint8_t *file = calloc(1, n);
    struct model *model = NULL;
    for (int i = 0; i < 8; i++)
        file[i] = (uint8_t)((uint64_t)header >> (8 * i));
    memcpy(file + 8, t->header, header);
    memcpy(file + 8 + header, t->data, t->n_data);
    expect(model_parse(file, n, "bad", &err, &model), PARE_E_FORMAT, &err, text);
    free(file);
    free(t->header);
    free(t->data);
}

static void edit(struct taken *t, const char *from, const char *to) {
    char *at = strstr(t->header, from);
    if (at == NULL)
        fail_msg("\"%s\" is not in %s", from, t->header);
    size_t size = strlen(t->header) + strlen(to) + 1;
    char *text = malloc(size);
    snprintf(text, size, "%.*s%s%s", (int)(at - t->header), t->header, to, at + strlen(from));
    free(t->header);
    t->header = text;
}

/* The bytes of a tensor. */
static uint8_t *tensor_of(const struct taken *t, const char *name) {
    char key[64];
    long begin = -1;
    snprintf(key, sizeof key, "\"%s\":", name);
    const char *at = strstr(t->header, key);
    assert_non_null(at);
    assert_int_equal(sscanf(strstr(at, "data_offsets"), "data_offsets\":[%ld", &begin), 1);
    return t->data + begin;
}

/* 4-bit codes and gaps, both coded; or, with n_values, a codebook. */
static struct taken damaged(int n_values) {
    struct model *m = make_square();
    keep_one_in(m, 20);
    if (n_values > 0)
        share_values(m, n_values);
    else
        quantize(m, 4);
    struct taken t = take_apart(m);
    model_destroy(m);
    return t;
}

static void bad_entry(const char *from, const char *to, const char *text) {
    struct taken t = damaged(0);
    edit(&t, from, to);
    refused(&t, text);
}

static void test_bad_entries(void **state) {
    (void)state;
    bad_entry("\\\"gaps\\\":\\\"huffman\\\"", "\\\"gaps\\\":\\\"lzma\\\"",
              "fc1.weight: gaps is \"lzma\", wanted huffman");
    bad_entry("\\\"values\\\":\\\"huffman\\\"", "\\\"values\\\":7",
              "fc1.weight: values is \"(not a string)\"");
    bad_entry("\\\"kept\\\":", "\\\"kept\\\":99", "fc1.weight: kept is 99");
    bad_entry("\\\"kept\\\":", "\\\"kept\\\":-", "fc1.weight: kept is -");
    bad_entry("\\\"gap_bits\\\":", "\\\"gap_bits\\\":9", "fc1.weight: gap_bits is 9");
    bad_entry("\\\"relative\\\"", "\\\"bitmap\\\"", "are for encoding relative only");
    bad_entry("\\\"values\\\":\\\"huffman\\\"", "\\\"codebook\\\":4",
              "fc1.weight: has both bits and a codebook");
    bad_entry("\\\"values\\\":\\\"huffman\\\"", "\\\"codebook\\\":0", "codebook is 0, wanted 1..");
    bad_entry("\\\"values\\\":\\\"huffman\\\"", "\\\"codebook\\\":2000", "codebook is 2000");
    bad_entry(",\\\"values\\\":\\\"huffman\\\"", "", "fc1.weight.packed: the tensor is missing");
    bad_entry("\"fc1.weight.gaps\"", "\"fc1.weight.gape\"",
              "fc1.weight.gaps: the tensor is missing");
}

static void test_bad_streams(void **state) {
    (void)state;
    struct taken t = damaged(0);
    tensor_of(&t, "fc1.weight.gaps")[5] ^= 0x11;
    refused(&t, "fc1.weight.gaps: the lengths of its");
    t = damaged(0);
    tensor_of(&t, "fc1.weight.gaps")[0] = 77;
    refused(&t, "fc1.weight.gaps: has 77 raw bits");
    t = damaged(0);
    tensor_of(&t, "fc1.weight.coded")[1] = 14; /* all codes 14 higher than they are */
    refused(&t, "wanted at most 14");
    t = damaged(0);
    edit(&t, "\\\"kept\\\":8", "\\\"kept\\\":9"); /* 8xx are kept */
    refused(&t, "fc1.weight.gaps: ");
    t = damaged(0);
    edit(&t, "\\\"kept\\\":8", "\\\"kept\\\":7");
    refused(&t, "fc1.weight.gaps: goes on after its last number");
    t = damaged(5);
    edit(&t, "\\\"codebook\\\":5", "\\\"codebook\\\":4");
    refused(&t, "fc1.weight.codebook: dimension 0 is 5, wanted 4");
    t = damaged(5);
    tensor_of(&t, "fc1.weight.coded")[1] = 1;
    refused(&t, "wanted at most 4");
}

/* Every byte of the streams made wrong, in turn: an error or another valid model, no crash. */
static void test_every_byte(void **state) {
    (void)state;
    struct error err;
    struct model *m = make_square(), *out = NULL;
    size_t n = 0, refusals = 0;
    keep_one_in(m, 40);
    quantize(m, 4);
    uint8_t *file = open_form(m, &n);
    for (size_t i = 0; i < n; i++) {
        uint8_t *copy = malloc(n);
        memcpy(copy, file, n);
        copy[i] ^= (uint8_t)(1u << i % 8);
        out = NULL;
        if (model_parse(copy, n, "bad", &err, &out) == PARE_OK)
            expect(model_verify(out, &err), PARE_OK, &err, "");
        else
            refusals++;
        model_destroy(out);
        free(copy);
    }
    assert_true(refusals > n / 4);
    free(file);
    model_destroy(m);
}

/* The outer file. Its one tensor begins with two lengths. */
static void test_bad_compact(void **state) {
    (void)state;
    struct error err = {0};
    struct model *m = make_square(), *out = NULL;
    uint8_t *file = NULL;
    size_t n = 0;
    keep_one_in(m, 20);
    expect(model_serialize(m, NULL, 0, &err, &file, &n), PARE_OK, &err, "");
    size_t header = (size_t)file[0] | (size_t)file[1] << 8;
    uint8_t *tensor = file + 8 + header;
    for (size_t k = 0; k < n; k += 37) /* cut short */
        assert_int_equal(model_parse(file, k, "bad", &err, &out), PARE_E_FORMAT);
    tensor[15] = 1;
    expect(model_parse(file, n, "bad", &err, &out), PARE_E_FORMAT, &err,
           "pare.model: its header is");
    tensor[15] = 0;
    tensor[7] = 1;
    expect(model_parse(file, n, "bad", &err, &out), PARE_E_FORMAT, &err,
           "pare.model: its header is");
    tensor[7] = 0;
    tensor[8]--;
    expect(model_parse(file, n, "bad", &err, &out), PARE_E_FORMAT, &err, "cannot be inflated");
    tensor[8] = (uint8_t)(tensor[8] + 2);
    expect(model_parse(file, n, "bad", &err, &out), PARE_E_FORMAT, &err, "it is shorter");
    tensor[8]--;
    tensor[20] ^= 0x40;
    expect(model_parse(file, n, "bad", &err, &out), PARE_E_FORMAT, &err, "cannot be inflated");
    tensor[20] ^= 0x40;
    char *how = memmem(file, header, "deflate", 7);
    assert_non_null(how);
    memcpy(how, "brotli_", 7);
    expect(model_parse(file, n, "bad", &err, &out), PARE_E_UNSUPPORTED, &err,
           "pare.header: is \"brotli_\"");
    assert_null(out);
    free(file);
    model_destroy(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_canonical),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_length_limit),
        cmocka_unit_test(test_bad_lengths),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_near_entropy),
        cmocka_unit_test(test_bad_rows),
        cmocka_unit_test(test_floats),
        cmocka_unit_test(test_gaps),
        cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_choice),
        cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_much_of_nothing),
        cmocka_unit_test(test_bad_entries),
        cmocka_unit_test(test_bad_streams),
        cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_bad_compact),
    };
    return cmocka_run_group_tests_name("model_storage", tests, NULL, NULL);
}
