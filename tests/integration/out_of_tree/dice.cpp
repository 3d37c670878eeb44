// SPDX-License-Identifier: MIT
// A method outside the project, in C++: prunes weights drawn by lot. What C++ 11 has no designated
// initializers for is filled in by position.
#include <pare/method.h>

#include <new>

namespace {

struct Dice {
    const pare_host *host;
    double sparsity;

    pare_status prune(const pare_graph *graph, const pare_weight *w) const {
        pare_rng rng;
        auto *mask = static_cast<uint8_t *>(
            host->alloc(host, static_cast<size_t>(w->n_elems))); // (dims) 1 keep, 0 prune
        if (!mask) {
            return host->fail(host, PARE_E_NOMEM, "%s: no memory for a mask", w->name);
        }
        host->rng_init(host, w->name, &rng);
        for (int64_t k = 0; k < w->n_elems; k++) {
            double lot = static_cast<double>(host->rng_next(&rng) >> 11) / 9007199254740992.0; // 2^53
            mask[k] = (!w->mask || w->mask[k]) && lot >= sparsity;
        }
        pare_status status = host->set_mask(host, graph, w->index, mask);
        host->free(host, mask);
        return status;
    }
};

const pare_param_desc params[] = {
    {"sparsity", PARE_PARAM_FLOAT, "fraction", 0, 1, nullptr, "0.5", "share of weights to prune"},
};

pare_status create(const pare_host *host, const pare_params *given, void **instance) {
    void *memory = host->alloc(host, sizeof(Dice));
    if (!memory) {
        return host->fail(host, PARE_E_NOMEM, "no memory for an instance");
    }
    *instance = new (memory) Dice{host, given->values[0]->f};
    return PARE_OK;
}

void destroy(void *instance) {
    if (auto *dice = static_cast<Dice *>(instance)) {
        dice->host->free(dice->host, dice);
    }
}

pare_status apply(void *instance, const pare_graph *graph) {
    const auto *dice = static_cast<const Dice *>(instance);
    for (int32_t k = 0; k < graph->n_weights; k++) {
        const pare_weight *w = graph->weights[k];
        if (w->role == PARE_ROLE_WEIGHT && dice->host->selected(dice->host, graph, w->node)) {
            pare_status status = dice->prune(graph, w);
            if (status < 0) {
                return status;
            }
        }
    }
    return PARE_OK;
}

const pare_method method = {
    sizeof(pare_method), "oot_dice", "1.0.0", "prunes weights drawn by lot", "", params, 1,
    PARE_WEIGHTS | PARE_MASK, // reads
    PARE_WEIGHTS | PARE_MASK, // writes
    PARE_MASK,                // preserves
    create, destroy, apply, nullptr,
};
const pare_method *const methods[] = {&method};

const pare_plugin plugin = {PARE_PLUGIN_HEADER, "dice", "1.0.0", "MIT", 1, methods, 0, nullptr};

} // namespace

const pare_plugin *pare_plugin_entry(void) {
    return &plugin;
}
