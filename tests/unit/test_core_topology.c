/* SPDX-License-Identifier: MIT */
#include "core/cgroup.h"
#include "core/file.h"
#include "core/topology.h"
#include "core/topology_internal.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct topology *make_topology(void) {
    struct error err = {0};
    struct topology *topo = NULL;
    if (topology_create(&err, &topo) != PARE_OK)
        fail_msg("%s", err.text);
    return topo;
}

static void counts_agree_with_affinity(void **state) {
    struct topology *topo = make_topology();
    cpu_set_t set;
    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    assert_int_equal(topology_n_pus(topo), CPU_COUNT(&set));
    assert_in_range(topology_n_cores(topo), 1, topology_n_pus(topo));
    topology_destroy(topo);
    topology_destroy(NULL);
}

static void describes_itself(void **state) {
    struct topology *topo = make_topology();
    char text[192], cut[8];
    (void)state;
    topology_describe(topo, text, sizeof text);
    print_message("%s\n", text);
    assert_int_equal(atoi(text), topology_n_cores(topo));
    assert_non_null(strstr(text, "core"));
    assert_non_null(strchr(text, '('));
    assert_non_null(strchr(text, ')'));
    topology_describe(topo, cut, sizeof cut);
    assert_int_equal(strlen(cut), sizeof cut - 1);
    assert_memory_equal(cut, text, sizeof cut - 1);
    topology_describe(topo, cut, 0); /* writes nothing */
    topology_destroy(topo);
}

static void caches_are_plausible(void **state) {
    struct topology *topo = make_topology();
    (void)state;
    for (int level = 1; level <= 3; level++) {
        int64_t bytes = topology_cache_bytes(topo, level);
        assert_true(bytes == 0 || (bytes >= 1024 && bytes <= INT64_C(1) << 34));
    }
    assert_int_equal(topology_cache_bytes(topo, 0), 0);
    assert_int_equal(topology_cache_bytes(topo, 4), 0);
    assert_int_equal(topology_cache_bytes(topo, -1), 0);
    topology_destroy(topo);
}

struct bind_job {
    const struct topology *topo;
    int32_t k;
    char text[96];
    cpu_set_t set;
    int cpu;
};

static void *bind_main(void *arg) {
    struct bind_job *job = arg;
    topology_bind_thread(job->topo, job->k, job->text, sizeof job->text);
    sched_getaffinity(0, sizeof job->set, &job->set);
    job->cpu = sched_getcpu();
    return NULL;
}

/* The text, the mask that the kernel reports and the processor it runs on all agree. */
static void binding_reads_back(void **state) {
    struct topology *topo = make_topology();
    int32_t n = topology_n_pus(topo);
    (void)state;
    for (int32_t k = 0; k < 2 * n && k < 32; k++) {
        struct bind_job job = {topo, k, "", {{0}}, -1};
        pthread_t thread;
        unsigned core, pu;
        assert_int_equal(pthread_create(&thread, NULL, bind_main, &job), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        if (strncmp(job.text, "unbound: ", 9) == 0) {
            print_message("SKIPPED: %s\n", job.text);
            topology_destroy(topo);
            skip();
        }
        assert_int_equal(sscanf(job.text, "core %u pu %u", &core, &pu), 2);
        assert_int_equal(CPU_COUNT(&job.set), 1);
        assert_true(CPU_ISSET(pu, &job.set));
        assert_int_equal(job.cpu, (int)pu);
        assert_int_equal(strstr(job.text, " shared") != NULL, k >= n);
    }
    topology_destroy(topo);
}

/* In a child: after restricting itself to one processor, only that one counts and is bound to. */
static void affinity_is_respected(void **state) {
    cpu_set_t set;
    size_t last = 0;
    int status;
    pid_t child;
    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &set))
            last = cpu;
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct error err = {0};
        struct topology *topo = NULL;
        char text[192], wanted[32];
        CPU_ZERO(&set);
        CPU_SET(last, &set);
        if (sched_setaffinity(0, sizeof set, &set) != 0)
            _exit(77);
        if (topology_create(&err, &topo) != PARE_OK)
            _exit(2);
        if (topology_n_cores(topo) != 1 || topology_n_pus(topo) != 1)
            _exit(3);
        topology_bind_thread(topo, 0, text, sizeof text);
        snprintf(wanted, sizeof wanted, " pu %zu", last);
        if (strstr(text, wanted) == NULL)
            _exit(4);
        topology_describe(topo, text, sizeof text);
        topology_destroy(topo);
        _exit(strncmp(text, "1 ", 2) == 0 ? 0 : 5);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- control groups, in a folder that stands for / ---- */

static void put(const char *root, const char *path, const char *text) {
    struct error err = {0};
    char full[256];
    snprintf(full, sizeof full, "%s%s", root, path);
    *strrchr(full, '/') = '\0';
    assert_int_equal(file_make_dirs(full, &err), PARE_OK);
    snprintf(full, sizeof full, "%s%s", root, path);
    assert_int_equal(file_write(full, text, strlen(text), &err), PARE_OK);
}

static void quota_is_the_least_of_all_levels(void **state) {
    char root[] = "/tmp/pare_cgroup_XXXXXX", command[64];
    (void)state;
    assert_non_null(mkdtemp(root));
    assert_true(isinf(cgroup_cpu_quota(root)));
    put(root, "/proc/self/cgroup", "0::/job/step\n");
    assert_true(isinf(cgroup_cpu_quota(root)));
    put(root, "/sys/fs/cgroup/job/step/cpu.max", "max 100000\n");
    assert_true(isinf(cgroup_cpu_quota(root)));
    put(root, "/sys/fs/cgroup/job/cpu.max", "150000 100000\n");
    assert_true(cgroup_cpu_quota(root) == 1.5);
    put(root, "/sys/fs/cgroup/job/step/cpu.max", "200000 100000\n");
    assert_true(cgroup_cpu_quota(root) == 1.5);
    put(root, "/sys/fs/cgroup/cpu.max", "50000 100000\n"); /* a container sees its own at the top */
    assert_true(cgroup_cpu_quota(root) == 0.5);
    put(root, "/proc/self/cgroup", "0::/\n");
    assert_true(cgroup_cpu_quota(root) == 0.5);
    put(root, "/proc/self/cgroup", "0::/../../elsewhere\n");
    assert_true(isinf(cgroup_cpu_quota(root)));

    put(root, "/proc/self/cgroup", "9:name=systemd:/\n4:cpuset:/x\n3:cpu,cpuacct:/docker/1\n");
    put(root, "/sys/fs/cgroup/cpu/docker/1/cpu.cfs_quota_us", "-1\n");
    put(root, "/sys/fs/cgroup/cpu/docker/1/cpu.cfs_period_us", "100000\n");
    assert_true(isinf(cgroup_cpu_quota(root)));
    put(root, "/sys/fs/cgroup/cpu/docker/1/cpu.cfs_quota_us", "250000\n");
    assert_true(cgroup_cpu_quota(root) == 2.5);

    put(root, "/proc/self/cgroup", "nonsense\n::\n3:cpu\n0:\n");
    (void)cgroup_cpu_quota(root); /* no harm */
    put(root, "/proc/self/cgroup", "0::/job/step\n");
    put(root, "/sys/fs/cgroup/cpu.max", "0 0\n");
    put(root, "/sys/fs/cgroup/job/cpu.max", "100000\n");
    assert_true(cgroup_cpu_quota(root) == 2);
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    assert_int_equal(system(command), 0);
}

/* ---- machines that this one is not ---- */

/* hwloc's description of a made-up machine; the first n_little processors are of a slower kind. */
static struct topology *make_synthetic(const char *description, unsigned n_little, unsigned n_mid) {
    struct error err = {0};
    struct topology *topo = NULL;
    hwloc_topology_t hw;
    assert_int_equal(hwloc_topology_init(&hw), 0);
    assert_int_equal(hwloc_topology_set_synthetic(hw, description), 0);
    assert_int_equal(hwloc_topology_load(hw), 0);
    unsigned n = (unsigned)hwloc_get_nbobjs_by_type(hw, HWLOC_OBJ_PU);
    const unsigned ends[] = {n_little, n_little + n_mid, n};
    for (unsigned kind = 0, from = 0; n_little > 0 && kind < 3; from = ends[kind++]) {
        hwloc_bitmap_t set = hwloc_bitmap_alloc();
        if (ends[kind] > from) {
            hwloc_bitmap_set_range(set, from, (int)ends[kind] - 1);
            assert_int_equal(hwloc_cpukinds_register(hw, set, (int)kind, 0, NULL, 0), 0);
        }
        hwloc_bitmap_free(set);
    }
    if (topology_create_from(hw, &err, &topo) != PARE_OK)
        fail_msg("%s", err.text);
    return topo;
}

static struct topology *of_kind(const struct topology *topo, const char *name) {
    struct error err = {0};
    enum core_kind kind;
    struct topology *part = NULL;
    assert_int_equal(topology_parse_kind(name, &err, &kind), PARE_OK);
    if (topology_of_kind(topo, kind, &err, &part) != PARE_OK)
        fail_msg("%s", err.text);
    return part;
}

/* A board of four LITTLE and two big cores. */
static void big_and_little_cores_are_chosen_by_name(void **state) {
    struct topology *board = make_synthetic("package:1 core:6 pu:1", 4, 0);
    struct topology *big = of_kind(board, "big"), *little = of_kind(board, "little");
    char text[192];
    (void)state;
    assert_int_equal(topology_n_cores(board), 6);
    assert_int_equal(topology_pu_of(board, 0), 4); /* big ones first */
    assert_int_equal(topology_pu_of(board, 2), 0);
    assert_int_equal(topology_n_cores(big), 2);
    assert_int_equal(topology_pu_of(big, 0), 4);
    assert_int_equal(topology_pu_of(big, 1), 5);
    assert_int_equal(topology_pu_of(big, 2), 4); /* shared, never on a LITTLE one */
    topology_slot_text(big, 2, text, sizeof text);
    assert_string_equal(text, "core 4 pu 4 big shared");
    assert_int_equal(topology_n_cores(little), 4);
    for (int32_t k = 0; k < 4; k++)
        assert_int_equal(topology_pu_of(little, k), k);
    topology_describe(board, text, sizeof text);
    assert_non_null(strstr(text, "2 big, 4 LITTLE"));
    topology_describe(little, text, sizeof text);
    assert_non_null(strstr(text, "4 of 6 cores"));
    assert_non_null(strstr(text, "4 LITTLE"));
    assert_null(strstr(text, "big"));
    topology_destroy(board); /* parts are independent */
    topology_bind_thread(little, 0, text, sizeof text);
    assert_non_null(strstr(text, "unbound: ")); /* the made-up processor does not read back */
    topology_destroy(big);
    topology_destroy(little);
}

static void three_kinds_have_a_middle(void **state) {
    struct topology *phone = make_synthetic("package:1 core:8 pu:1", 4, 3);
    struct topology *mid = of_kind(phone, "mid"), *big = of_kind(phone, "big"),
                    *all = of_kind(phone, "any");
    (void)state;
    assert_int_equal(topology_n_cores(mid), 3);
    assert_int_equal(topology_pu_of(mid, 0), 4);
    assert_int_equal(topology_n_cores(big), 1);
    assert_int_equal(topology_pu_of(big, 0), 7);
    assert_int_equal(topology_n_cores(all), 8);
    assert_int_equal(topology_pu_of(all, 0), 7);
    topology_destroy(mid);
    topology_destroy(big);
    topology_destroy(all);
    topology_destroy(phone);
}

static void kinds_that_there_are_not_are_refused(void **state) {
    struct topology *plain = make_synthetic("package:1 core:2 pu:2", 0, 0), *part = NULL;
    struct topology *board = make_synthetic("package:1 core:6 pu:1", 4, 0);
    enum core_kind kind = CORES_MID;
    struct error err = {0};
    (void)state;
    assert_int_equal(topology_of_kind(plain, CORES_BIG, &err, &part), PARE_E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "no big cores here: all that may be used are alike"));
    assert_int_equal(topology_of_kind(board, CORES_MID, &err, &part), PARE_E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "no mid cores here"));
    assert_null(part);
    assert_int_equal(topology_parse_kind("huge", &err, &kind), PARE_E_ARG);
    assert_non_null(strstr(err.text, "\"huge\", wanted any, big, mid or LITTLE"));
    assert_int_equal(kind, CORES_MID);
    topology_destroy(plain);
    topology_destroy(board);
}

/* First hardware threads of all cores come first; caches and SMT are described. */
static void hardware_threads_share_cores(void **state) {
    struct topology *topo = make_synthetic("package:1 l3:1(size=8388608) l2:2(size=524288) "
                                           "l1d:1(size=32768) core:1 pu:2(indexes=0,2,1,3)",
                                           0, 0);
    char text[192];
    (void)state;
    assert_int_equal(topology_n_cores(topo), 2);
    assert_int_equal(topology_n_pus(topo), 4);
    assert_int_equal(topology_pu_of(topo, 0), 0);
    assert_int_equal(topology_pu_of(topo, 1), 1);
    assert_int_equal(topology_pu_of(topo, 2), 2);
    assert_int_equal(topology_cache_bytes(topo, 3), 8388608);
    topology_slot_text(topo, 0, text, sizeof text);
    assert_string_equal(text, "core 0 pu 0 sibling pu 2");
    topology_slot_text(topo, 5, text, sizeof text);
    assert_string_equal(text, "core 1 pu 1 sibling pu 3 shared");
    topology_describe(topo, text, sizeof text);
    assert_string_equal(text, "2 cores (1 socket, 4 hardware threads), L1d 32K L2 512K L3 8M");
    topology_destroy(topo);
}

static void memory_is_the_least_of_all_levels(void **state) {
    char root[] = "/tmp/pare_cgroup_XXXXXX", command[64];
    (void)state;
    assert_non_null(mkdtemp(root));
    assert_true(isinf(cgroup_memory_limit(root)));
    put(root, "/proc/self/cgroup", "0::/job/step\n");
    put(root, "/sys/fs/cgroup/job/step/memory.max", "max\n");
    assert_true(isinf(cgroup_memory_limit(root)));
    put(root, "/sys/fs/cgroup/job/memory.max", "1073741824\n");
    assert_true(cgroup_memory_limit(root) == 1073741824);
    put(root, "/proc/self/cgroup", "8:memory:/docker/1\n3:cpu,cpuacct:/docker/1\n");
    put(root, "/sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", "500000000\n");
    put(root, "/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    assert_true(cgroup_memory_limit(root) == 500000000);
    put(root, "/sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", "9223372036854771712\n");
    assert_true(isinf(cgroup_memory_limit(root)));
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    assert_int_equal(system(command), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_agree_with_affinity),
        cmocka_unit_test(describes_itself),
        cmocka_unit_test(caches_are_plausible),
        cmocka_unit_test(binding_reads_back),
        cmocka_unit_test(affinity_is_respected),
        cmocka_unit_test(big_and_little_cores_are_chosen_by_name),
        cmocka_unit_test(three_kinds_have_a_middle),
        cmocka_unit_test(kinds_that_there_are_not_are_refused),
        cmocka_unit_test(hardware_threads_share_cores),
        cmocka_unit_test(quota_is_the_least_of_all_levels),
        cmocka_unit_test(memory_is_the_least_of_all_levels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
