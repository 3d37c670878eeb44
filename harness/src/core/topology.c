/* SPDX-License-Identifier: MIT */
#include "core/topology.h"

#include "core/cgroup.h"

#include <assert.h>
#include <errno.h>
#include <hwloc.h>
#include <math.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_CACHE_LEVELS = 3, MAX_KINDS = 8 };

/* A place to bind a thread to. */
struct slot {
    unsigned pu;      /* the operating system's number */
    unsigned core;    /* hwloc's logical number, as in lstopo's "Core L#" */
    unsigned sibling; /* 0: the core's first usable hardware thread */
    int kind;         /* rank of its kind, 0 the fastest; -1: all alike */
};

struct topology {
    hwloc_topology_t hw;
    struct slot
        *slots; /* (n_pus) first threads of all cores, big cores first; then second threads */
    int32_t n_cores, n_pus, n_cores_online, n_sockets, n_kinds;
    int32_t cores_of_kind[MAX_KINDS];
    int64_t cache_bytes[N_CACHE_LEVELS + 1];
    double quota_cores; /* INFINITY: no limit */
};

/* Rank of the kind of a PU, 0 for the highest performance; -1 where hwloc knows no ranking. */
static int kind_rank(hwloc_topology_t hw, hwloc_const_cpuset_t cpuset) {
    int n_kinds = hwloc_cpukinds_get_nr(hw, 0);
    int kind, efficiency = -1;
    if (n_kinds < 2)
        return -1;
    kind = hwloc_cpukinds_get_by_cpuset(hw, cpuset, 0);
    if (kind < 0 ||
        hwloc_cpukinds_get_info(hw, (unsigned)kind, NULL, &efficiency, NULL, NULL, 0) != 0 ||
        efficiency < 0)
        return -1;
    kind = n_kinds - 1 - kind; /* hwloc orders kinds from the slowest to the fastest */
    return kind < MAX_KINDS ? kind : MAX_KINDS - 1;
}

static int by_preference(const void *a, const void *b) {
    const struct slot *x = a, *y = b;
    if (x->sibling != y->sibling)
        return x->sibling < y->sibling ? -1 : 1;
    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    if (x->core != y->core)
        return x->core < y->core ? -1 : 1;
    return (x->pu > y->pu) - (x->pu < y->pu);
}

/* Fills slots from the PUs in `allowed`. Where hwloc sees no cores, each PU counts as one. */
static void fill_slots(struct topology *topo, hwloc_const_cpuset_t allowed) {
    hwloc_obj_t pu = NULL;
    while ((pu = hwloc_get_next_obj_by_type(topo->hw, HWLOC_OBJ_PU, pu)) != NULL) {
        hwloc_obj_t core = hwloc_get_ancestor_obj_by_type(topo->hw, HWLOC_OBJ_CORE, pu);
        struct slot *slot = &topo->slots[topo->n_pus];
        if (!hwloc_bitmap_isset(allowed, pu->os_index))
            continue;
        slot->pu = pu->os_index;
        slot->core = core != NULL ? core->logical_index : pu->logical_index;
        slot->kind = kind_rank(topo->hw, pu->cpuset);
        slot->sibling = 0;
        for (int32_t i = 0; i < topo->n_pus; i++)
            slot->sibling += topo->slots[i].core == slot->core;
        topo->n_pus++;
        if (slot->sibling == 0) {
            topo->n_cores++;
            if (slot->kind >= 0) {
                topo->cores_of_kind[slot->kind]++;
                topo->n_kinds = slot->kind >= topo->n_kinds ? slot->kind + 1 : topo->n_kinds;
            }
        }
    }
    qsort(topo->slots, (size_t)topo->n_pus, sizeof *topo->slots, by_preference);
}

static void find_caches(struct topology *topo) {
    static const hwloc_obj_type_t types[] = {HWLOC_OBJ_L1CACHE, HWLOC_OBJ_L2CACHE,
                                             HWLOC_OBJ_L3CACHE};
    hwloc_obj_t pu = hwloc_get_pu_obj_by_os_index(topo->hw, topo->slots[0].pu);
    for (int level = 1; level <= N_CACHE_LEVELS && pu != NULL; level++) {
        hwloc_obj_t cache = hwloc_get_ancestor_obj_by_type(topo->hw, types[level - 1], pu);
        if (cache != NULL && cache->attr != NULL)
            topo->cache_bytes[level] = (int64_t)cache->attr->cache.size;
    }
}

/* The hardware threads that the calling thread may run on: what cgroups allow (hwloc leaves out the
 * rest) and what taskset or a batch system has set. */
static pare_status find_allowed(struct topology *topo, struct error *err, hwloc_cpuset_t allowed) {
    hwloc_const_cpuset_t online = hwloc_topology_get_allowed_cpuset(topo->hw);
    if (hwloc_get_cpubind(topo->hw, allowed, HWLOC_CPUBIND_THREAD) != 0)
        hwloc_bitmap_copy(allowed, online); /* a system without affinity */
    hwloc_bitmap_and(allowed, allowed, online);
    if (hwloc_bitmap_iszero(allowed))
        return error_set(err, PARE_E_UNSUPPORTED,
                         "topology: hwloc found no hardware thread that this process may use");
    return PARE_OK;
}

pare_status topology_create(struct error *err, struct topology **out) {
    pare_status status = PARE_OK;
    struct topology *topo = calloc(1, sizeof *topo);
    hwloc_cpuset_t allowed = hwloc_bitmap_alloc();
    int n_pus, n_cores;
    if (topo == NULL || allowed == NULL) {
        status = error_set(err, PARE_E_NOMEM, "topology: out of memory");
        goto cleanup;
    }
    if (hwloc_topology_init(&topo->hw) != 0) {
        topo->hw = NULL;
        status = error_set(err, PARE_E_NOMEM, "topology: hwloc could not start");
        goto cleanup;
    }
    if (hwloc_topology_load(topo->hw) != 0) {
        status = error_set(err, PARE_E_UNSUPPORTED,
                           "topology: hwloc could not read the machine: %s", strerror(errno));
        goto cleanup;
    }
    n_pus = hwloc_get_nbobjs_by_type(topo->hw, HWLOC_OBJ_PU);
    n_cores = hwloc_get_nbobjs_by_type(topo->hw, HWLOC_OBJ_CORE);
    topo->n_cores_online = n_cores > 0 ? n_cores : n_pus;
    topo->n_sockets = hwloc_get_nbobjs_by_type(topo->hw, HWLOC_OBJ_PACKAGE);
    status = find_allowed(topo, err, allowed);
    if (status != PARE_OK)
        goto cleanup;
    topo->slots = calloc(n_pus > 0 ? (size_t)n_pus : 1, sizeof *topo->slots);
    if (topo->slots == NULL) {
        status = error_set(err, PARE_E_NOMEM, "topology: out of memory");
        goto cleanup;
    }
    fill_slots(topo, allowed);
    find_caches(topo);
    topo->quota_cores = cgroup_cpu_quota("");
    *out = topo;
    topo = NULL;
cleanup:
    hwloc_bitmap_free(allowed);
    topology_destroy(topo);
    return status;
}

void topology_destroy(struct topology *topo) {
    if (topo == NULL)
        return;
    if (topo->hw != NULL)
        hwloc_topology_destroy(topo->hw);
    free(topo->slots);
    free(topo);
}

int32_t topology_n_cores(const struct topology *topo) {
    return topo->n_cores;
}

int32_t topology_n_pus(const struct topology *topo) {
    return topo->n_pus;
}

static const char *kind_name(const struct topology *topo, int kind) {
    if (kind < 0 || topo->n_kinds < 2)
        return "";
    if (kind == 0)
        return " big";
    return kind == topo->n_kinds - 1 ? " LITTLE" : " mid";
}

void topology_bind_thread(const struct topology *topo, int32_t k, char *text, size_t text_size) {
    const struct slot *slot;
    hwloc_cpuset_t wanted = hwloc_bitmap_alloc(), got = hwloc_bitmap_alloc();
    int cpu;
    assert(k >= 0);
    /* More threads than hardware threads share them, round robin, and the text says so. */
    slot = &topo->slots[k % topo->n_pus];
    if (wanted == NULL || got == NULL) {
        snprintf(text, text_size, "unbound: out of memory");
        goto cleanup;
    }
    hwloc_bitmap_only(wanted, slot->pu);
    if (hwloc_set_cpubind(topo->hw, wanted, HWLOC_CPUBIND_THREAD | HWLOC_CPUBIND_STRICT) != 0) {
        snprintf(text, text_size, "unbound: pu %u: %s", slot->pu, strerror(errno));
        goto cleanup;
    }
    if (hwloc_get_cpubind(topo->hw, got, HWLOC_CPUBIND_THREAD) != 0 ||
        !hwloc_bitmap_isequal(wanted, got)) {
        snprintf(text, text_size, "unbound: the binding to pu %u did not read back", slot->pu);
        goto cleanup;
    }
    cpu = sched_getcpu();
    if (cpu >= 0 && (unsigned)cpu != slot->pu) {
        snprintf(text, text_size, "unbound: bound to pu %u but running on pu %d", slot->pu, cpu);
        goto cleanup;
    }
    snprintf(text, text_size, "core %u pu %u%s%s", slot->core, slot->pu,
             kind_name(topo, slot->kind), k >= topo->n_pus ? " shared" : "");
cleanup:
    hwloc_bitmap_free(wanted);
    hwloc_bitmap_free(got);
}

int64_t topology_cache_bytes(const struct topology *topo, int level) {
    return level >= 1 && level <= N_CACHE_LEVELS ? topo->cache_bytes[level] : 0;
}

/* snprintf at the end of text[0..size), cut where it does not fit. */
__attribute__((format(printf, 3, 4))) static void append(char *text, size_t size,
                                                         const char *format, ...) {
    size_t used = strlen(text);
    va_list args;
    va_start(args, format);
    vsnprintf(text + used, size - used, format, args);
    va_end(args);
}

static void append_caches(const struct topology *topo, char *text, size_t size) {
    const char *before = ", ";
    for (int level = 1; level <= N_CACHE_LEVELS; level++) {
        int64_t bytes = topo->cache_bytes[level];
        if (bytes <= 0)
            continue;
        append(text, size, "%sL%d%s ", before, level, level == 1 ? "d" : "");
        if (bytes % (1 << 20) == 0)
            append(text, size, "%lldM", (long long)(bytes >> 20));
        else
            append(text, size, "%lldK", (long long)(bytes >> 10));
        before = " ";
    }
}

void topology_describe(const struct topology *topo, char *text, size_t text_size) {
    if (text_size == 0)
        return;
    text[0] = '\0';
    append(text, text_size, "%d", (int)topo->n_cores);
    if (topo->n_cores < topo->n_cores_online)
        append(text, text_size, " of %d", (int)topo->n_cores_online);
    append(text, text_size, " core%s (",
           topo->n_cores == 1 && topo->n_cores_online == 1 ? "" : "s");
    if (topo->n_sockets > 0)
        append(text, text_size, "%d socket%s, ", (int)topo->n_sockets,
               topo->n_sockets == 1 ? "" : "s");
    for (int kind = 0; kind < topo->n_kinds && topo->n_kinds > 1; kind++)
        append(text, text_size, "%d%s, ", (int)topo->cores_of_kind[kind], kind_name(topo, kind));
    if (topo->n_pus > topo->n_cores)
        append(text, text_size, "%d hardware threads", (int)topo->n_pus);
    else
        append(text, text_size, "no SMT");
    if (isfinite(topo->quota_cores))
        append(text, text_size, ", limited to %.3g cores' time", topo->quota_cores);
    append(text, text_size, ")");
    append_caches(topo, text, text_size);
}
