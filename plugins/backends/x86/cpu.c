/* SPDX-License-Identifier: MIT */
#include "x86.h"

#include <cpuid.h>
#include <immintrin.h>

#define XCR0_YMM 0x6u  /* SSE and AVX state */
#define XCR0_ZMM 0xe6u /* and opmask, upper ZMM, ZMM16..31 */

__attribute__((target("xsave"))) static uint64_t read_xcr0(void) {
    return (uint64_t)_xgetbv(0);
}

static int has_all(uint32_t reg, uint32_t bits) {
    return (reg & bits) == bits;
}

uint32_t x86_cpu_features(void) {
    uint32_t a;
    uint32_t b;
    uint32_t c;
    uint32_t d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !has_all(c, bit_OSXSAVE | bit_AVX | bit_FMA)) {
        return 0;
    }
    uint64_t xcr0 = read_xcr0();
    if ((xcr0 & XCR0_YMM) != XCR0_YMM || !__get_cpuid_count(7, 0, &a, &b, &c, &d) ||
        !has_all(b, bit_AVX2)) {
        return 0;
    }
    uint32_t n_subleaves = a;
    uint32_t features = X86_HAS_AVX2;
    if ((xcr0 & XCR0_ZMM) == XCR0_ZMM &&
        has_all(b, bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL)) {
        features |= X86_HAS_AVX512;
        features |= has_all(c, bit_AVX512VNNI) ? X86_HAS_AVX512_VNNI : 0u;
        features |= has_all(c, bit_AVX512VPOPCNTDQ) ? X86_HAS_AVX512_VPOPCNTDQ : 0u;
    }
    if (n_subleaves >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && has_all(a, 1u << 4)) {
        features |= X86_HAS_AVX_VNNI;
    }
    return features;
}
