/* SPDX-License-Identifier: MIT */
#include "show.h"

#include <string.h>

pare_status show_begin(struct show *show, const pare_host *host, const struct lower_plan *plan,
                       int32_t n, int32_t code_offset) {
    size_t bytes = (size_t)plan->n_values * sizeof *show->values;
    *show = (struct show){host, plan, n, code_offset, host->alloc(host, bytes)};
    if (show->values == NULL) {
        return host->fail(host, PARE_E_NOMEM, "out of memory to show %d values", plan->n_values);
    }
    memset(show->values, 0, bytes);
    return PARE_OK;
}

void show_end(struct show *show) {
    for (int32_t v = 0; v < show->plan->n_values; v++) {
        show->host->free(show->host, show->values[v]);
    }
    show->host->free(show->host, show->values);
}

static pare_status make_room(struct show *show, int32_t v) {
    const struct lower_value *value = &show->plan->values[v];
    size_t size = value->rep == LOWER_F32 ? sizeof(float) : sizeof(int16_t);
    size_t n = (size_t)show->n_samples * (size_t)value->n_elems;
    show->values[v] = show->host->alloc(show->host, n * size);
    return show->values[v] != NULL
               ? PARE_OK
               : show->host->fail(show->host, PARE_E_NOMEM,
                                  "out of memory to show a value of %d images", show->n_samples);
}

pare_status show_gather(struct show *show, int32_t v, int64_t at, int64_t n, const void *from) {
    const struct lower_value *value = &show->plan->values[v];
    if (!value->is_stored) {
        return PARE_OK;
    }
    pare_status status = show->values[v] != NULL ? PARE_OK : make_room(show, v);
    if (status != PARE_OK) {
        return status;
    }
    if (value->rep == LOWER_F32) {
        memcpy((float *)show->values[v] + at, from, (size_t)n * sizeof(float));
        return PARE_OK;
    }
    int16_t *codes = (int16_t *)show->values[v] + at;
    for (int64_t k = 0; k < n; k++) {
        codes[k] = value->rep == LOWER_I8
                       ? (int16_t)(int8_t)(uint8_t)(((const uint8_t *)from)[k] - show->code_offset)
                       : ((const int16_t *)from)[k];
    }
    return PARE_OK;
}

pare_status show_hand_over(struct show *show, int32_t v, pare_observer observer, void *context) {
    const struct lower_value *value = &show->plan->values[v];
    void *all = show->values[v];
    if (all == NULL) {
        return PARE_OK;
    }
    int is_float = value->rep == LOWER_F32;
    pare_status status = observer(context, value->node, is_float ? all : NULL,
                                  is_float ? NULL : all, value->n_elems * show->n_samples);
    show->host->free(show->host, all);
    show->values[v] = NULL;
    return status;
}
