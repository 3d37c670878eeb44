/* SPDX-License-Identifier: MIT */
/* The meters of energy: by a PAPI that has them, by files that stand for the system's, and none. */
#include "core/file.h"
#include "measure/counters_internal.h"
#include "measure/energy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- a PAPI with meters ---- */

struct fake {
    const char *component; /* the one that works */
    int n_packages, n_added, n_groups, fails;
    int zones[2];   /* numbers of the packages in the events' names */
    long long each; /* what every package reads */
};

static int fake_init(void *context, char version[32], char *why, size_t why_size) {
    (void)context, (void)why, (void)why_size;
    snprintf(version, 32, "9.8.7");
    return 1;
}

static int fake_component(void *context, const char *name, char *why, size_t why_size) {
    const struct fake *f = context;
    if (f->component && strcmp(name, f->component) == 0)
        return 1;
    snprintf(why, why_size, "no %s", name);
    return 0;
}

static int fake_create(void *context, int *group) {
    ((struct fake *)context)->n_groups++;
    *group = 5;
    return 0;
}

static int fake_add(void *context, int group, const char *event) {
    struct fake *f = context;
    char wanted[64];
    assert_int_equal(group, 5);
    snprintf(wanted, sizeof wanted,
             strcmp(f->component, "rapl") == 0 ? "rapl:::PACKAGE_ENERGY:PACKAGE%d"
                                               : "powercap:::ENERGY_UJ:ZONE%d",
             f->n_added < 2 ? f->zones[f->n_added] : -1);
    if (f->n_added == f->n_packages || strcmp(event, wanted) != 0)
        return -7;
    f->n_added++;
    return 0;
}

static int fake_start(void *context, int group) {
    (void)group;
    return ((struct fake *)context)->fails ? -4 : 0;
}

static int fake_stop(void *context, int group, long long *values) {
    const struct fake *f = context;
    (void)group;
    for (int k = 0; k < f->n_added; k++)
        values[k] = f->each;
    return 0;
}

static void fake_destroy(void *context, int group) {
    (void)group;
    ((struct fake *)context)->n_groups--;
}

static const char *fake_error_text(void *context, int code) {
    (void)context;
    return code == -7 ? "Event does not exist" : "Permission denied";
}

static struct papi_api fake_api(struct fake *f) {
    return (struct papi_api){.context = f,
                             .init = fake_init,
                             .component = fake_component,
                             .group_create = fake_create,
                             .group_add = fake_add,
                             .group_start = fake_start,
                             .group_stop = fake_stop,
                             .group_destroy = fake_destroy,
                             .error_text = fake_error_text};
}

/* ---- files ---- */

static char root[64];

static void put(const char *path, const char *text) {
    struct error err = {0};
    char full[256];
    snprintf(full, sizeof full, "%s/sys/class/powercap/%s", root, path);
    *strrchr(full, '/') = '\0';
    assert_int_equal(file_make_dirs(full, &err), PARE_OK);
    snprintf(full, sizeof full, "%s/sys/class/powercap/%s", root, path);
    assert_int_equal(file_write(full, text, strlen(text), &err), PARE_OK);
}

static int make_root(void **state) {
    (void)state;
    strcpy(root, "/tmp/pare_energy_XXXXXX");
    if (!mkdtemp(root))
        return -1;
    put("intel-rapl:0/name", "package-0\n");
    put("intel-rapl:0/energy_uj", "1000\n");
    put("intel-rapl:0/max_energy_range_uj", "262143328850\n");
    put("intel-rapl:0:0/name", "core\n"); /* a part of it */
    put("intel-rapl:0:0/energy_uj", "5\n");
    put("intel-rapl:1/name", "psys\n"); /* the whole platform: not another package */
    put("intel-rapl:1/energy_uj", "7\n");
    put("intel-rapl:2/name", "package-1\n");
    put("intel-rapl:2/energy_uj", "262143328000\n");
    put("intel-rapl:2/max_energy_range_uj", "262143328850\n");
    return 0;
}

static int remove_root(void **state) {
    char command[96];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    return system(command);
}

/* Zone 1 is the whole platform, which powercap numbers like a package. */
static void papi_components_are_used(void **state) {
    static const struct {
        const char *component;
        int n_packages;
        long long each;
        int64_t microjoules;
        int zones[2];
        const char *method;
    } cases[] = {{"rapl", 2, 1500400, 3001, {0, 1}, "PAPI rapl, 2 packages"}, /* nanojoules */
                 {"rapl", 1, 1000, 1, {0, 0}, "PAPI rapl, 1 package"},
                 {"powercap", 2, 777, 1554, {0, 2}, "PAPI powercap, 2 packages"}};
    (void)state;
    for (size_t c = 0; c < 3; c++) {
        struct fake f = {.component = cases[c].component,
                         .n_packages = cases[c].n_packages,
                         .each = cases[c].each,
                         .zones = {cases[c].zones[0], cases[c].zones[1]}};
        struct papi_api api = fake_api(&f);
        char why[256] = "";
        int64_t got = -1;
        struct energy *meter = energy_open_by(&api, root, why, sizeof why);
        if (!meter)
            fail_msg("%s", why);
        assert_string_equal(energy_method(meter), cases[c].method);
        assert_true(energy_start(meter, why, sizeof why));
        assert_true(energy_stop(meter, &got, why, sizeof why));
        assert_int_equal(got, cases[c].microjoules);
        f.each = 0; /* a meter that stands still is none */
        got = -1;
        assert_true(energy_start(meter, why, sizeof why));
        assert_false(energy_stop(meter, &got, why, sizeof why));
        assert_non_null(strstr(why, "did not move"));
        assert_int_equal(got, -1);
        f.fails = 1;
        assert_false(energy_start(meter, why, sizeof why));
        assert_non_null(strstr(why, "Permission denied"));
        energy_close(meter);
        assert_int_equal(f.n_groups, 0);
    }
}

/* Also without PAPI, and where PAPI has no meter. One package's counter wraps. */
static void files_are_read_where_papi_has_no_meter(void **state) {
    struct fake f = {0};
    struct papi_api api = fake_api(&f);
    const struct papi_api *const apis[] = {NULL, &api};
    (void)state;
    for (size_t k = 0; k < 2; k++) {
        char why[256] = "";
        int64_t got = -1;
        put("intel-rapl:0/energy_uj", "1000\n");
        put("intel-rapl:2/energy_uj", "262143328000\n");
        struct energy *meter = energy_open_by(apis[k], root, why, sizeof why);
        if (!meter)
            fail_msg("%s", why);
        assert_string_equal(energy_method(meter), "sysfs powercap, 2 packages");
        assert_true(energy_start(meter, why, sizeof why));
        put("intel-rapl:0/energy_uj", "6000\n");
        put("intel-rapl:2/energy_uj", "150\n");
        assert_true(energy_stop(meter, &got, why, sizeof why));
        assert_int_equal(got, 5000 + 850 + 150);
        energy_close(meter);
    }
}

static void what_cannot_be_read_says_why(void **state) {
    char why[256] = "", zone[160];
    int64_t got = -1;
    (void)state;
    put("intel-rapl:2/energy_uj", "not a number\n");
    assert_null(energy_open_by(NULL, root, why, sizeof why));
    assert_non_null(strstr(why, "pare was built without PAPI; /sys/class/powercap/intel-rapl:2/"
                                "energy_uj: "));
    snprintf(zone, sizeof zone, "%s/sys/class/powercap/intel-rapl:2", root);
    put("intel-rapl:2/energy_uj", "5\n");
    struct energy *meter = energy_open_by(NULL, root, why, sizeof why);
    assert_non_null(meter);
    assert_true(energy_start(meter, why, sizeof why));
    assert_false(energy_stop(meter, &got, why, sizeof why)); /* nothing moved */
    assert_true(energy_start(meter, why, sizeof why));
    put("intel-rapl:2/energy_uj", "");
    assert_false(energy_stop(meter, &got, why, sizeof why));
    assert_int_equal(got, -1);
    energy_close(meter);
    assert_null(energy_open_by(NULL, "/nowhere", why, sizeof why));
    assert_non_null(strstr(why, "no packages in /sys/class/powercap"));
}

static void this_machine_has_one_or_says_why(void **state) {
    char why[512] = "";
    struct energy *meter = energy_open(why, sizeof why);
    (void)state;
    print_message("%s\n", meter ? energy_method(meter) : why);
    assert_true(meter != NULL || why[0] != '\0');
    energy_close(meter);
}

int main(void) {
#define IN_ROOT(test) cmocka_unit_test_setup_teardown(test, make_root, remove_root)
    const struct CMUnitTest tests[] = {
        IN_ROOT(papi_components_are_used),
        IN_ROOT(files_are_read_where_papi_has_no_meter),
        IN_ROOT(what_cannot_be_read_says_why),
        cmocka_unit_test(this_machine_has_one_or_says_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
