/* SPDX-License-Identifier: MIT */
/* A method's whole life on a small model, as a pipeline leads it: create, calibrate, apply, train,
 * destroy; with images from a seed and four steps of SGD. */
#ifndef CHECK_LIFE_H
#define CHECK_LIFE_H

#include "check/watch.h"
#include "core/note.h"
#include "model/model.h"
#include "plugin/params.h"

#include <pare/ext/gradients.h>
#include <pare/ext/norm.h>

enum { LIFE_N_MODELS = 3, LIFE_BATCH = 8, LIFE_STEPS = 4 };

/* Small networks with weights from `seed`: 0: linear layers; 1: convolutions, a residual block,
 * batch norms that do something; 2: the linear layers with every other weight pruned, or so. */
const char *life_model_name(int which);
pare_status life_prune_half(struct model *model, uint64_t seed, struct error *err);
pare_status life_make_model(int which, uint64_t seed, struct error *err, struct model **out);

struct life {
    /* In: */
    const struct plugin_entry *entry;
    const struct params *params;
    struct watch_options options;
    struct model *model; /* borrowed, and changed */
    uint64_t data_seed;  /* of images and labels */
    int skips_training;  /* as with epochs = 0 */
    struct note *note;   /* may be NULL */
    /* Out; all zero before: */
    int64_t n_allocs, n_refused;
    size_t leaked_bytes;
    int is_told;         /* a failure came with a message */
    char misuse[256];    /* of memory; "" */
    char violation[256]; /* of thread rules; "" */
};

/* PARE_OK, or what the plugin returned, its message in *err; the model is then verified, too. A
 * failure of the check's own has status PARE_E_LIMIT. */
pare_status life_run(struct life *life, struct error *err);

/* A life that is under way, for checks that call extensions themselves: after apply (and, with a
 * train extension, after its begin). */
struct living {
    struct life *life;
    struct watch *watch;
    void *self;
    int is_created;
    const pare_method *method;
    const pare_method_calibrate *calibrate; /* NULL: no such extension */
    const pare_method_calibrate *calibrate_after;
    const pare_method_calibrate *observing; /* the one that is seeing values now */
    const pare_method_gradients *gradients;
    const pare_method_norm *norm;
    const pare_method_train *train;
    float *images; /* (LIFE_BATCH, model's input) */
};
pare_status life_begin(struct life *life, struct error *err, struct living *out);
void life_end(struct living *living);

/* What a method's call returned, as an error with its message. */
pare_status life_status(struct living *living, pare_status status, const char *call,
                        struct error *err);

#endif
