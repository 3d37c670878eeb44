/* SPDX-License-Identifier: MIT */
#include "measure/counters_internal.h"
#include "measure/energy.h"

#include <stdio.h>
#include <string.h>

static int probe_component(const struct papi_api *papi, const struct counters_support *support,
                           const char *name, char why[256]) {
    if (!support->papi_library) {
        snprintf(why, 256, "%s", support->why[0]);
        return 0;
    }
    return papi->component(papi->context, name, why, 256);
}

void counters_probe_by(const struct papi_api *papi, struct counters_support *support) {
    struct soft_counter soft;
    memset(support, 0, sizeof *support);
    support->papi_library =
        papi_start(papi, support->papi_version, support->why[0], sizeof support->why[0]);
    support->papi_hardware = probe_component(papi, support, PAPI_CPU_COMPONENT, support->why[1]);
    support->papi_sde = probe_component(papi, support, "sde", support->why[2]);
    support->software_events =
        soft_open(&soft, SOFT_MIGRATIONS, 1, support->why[3], sizeof support->why[3]);
    soft_close(&soft);
    struct energy *meter = energy_open_by(papi, "", support->why[4], sizeof support->why[4]);
    support->energy = meter != NULL;
    if (meter != NULL)
        snprintf(support->energy_method, sizeof support->energy_method, "%s", energy_method(meter));
    energy_close(meter);
}

void counters_probe(struct counters_support *support) {
    counters_probe_by(papi_real(), support);
}
