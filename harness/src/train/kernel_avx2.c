/* SPDX-License-Identifier: MIT */
/* Compiled for AVX2 (see CMakeLists.txt); empty on other processors. */
#if defined(__x86_64__)
#define KERNEL_NAME "avx2"
#define KERNEL_TABLE kernels_avx2
#define VW 8
#define ROWS1 8
#define ROWS2 6
#define ROWS3 4
#include "kernel_body.inc"
#else
typedef int kernel_avx2_is_for_x86;
#endif
