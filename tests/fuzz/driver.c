/* SPDX-License-Identifier: MIT */
/* A mutation driver for fuzz targets, for machines without libFuzzer. Input i depends only on the
 * seed and on i, so a failure is reproduced by the line that is printed: fuzz_x --seed S --only I
 * The inputs run in a child process; how far it has come is kept in shared memory. */
#include "fuzz.h"

#include "core/rng.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_SEEDS = 64, MAX_INPUT_BYTES = 1 << 16, INPUT_SECONDS = 20 };

struct input {
    uint8_t *data;
    size_t n_bytes;
};

static size_t pick(pare_rng *rng, size_t n) {
    return n == 0 ? 0 : (size_t)rng_below(rng, n);
}

static void overwrite(struct input *in, size_t at, const void *bytes, size_t n) {
    if (at + n <= in->n_bytes)
        memcpy(in->data + at, bytes, n);
}

static void insert(struct input *in, size_t at, const void *bytes, size_t n) {
    if (in->n_bytes + n > MAX_INPUT_BYTES)
        return;
    memmove(in->data + at + n, in->data + at, in->n_bytes - at);
    memcpy(in->data + at, bytes, n);
    in->n_bytes += n;
}

static void erase(struct input *in, size_t at, size_t n) {
    if (at + n > in->n_bytes)
        return;
    memmove(in->data + at, in->data + at + n, in->n_bytes - at - n);
    in->n_bytes -= n;
}

static void mutate_word(struct input *in, size_t at, pare_rng *rng) {
    size_t n = 0;
    while (fuzz_words[n] != NULL)
        n++;
    if (n == 0)
        return;
    const char *word = fuzz_words[pick(rng, n)];
    if (rng_below(rng, 2))
        insert(in, at, word, strlen(word));
    else
        overwrite(in, at, word, strlen(word));
}

/* A run of digits becomes another number. */
static void mutate_number(struct input *in, size_t at, pare_rng *rng) {
    static const char *const numbers[] = {
        "0",     "1",          "-1",         "3",   "255",
        "65536", "4294967296", "2147483647", "1e9", "9223372036854775807"};
    size_t end;
    while (at < in->n_bytes && (in->data[at] < '0' || in->data[at] > '9'))
        at++;
    for (end = at; end < in->n_bytes && in->data[end] >= '0' && in->data[end] <= '9';)
        end++;
    if (end == at)
        return;
    const char *number = numbers[pick(rng, sizeof numbers / sizeof *numbers)];
    erase(in, at, end - at);
    insert(in, at, number, strlen(number));
}

static void mutate_once(struct input *in, pare_rng *rng) {
    static const uint8_t values[] = {0, 1, 0x7f, 0x80, 0xff, '"', '{', '[', ',', '\n'};
    size_t at = pick(rng, in->n_bytes);
    uint8_t chunk[32];
    if (in->n_bytes == 0)
        return;
    switch (rng_below(rng, 8)) {
    case 0:
        in->data[at] ^= (uint8_t)(1u << rng_below(rng, 8));
        break;
    case 1:
        in->data[at] = values[pick(rng, sizeof values)];
        break;
    case 2:
        in->data[at] = (uint8_t)rng_next(rng);
        break;
    case 3:
        erase(in, at, 1 + pick(rng, 16));
        break;
    case 4: { /* a piece from elsewhere */
        size_t from = pick(rng, in->n_bytes), n = 1 + pick(rng, sizeof chunk);
        if (from + n > in->n_bytes)
            n = in->n_bytes - from;
        memcpy(chunk, in->data + from, n);
        insert(in, at, chunk, n);
        break;
    }
    case 5:
        mutate_word(in, at, rng);
        break;
    case 6:
        mutate_number(in, at, rng);
        break;
    default:
        if (rng_below(rng, 8) == 0)
            in->n_bytes = at;
    }
}

/* Input i of `seed`, run in a block of exactly its size, so that a sanitizer sees any byte beyond.
 */
static void run_one(const struct input *seeds, size_t n_seeds, uint64_t seed, uint64_t i) {
    pare_rng rng;
    rng_init(&rng, seed, "fuzz", i);
    const struct input *from = &seeds[pick(&rng, n_seeds)];
    uint8_t *buffer = malloc(MAX_INPUT_BYTES);
    if (buffer == NULL)
        exit(1);
    struct input in = {buffer, from->n_bytes};
    memcpy(buffer, from->data, from->n_bytes);
    for (uint64_t k = 1 + rng_below(&rng, 4); k > 0 && i >= n_seeds; k--)
        mutate_once(&in, &rng);
    if (i >= n_seeds && rng_below(&rng, 2))
        fuzz_repair(in.data, in.n_bytes);
    uint8_t *exact = malloc(in.n_bytes + (in.n_bytes == 0));
    if (exact == NULL)
        exit(1);
    memcpy(exact, in.data, in.n_bytes);
    free(buffer);
    alarm(INPUT_SECONDS);
    LLVMFuzzerTestOneInput(exact, in.n_bytes);
    alarm(0);
    free(exact);
}

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* In a child: all inputs until the time is up. Returns how the child ended. */
static int run_child(const struct input *seeds, size_t n_seeds, uint64_t seed, double seconds,
                     volatile uint64_t *done) {
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        for (double end = now_s() + seconds; now_s() < end; (*done)++)
            run_one(seeds, n_seeds, seed, *done);
        exit(0);
    }
    if (child < 0 || waitpid(child, &status, 0) != child)
        return -1;
    return status;
}

static size_t load_seeds(struct input seeds[MAX_SEEDS]) {
    size_t n = 0;
    while (n < MAX_SEEDS && (seeds[n].data = fuzz_seed((int)n, &seeds[n].n_bytes)) != NULL)
        n++;
    for (size_t i = 0; i < n; i++)
        if (seeds[i].n_bytes > MAX_INPUT_BYTES / 2) {
            fprintf(stderr, "starting input %zu has %zu bytes, at most %d make sense\n", i,
                    seeds[i].n_bytes, MAX_INPUT_BYTES / 2);
            exit(1);
        }
    return n;
}

int main(int argc, char **argv) {
    uint64_t seed = 1;
    int64_t only = -1;
    double seconds = 3.0;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--seed") == 0)
            seed = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--only") == 0)
            only = strtoll(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--seconds") == 0)
            seconds = strtod(argv[i + 1], NULL);
    }
    struct input seeds[MAX_SEEDS];
    size_t n_seeds = load_seeds(seeds);
    volatile uint64_t *done =
        mmap(NULL, sizeof *done, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (n_seeds == 0 || done == MAP_FAILED)
        return 1;
    int status = 0;
    if (only >= 0) {
        run_one(seeds, n_seeds, seed, (uint64_t)only);
        *done = 1;
    } else {
        status = run_child(seeds, n_seeds, seed, seconds, done);
    }
    for (size_t i = 0; i < n_seeds; i++)
        free(seeds[i].data);
    if (status != 0)
        printf("FAILED: %s --seed %" PRIu64 " --only %" PRIu64 "\n", argv[0], seed, *done);
    else
        printf("%" PRIu64 " inputs of seed %" PRIu64 "\n", *done, seed);
    return status != 0;
}
