/* SPDX-License-Identifier: MIT */
#include "x86.h"

static const struct tiled_level levels[] = {
#define X86_LEVEL(NAME, ISA, NEEDS, VARIANT, VARIANT_NEEDS)                                        \
    {ISA, NEEDS, &tiled_kernels_##NAME, &tiled_kernels_##VARIANT, VARIANT_NEEDS},
#include "levels.inc"
#undef X86_LEVEL
};

const struct tiled_backend x86_levels = {
    .id = "x86",
    .n_levels = sizeof levels / sizeof *levels,
    .levels = levels,
    .cpu_features = x86_cpu_features,
    .code_offset = CODE8_OFFSET,
};

static pare_status x86_probe(const pare_host *host, pare_probe *probe) {
    (void)host;
    return tiled_probe(&x86_levels, probe);
}

static pare_status x86_create(const pare_host *host, const pare_params *params, void **instance) {
    return tiled_create_with(host, &x86_levels, x86_cpu_features(), params, instance);
}

const pare_backend x86_backend = {
    .struct_size = sizeof(pare_backend),
    .id = "x86",
    .version = "1.0.0",
    .doc = "x86-64 from SSE2 to AVX-512-VNNI, the level chosen at run time",
    .reference = "plugins/backends/README.md (arithmetic), plugins/backends/x86/README.md",
    .params = tiled_params,
    .n_params = TILED_N_PARAMS,
    .probe = x86_probe,
    .create = x86_create,
    .destroy = tiled_destroy,
    .supports = tiled_supports,
    .compile = tiled_compile,
    .executable_destroy = tiled_executable_destroy,
    .executable_info = tiled_executable_info,
    .run = tiled_run,
    .get_extension = tiled_get_extension,
};
