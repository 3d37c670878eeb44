/* SPDX-License-Identifier: MIT */
#include "core/rng.h"

#include <string.h>

static uint64_t splitmix64(uint64_t *state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t hash_bytes(const void *data, size_t n_bytes, uint64_t seed) {
    const uint8_t *bytes = data;
    uint64_t h = 0xcbf29ce484222325u ^ seed;
    for (size_t i = 0; i < n_bytes; i++)
        h = (h ^ bytes[i]) * 0x100000001b3u;
    return splitmix64(&h); /* FNV-1a mixes its last bytes poorly */
}

void rng_init(pare_rng *rng, uint64_t seed, const char *name, uint64_t index) {
    uint64_t state = hash_bytes(name, strlen(name), seed);
    state = splitmix64(&state) ^ (index * 0xd1342543de82ef95u);
    for (int i = 0; i < 4; i++)
        rng->s[i] = splitmix64(&state);
}

static uint64_t rotl(uint64_t x, int k) {
    return (x << k) | (x >> (64 - k));
}

uint64_t rng_next(pare_rng *rng) {
    uint64_t *s = rng->s;
    uint64_t result = rotl(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

uint64_t rng_below(pare_rng *rng, uint64_t n) {
    __extension__ typedef unsigned __int128 u128;
    u128 m = (u128)rng_next(rng) * n;
    if ((uint64_t)m < n) {
        uint64_t threshold = -n % n;
        while ((uint64_t)m < threshold)
            m = (u128)rng_next(rng) * n;
    }
    return (uint64_t)(m >> 64);
}

double rng_double(pare_rng *rng) {
    return (double)(rng_next(rng) >> 11) * 0x1p-53;
}

float rng_float(pare_rng *rng) {
    return (float)(rng_next(rng) >> 40) * 0x1p-24f;
}

void rng_shuffle(pare_rng *rng, uint32_t *items, uint32_t n) {
    for (uint32_t i = n; i > 1; i--) {
        uint32_t j = (uint32_t)rng_below(rng, i);
        uint32_t t = items[i - 1];
        items[i - 1] = items[j];
        items[j] = t;
    }
}
