/* SPDX-License-Identifier: MIT */
#include "core/cgroup.h"
#include "core/file.h"
#include "core/topology.h"

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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_agree_with_affinity),
        cmocka_unit_test(describes_itself),
        cmocka_unit_test(caches_are_plausible),
        cmocka_unit_test(binding_reads_back),
        cmocka_unit_test(affinity_is_respected),
        cmocka_unit_test(quota_is_the_least_of_all_levels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
