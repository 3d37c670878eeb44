/* SPDX-License-Identifier: MIT */
/* Random numbers that are the same on every machine: integer arithmetic only, one independent
 * stream per (seed, name, index). xoshiro256** seeded through splitmix64 (Blackman & Vigna 2018,
 * arXiv 1805.01407). */
#ifndef CORE_RNG_H
#define CORE_RNG_H

#include <pare/plugin.h>
#include <stdint.h>

/* The generator of stream `name`, number `index`, of `seed`: rng_init(&r, seed, "augment", step).
 */
void rng_init(pare_rng *rng, uint64_t seed, const char *name, uint64_t index);
uint64_t rng_next(pare_rng *rng);

/* Uniform in [0, n), without bias; n > 0 (Lemire 2019). */
uint64_t rng_below(pare_rng *rng, uint64_t n);

/* Uniform in [0, 1), 53 (24) random bits. */
double rng_double(pare_rng *rng);
float rng_float(pare_rng *rng);

/* Fisher-Yates over (n) indices. */
void rng_shuffle(pare_rng *rng, uint32_t *items, uint32_t n);

/* Stable 64-bit hash of bytes (FNV-1a, then a finalizer), for ids and partitions. */
uint64_t hash_bytes(const void *data, size_t n_bytes, uint64_t seed);

#endif
