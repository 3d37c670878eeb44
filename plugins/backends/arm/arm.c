/* SPDX-License-Identifier: MIT */
#include "arm.h"

#include <asm/hwcap.h>
#include <sys/auxv.h>

uint32_t arm_cpu_features(void) {
    uint32_t features = getauxval(AT_HWCAP) & HWCAP_ASIMDDP ? ARM_HAS_DOTPROD : 0u;
    return features | (getauxval(AT_HWCAP2) & HWCAP2_I8MM ? ARM_HAS_I8MM : 0u);
}

static const struct tiled_level levels[] = {
#define ARM_LEVEL(NAME, ISA, NEEDS) {ISA, NEEDS, &tiled_kernels_##NAME},
#include "levels.inc"
#undef ARM_LEVEL
};

const struct tiled_backend arm_levels = {
    .id = "arm",
    .n_levels = sizeof levels / sizeof *levels,
    .levels = levels,
    .cpu_features = arm_cpu_features,
    .code_offset = CODE8_OFFSET,
};

static pare_status arm_probe(const pare_host *host, pare_probe *probe) {
    (void)host;
    return tiled_probe(&arm_levels, probe);
}

static pare_status arm_create(const pare_host *host, const pare_params *params, void **instance) {
    return tiled_create_with(host, &arm_levels, arm_cpu_features(), params, instance);
}

const pare_backend arm_backend = {
    .struct_size = sizeof(pare_backend),
    .id = "arm",
    .version = "1.0.0",
    .doc = "AArch64: NEON, dot products and matrix products of int8, the level chosen at run time",
    .reference = "plugins/backends/README.md (arithmetic), plugins/backends/arm/README.md",
    .params = tiled_params,
    .n_params = TILED_N_PARAMS,
    .probe = arm_probe,
    .create = arm_create,
    .destroy = tiled_destroy,
    .supports = tiled_supports,
    .compile = tiled_compile,
    .executable_destroy = tiled_executable_destroy,
    .executable_info = tiled_executable_info,
    .run = tiled_run,
    .get_extension = tiled_get_extension,
};
