/* SPDX-License-Identifier: MIT */
#include "core/topology.h"

#include "core/cgroup.h"
#include "core/topology_internal.h"

#include <assert.h>
#include <errno.h>
#include <hwloc.h>
#include <math.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

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

static void count_slot(struct topology *topo, const struct slot *slot) {
    topo->n_pus++;
    if (slot->sibling > 0)
        return;
    topo->n_cores++;
    if (slot->kind >= 0) {
        topo->cores_of_kind[slot->kind]++;
        topo->n_kinds = slot->kind >= topo->n_kinds ? slot->kind + 1 : topo->n_kinds;
    }
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
        count_slot(topo, slot);
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

pare_status topology_create_from(hwloc_topology_t take, struct error *err, struct topology **out) {
    pare_status status = PARE_E_NOMEM;
    struct topology *topo = calloc(1, sizeof *topo);
    hwloc_cpuset_t allowed = hwloc_bitmap_alloc();
    int n_pus = hwloc_get_nbobjs_by_type(take, HWLOC_OBJ_PU);
    int n_cores = hwloc_get_nbobjs_by_type(take, HWLOC_OBJ_CORE);
    if (topo == NULL || allowed == NULL) {
        hwloc_topology_destroy(take);
        error_set(err, status, "topology: out of memory");
        goto cleanup;
    }
    topo->hw = take;
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

pare_status topology_create(struct error *err, struct topology **out) {
    hwloc_topology_t hw;
    if (hwloc_topology_init(&hw) != 0)
        return error_set(err, PARE_E_NOMEM, "topology: hwloc could not start");
    if (hwloc_topology_load(hw) != 0) {
        error_set(err, PARE_E_UNSUPPORTED, "topology: hwloc could not read the machine: %s",
                  strerror(errno));
        hwloc_topology_destroy(hw);
        return PARE_E_UNSUPPORTED;
    }
    return topology_create_from(hw, err, out);
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

/* ---- kinds of cores ---- */

static const char *const kind_names[] = {
    [CORES_ANY] = "any", [CORES_BIG] = "big", [CORES_MID] = "mid", [CORES_LITTLE] = "LITTLE"};

const char *topology_kind_name(enum core_kind kind) {
    return kind_names[kind];
}

pare_status topology_parse_kind(const char *name, struct error *err, enum core_kind *out) {
    for (size_t i = 0; i < sizeof kind_names / sizeof *kind_names; i++) {
        if (strcasecmp(name, kind_names[i]) == 0) {
            *out = (enum core_kind)i;
            return PARE_OK;
        }
    }
    return error_set(err, PARE_E_ARG, "cores is \"%s\", wanted any, big, mid or LITTLE", name);
}

static enum core_kind kind_of(const struct topology *topo, int rank) {
    if (rank < 0 || topo->n_kinds < 2)
        return CORES_ANY;
    if (rank == 0)
        return CORES_BIG;
    return rank == topo->n_kinds - 1 ? CORES_LITTLE : CORES_MID;
}

pare_status topology_of_kind(const struct topology *topo, enum core_kind kind, struct error *err,
                             struct topology **out) {
    struct topology *part = calloc(1, sizeof *part);
    struct slot *slots = calloc((size_t)topo->n_pus, sizeof *slots);
    pare_status status = PARE_OK;
    if (part == NULL || slots == NULL) {
        free(slots);
        free(part);
        return error_set(err, PARE_E_NOMEM, "topology: out of memory");
    }
    *part = *topo;
    part->hw = NULL;
    part->slots = slots;
    part->n_cores = part->n_pus = part->n_kinds = 0;
    memset(part->cores_of_kind, 0, sizeof part->cores_of_kind);
    for (int32_t i = 0; i < topo->n_pus; i++) {
        if (kind != CORES_ANY && kind_of(topo, topo->slots[i].kind) != kind)
            continue;
        slots[part->n_pus] = topo->slots[i];
        count_slot(part, &topo->slots[i]);
    }
    part->n_kinds = topo->n_kinds; /* names stay what they are in the whole machine */
    if (part->n_pus == 0)
        status =
            error_set(err, PARE_E_UNSUPPORTED, "there are no %s cores here: %s", kind_names[kind],
                      topo->n_kinds < 2 ? "all that may be used are alike"
                                        : "see the topology that `pare env` shows");
    else if (hwloc_topology_dup(&part->hw, topo->hw) != 0)
        status = error_set(err, PARE_E_NOMEM, "topology: out of memory");
    if (status != PARE_OK) {
        part->hw = NULL;
        topology_destroy(part);
        return status;
    }
    find_caches(part);
    *out = part;
    return PARE_OK;
}

/* ---- binding ---- */

unsigned topology_pu_of(const struct topology *topo, int32_t k) {
    return topo->slots[k % topo->n_pus].pu;
}

/* " sibling pu 4": other hardware threads of the core, whether this process may use them or not.
 * "" where the core has one. */
static void siblings_text(const struct topology *topo, const struct slot *slot, char *text,
                          size_t size) {
    hwloc_obj_t pu = hwloc_get_pu_obj_by_os_index(topo->hw, slot->pu);
    hwloc_obj_t core =
        pu != NULL ? hwloc_get_ancestor_obj_by_type(topo->hw, HWLOC_OBJ_CORE, pu) : NULL;
    hwloc_bitmap_t others = core != NULL ? hwloc_bitmap_dup(core->cpuset) : NULL;
    text[0] = '\0';
    if (others != NULL) {
        char list[24];
        hwloc_bitmap_clr(others, slot->pu);
        hwloc_bitmap_list_snprintf(list, sizeof list, others);
        if (!hwloc_bitmap_iszero(others))
            snprintf(text, size, " sibling pu %s", list);
    }
    hwloc_bitmap_free(others);
}

/* " big"; "" where all are alike. */
static const char *kind_text(const struct topology *topo, int rank) {
    static const char *const texts[] = {"", " big", " mid", " LITTLE"};
    return texts[kind_of(topo, rank)];
}

void topology_slot_text(const struct topology *topo, int32_t k, char *text, size_t size) {
    const struct slot *slot = &topo->slots[k % topo->n_pus];
    char siblings[48];
    siblings_text(topo, slot, siblings, sizeof siblings);
    snprintf(text, size, "core %u pu %u%s%s%s", slot->core, slot->pu, siblings,
             kind_text(topo, slot->kind), k >= topo->n_pus ? " shared" : "");
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
    topology_slot_text(topo, k, text, text_size);
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
    for (int kind = 0; kind < topo->n_kinds && topo->n_kinds > 1; kind++) {
        if (topo->cores_of_kind[kind] == 0)
            continue;
        append(text, text_size, "%d%s, ", (int)topo->cores_of_kind[kind], kind_text(topo, kind));
    }
    if (topo->n_pus > topo->n_cores)
        append(text, text_size, "%d hardware threads", (int)topo->n_pus);
    else
        append(text, text_size, "no SMT");
    if (isfinite(topo->quota_cores))
        append(text, text_size, ", limited to %.3g cores' time", topo->quota_cores);
    append(text, text_size, ")");
    append_caches(topo, text, text_size);
}
