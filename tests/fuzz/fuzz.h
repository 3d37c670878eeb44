/* SPDX-License-Identifier: MIT */
/* What a fuzz target gives to the driver. */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Returns 0; aborts where something that must hold does not. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

/* Valid input number `index` to start from, freed by the caller; NULL when there are no more. */
uint8_t *fuzz_seed(int index, size_t *n_bytes);

/* Words worth inserting, NULL-terminated. */
extern const char *const fuzz_words[];

/* Makes a damaged input plausible again (a length, a checksum), so that damage behind it is
 * reached. Called for half of the inputs. */
void fuzz_repair(uint8_t *data, size_t n_bytes);

#endif
