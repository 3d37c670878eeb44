/* SPDX-License-Identifier: MIT */
/* One life of a method or a backend, from create to destroy, on one of a few fixed models; for
 * checks that treat both kinds alike. */
#ifndef CHECK_LIVE_H
#define CHECK_LIVE_H

#include "check/case.h"
#include "check/watch.h"

enum { LIVE_N = 3 }; /* models that a life is tried on, at most */

/* How many for this subject, and what each is, for labels. */
int live_n(const struct subject *s);
const char *live_name(const struct subject *s, int which);

struct outcome {
    pare_status status; /* of the plugin; PARE_E_UNSUPPORTED of a backend: it refuses the model */
    struct error err;   /* its message */
    int is_told;        /* the plugin gave one */
    int is_own;         /* not the plugin failed, but pare */
    int64_t n_allocs, n_refused;
    size_t leaked_bytes;
    uint64_t digest; /* of what came out */
    char misuse[256], violation[256];
};

int live_has_param(const struct plugin_entry *entry, const char *name);

/* `settings` (n) as given by the user or a case, of which those of other tables are left out; what
 * must be given and is not gets some value within its bounds. PARE_OK, or the host's refusal.
 * *params is freed by params_destroy. */
pare_status live_params(const struct subject *s, const struct param_input *settings, size_t n,
                        struct error *err, struct params **params);

/* params NULL: those of live_params and the user's settings. */
void live(struct check_case *c, int which, const struct params *params,
          const struct watch_options *options, struct outcome *out);

/* The options of a plain life: seed from the check, all memory granted. */
struct watch_options live_options(const struct check_case *c);

/* A pool, or NULL where there can be none. */
struct pool *live_pool(int32_t n_threads);

#endif
