/* SPDX-License-Identifier: MIT */
/* The machine's own peak. Each loop keeps enough independent accumulators busy to hide the latency
 * of a multiply-accumulate, and touches no memory. */
#include "measure/machine_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <threads.h>
#include <time.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#include <sys/auxv.h>
#ifndef HWCAP_ASIMDDP
#define HWCAP_ASIMDDP (1 << 20)
#endif
#endif

/* Accumulators: at least latency times pipes, at most what stays in registers beside x, y and one
 * product. Four pipes and a latency of four are the most there is on ARM, two and five on x86. */
#if defined(__aarch64__)
enum { CHAINS = 20 };
#define EACH_CHAIN(f, ...)                                                                         \
    f(0, __VA_ARGS__) f(1, __VA_ARGS__) f(2, __VA_ARGS__) f(3, __VA_ARGS__) f(4, __VA_ARGS__)      \
        f(5, __VA_ARGS__) f(6, __VA_ARGS__) f(7, __VA_ARGS__) f(8, __VA_ARGS__) f(9, __VA_ARGS__)  \
            f(10, __VA_ARGS__) f(11, __VA_ARGS__) f(12, __VA_ARGS__) f(13, __VA_ARGS__)            \
                f(14, __VA_ARGS__) f(15, __VA_ARGS__) f(16, __VA_ARGS__) f(17, __VA_ARGS__)        \
                    f(18, __VA_ARGS__) f(19, __VA_ARGS__)
#else
enum { CHAINS = 12 };
#define EACH_CHAIN(f, ...)                                                                         \
    f(0, __VA_ARGS__) f(1, __VA_ARGS__) f(2, __VA_ARGS__) f(3, __VA_ARGS__) f(4, __VA_ARGS__)      \
        f(5, __VA_ARGS__) f(6, __VA_ARGS__) f(7, __VA_ARGS__) f(8, __VA_ARGS__) f(9, __VA_ARGS__)  \
            f(10, __VA_ARGS__) f(11, __VA_ARGS__)
#endif

static int always(void) {
    return 1;
}

/* A loop of CHAINS steps a = step(a, x, y). The empty assembly makes x look changed before each, so
 * that nothing is hoisted or merged; `reg` is the constraint of a vector register. */
#define START(k, vector, value) vector a##k = value;
#define STEP(k, step, reg)                                                                         \
    __asm__ volatile("" : "+" reg(x));                                                             \
    a##k = step(a##k, x, y);
#define KEEP(k, reg) __asm__ volatile("" : "+" reg(a##k));
#define PEAK_LOOP(name, attribute, vector, reg, value, step)                                       \
    attribute static void name(int64_t n) {                                                        \
        vector x = value, y = value;                                                               \
        EACH_CHAIN(START, vector, value)                                                           \
        for (int64_t i = 0; i < n; i++) {                                                          \
            EACH_CHAIN(STEP, step, reg)                                                            \
        }                                                                                          \
        EACH_CHAIN(KEEP, reg)                                                                      \
    }

#if defined(__x86_64__)

#define FOR(isa) __attribute__((target(isa), noinline))

/* fp32: 16, 8 and 4 lanes, one multiply-accumulate each. */
#define FMA512(a, x, y) _mm512_fmadd_ps(x, y, a)
#define FMA256(a, x, y) _mm256_fmadd_ps(x, y, a)
#define FMA128(a, x, y) _mm_add_ps(a, _mm_mul_ps(x, y))
PEAK_LOOP(fp32_avx512, FOR("avx512f"), __m512, "v", _mm512_set1_ps(0.5f), FMA512)
PEAK_LOOP(fp32_avx2, FOR("avx2,fma"), __m256, "x", _mm256_set1_ps(0.5f), FMA256)
PEAK_LOOP(fp32_sse2, FOR("sse2"), __m128, "x", _mm_set1_ps(0.5f), FMA128)

/* int8: VNNI sums four products per lane; without it two, of values widened to int16 (vpmaddubsw
 * saturates and so is no multiply-accumulate). */
#define VNNI512(a, x, y) _mm512_dpbusd_epi32(a, x, y)
#define VNNI256(a, x, y) _mm256_dpbusd_avx_epi32(a, x, y)
#define MADD512(a, x, y) _mm512_add_epi32(a, _mm512_madd_epi16(x, y))
#define MADD256(a, x, y) _mm256_add_epi32(a, _mm256_madd_epi16(x, y))
#define MADD128(a, x, y) _mm_add_epi32(a, _mm_madd_epi16(x, y))
PEAK_LOOP(int8_avx512_vnni, FOR("avx512f,avx512vnni"), __m512i, "v", _mm512_set1_epi32(3), VNNI512)
PEAK_LOOP(int8_avx_vnni, FOR("avx2,avxvnni"), __m256i, "x", _mm256_set1_epi32(3), VNNI256)
PEAK_LOOP(int8_avx512bw, FOR("avx512f,avx512bw"), __m512i, "v", _mm512_set1_epi32(3), MADD512)
PEAK_LOOP(int8_avx2, FOR("avx2"), __m256i, "x", _mm256_set1_epi32(3), MADD256)
PEAK_LOOP(int8_sse2, FOR("sse2"), __m128i, "x", _mm_set1_epi32(3), MADD128)

/* The compiler's check covers the operating system's saving of registers (XGETBV). */
static int has_avx512f(void) {
    return __builtin_cpu_supports("avx512f");
}

static int has_avx512_vnni(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vnni");
}

static int has_avx512bw(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");
}

static int has_avx2(void) {
    return __builtin_cpu_supports("avx2");
}

static int has_avx2_fma(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

/* Too new for the compilers' own check: leaf 7, subleaf 1; AVX2's check covers the registers. */
static int has_avx_vnni(void) {
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (!has_avx2() || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || a < 1)
        return 0;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
}

static const struct peak_kernel kernels[] = {
    {"avx512f", 0, has_avx512f, fp32_avx512, 16},
    {"avx2-fma", 0, has_avx2_fma, fp32_avx2, 8},
    {"sse2", 0, always, fp32_sse2, 4},
    {"avx512vnni", 1, has_avx512_vnni, int8_avx512_vnni, 64},
    {"avxvnni", 1, has_avx_vnni, int8_avx_vnni, 32},
    {"avx512bw", 1, has_avx512bw, int8_avx512bw, 32},
    {"avx2", 1, has_avx2, int8_avx2, 16},
    {"sse2", 1, always, int8_sse2, 8},
};

void peak_isa_text(char *text, size_t size) {
    const struct {
        const char *name;
        int has;
    } features[] = {
        {"sse4.2", __builtin_cpu_supports("sse4.2") != 0},
        {"avx", __builtin_cpu_supports("avx") != 0},
        {"avx2", has_avx2()},
        {"fma", __builtin_cpu_supports("fma") != 0},
        {"avxvnni", has_avx_vnni()},
        {"avx512f", has_avx512f()},
        {"avx512bw", has_avx512bw()},
        {"avx512vl", __builtin_cpu_supports("avx512vl") != 0},
        {"avx512vnni", has_avx512_vnni()},
    };
    size_t used = (size_t)snprintf(text, size, "sse2");
    for (size_t i = 0; i < sizeof features / sizeof *features; i++) {
        if (features[i].has && used < size)
            used += (size_t)snprintf(text + used, size - used, " %s", features[i].name);
    }
}

#elif defined(__aarch64__)

#define FOR_NEON __attribute__((noinline))
#define FMA128(a, x, y) vfmaq_f32(a, x, y)
PEAK_LOOP(fp32_neon, FOR_NEON, float32x4_t, "w", vdupq_n_f32(0.5f), FMA128)

/* Clang 14 has the intrinsic only in files built for ARMv8.2; there, by assembly. */
#if defined(__clang__)
#define FOR_DOTPROD __attribute__((target("dotprod"), noinline))
__attribute__((target("dotprod"), always_inline)) static inline int32x4_t
sdot(int32x4_t a, int32x4_t x, int32x4_t y) {
    __asm__("sdot %0.4s, %1.16b, %2.16b" : "+w"(a) : "w"(x), "w"(y));
    return a;
}
#else
#define FOR_DOTPROD __attribute__((target("arch=armv8.2-a+dotprod"), noinline))
#define sdot(a, x, y) vdotq_s32(a, vreinterpretq_s8_s32(x), vreinterpretq_s8_s32(y))
#endif
PEAK_LOOP(int8_dotprod, FOR_DOTPROD, int32x4_t, "w", vdupq_n_s32(3), sdot)

/* 16 products in three steps: two halves into int16 (two products of codes in [-127,127] fit), then
 * pairs into int32. */
static inline int32x4_t mull_padal(int32x4_t a, int32x4_t x, int32x4_t y) {
    int8x16_t u = vreinterpretq_s8_s32(x), v = vreinterpretq_s8_s32(y);
    int16x8_t products = vmull_s8(vget_low_s8(u), vget_low_s8(v));
    return vpadalq_s16(a, vmlal_high_s8(products, u, v));
}
PEAK_LOOP(int8_neon, FOR_NEON, int32x4_t, "w", vdupq_n_s32(3), mull_padal)

static int has_dotprod(void) {
    return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
}

static const struct peak_kernel kernels[] = {
    {"neon", 0, always, fp32_neon, 4},
    {"neon-dotprod", 1, has_dotprod, int8_dotprod, 16},
    {"neon", 1, always, int8_neon, 16},
};

void peak_isa_text(char *text, size_t size) {
    static const struct {
        const char *name;
        unsigned long type;
        int bit;
    } features[] = {{"fp16", AT_HWCAP, 10},
                    {"dotprod", AT_HWCAP, 20},
                    {"sve", AT_HWCAP, 22},
                    {"i8mm", AT_HWCAP2, 13},
                    {"bf16", AT_HWCAP2, 14}};
    size_t used = (size_t)snprintf(text, size, "neon");
    for (size_t i = 0; i < sizeof features / sizeof *features; i++) {
        if ((getauxval(features[i].type) >> features[i].bit & 1) && used < size)
            used += (size_t)snprintf(text + used, size - used, " %s", features[i].name);
    }
}

#else

/* Any other machine: what the compiler makes of plain C. */
#define PLAIN(a, x, y) ((a) + (x) * (y))
#define NOINLINE __attribute__((noinline))
PEAK_LOOP(fp32_plain, NOINLINE, float, "m", 0.5f, PLAIN)
PEAK_LOOP(int8_plain, NOINLINE, uint32_t, "r", 3, PLAIN)

static const struct peak_kernel kernels[] = {
    {"portable", 0, always, fp32_plain, 1},
    {"portable", 1, always, int8_plain, 1},
};

void peak_isa_text(char *text, size_t size) {
    snprintf(text, size, "portable");
}

#endif

const struct peak_kernel *peak_kernels(size_t *n) {
    *n = sizeof kernels / sizeof *kernels;
    return kernels;
}

const struct peak_kernel *peak_best(int integer) {
    size_t k = 0;
    while (kernels[k].integer != integer || !kernels[k].supported())
        k++;
    return &kernels[k]; /* there is one that is always supported */
}

/* Processor time, so that other processes do not count. */
static int64_t thread_time_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int64_t time_loop(const struct peak_kernel *kernel, int64_t n) {
    int64_t start_ns = thread_time_ns();
    kernel->loop(n);
    return thread_time_ns() - start_ns;
}

double peak_measure(const struct peak_kernel *kernel, int64_t run_ns, int runs) {
    int64_t n = 1024, took_ns, best_ns;
    while ((took_ns = time_loop(kernel, n)) < run_ns && n < INT64_C(1) << 40)
        n *= 2;
    best_ns = took_ns;
    for (int r = 1; r < runs; r++) {
        took_ns = time_loop(kernel, n);
        best_ns = took_ns < best_ns ? took_ns : best_ns;
    }
    return best_ns > 0 ? kernel->macs_per_step * CHAINS * (double)n / ((double)best_ns * 1e-9)
                       : NAN;
}

static struct {
    once_flag once[2];
    double macs_per_s[2];
} peak = {.once = {ONCE_FLAG_INIT, ONCE_FLAG_INIT}};

static void measure_fp32(void) {
    peak.macs_per_s[0] = peak_measure(peak_best(0), 5000000, 6);
}

static void measure_int8(void) {
    peak.macs_per_s[1] = peak_measure(peak_best(1), 5000000, 6);
}

double machine_peak_macs(int integer) {
    call_once(&peak.once[integer != 0], integer ? measure_int8 : measure_fp32);
    return peak.macs_per_s[integer != 0];
}
