/* SPDX-License-Identifier: MIT */
/* Compiled for AVX512 (see CMakeLists.txt); empty on other processors. */
#if defined(__x86_64__)
#define KERNEL_NAME "avx512"
#define KERNEL_TABLE kernels_avx512
#define VW 16
#define ROWS1 16
#define ROWS2 12
#define ROWS3 8
#include "kernel_body.inc"
#else
typedef int kernel_avx512_is_for_x86;
#endif
