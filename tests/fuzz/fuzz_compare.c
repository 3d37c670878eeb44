/* SPDX-License-Identifier: MIT */
/* Two files of records, split at a line of "==": compared, or refused in one line. */
#include "fuzz.h"

#include "compare/compare.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

const char *const fuzz_words[] = {"schema_version", "\n==\n", ",ok,",        "nan",
                                  "1e308",          "-1",     "\n1,a,",      ",,,",
                                  "ratio",          "\"\"\n", "ratio_ci_lo", NULL};

static int in_memory(const uint8_t *data, size_t n_bytes, char path[32]) {
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, n_bytes) != (ssize_t)n_bytes)
        abort();
    snprintf(path, 32, "/proc/self/fd/%d", fd);
    return fd;
}

static void check(const struct comparison *cmp) {
    size_t n = 0, n_failing = 0;
    for (size_t k = 0; k < cmp->n_arms; k++)
        n_failing += (size_t)cmp->arms[k].fails_gate;
    for (int v = 0; v < N_VERDICTS; v++)
        n += cmp->n_of[v];
    if (n != cmp->n_arms || n_failing != cmp->n_failing_gate)
        abort();
    for (size_t k = 0; k < cmp->n_arms; k++)
        for (int q = 0; q < N_QUANTITIES; q++) {
            const struct change *c = &cmp->arms[k].changes[q];
            char text[64];
            compare_describe(&cmp->arms[k], (enum quantity)q, text);
            if (c->is_compared && !isnan(c->lo) && !(c->lo <= c->value && c->value <= c->hi))
                abort();
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
    const uint8_t *middle = n_bytes ? memmem(data, n_bytes, "\n==\n", 4) : NULL;
    size_t n_base = middle ? (size_t)(middle - data) + 1 : n_bytes;
    size_t from = middle ? n_base + 3 : 0; /* without a middle: with itself */
    struct compare_options options;
    struct comparison *cmp = NULL;
    struct error err = {0};
    char base[32], new[32];
    int fds[] = {in_memory(data, n_base, base), in_memory(data + from, n_bytes - from, new)};
    compare_default_options(&options);
    options.across_machines = n_bytes % 2 == 0;
    if (compare_files(base, new, &options, &err, &cmp) == PARE_OK)
        check(cmp);
    else if (!err.text[0] || strchr(err.text, '\n'))
        abort();
    compare_destroy(cmp);
    close(fds[0]);
    close(fds[1]);
    return 0;
}

void fuzz_repair(uint8_t *data, size_t n_bytes) {
    (void)data, (void)n_bytes;
}

#define HEADER                                                                                     \
    "schema_version,arm_id,status,host,top1,n_samples,median_ns,median_ci_lo_ns,median_ci_hi_ns,"  \
    "ratio,ratio_ci_lo,ratio_ci_hi,ratio_arm_id,flips_lost,flips_won,top1_baseline,base_sha256,"   \
    "bytes_file\n"

uint8_t *fuzz_seed(int i, size_t *n_bytes) {
    static const char *const texts[] = {
        HEADER
        "1,a,ok,h,0.9,100,5,4,6,0.5,0.4,0.6,b,1,2,0.9,s,10\n1,b,ok,h,0.9,100,5,4,6,,,,,,,,s,9\n"
        "==\n" HEADER "1,b,ok,h,0.9,100,6,5,7,,,,,,,,s,9\n"
        "1,a,ok,h,0.7,100,5,4,6,0.8,0.7,0.9,b,9,2,0.9,s,20\n",
        HEADER
        "1,a,ok,h,nan,100,5,,,,,,,,,,,\n1,a,failed,h,,,,,,,,,,,,,,\n1,a,ok,g,0.5,9,,,,,,,,,,,,1\n",
    };
    if (i >= (int)(sizeof texts / sizeof *texts))
        return NULL;
    *n_bytes = strlen(texts[i]);
    uint8_t *data = malloc(*n_bytes);
    if (!data)
        abort();
    memcpy(data, texts[i], *n_bytes);
    return data;
}
