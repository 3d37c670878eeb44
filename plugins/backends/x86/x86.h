/* SPDX-License-Identifier: MIT */
/* The x86-64 backend: one set of kernels per level of the instruction set, chosen when the model is
 * compiled. README.md says what each level does. */
#ifndef BACKENDS_X86_X86_H
#define BACKENDS_X86_X86_H

#include "tiled.h"

extern const pare_backend x86_backend;
extern const struct tiled_backend x86_levels;

#define X86_HAS_AVX2 1u /* with FMA */
#define X86_HAS_AVX_VNNI 2u
#define X86_HAS_AVX512 4u /* F, BW, DQ, VL */
#define X86_HAS_AVX512_VNNI 8u
#define X86_HAS_AVX512_VPOPCNTDQ 16u

/* A set of X86_HAS_*, by CPUID and XGETBV. [any] */
uint32_t x86_cpu_features(void);

/* Codes are stored as code + 128, because the dot product instructions multiply unsigned by signed
 * bytes. */
#define CODE8 uint8_t
#define CODE8_OFFSET 128

#define X86_LEVEL(NAME, ISA, NEEDS, VARIANT, VARIANT_NEEDS)                                        \
    extern const struct tiled_kernels tiled_kernels_##NAME, tiled_kernels_##VARIANT;
#include "levels.inc"
#undef X86_LEVEL
extern const struct tiled_planes_kernels tiled_planes_avx2, tiled_planes_avx512;

#endif
