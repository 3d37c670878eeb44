/* SPDX-License-Identifier: MIT */
#include "round.h"

#include <math.h>

enum { STRIP = 4 }; /* channels of one call, which share scratch memory */

struct strips {
    const struct rounding *rounding;
    double *work; /* (strips, n): a channel's weights, in order */
};

static int16_t code_of(const struct rounding *r, int64_t at, int64_t row, double w) {
    if (r->mask && !r->mask[at]) {
        return 0;
    }
    const double code = rint(w / (double)r->scale[row]);
    return (int16_t)fmin(fmax(code, -(double)r->qmax), (double)r->qmax);
}

static void round_channel(const struct rounding *r, int64_t row, double *work) {
    const int64_t n = r->n;
    for (int64_t t = 0; t < n; t++) {
        work[t] = (double)r->w[row * n + r->order[t]];
    }
    for (int64_t t = 0; t < n; t++) {
        const int64_t at = row * n + r->order[t];
        const int16_t code = code_of(r, at, row, work[t]);
        r->codes[at] = code;
        if (r->u) {
            const double *u = r->u + t * n;
            const double error = (work[t] - (double)r->scale[row] * code) / u[t];
            for (int64_t s = t + 1; s < n; s++) {
                work[s] -= error * u[s];
            }
        }
    }
}

static void round_strip(void *arg, int64_t strip) {
    const struct strips *s = arg;
    for (int64_t k = 0; k < STRIP && strip * STRIP + k < s->rounding->n_rows; k++) {
        round_channel(s->rounding, strip * STRIP + k, s->work + strip * s->rounding->n);
    }
}

pare_status round_channels(const pare_host *host, const struct rounding *rounding) {
    const int64_t n_strips = (rounding->n_rows + STRIP - 1) / STRIP;
    struct strips strips = {rounding,
                            host->alloc(host, (size_t)(n_strips * rounding->n) * sizeof(double))};
    if (!strips.work) {
        return host->fail(host, PARE_E_NOMEM, "no memory to round %lld weights of a channel",
                          (long long)rounding->n);
    }
    host->parallel_for(host, n_strips, round_strip, &strips);
    host->free(host, strips.work);
    return PARE_OK;
}
