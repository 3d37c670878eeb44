/* SPDX-License-Identifier: MIT */
#include "core/rounding.h"

#if defined(__x86_64__)
#include <xmmintrin.h>

enum { FLAGS = 0x3f }; /* of MXCSR: exceptions that have occurred */

/* MXCSR, and above it the control word of the x87, on which long double is computed. */
uint32_t rounding_mode(void) {
    uint16_t x87;
    __asm__ volatile("fnstcw %0" : "=m"(x87));
    return (_mm_getcsr() & 0xffffu & ~(uint32_t)FLAGS) | (uint32_t)x87 << 16;
}

void rounding_restore(uint32_t mode) {
    uint16_t x87 = (uint16_t)(mode >> 16);
    __asm__ volatile("fldcw %0" : : "m"(x87));
    _mm_setcsr(mode & 0xffffu);
}

#elif defined(__aarch64__)

uint32_t rounding_mode(void) {
    uint64_t fpcr; /* without flags: those are in FPSR */
    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    return (uint32_t)fpcr;
}

void rounding_restore(uint32_t mode) {
    uint64_t fpcr = mode;
    __asm__ volatile("msr fpcr, %0" : : "r"(fpcr));
}

#else
#include <fenv.h>

uint32_t rounding_mode(void) {
    return (uint32_t)fegetround();
}

void rounding_restore(uint32_t mode) {
    fesetround((int)mode);
}

#endif
