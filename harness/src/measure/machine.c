/* SPDX-License-Identifier: MIT */
#include "measure/machine.h"

#include "git_commit.h"
#include "measure/machine_internal.h"

#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

enum { MAX_PATH = 512, MAX_FILE = 1 << 20, LINE = 256 };

/* ---- small files of the system ---- */

/* The file root/path, NUL-terminated and malloc'd, at most MAX_FILE bytes of it; NULL if
 * unreadable. Files of /proc have no size, so it is read until it ends. */
static char *slurp(const char *root, const char *path) {
    char full[MAX_PATH];
    size_t n = 0, capacity = 4096;
    char *text = NULL;
    FILE *file;
    if (snprintf(full, sizeof full, "%s%s", root, path) >= (int)sizeof full)
        return NULL;
    file = fopen(full, "re");
    if (file == NULL)
        return NULL;
    for (;;) {
        char *larger = realloc(text, capacity + 1);
        size_t got;
        if (larger == NULL)
            break;
        text = larger;
        got = fread(text + n, 1, capacity - n, file);
        n += got;
        if (got == 0 || capacity >= MAX_FILE)
            break;
        if (n == capacity)
            capacity *= 2;
    }
    fclose(file);
    if (text != NULL)
        text[n] = '\0';
    return text;
}

/* The first line of a file, without white space around it; 0 and "" if there is none. */
static int read_line(const char *root, const char *path, char *line, size_t size) {
    char *text = slurp(root, path);
    const char *begin = text != NULL ? text + strspn(text, " \t") : "";
    size_t n = strcspn(begin, "\n");
    while (n > 0 && (begin[n - 1] == ' ' || begin[n - 1] == '\t' || begin[n - 1] == '\r'))
        n--;
    snprintf(line, size, "%.*s", (int)(n < size ? n : size - 1), begin);
    free(text);
    return line[0] != '\0';
}

static int exists(const char *root, const char *path) {
    char full[MAX_PATH];
    return snprintf(full, sizeof full, "%s%s", root, path) < (int)sizeof full &&
           access(full, F_OK) == 0;
}

/* The value of the next "key : value" (or key=value) line of *at, which moves behind it; 0 if there
 * is none. Quotes around a value are dropped. */
static int next_field(const char **at, const char *key, char *value, size_t size) {
    size_t length = strlen(key);
    for (const char *line = *at; *line != '\0';) {
        const char *end = line + strcspn(line, "\n"), *p = line + length;
        if (strncmp(line, key, length) == 0 && p <= end) {
            p += strspn(p, " \t");
            if (*p == ':' || *p == '=') {
                p++;
                p += strspn(p, " \t\"");
                size_t n = p < end ? (size_t)(end - p) : 0;
                while (n > 0 && strchr(" \t\r\"", p[n - 1]) != NULL)
                    n--;
                snprintf(value, size, "%.*s", (int)(n < size ? n : size - 1), p);
                *at = *end == '\n' ? end + 1 : end;
                return 1;
            }
        }
        line = *end == '\n' ? end + 1 : end;
    }
    return 0;
}

static int find_field(const char *text, const char *key, char *value, size_t size) {
    return next_field(&text, key, value, size);
}

/* ---- processor ---- */

/* "Cortex-A72" of ARM's implementer and part numbers (Arm's Main ID Register). */
static void arm_core_name(unsigned implementer, unsigned part, char *name, size_t size) {
    static const struct {
        unsigned part;
        const char *name;
    } arm_parts[] = {
        {0xc07, "Cortex-A7"},   {0xc08, "Cortex-A8"},    {0xc09, "Cortex-A9"},
        {0xc0f, "Cortex-A15"},  {0xd03, "Cortex-A53"},   {0xd04, "Cortex-A35"},
        {0xd05, "Cortex-A55"},  {0xd07, "Cortex-A57"},   {0xd08, "Cortex-A72"},
        {0xd09, "Cortex-A73"},  {0xd0a, "Cortex-A75"},   {0xd0b, "Cortex-A76"},
        {0xd0c, "Neoverse-N1"}, {0xd0d, "Cortex-A77"},   {0xd40, "Neoverse-V1"},
        {0xd41, "Cortex-A78"},  {0xd42, "Cortex-A78AE"}, {0xd44, "Cortex-X1"},
        {0xd46, "Cortex-A510"}, {0xd47, "Cortex-A710"},  {0xd48, "Cortex-X2"},
        {0xd49, "Neoverse-N2"}, {0xd4d, "Cortex-A715"},  {0xd4e, "Cortex-X3"},
        {0xd4f, "Neoverse-V2"}, {0xd80, "Cortex-A520"},  {0xd81, "Cortex-A720"},
    };
    if (implementer == 0x41) {
        for (size_t i = 0; i < sizeof arm_parts / sizeof *arm_parts; i++) {
            if (arm_parts[i].part == part) {
                snprintf(name, size, "%s", arm_parts[i].name);
                return;
            }
        }
    }
    snprintf(name, size, "%s core %#x/%#x", implementer == 0x61 ? "Apple" : "ARM", implementer,
             part);
}

/* "Cortex-A76 + Cortex-A55": each kind once. "" where cpuinfo has no part numbers. */
static void arm_core_names(const char *cpuinfo, char *names, size_t size) {
    char implementer[16] = "0", part[16], name[48];
    const char *at = cpuinfo;
    names[0] = '\0';
    find_field(cpuinfo, "CPU implementer", implementer, sizeof implementer);
    while (next_field(&at, "CPU part", part, sizeof part)) {
        size_t used = strlen(names);
        arm_core_name((unsigned)strtoul(implementer, NULL, 0), (unsigned)strtoul(part, NULL, 0),
                      name, sizeof name);
        if (strstr(names, name) == NULL)
            snprintf(names + used, size - used, "%s%s", used > 0 ? " + " : "", name);
    }
}

void machine_cpu_name(const char *root, char *name, size_t size) {
    char *cpuinfo = slurp(root, "/proc/cpuinfo");
    char cores[LINE] = "", board[LINE] = "";
    if (cpuinfo != NULL)
        arm_core_names(cpuinfo, cores, sizeof cores);
    read_line(root, "/proc/device-tree/model", board, sizeof board);
    if (cores[0] != '\0' && board[0] != '\0')
        snprintf(name, size, "%s (%s)", board, cores);
    else if (cores[0] != '\0')
        snprintf(name, size, "%s", cores);
    else if (cpuinfo == NULL || !find_field(cpuinfo, "model name", name, size))
        snprintf(name, size, "%s", board[0] != '\0' ? board : "unknown");
    free(cpuinfo);
}

/* ---- virtualization ---- */

/* x86 or ARM, or 0: the families that pare is built for. */
static char family_of(const char *machine) {
    if (strstr(machine, "86") != NULL || strcmp(machine, "amd64") == 0)
        return 'x';
    return strncmp(machine, "arm", 3) == 0 || strncmp(machine, "aarch64", 7) == 0 ? 'a' : 0;
}

/* User-mode emulation translates system calls, so most files tell of the host. */
static const char *find_emulator(const char *root, const char *machine) {
    char text[LINE], *cpuinfo;
    char family = family_of(machine), seen = 0;
    if (read_line(root, "/proc/self/comm", text, sizeof text) && strncmp(text, "qemu-", 5) == 0)
        return "qemu-user";
    if (read_line(root, "/proc/sys/kernel/arch", text, sizeof text))
        seen = family_of(text);
    cpuinfo = slurp(root, "/proc/cpuinfo");
    if (cpuinfo != NULL && seen == 0) {
        if (find_field(cpuinfo, "vendor_id", text, sizeof text))
            seen = 'x';
        else if (find_field(cpuinfo, "CPU implementer", text, sizeof text))
            seen = 'a';
    }
    free(cpuinfo);
    return family != 0 && seen != 0 && seen != family ? "user-mode emulator" : NULL;
}

static const char *hypervisor_by_vendor(const char *vendor) {
    static const char *const names[][2] = {
        {"KVMKVMKVM", "kvm"},     {"Microsoft Hv", "hyperv"}, {"VMwareVMware", "vmware"},
        {"XenVMMXenVMM", "xen"},  {"TCGTCGTCGTCG", "qemu"},   {"bhyve bhyve ", "bhyve"},
        {"VBoxVBoxVBox", "vbox"}, {"ACRNACRNACRN", "acrn"},   {" lrpepyh vr", "parallels"},
        {"Linux KVM Hv", "kvm"},  {"QNXQVMBSQG", "qnx"},      {"Jailhouse", "jailhouse"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strncmp(vendor, names[i][0], strlen(names[i][0])) == 0)
            return names[i][1];
    }
    return "vm";
}

/* Where the processor does not tell (ARM): the firmware. */
static const char *hypervisor_by_firmware(const char *root) {
    static const struct {
        const char *vendor, *product, *name;
    } known[] = {{"QEMU", "", "vm"},
                 {"Google", "Compute Engine", "kvm"},
                 {"Microsoft Corporation", "Virtual", "hyperv"},
                 {"VMware", "", "vmware"},
                 {"Xen", "", "xen"}};
    char text[LINE], product[LINE];
    if (read_line(root, "/sys/hypervisor/type", text, sizeof text) && strcmp(text, "xen") == 0)
        return "xen";
    if (read_line(root, "/proc/device-tree/hypervisor/compatible", text, sizeof text))
        return strstr(text, "xen") != NULL ? "xen" : strstr(text, "kvm") != NULL ? "kvm" : "vm";
    if (read_line(root, "/proc/device-tree/compatible", text, sizeof text) &&
        strcmp(text, "linux,dummy-virt") == 0)
        return "vm";
    read_line(root, "/sys/class/dmi/id/product_name", product, sizeof product);
    read_line(root, "/sys/class/dmi/id/sys_vendor", text, sizeof text);
    if (strcmp(text, "Amazon EC2") == 0)
        return strstr(product, "metal") != NULL ? NULL : "kvm";
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strncmp(text, known[i].vendor, strlen(known[i].vendor)) == 0 &&
            strstr(product, known[i].product) != NULL)
            return known[i].name;
    }
    return NULL;
}

static int in_container(const char *root) {
    char *groups;
    int found;
    if (exists(root, "/.dockerenv") || exists(root, "/run/.containerenv") ||
        exists(root, "/run/systemd/container"))
        return 1;
    groups = slurp(root, "/proc/1/cgroup");
    found =
        groups != NULL && (strstr(groups, "/docker") != NULL ||
                           strstr(groups, "/kubepods") != NULL || strstr(groups, "/lxc") != NULL);
    free(groups);
    return found;
}

void machine_virtualization(const char *root, const char *machine, const char *vendor, char *text,
                            size_t size) {
    const char *kind = find_emulator(root, machine);
    int container = in_container(root);
    if (kind == NULL)
        kind = vendor != NULL ? hypervisor_by_vendor(vendor) : hypervisor_by_firmware(root);
    if (kind == NULL)
        snprintf(text, size, "%s", container ? "container" : "none");
    else
        snprintf(text, size, "%s%s", kind, container ? "+container" : "");
}

/* What the hypervisor calls itself; NULL where the processor reports none. */
static const char *hypervisor_vendor(char vendor[13]) {
#if defined(__x86_64__) || defined(__i386__)
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 31 & 1))
        return NULL;
    __cpuid(0x40000000, a, b, c, d);
    memcpy(vendor, &b, 4);
    memcpy(vendor + 4, &c, 4);
    memcpy(vendor + 8, &d, 4);
    vendor[12] = '\0';
    return vendor;
#else
    (void)vendor;
    return NULL;
#endif
}

/* ---- the rest of the description ---- */

void machine_governor(const char *root, char *name, size_t size) {
    cpu_set_t usable;
    name[0] = '\0';
    if (sched_getaffinity(0, sizeof usable, &usable) != 0)
        return;
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        char path[96], line[32];
        if (!CPU_ISSET(cpu, &usable))
            continue;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%zu/cpufreq/scaling_governor", cpu);
        if (!read_line(root, path, line, sizeof line))
            continue;
        if (name[0] != '\0' && strcmp(name, line) != 0) {
            snprintf(name, size, "mixed");
            return;
        }
        snprintf(name, size, "%s", line);
    }
}

void machine_boost(const char *root, char *text, size_t size) {
    char line[16];
    text[0] = '\0';
    if (read_line(root, "/sys/devices/system/cpu/cpufreq/boost", line, sizeof line))
        snprintf(text, size, "%s", line[0] == '1' ? "on" : "off");
    else if (read_line(root, "/sys/devices/system/cpu/intel_pstate/no_turbo", line, sizeof line))
        snprintf(text, size, "%s", line[0] == '1' ? "off" : "on");
}

void machine_os(const char *root, const char *kernel, char *text, size_t size) {
    char *release = slurp(root, "/etc/os-release");
    char name[96] = "";
    if (release != NULL)
        find_field(release, "PRETTY_NAME", name, sizeof name);
    free(release);
    snprintf(text, size, "%s%s%s", name, name[0] != '\0' ? ", " : "", kernel);
}

static void describe_compiler(char *text, size_t size) {
#if defined(__clang__)
    snprintf(text, size, "clang %d.%d.%d", __clang_major__, __clang_minor__, __clang_patchlevel__);
#elif defined(__GNUC__)
    snprintf(text, size, "gcc %d.%d.%d", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
#else
    snprintf(text, size, "unknown");
#endif
}

void machine_describe(const struct topology *topo, struct machine *out) {
    struct utsname names;
    char kernel[160] = "", vendor[13];
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    memset(out, 0, sizeof *out);
    if (uname(&names) == 0) {
        snprintf(out->host, sizeof out->host, "%.63s", names.nodename);
        snprintf(out->arch, sizeof out->arch, "%.15s", names.machine);
        snprintf(kernel, sizeof kernel, "%s %s", names.sysname, names.release);
    }
    machine_cpu_name("", out->cpu, sizeof out->cpu);
    machine_os("", kernel, out->os, sizeof out->os);
    describe_compiler(out->compiler, sizeof out->compiler);
    snprintf(out->flags, sizeof out->flags, "%s", PARE_BUILD_FLAGS);
    snprintf(out->git_commit, sizeof out->git_commit, "%s", PARE_GIT_COMMIT);
    machine_governor("", out->governor, sizeof out->governor);
    machine_boost("", out->boost, sizeof out->boost);
    machine_virtualization("", out->arch, hypervisor_vendor(vendor), out->virtualization,
                           sizeof out->virtualization);
    peak_isa_text(out->isa, sizeof out->isa);
    out->cores = topo != NULL ? topology_n_cores(topo) : (int32_t)online;
    if (topo != NULL)
        topology_describe(topo, out->topology, sizeof out->topology);
}

const char *pare_version(void) {
    return PARE_VERSION;
}

/* ---- state ---- */

static int64_t read_frequency_khz(const char *root, int cpu) {
    char path[96], value[32], number[32];
    char *cpuinfo;
    const char *at;
    int64_t khz = 0;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/cpufreq/scaling_cur_freq", cpu);
    if (read_line(root, path, value, sizeof value))
        return strtoll(value, NULL, 10);
    cpuinfo = slurp(root, "/proc/cpuinfo");
    at = cpuinfo != NULL ? cpuinfo : "";
    /* A guest is told one nominal number, whatever the core really runs at. */
    if (strstr(at, " hypervisor") != NULL)
        at = "";
    snprintf(number, sizeof number, "%d", cpu);
    while (khz == 0 && next_field(&at, "processor", value, sizeof value)) {
        if (strcmp(value, number) == 0 && find_field(at, "cpu MHz", value, sizeof value))
            khz = (int64_t)(strtod(value, NULL) * 1000 + 0.5);
    }
    free(cpuinfo);
    return khz > 0 ? khz : 0;
}

int64_t machine_steal_ticks(const char *root) {
    char line[LINE];
    long long steal;
    if (!read_line(root, "/proc/stat", line, sizeof line) ||
        sscanf(line, "cpu %*s %*s %*s %*s %*s %*s %*s %lld", &steal) != 1)
        return -1;
    return steal;
}

/* Millidegrees in `path`; NaN unless plausible. */
static double read_degrees(const char *root, const char *path) {
    char line[32], *end;
    double degrees;
    if (!read_line(root, path, line, sizeof line))
        return NAN;
    degrees = strtod(line, &end) / 1000;
    return end != line && degrees > -60 && degrees < 200 ? degrees : NAN;
}

static int is_cpu_sensor(const char *name) {
    static const char *const known[] = {"coretemp", "k10temp", "zenpower", "cpu_thermal",
                                        "cpu-",     "cpu_",    "soc_",     "soc-",
                                        "x86_pkg_", "bigcore", "package"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strncmp(name, known[i], strlen(known[i])) == 0)
            return 1;
    }
    return 0;
}

/* Sensors "<folder><i>/name" whose value lies in "<folder><i>/<value>": the hottest that is named
 * like a processor's. */
static double hottest_sensor(const char *root, const char *folder, const char *name_file,
                             const char *value_file) {
    double hottest = NAN;
    for (int i = 0; i < 64; i++) {
        char path[96], name[64];
        snprintf(path, sizeof path, "%s%d/%s", folder, i, name_file);
        if (!read_line(root, path, name, sizeof name) || !is_cpu_sensor(name))
            continue;
        snprintf(path, sizeof path, "%s%d/%s", folder, i, value_file);
        hottest = fmax(hottest, read_degrees(root, path)); /* fmax ignores a NaN */
    }
    return hottest;
}

static double read_temperature(const char *root) {
    return fmax(hottest_sensor(root, "/sys/class/hwmon/hwmon", "name", "temp1_input"),
                hottest_sensor(root, "/sys/class/thermal/thermal_zone", "type", "temp"));
}

void machine_read_state_of(const char *root, int cpu, struct machine_state *out) {
    char line[64], *end;
    out->freq_khz = read_frequency_khz(root, cpu);
    out->load = -1;
    if (read_line(root, "/proc/loadavg", line, sizeof line)) {
        double load = strtod(line, &end);
        if (end != line && load >= 0)
            out->load = load;
    }
    out->steal_ticks = machine_steal_ticks(root);
    out->temperature_c = read_temperature(root);
}

void machine_read_state(struct machine_state *out) {
    int cpu = sched_getcpu();
    machine_read_state_of("", cpu >= 0 ? cpu : 0, out);
}
