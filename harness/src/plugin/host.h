/* SPDX-License-Identifier: MIT */
/* The table of functions that a plugin is handed, and what the host keeps per instance. */
#ifndef PLUGIN_HOST_H
#define PLUGIN_HOST_H

#include "plugin/registry.h"

#include <pare/ext/tensors.h>
#include <pthread.h>

struct block; /* of host memory, in front of what the plugin sees */

struct instance {
    pare_host host; /* first: the plugin's pointer to it is turned back into the instance */
    const struct plugin_entry *entry;
    void *self; /* what the plugin's create gave; NULL before and after */
    struct pool *pool;
    uint32_t rounding; /* rounding_mode() when it was made */
    void *user;        /* of whoever replaces functions of `host`; NULL */
    uint64_t seed, index;
    char **include, **exclude;
    size_t n_include, n_exclude;
    pthread_mutex_t lock; /* guards what follows */
    struct block *blocks; /* not yet freed by the plugin */
    size_t bytes;         /* in them, as asked for */
    struct error failure; /* the latest message; status PARE_OK: none */
};

/* An instance with its host table, before (or without) the plugin's create. */
pare_status host_open(const struct plugin_entry *entry, const struct instance_env *env,
                      struct error *err, struct instance **out);

/* Frees it, and host memory that the plugin has left, which is warned of; NULL is fine. */
void host_close(struct instance *inst, size_t *leaked_bytes);

/* The extension PARE_HOST_TENSORS; host_tensors.c. */
extern const pare_host_tensors host_tensors;

/* 1 if the instance's patterns select the node: conv2d and linear only. */
int host_selects(const struct instance *inst, const pare_node *node);

#endif
