/* SPDX-License-Identifier: MIT */
/* Energy of the processor's packages: all cores, idle ones and other processes included. */
#ifndef MEASURE_ENERGY_H
#define MEASURE_ENERGY_H

#include <stddef.h>
#include <stdint.h>

struct energy; /* a meter, opened */

/* By PAPI's component rapl, else powercap, else the files of /sys/class/powercap. NULL where there
 * is none of them, or none may be read: `why` then says so of each. [main] */
struct energy *energy_open(char *why, size_t why_size);
void energy_close(struct energy *meter); /* NULL is fine */

/* "PAPI rapl", "PAPI powercap" or "sysfs powercap", and how many packages it sums. */
const char *energy_method(const struct energy *meter);

/* 1, or 0 and why. energy_stop gives microjoules since the start; a meter that did not move is an
 * error: some virtual machines have one. The meters tick about once a millisecond, so measure a
 * tenth of a second or more. */
int energy_start(struct energy *meter, char *why, size_t why_size);
int energy_stop(struct energy *meter, int64_t *microjoules, char *why, size_t why_size);

#endif
