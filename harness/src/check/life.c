/* SPDX-License-Identifier: MIT */
#include "check/life_stages.h"

#include "core/alloc.h"
#include "core/rng.h"
#include "train/network.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_PASSES = 1000 };

pare_status life_status(struct living *living, pare_status status, const char *call,
                        struct error *err) {
    struct watch *w = living->watch;
    note_leave(living->life->note);
    if (status != PARE_OK)
        living->life->is_told = w->told == status;
    w->told = PARE_OK;
    return instance_status(w->inst, status, call, err);
}

static const void *extension(const pare_method *method, const char *id) {
    return method->get_extension ? method->get_extension(id) : NULL;
}

pare_status life_own_failure(struct error *err) {
    err->status = PARE_E_LIMIT;
    return error_prefix(err, "pare check itself");
}

/* ---- calibration ---- */

static pare_status visit(void *context, int32_t node, const float *value, int32_t n) {
    struct living *living = context;
    struct error ignored, *err = &ignored;
    pare_status status =
        CALL(living, "observe",
             living->observing->observe(living->self, life_graph(living), node, value, n));
    if (status != PARE_OK)
        error_set(&living->watch->inst->failure, status, "%s", ignored.text);
    return status;
}

static pare_status observe_all(struct living *living, struct network *net, struct error *err) {
    const float *logits;
    pare_status status = PARE_OK;
    for (int batch = 0; batch < 2 && status == PARE_OK; batch++)
        status = network_infer_observed(net, living->images, LIFE_BATCH / (batch + 1), visit,
                                        living, err, &logits);
    if (status != PARE_OK) /* the plugin's own words, where it was the plugin */
        instance_status(living->watch->inst, status, "observe", err);
    return status;
}

static pare_status calibrate(struct living *living, const pare_method_calibrate *ext,
                             struct error *err) {
    living->observing = ext;
    struct network *net = NULL;
    int32_t again = 1;
    pare_status status = CALL(living, "begin", ext->begin(living->self, life_graph(living)));
    if (status != PARE_OK)
        return status;
    if (network_create(living->life->model, LIFE_BATCH, 0, NULL, living->watch->options.pool, err,
                       &net))
        return life_own_failure(err);
    for (int pass = 0; again && status == PARE_OK; pass++) {
        again = 0;
        if (pass == MAX_PASSES)
            status = error_set(err, PARE_E_PLUGIN, "asks for more than %d calibration passes",
                               MAX_PASSES);
        if (status == PARE_OK)
            status = observe_all(living, net, err);
        if (status == PARE_OK)
            status = CALL(living, "end", ext->end(living->self, life_graph(living), &again));
    }
    network_destroy(net);
    return status;
}

/* ---- from create to destroy ---- */

static pare_status make_images(struct living *living, struct error *err) {
    const int32_t *d = life_graph(living)->input_dims;
    size_t n = (size_t)LIFE_BATCH * (size_t)d[0] * (size_t)d[1] * (size_t)d[2];
    pare_rng rng;
    living->images = alloc_array(n, sizeof *living->images);
    if (!living->images)
        return error_set(err, PARE_E_LIMIT, "pare check itself: out of memory");
    rng_init(&rng, living->life->data_seed, "images", 0);
    for (size_t k = 0; k < n; k++)
        living->images[k] = 4 * rng_float(&rng) - 2;
    return PARE_OK;
}

static pare_status create(struct living *living, struct error *err) {
    void *self = NULL;
    pare_status status =
        CALL(living, "create",
             living->method->create(watch_host(living->watch),
                                    params_of_table(living->life->params, 0), &self));
    living->self = status == PARE_OK ? self : NULL;
    living->is_created = status == PARE_OK;
    return status;
}

/* Statistics are the host's matter; here it is only seen that the question has an answer. */
static pare_status ask_batches(struct living *living, struct error *err) {
    note_enter(living->life->note, living->life->entry->owner, "n_batches");
    int32_t n = living->norm->n_batches(living->self, life_graph(living));
    note_leave(living->life->note);
    return n >= 0
               ? PARE_OK
               : error_set(err, PARE_E_PLUGIN,
                           "asks for batch norm statistics over %d batches, wanted 0 or more", n);
}

pare_status life_begin(struct life *life, struct error *err, struct living *out) {
    const pare_method *method = life->entry->method;
    *out = (struct living){.life = life, .method = method};
    if (watch_open(life->entry, &life->options, err, &out->watch))
        return life_own_failure(err);
    out->calibrate = extension(method, PARE_METHOD_CALIBRATE);
    out->calibrate_after = extension(method, PARE_METHOD_CALIBRATE_AFTER);
    out->gradients = extension(method, PARE_METHOD_GRADIENTS);
    out->norm = extension(method, PARE_METHOD_NORM);
    out->train = extension(method, PARE_METHOD_TRAIN);
    pare_status status = make_images(out, err);
    if (status == PARE_OK)
        status = create(out, err);
    if (status == PARE_OK && out->calibrate)
        status = calibrate(out, out->calibrate, err);
    if (status == PARE_OK && out->gradients)
        status = life_gradients(out, err);
    if (status == PARE_OK && method->apply)
        status = CALL(out, "apply", method->apply(out->self, life_graph(out)));
    if (status == PARE_OK && out->norm)
        status = ask_batches(out, err);
    if (status == PARE_OK && out->train && !life->skips_training)
        status = life_begin_training(out, err);
    if (status != PARE_OK)
        life_end(out);
    return status;
}

void life_end(struct living *living) {
    struct watch *w = living->watch;
    struct life *life = living->life;
    if (!w)
        return;
    if (living->is_created) {
        note_enter(life->note, life->entry->owner, "destroy");
        living->method->destroy(living->self);
        note_leave(life->note);
    }
    watch_check_blocks(w);
    life->n_allocs = atomic_load(&w->n_allocs);
    life->n_refused = atomic_load(&w->n_refused);
    life->leaked_bytes = w->live_bytes;
    memcpy(life->misuse, w->misuse, sizeof life->misuse);
    memcpy(life->violation, w->violation, sizeof life->violation);
    watch_close(w);
    free(living->images);
    *living = (struct living){.life = life};
}

pare_status life_run(struct life *life, struct error *err) {
    struct living living;
    pare_status status = life_begin(life, err, &living);
    if (status != PARE_OK)
        return status;
    if (living.train && !life->skips_training)
        status = life_train(&living, err);
    if (status == PARE_OK && living.calibrate_after)
        status = calibrate(&living, living.calibrate_after, err);
    life_end(&living);
    if (status == PARE_OK && model_verify(life->model, err)) {
        error_prefix(err, "left the model in a bad state");
        return PARE_E_PLUGIN;
    }
    return status;
}
