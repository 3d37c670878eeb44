/* SPDX-License-Identifier: MIT */
/* Trained models, kept in a folder between trials and runs. A key names everything that decides a
 * model: data, seed, parameters, and the very program and plugins (by checksum) that trained it, so
 * that what is found is what training again would give. */
#ifndef EXPERIMENT_CACHE_H
#define EXPERIMENT_CACHE_H

#include "model/model.h"

struct cache;

/* `folder` is made when the first model is put into it. */
pare_status cache_create(const char *folder, struct error *err, struct cache **out);
void cache_destroy(struct cache *cache);

/* 1 and a model with the seconds it took to train, or 0 where there is none (or it cannot be read).
 * A NULL cache holds nothing. */
int cache_get(const struct cache *cache, const char *key, struct model **model, double *seconds);

/* Keeps a copy. A failure only costs time later: it is noted on stderr. */
void cache_put(const struct cache *cache, const char *key, const struct model *model,
               double seconds);

#endif
