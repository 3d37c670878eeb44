/* SPDX-License-Identifier: MIT */
/* For the processor's baseline: SSE2, NEON, or whatever the compiler makes of 4-float vectors. */
#define KERNEL_NAME "base"
#define KERNEL_TABLE kernels_base
#define VW 4
#if defined(__aarch64__) /* 32 vector registers */
#define ROWS1 16
#define ROWS2 12
#define ROWS3 8
#else /* 16, and no operand from memory with a broadcast */
#define ROWS1 8
#define ROWS2 6
#define ROWS3 4
#endif
#include "kernel_body.inc"
