/* SPDX-License-Identifier: MIT */
/* What machine this is and what state it is in. */
#ifndef MEASURE_MACHINE_H
#define MEASURE_MACHINE_H

#include "core/topology.h"

#include <stdint.h>

struct machine {
    char host[64];
    char cpu[128];           /* model name */
    char arch[16];           /* "x86_64" */
    char os[128];            /* "Debian GNU/Linux 12 (bookworm), Linux 6.1" */
    char compiler[64];       /* that built pare */
    char flags[256];         /* build type and flags */
    char git_commit[48];     /* of the build; "" when unknown; "-dirty" appended */
    int32_t cores;           /* physical ones that this process may use */
    char governor[32];       /* "" when not readable */
    char boost[8];           /* may the processor exceed its base frequency: "on", "off", "" */
    char virtualization[32]; /* "kvm", "container", "kvm+container", "qemu-user",
                                "user-mode emulator" (not known which)..., "none" */
    char isa[256];           /* features that matter: "sse4.2 avx2 fma avx512f avx512vnni" */
    char topology[192];
};
/* `topo` may be NULL: then `cores` counts processors online and `topology` is "". */
void machine_describe(const struct topology *topo, struct machine *out);

/* State that changes: read before and after a block. */
struct machine_state {
    int64_t freq_khz;     /* of this thread's core; 0: not readable, as in most virtual machines */
    double load;          /* 1-minute average; < 0: not readable */
    int64_t steal_ticks;  /* since boot, all processors, of 1/100 s; -1: not readable */
    double temperature_c; /* NaN: not readable */
};
void machine_read_state(struct machine_state *out);

/* The core's own peak, by a register-only loop on the widest ISA available: multiply-accumulates
 * per second of processor time of the calling thread's core, with the int8 products summed in
 * int32. About 50 ms each; measured once per process. */
double machine_peak_macs(int integer /* 0: fp32, 1: int8 */);

/* Version of pare, "0.1.0". */
const char *pare_version(void);

#endif
