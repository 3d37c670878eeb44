/* SPDX-License-Identifier: MIT */
/* The real PAPI. libpapi finds the events that pare exports because both libsde and libpapi are in
 * this process; nothing else has to be exported or preloaded. */
#include "measure/counters_internal.h"

#ifndef PARE_HAVE_PAPI

const struct papi_api *papi_real(void) {
    return NULL;
}

#else

#include <dirent.h>
#include <papi.h>
#include <sde_lib.h>
#include <stdio.h>
#include <string.h>
#include <threads.h>

/* One per process because PAPI and libsde are: libsde keeps the addresses of exported counters for
 * good. Written by start_once, then only `exported`, on the main thread. */
static struct {
    once_flag once;
    int works, sde_works;
    char why[160], sde_why[160], version[32];
    long long exported[N_SDE];
} papi = {.once = ONCE_FLAG_INIT};

static void export_counters(void) {
    papi_handle_t handle = papi_sde_init("pare");
    int code = handle == NULL ? SDE_ECMP : SDE_OK;
    for (int k = 0; k < N_SDE && code == SDE_OK; k++)
        code = papi_sde_register_counter(handle, sde_name((enum sde_counter)k),
                                         PAPI_SDE_RO | PAPI_SDE_DELTA, PAPI_SDE_long_long,
                                         &papi.exported[k]);
    papi.sde_works = code == SDE_OK;
    if (code != SDE_OK)
        snprintf(papi.sde_why, sizeof papi.sde_why, "libsde refused pare's counters (code %d)",
                 code);
}

static void start_once(void) {
    int got = PAPI_library_init(PAPI_VER_CURRENT);
    if (got == PAPI_VER_CURRENT) {
        papi.works = 1;
        snprintf(papi.version, sizeof papi.version, "%d.%d.%d", PAPI_VERSION_MAJOR(got),
                 PAPI_VERSION_MINOR(got), PAPI_VERSION_REVISION(got));
        export_counters();
    } else if (got > 0) {
        snprintf(papi.why, sizeof papi.why, "PAPI is %d.%d here, pare was built with %d.%d",
                 PAPI_VERSION_MAJOR(got), PAPI_VERSION_MINOR(got),
                 PAPI_VERSION_MAJOR(PAPI_VER_CURRENT), PAPI_VERSION_MINOR(PAPI_VER_CURRENT));
    } else {
        snprintf(papi.why, sizeof papi.why, "PAPI did not start: %s", PAPI_strerror(got));
    }
}

static int real_init(void *context, char version[32], char *why, size_t why_size) {
    (void)context;
    call_once(&papi.once, start_once);
    snprintf(version, 32, "%s", papi.version);
    if (!papi.works)
        snprintf(why, why_size, "%s", papi.why);
    return papi.works;
}

static int real_component(void *context, const char *name, char *why, size_t why_size) {
    int index = PAPI_get_component_index(name);
    const PAPI_component_info_t *info = index < 0 ? NULL : PAPI_get_component_info(index);
    (void)context;
    if (info == NULL) {
        snprintf(why, why_size, "PAPI has no component %s here", name);
        return 0;
    }
    /* A component that starts when first used counts as working until it says otherwise. */
    if (info->disabled != 0 && info->disabled != PAPI_EDELAY_INIT) {
        snprintf(why, why_size, "%s: %s", name,
                 info->disabled_reason[0] ? info->disabled_reason : PAPI_strerror(info->disabled));
        return 0;
    }
    if (strcmp(name, "sde") == 0 && !papi.sde_works) {
        snprintf(why, why_size, "%s", papi.sde_why);
        return 0;
    }
    return 1;
}

static int real_group_create(void *context, int *group) {
    (void)context;
    *group = PAPI_NULL;
    return PAPI_create_eventset(group);
}

static int real_group_add(void *context, int group, const char *event) {
    (void)context;
    return PAPI_add_named_event(group, event);
}

static int real_group_start(void *context, int group) {
    (void)context;
    return PAPI_start(group);
}

static int real_group_stop(void *context, int group, long long *values) {
    (void)context;
    return PAPI_stop(group, values);
}

static void real_group_destroy(void *context, int group) {
    (void)context;
    PAPI_cleanup_eventset(group);
    PAPI_destroy_eventset(&group);
}

static const char *real_error_text(void *context, int code) {
    const char *text = PAPI_strerror(code);
    (void)context;
    return text != NULL ? text : "unknown PAPI error";
}

static void real_sde_add(void *context, enum sde_counter which, int64_t amount) {
    (void)context;
    papi.exported[which] += amount;
}

static int real_n_threads(void *context) {
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *entry;
    int n = 0;
    (void)context;
    if (tasks == NULL)
        return 0;
    while ((entry = readdir(tasks)) != NULL)
        n += entry->d_name[0] != '.';
    closedir(tasks);
    return n;
}

const struct papi_api *papi_real(void) {
    static const struct papi_api api = {
        .init = real_init,
        .component = real_component,
        .group_create = real_group_create,
        .group_add = real_group_add,
        .group_start = real_group_start,
        .group_stop = real_group_stop,
        .group_destroy = real_group_destroy,
        .error_text = real_error_text,
        .sde_add = real_sde_add,
        .n_threads = real_n_threads,
    };
    return &api;
}

#endif
