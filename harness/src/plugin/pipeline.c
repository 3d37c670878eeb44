/* SPDX-License-Identifier: MIT */
#include "plugin/registry.h"

#include <string.h>

struct aspect {
    uint32_t bit;
    const char *name;   /* as part of "would undo the ... of" */
    uint32_t undone_by; /* writes that undo it, unless it is preserved */
};

/* In the order of pipeline_state.by. */
static const struct aspect aspects[PIPELINE_N_ASPECTS] = {
    {PARE_MASK, "mask", PARE_MASK | PARE_WEIGHTS | PARE_TOPOLOGY},
    {PARE_WEIGHT_QUANT, "weight quantization", PARE_WEIGHT_QUANT | PARE_WEIGHTS | PARE_TOPOLOGY},
    {PARE_ACTIVATION_QUANT, "activation quantization", PARE_ACTIVATION_QUANT | PARE_TOPOLOGY},
    {PARE_TOPOLOGY, "changed topology", PARE_TOPOLOGY},
};

static int undoes(const pare_method *method, const struct aspect *aspect) {
    return (method->writes & aspect->undone_by) && !(method->preserves & aspect->bit);
}

/* Could `second` come after `first`? */
static int works_after(const pare_method *first, const pare_method *second) {
    for (int k = 0; k < PIPELINE_N_ASPECTS; k++) {
        if ((first->writes & aspects[k].bit) && undoes(second, &aspects[k])) {
            return 0;
        }
    }
    return 1;
}

/* What the method writes that does the damage; the aspect itself first. */
static const char *written_name(const pare_method *method, const struct aspect *aspect) {
    uint32_t writes = method->writes & aspect->undone_by;
    if (writes & aspect->bit) {
        return aspect->bit == PARE_MASK       ? "a mask"
               : aspect->bit == PARE_TOPOLOGY ? "topology"
                                              : aspect->name;
    }
    return writes & PARE_WEIGHTS ? "weights" : "topology";
}

pare_status pipeline_admit(struct pipeline_state *state, const pare_method *method,
                           struct error *err) {
    for (int k = 0; k < PIPELINE_N_ASPECTS; k++) {
        if (!(state->established & aspects[k].bit) || !undoes(method, &aspects[k])) {
            continue;
        }
        const pare_method *by = state->by[k];
        const char *written = written_name(method, &aspects[k]);
        if (works_after(method, by)) {
            return error_set(
                err, PARE_E_STATE,
                "%s writes %s, which would undo the %s of step \"%s\": put \"%s\" before "
                "\"%s\"",
                method->id, written, aspects[k].name, by->id, method->id, by->id);
        }
        return error_set(err, PARE_E_STATE,
                         "%s writes %s, which would undo the %s of step \"%s\", and neither order "
                         "works: use only one of them",
                         method->id, written, aspects[k].name, by->id);
    }
    for (int k = 0; k < PIPELINE_N_ASPECTS; k++) {
        if (method->writes & aspects[k].bit) {
            state->established |= aspects[k].bit;
            state->by[k] = method;
        }
    }
    return PARE_OK;
}
