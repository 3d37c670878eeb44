/* SPDX-License-Identifier: MIT */
/* What the machine says of itself: this one, and others by made-up files of the system. */
#include "core/progress.h"
#include "measure/machine.h"
#include "measure/machine_internal.h"

#include <math.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- a folder that stands for / ---- */

static char root[64];

static int make_root(void **state) {
    (void)state;
    snprintf(root, sizeof root, "/tmp/pare_machine_XXXXXX");
    return mkdtemp(root) == NULL;
}

static int remove_root(void **state) {
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    return system(command);
}

static void put_bytes(const char *path, const char *text, size_t n) {
    char full[512];
    FILE *file;
    snprintf(full, sizeof full, "%s%s", root, path);
    for (char *p = full + strlen(root) + 1; (p = strchr(p, '/')) != NULL; p++) {
        *p = '\0';
        mkdir(full, 0755);
        *p = '/';
    }
    file = fopen(full, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

static void put(const char *path, const char *text) {
    put_bytes(path, text, strlen(text));
}

static const char x86_cpuinfo[] =
    "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel\t\t: 85\n"
    "model name\t: Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz\n"
    "cpu MHz\t\t: 2494.140\nflags\t\t: fpu avx2\n\n"
    "processor\t: 1\nvendor_id\t: GenuineIntel\ncpu MHz\t\t: 3100.5\n";
static const char arm_cpuinfo[] =
    "processor\t: 0\nBogoMIPS\t: 108.00\nCPU implementer\t: 0x41\nCPU part\t: 0xd05\n\n"
    "processor\t: 1\nCPU implementer\t: 0x41\nCPU part\t: 0xd05\n\n"
    "processor\t: 2\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n\n";

/* ---- processor ---- */

static void cpu_is_named(void **state) {
    char name[128];
    (void)state;
    machine_cpu_name(root, name, sizeof name);
    assert_string_equal(name, "unknown");
    put("/proc/cpuinfo", x86_cpuinfo);
    machine_cpu_name(root, name, sizeof name);
    assert_string_equal(name, "Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz");
    put("/proc/cpuinfo", arm_cpuinfo);
    machine_cpu_name(root, name, sizeof name);
    assert_string_equal(name, "Cortex-A55 + Cortex-A76");
    put_bytes("/proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0", 31); /* with its NUL */
    put("/proc/cpuinfo", "CPU implementer\t: 0x41\nCPU part\t: 0xd0b\n");
    machine_cpu_name(root, name, sizeof name);
    assert_string_equal(name, "Raspberry Pi 5 Model B Rev 1.0 (Cortex-A76)");
    put("/proc/cpuinfo", "CPU implementer\t: 0x61\nCPU part\t: 0x022\n");
    machine_cpu_name(root, name, 12);
    assert_int_equal(strlen(name), 11); /* cut, and ended */
    put("/proc/cpuinfo", "model name");
    machine_cpu_name(root, name, sizeof name);
    assert_string_equal(name, "Raspberry Pi 5 Model B Rev 1.0");
}

/* Broken or hostile files do no harm: no key, no value, no end of line, very long lines. */
static void odd_cpuinfo_is_survived(void **state) {
    static const char *const odd[] = {"",
                                      "\n\n\n",
                                      ":",
                                      "model name",
                                      "model name\t:",
                                      "model name:\n",
                                      "processor\t: 0",
                                      "CPU part\t:\n",
                                      "CPU part : zzz\nCPU implementer : -1\n",
                                      "cpu MHz : x\nprocessor : 0\n"};
    char name[128], *line = malloc(3000000);
    struct machine_state s;
    (void)state;
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        put("/proc/cpuinfo", odd[i]);
        machine_cpu_name(root, name, sizeof name);
        machine_read_state_of(root, 0, &s);
        assert_int_equal(s.freq_khz, 0);
    }
    assert_non_null(line);
    memset(line, 'a', 3000000);
    memcpy(line, "model name : ", 13);
    put_bytes("/proc/cpuinfo", line, 3000000);
    machine_cpu_name(root, name, sizeof name);
    assert_int_equal(strlen(name), sizeof name - 1);
    free(line);
}

/* ---- virtualization ---- */

static const char *virtualization(const char *machine, const char *vendor) {
    static char text[32];
    machine_virtualization(root, machine, vendor, text, sizeof text);
    return text;
}

static void hypervisors_are_named(void **state) {
    (void)state;
    put("/proc/cpuinfo", x86_cpuinfo);
    assert_string_equal(virtualization("x86_64", NULL), "none");
    assert_string_equal(virtualization("x86_64", "KVMKVMKVM\0\0"), "kvm");
    assert_string_equal(virtualization("x86_64", "Microsoft Hv"), "hyperv");
    assert_string_equal(virtualization("x86_64", "TCGTCGTCGTCG"), "qemu");
    assert_string_equal(virtualization("x86_64", "SomethingNew"), "vm");
    put("/.dockerenv", "");
    assert_string_equal(virtualization("x86_64", NULL), "container");
    assert_string_equal(virtualization("x86_64", "KVMKVMKVM"), "kvm+container");
}

static void containers_are_seen_by_cgroup(void **state) {
    (void)state;
    put("/proc/1/cgroup", "0::/init.scope\n");
    assert_string_equal(virtualization("x86_64", NULL), "none");
    put("/proc/1/cgroup", "12:cpu:/kubepods/besteffort/pod1\n");
    assert_string_equal(virtualization("x86_64", NULL), "container");
}

static void arm_machines_tell_by_firmware(void **state) {
    (void)state;
    put("/proc/cpuinfo", arm_cpuinfo);
    assert_string_equal(virtualization("aarch64", NULL), "none");
    put("/sys/class/dmi/id/sys_vendor", "Amazon EC2\n");
    put("/sys/class/dmi/id/product_name", "c7g.metal\n");
    assert_string_equal(virtualization("aarch64", NULL), "none");
    put("/sys/class/dmi/id/product_name", "c7g.large\n");
    assert_string_equal(virtualization("aarch64", NULL), "kvm");
    put("/sys/class/dmi/id/sys_vendor", "QEMU\n");
    assert_string_equal(virtualization("aarch64", NULL), "vm");
    put("/sys/class/dmi/id/sys_vendor", "Google\n"); /* a Chromebook */
    put("/sys/class/dmi/id/product_name", "Kevin\n");
    assert_string_equal(virtualization("aarch64", NULL), "none");
    put("/proc/device-tree/hypervisor/compatible", "linux,kvm");
    assert_string_equal(virtualization("aarch64", NULL), "kvm");
}

static void emulators_are_seen(void **state) {
    (void)state;
    put("/proc/cpuinfo", x86_cpuinfo);
    assert_string_equal(virtualization("aarch64", NULL), "user-mode emulator");
    assert_string_equal(virtualization("armv7l", NULL), "user-mode emulator");
    put("/proc/cpuinfo", arm_cpuinfo);
    assert_string_equal(virtualization("aarch64", NULL), "none");
    assert_string_equal(virtualization("armv7l", NULL), "none");
    put("/proc/sys/kernel/arch", "x86_64\n"); /* an emulator that makes up cpuinfo */
    assert_string_equal(virtualization("aarch64", NULL), "user-mode emulator");
    put("/proc/sys/kernel/arch", "aarch64\n");
    assert_string_equal(virtualization("aarch64", NULL), "none");
    put("/proc/self/comm", "qemu-aarch64\n");
    assert_string_equal(virtualization("aarch64", NULL), "qemu-user");
    put("/.dockerenv", "");
    assert_string_equal(virtualization("aarch64", NULL), "qemu-user+container");
}

/* ---- governor, system, state ---- */

static void governor_is_read(void **state) {
    char name[32], path[96];
    cpu_set_t set;
    int n = 0;
    (void)state;
    machine_governor(root, name, sizeof name);
    assert_string_equal(name, "");
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%zu/cpufreq/scaling_governor", cpu);
        if (CPU_ISSET(cpu, &set)) {
            put(path, n++ == 0 ? "performance\n" : "powersave\n");
            if (n == 1) {
                machine_governor(root, name, sizeof name);
                assert_string_equal(name, "performance");
            }
        } else if (cpu < 4) {
            put(path, "ondemand\n"); /* of a processor that does not matter */
        }
    }
    machine_governor(root, name, sizeof name);
    assert_string_equal(name, n > 1 ? "mixed" : "performance");
}

static void boost_is_read(void **state) {
    char text[8];
    (void)state;
    machine_boost(root, text, sizeof text);
    assert_string_equal(text, "");
    put("/sys/devices/system/cpu/intel_pstate/no_turbo", "1\n");
    machine_boost(root, text, sizeof text);
    assert_string_equal(text, "off");
    put("/sys/devices/system/cpu/intel_pstate/no_turbo", "0\n");
    machine_boost(root, text, sizeof text);
    assert_string_equal(text, "on");
    put("/sys/devices/system/cpu/cpufreq/boost", "0\n");
    machine_boost(root, text, sizeof text);
    assert_string_equal(text, "off");
}

static void system_is_named(void **state) {
    char text[128];
    (void)state;
    machine_os(root, "Linux 6.1.0", text, sizeof text);
    assert_string_equal(text, "Linux 6.1.0");
    put("/etc/os-release",
        "NAME=\"Debian\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nX=1\n");
    machine_os(root, "Linux 6.1.0", text, sizeof text);
    assert_string_equal(text, "Debian GNU/Linux 12 (bookworm), Linux 6.1.0");
}

static void state_is_read_or_marked_unknown(void **state) {
    struct machine_state s;
    (void)state;
    machine_read_state_of(root, 0, &s);
    assert_int_equal(s.freq_khz, 0);
    assert_true(s.load < 0);
    assert_int_equal(s.steal_ticks, -1);
    assert_true(isnan(s.temperature_c));

    put("/proc/cpuinfo", x86_cpuinfo);
    put("/proc/loadavg", "0.52 0.58 0.59 1/467 12345\n");
    put("/proc/stat", "cpu  3376 1 2450 251827 375 2 47 61 0 0\ncpu0 1 2 3\n");
    put("/sys/class/thermal/thermal_zone0/type", "acpitz\n");
    put("/sys/class/thermal/thermal_zone0/temp", "27800\n"); /* the room, not the processor */
    machine_read_state_of(root, 1, &s);
    assert_int_equal(s.freq_khz, 3100500);
    assert_true(fabs(s.load - 0.52) < 1e-12);
    assert_int_equal(s.steal_ticks, 61);
    assert_true(isnan(s.temperature_c));
    machine_read_state_of(root, 7, &s); /* a processor that cpuinfo lacks */
    assert_int_equal(s.freq_khz, 0);

    put("/proc/cpuinfo", "processor\t: 1\ncpu MHz\t\t: 2596.0\nflags\t\t: fpu hypervisor avx\n");
    machine_read_state_of(root, 1, &s); /* a guest sees no real frequency */
    assert_int_equal(s.freq_khz, 0);

    put("/sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq", "1800000\n");
    put("/sys/class/thermal/thermal_zone1/type", "cpu-thermal\n");
    put("/sys/class/thermal/thermal_zone1/temp", "51234\n");
    put("/sys/class/hwmon/hwmon3/name", "k10temp\n");
    put("/sys/class/hwmon/hwmon3/temp1_input", "63500\n");
    put("/sys/class/hwmon/hwmon4/name", "coretemp\n");
    put("/sys/class/hwmon/hwmon4/temp1_input", "nonsense\n");
    machine_read_state_of(root, 1, &s);
    assert_int_equal(s.freq_khz, 1800000);
    assert_true(fabs(s.temperature_c - 63.5) < 1e-9);

    put("/proc/stat", "cpu  3376 1 2450\n");
    put("/proc/loadavg", "x\n");
    machine_read_state_of(root, 1, &s);
    assert_int_equal(s.steal_ticks, -1);
    assert_true(s.load < 0);
}

/* ---- this machine ---- */

static void this_machine_is_described(void **state) {
    struct machine m, again;
    struct error err = {0};
    struct topology *topo = NULL;
    struct utsname names;
    struct machine_state s;
    (void)state;
    assert_int_equal(topology_create(&err, &topo), PARE_OK);
    memset(&m, 0x5a, sizeof m);
    machine_describe(topo, &m);
    print_message("%s | %s | %s | %s | %s | %s | %s | %d cores | '%s' | %s | %s | %s\n", m.host,
                  m.cpu, m.arch, m.os, m.compiler, m.flags, m.git_commit, m.cores, m.governor,
                  m.virtualization, m.isa, m.topology);
    assert_int_equal(uname(&names), 0);
    assert_string_equal(m.arch, names.machine);
    assert_non_null(strstr(m.os, names.release));
    assert_true(m.cpu[0] != '\0' && m.isa[0] != '\0' && m.virtualization[0] != '\0');
    assert_true(strncmp(m.compiler, "gcc ", 4) == 0 || strncmp(m.compiler, "clang ", 6) == 0);
    assert_non_null(strstr(m.flags, "-ffp-contract=off"));
    assert_int_equal(m.cores, topology_n_cores(topo));
    /* 12 hexadecimal digits, perhaps "-dirty"; or nothing outside git. */
    assert_true(m.git_commit[0] == '\0' || strspn(m.git_commit, "0123456789abcdef") >= 12);
    machine_describe(NULL, &again);
    assert_true(again.cores >= 1);
    assert_string_equal(again.topology, "");
    topology_destroy(topo);

    machine_read_state(&s);
    print_message("%lld kHz, load %.2f, steal %lld, %.1f C\n", (long long)s.freq_khz, s.load,
                  (long long)s.steal_ticks, s.temperature_c);
    assert_true(s.freq_khz >= 0 && s.freq_khz < 20000000);
    assert_true(s.steal_ticks >= -1);
    assert_int_equal(strspn(pare_version(), "0123456789."), strlen(pare_version()));
}

static void peaks_are_plausible(void **state) {
    size_t n;
    const struct peak_kernel *kernels = peak_kernels(&n);
    double fp32 = machine_peak_macs(0), int8 = machine_peak_macs(1);
    int64_t start_ns;
    (void)state;
    print_message("peak: fp32 %.2f, int8 %.2f GMAC/s per core (%s, %s)\n", fp32 * 1e-9, int8 * 1e-9,
                  peak_best(0)->isa, peak_best(1)->isa);
    assert_true(fp32 > 1e6 && fp32 < 1e13);
    assert_true(int8 > 1e6 && int8 < 1e14);
    assert_true(int8 >= 0.9 * fp32);
    /* Once per process: the second call measures nothing. */
    start_ns = clock_ns();
    for (int i = 0; i < 1000; i++)
        assert_true(machine_peak_macs(1) == int8);
    assert_true(clock_ns() - start_ns < 20000000);

    /* Every loop that can run here does, at a rate that the widest one is not far below. */
    for (size_t k = 0; k < n; k++) {
        if (!kernels[k].supported()) {
            print_message("  %s %s: not supported here\n", kernels[k].integer ? "int8" : "fp32",
                          kernels[k].isa);
            continue;
        }
        double rate = peak_measure(&kernels[k], 2000000, 4);
        print_message("  %s %s: %.2f GMAC/s\n", kernels[k].integer ? "int8" : "fp32",
                      kernels[k].isa, rate * 1e-9);
        assert_true(rate > 1e6);
        assert_true(rate < 1.5 * (kernels[k].integer ? int8 : fp32));
    }
}

/* Twice the work takes about twice the time: the loop is really run. */
static void peak_loops_are_not_optimised_away(void **state) {
    size_t n;
    const struct peak_kernel *kernels = peak_kernels(&n);
    (void)state;
    for (size_t k = 0; k < n; k++) {
        double a, b;
        if (!kernels[k].supported())
            continue;
        a = peak_measure(&kernels[k], 1000000, 6);
        b = peak_measure(&kernels[k], 4000000, 6);
        assert_true(b > 0.6 * a && b < 1.6 * a);
        /* No core does more than four vectors per cycle of 6 GHz. */
        assert_true(b < 4 * kernels[k].macs_per_step * 6e9);
    }
}

#define IN_ROOT(test) cmocka_unit_test_setup_teardown(test, make_root, remove_root)

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_ROOT(cpu_is_named),
        IN_ROOT(odd_cpuinfo_is_survived),
        IN_ROOT(hypervisors_are_named),
        IN_ROOT(containers_are_seen_by_cgroup),
        IN_ROOT(arm_machines_tell_by_firmware),
        IN_ROOT(emulators_are_seen),
        IN_ROOT(governor_is_read),
        IN_ROOT(boost_is_read),
        IN_ROOT(system_is_named),
        IN_ROOT(state_is_read_or_marked_unknown),
        cmocka_unit_test(this_machine_is_described),
        cmocka_unit_test(peaks_are_plausible),
        cmocka_unit_test(peak_loops_are_not_optimised_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
