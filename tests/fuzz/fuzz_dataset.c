/* SPDX-License-Identifier: MIT */
/* IDX, CIFAR-10 and tar readers, one per first byte of the input: what is accepted is consistent,
 * and nothing beyond the input is read. */
#include "fuzz.h"

#include "dataset/sources.h"

#include <stdlib.h>
#include <string.h>

const char *const fuzz_words[] = {"one.bin",     "folder/", "00000000005",
                                  "77777777777", "ustar",   NULL};

/* Images of 3x2, below 5; records of 7 bytes. */
static const struct dataset_info shapes = {"tiny", "", {3, 2, 1}, 5, 4, 0, 0, ""};
static const struct manifest_file rows[] = {
    {"tiny", "", "one.bin", 5, "", "sha256:never"},
    {"tiny", "", "two.bin", 5, "", "md5:never"},
};

static void check_images(const uint8_t *data, size_t n_bytes) {
    struct error err;
    int64_t count;
    const uint8_t *items;
    if (idx_parse_images("fuzz", data, n_bytes, shapes.dims, &err, &count, &items) != PARE_OK) {
        if (!err.text[0])
            abort();
        return;
    }
    if (count < 1 || items != data + 16 || 16 + 6 * (size_t)count != n_bytes)
        abort();
}

static void check_labels(const uint8_t *data, size_t n_bytes) {
    struct error err;
    int64_t count;
    const uint8_t *items;
    if (idx_parse_labels("fuzz", data, n_bytes, 5, &err, &count, &items) != PARE_OK)
        return;
    if (count < 1 || items != data + 8 || 8 + (size_t)count != n_bytes)
        abort();
    for (int64_t i = 0; i < count; i++)
        if (items[i] >= 5)
            abort();
}

static void check_cifar(const uint8_t *data, size_t n_bytes) {
    struct error err;
    uint8_t images[4 * 6], labels[4] = {0};
    struct samples into = {&shapes, 4, images, labels, NULL};
    int64_t count;
    if (cifar_parse("fuzz", data, n_bytes, &into, 1, &err, &count) != PARE_OK)
        return;
    if (count < 1 || count > 3 || 7 * (size_t)count != n_bytes)
        abort();
    for (int64_t i = 0; i < 4; i++)
        if (labels[i] >= 5)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
    struct error err;
    if (n_bytes == 0)
        return 0;
    switch (data[0] % 4) {
    case 0:
        check_images(data + 1, n_bytes - 1);
        break;
    case 1:
        check_labels(data + 1, n_bytes - 1);
        break;
    case 2:
        check_cifar(data + 1, n_bytes - 1);
        break;
    default: /* no entry has the digest that is wanted: nothing is ever accepted or written */
        if (tar_unpack("fuzz", data + 1, n_bytes - 1, rows, 2, "/nonexistent", &err) == PARE_OK)
            abort();
    }
    return 0;
}

/* A ustar header's checksum. */
void fuzz_repair(uint8_t *data, size_t n_bytes) {
    if (n_bytes < 513 || data[0] % 4 != 3)
        return;
    unsigned sum = 0;
    memset(data + 149, ' ', 8);
    for (int k = 1; k <= 512; k++)
        sum += data[k];
    for (int k = 5; k >= 0; k--, sum /= 8)
        data[149 + k] = (uint8_t)('0' + sum % 8);
    data[155] = 0;
}

static uint8_t *seed_of(uint8_t kind, const void *bytes, size_t n, size_t n_all, size_t *n_bytes) {
    uint8_t *data = calloc(n_all + 1, 1);
    if (!data)
        abort();
    data[0] = kind;
    memcpy(data + 1, bytes, n);
    *n_bytes = n_all + 1;
    return data;
}

uint8_t *fuzz_seed(int i, size_t *n_bytes) {
    static const uint8_t images[16] = {0, 0, 8, 3, 0, 0, 0, 4, 0, 0, 0, 3, 0, 0, 0, 2};
    static const uint8_t labels[] = {0, 0, 8, 1, 0, 0, 0, 4, 4, 0, 1, 2};
    uint8_t *data;
    switch (i) {
    case 0:
        return seed_of(0, images, 16, 16 + 24, n_bytes);
    case 1:
        return seed_of(1, labels, 12, 12, n_bytes);
    case 2:
        return seed_of(2, "\1abcdef\2abcdef", 14, 14, n_bytes);
    case 3:
    case 4:
        data = seed_of(3, i == 3 ? "folder/one.bin" : "folder/readme", 14, 2048, n_bytes);
        memcpy(data + 125, "00000000005", 12);
        data[157] = '0';
        memcpy(data + 258, "ustar", 6);
        memcpy(data + 513, "hello", 5);
        fuzz_repair(data, *n_bytes);
        return data;
    default:
        return NULL;
    }
}
