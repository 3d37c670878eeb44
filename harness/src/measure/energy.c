/* SPDX-License-Identifier: MIT */
#include "measure/energy.h"

#include "core/alloc.h"
#include "measure/counters_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PACKAGES = 16 };

struct energy {
    const struct papi_api *papi; /* NULL: files */
    int group;
    const char *component; /* of PAPI */
    int64_t per_microjoule;
    int n_packages;
    char paths[MAX_PACKAGES][256]; /* of zones */
    int64_t at_start[MAX_PACKAGES], range[MAX_PACKAGES];
    char method[64];
};

/* ---- zones of /sys/class/powercap ---- */

/* The first number of folder/name; -1 and errno. */
static int64_t read_count(const char *folder, const char *name) {
    char path[320];
    long long value = -1;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return -1;
    errno = EIO;
    if (fscanf(file, "%lld", &value) != 1 || value < 0)
        value = -1;
    fclose(file);
    return value;
}

static void zone_folder(const char *root, int zone, char *folder, size_t size) {
    snprintf(folder, size, "%s/sys/class/powercap/intel-rapl:%d", root, zone);
}

static int is_package(const char *folder) {
    char path[320], name[32] = "";
    snprintf(path, sizeof path, "%s/name", folder);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return 0;
    if (fgets(name, sizeof name, file) == NULL)
        name[0] = '\0';
    fclose(file);
    return strncmp(name, "package-", strlen("package-")) == 0;
}

/* ---- by PAPI ---- */

static const struct papi_meter {
    const char *component, *event; /* the latter takes the package's number */
    int64_t per_microjoule;
    int has_other_zones; /* numbers are those of zones, which need not be packages */
} papi_meters[] = {
    {"rapl", "rapl:::PACKAGE_ENERGY:PACKAGE%d", 1000, 0}, /* nanojoules */
    {"powercap", "powercap:::ENERGY_UJ:ZONE%d", 1, 1},
};

static int open_papi(struct energy *e, const struct papi_api *papi, const struct papi_meter *meter,
                     const char *root, char *why, size_t why_size) {
    char event[64], folder[256];
    int code = 0;
    if (!papi->component(papi->context, meter->component, why, why_size))
        return 0;
    code = papi->group_create(papi->context, &e->group);
    if (code != 0) {
        snprintf(why, why_size, "%s: %s", meter->component, papi->error_text(papi->context, code));
        return 0;
    }
    for (int k = 0; k < MAX_PACKAGES && code == 0; k++) {
        zone_folder(root, k, folder, sizeof folder);
        if (meter->has_other_zones && !is_package(folder))
            continue;
        snprintf(event, sizeof event, meter->event, k);
        code = papi->group_add(papi->context, e->group, event);
        e->n_packages += code == 0;
    }
    if (e->n_packages > 0) {
        e->papi = papi;
        e->component = meter->component;
        e->per_microjoule = meter->per_microjoule;
        snprintf(e->method, sizeof e->method, "PAPI %s, %d package%s", meter->component,
                 e->n_packages, e->n_packages == 1 ? "" : "s");
        return 1;
    }
    snprintf(why, why_size, "%s: %s", meter->component,
             code != 0 ? papi->error_text(papi->context, code) : "no packages");
    papi->group_destroy(papi->context, e->group);
    return 0;
}

/* ---- by files ---- */

/* Zones intel-rapl:0, :1, ... are packages (AMD's have that name too), and one may be the whole
 * platform; what a package consists of lies below it and is not added again. */
static int open_files(struct energy *e, const char *root, char *why, size_t why_size) {
    int n_seen = 0;
    for (int k = 0; k < MAX_PACKAGES; k++) {
        char *folder = e->paths[e->n_packages];
        zone_folder(root, k, folder, sizeof *e->paths);
        if (!is_package(folder))
            continue;
        n_seen++;
        if (read_count(folder, "energy_uj") < 0) {
            snprintf(why, why_size, "%s/energy_uj: %s", folder + strlen(root), strerror(errno));
            continue;
        }
        e->range[e->n_packages++] = read_count(folder, "max_energy_range_uj");
    }
    if (n_seen == 0)
        snprintf(why, why_size, "no packages in /sys/class/powercap");
    if (e->n_packages < n_seen || n_seen == 0)
        return 0; /* some packages without the others would be a wrong sum */
    e->per_microjoule = 1;
    snprintf(e->method, sizeof e->method, "sysfs powercap, %d package%s", e->n_packages,
             e->n_packages == 1 ? "" : "s");
    return 1;
}

/* ---- both ---- */

struct energy *energy_open_by(const struct papi_api *papi, const char *root, char *why,
                              size_t why_size) {
    struct energy *e = alloc_array(1, sizeof *e);
    char version[32], papi_why[160] = "pare was built without PAPI", powercap[160] = "",
                      files[160] = "";
    if (e == NULL) {
        snprintf(why, why_size, "out of memory");
        return NULL;
    }
    if (papi != NULL && papi->init(papi->context, version, papi_why, sizeof papi_why)) {
        if (open_papi(e, papi, &papi_meters[0], root, papi_why, sizeof papi_why) ||
            open_papi(e, papi, &papi_meters[1], root, powercap, sizeof powercap))
            return e;
    }
    if (open_files(e, root, files, sizeof files))
        return e;
    snprintf(why, why_size, "%s%s%s; %s", papi_why, powercap[0] ? "; " : "", powercap, files);
    free(e);
    return NULL;
}

struct energy *energy_open(char *why, size_t why_size) {
    return energy_open_by(papi_real(), "", why, why_size);
}

void energy_close(struct energy *e) {
    if (e != NULL && e->papi != NULL)
        e->papi->group_destroy(e->papi->context, e->group);
    free(e);
}

const char *energy_method(const struct energy *e) {
    return e->method;
}

int energy_start(struct energy *e, char *why, size_t why_size) {
    if (e->papi != NULL) {
        int code = e->papi->group_start(e->papi->context, e->group);
        if (code != 0)
            snprintf(why, why_size, "%s: could not start: %s", e->component,
                     e->papi->error_text(e->papi->context, code));
        return code == 0;
    }
    for (int k = 0; k < e->n_packages; k++) {
        e->at_start[k] = read_count(e->paths[k], "energy_uj");
        if (e->at_start[k] < 0) {
            snprintf(why, why_size, "%s/energy_uj: %s", e->paths[k], strerror(errno));
            return 0;
        }
    }
    return 1;
}

/* The sum in the meter's own unit; -1 and why. */
static int64_t stop_papi(struct energy *e, char *why, size_t why_size) {
    long long values[MAX_PACKAGES] = {0};
    int64_t sum = 0;
    int code = e->papi->group_stop(e->papi->context, e->group, values);
    if (code != 0) {
        snprintf(why, why_size, "%s: could not be read: %s", e->component,
                 e->papi->error_text(e->papi->context, code));
        return -1;
    }
    for (int k = 0; k < e->n_packages; k++)
        sum += values[k];
    return sum;
}

static int64_t stop_files(struct energy *e, char *why, size_t why_size) {
    int64_t sum = 0;
    for (int k = 0; k < e->n_packages; k++) {
        int64_t now = read_count(e->paths[k], "energy_uj"), grown = now - e->at_start[k];
        if (now >= 0 && grown < 0 && e->range[k] > 0)
            grown += e->range[k]; /* it wraps, on large machines within minutes */
        if (now < 0 || grown < 0) {
            snprintf(why, why_size, "%s/energy_uj: %s", e->paths[k],
                     now < 0 ? strerror(errno) : "went back");
            return -1;
        }
        sum += grown;
    }
    return sum;
}

int energy_stop(struct energy *e, int64_t *microjoules, char *why, size_t why_size) {
    int64_t sum = e->papi != NULL ? stop_papi(e, why, why_size) : stop_files(e, why, why_size);
    if (sum < 0)
        return 0;
    if (sum == 0) {
        snprintf(why, why_size, "%s: the meter did not move", e->method);
        return 0;
    }
    *microjoules = (sum + e->per_microjoule / 2) / e->per_microjoule;
    return 1;
}
