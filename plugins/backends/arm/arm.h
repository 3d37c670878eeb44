/* SPDX-License-Identifier: MIT */
/* The AArch64 backend: one set of kernels per level of the instruction set, chosen when the model
 * is compiled. README.md says what each level does. */
#ifndef BACKENDS_ARM_ARM_H
#define BACKENDS_ARM_ARM_H

#include "tiled.h"

extern const pare_backend arm_backend;
extern const struct tiled_backend arm_levels;

#define ARM_HAS_DOTPROD 1u
#define ARM_HAS_I8MM 2u

/* A set of ARM_HAS_*, by what the system says that a program may use. [any] */
uint32_t arm_cpu_features(void);

/* Codes are stored as they are. */
#define CODE8 int8_t
#define CODE8_OFFSET 0

#define ARM_LEVEL(NAME, ISA, NEEDS) extern const struct tiled_kernels tiled_kernels_##NAME;
#include "levels.inc"
#undef ARM_LEVEL

#endif
