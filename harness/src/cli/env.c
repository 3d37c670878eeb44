/* SPDX-License-Identifier: MIT */
/* pare env: what this machine is and can measure. */
#include "cli/cli.h"
#include "core/topology.h"
#include "dataset/dataset.h"
#include "measure/counters.h"
#include "measure/machine.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct report {
    struct table *table;
    pare_status status;
    struct error err;
};

/* One line: group, name, value ("" for none), and a note. */
static void say(struct report *report, const char *group, const char *name, const char *note,
                const char *format, ...) __attribute__((format(printf, 5, 6)));
static void say(struct report *report, const char *group, const char *name, const char *note,
                const char *format, ...) {
    char value[512];
    va_list list;
    va_start(list, format);
    vsnprintf(value, sizeof value, format, list);
    va_end(list);
    const char *cells[] = {group, name, value[0] ? value : NULL, note && note[0] ? note : NULL};
    if (report->status == PARE_OK)
        report->status = table_add(report->table, cells, &report->err);
}

static void say_machine(struct report *r, const struct machine *m) {
    say(r, "pare", "version", "", "%s", pare_version());
    say(r, "pare", "commit", m->git_commit[0] ? "" : "unknown", "%s", m->git_commit);
    say(r, "pare", "compiler", "", "%s", m->compiler);
    say(r, "pare", "flags", "", "%s", m->flags);
    say(r, "machine", "host", "", "%s", m->host);
    say(r, "machine", "cpu", "", "%s", m->cpu);
    say(r, "machine", "arch", "", "%s", m->arch);
    say(r, "machine", "features", "", "%s", m->isa);
    say(r, "machine", "topology", "", "%s", m->topology);
    say(r, "machine", "os", "", "%s", m->os);
    say(r, "machine", "virtualization", "", "%s", m->virtualization);
    say(r, "machine", "governor", m->governor[0] ? "" : "not readable", "%s", m->governor);
    say(r, "machine", "boost", m->boost[0] ? "" : "not readable", "%s", m->boost);
}

static void say_state(struct report *r) {
    struct machine_state state;
    machine_read_state(&state);
    if (state.freq_khz > 0)
        say(r, "state", "frequency", "", "%.0f MHz", (double)state.freq_khz / 1e3);
    else
        say(r, "state", "frequency", "not readable", "%s", "");
    if (state.load >= 0)
        say(r, "state", "load", state.load > 0.5 ? "others are at work: times will vary" : "",
            "%.2f", state.load);
    if (!isnan(state.temperature_c))
        say(r, "state", "temperature", "", "%.0f degC", state.temperature_c);
    else
        say(r, "state", "temperature", "not readable", "%s", "");
    say(r, "peak of one core", "fp32", "register-only loop, measured now", "%.1f GMAC/s",
        machine_peak_macs(0) / 1e9);
    say(r, "peak of one core", "int8", "register-only loop, measured now", "%.1f GMAC/s",
        machine_peak_macs(1) / 1e9);
}

static void say_counters(struct report *r) {
    struct counters_support s;
    counters_probe(&s);
    const int works[] = {s.papi_library, s.papi_hardware, s.papi_sde, s.software_events, s.energy};
    static const char *const names[] = {"PAPI", "hardware events", "software-defined events (sde)",
                                        "kernel software events", "energy"};
    const char *const notes[] = {s.papi_version, "", "", "", s.energy_method};
    for (int k = 0; k < 5; k++)
        say(r, "counters", names[k], works[k] ? notes[k] : s.why[k], "%s", works[k] ? "yes" : "no");
}

static void say_backends(struct report *r, const struct registry *reg) {
    for (size_t k = 0; k < registry_n_entries(reg); k++) {
        const struct plugin_entry *entry = registry_entry(reg, k);
        pare_probe probe = {0};
        if (!entry->backend)
            continue;
        struct error err;
        if (registry_probe(entry, &err, &probe))
            say(r, "backends", entry->backend->id, err.text, "%s", "no");
        else if (probe.score > 0)
            say(r, "backends", entry->backend->id, "", "%s, score %d", probe.isa, probe.score);
        else
            say(r, "backends", entry->backend->id, probe.reason, "%s", "no");
    }
    for (size_t k = 0; k < registry_n_rejects(reg); k++) {
        const struct plugin_reject *reject = registry_reject(reg, k);
        if (reject->lacks_library)
            say(r, "backends", reject->name, reject->reason, "%s", "no");
    }
}

static void say_datasets(struct report *r) {
    for (const struct dataset_info *info = dataset_infos(); info->name; info++) {
        char *path = NULL;
        struct error err;
        int is_whole;
        if (dataset_locate_test(info->name, &err, &path, &is_whole) == PARE_OK)
            say(r, "datasets", info->name, is_whole ? "" : "only the test split", "%s", path);
        else
            say(r, "datasets", info->name, "not found", "%s", "");
        free(path);
    }
}

int env_command(struct cli *cli) {
    static const char *const headers[] = {"group", "name", "value", "note", NULL};
    struct report report = {.table = table_create(headers)};
    struct registry *reg = NULL;
    struct topology *topo = NULL;
    struct machine machine;
    if (!report.table)
        report.status = error_set(&report.err, PARE_E_NOMEM, "out of memory");
    if (report.status == PARE_OK)
        report.status = cli_registry(cli, &report.err, &reg);
    if (report.status == PARE_OK)
        report.status = topology_create(&report.err, &topo);
    if (report.status == PARE_OK) {
        machine_describe(topo, &machine);
        say_machine(&report, &machine);
        say_state(&report);
        say_counters(&report);
        say_backends(&report, reg);
        say_datasets(&report);
    }
    if (report.status == PARE_OK)
        cli_print(cli, report.table);
    topology_destroy(topo);
    registry_destroy(reg);
    table_destroy(report.table);
    return report.status ? cli_fail(cli, &report.err) : CLI_DONE;
}
