/* SPDX-License-Identifier: MIT */
/* A plugin of QEMU's TCG that counts the instructions a program executes: exact and repeatable,
 * where there are no counters, or no such processor. scripts/bench/arm_instructions.sh builds it:
 *     gcc -O2 -shared -fPIC count_instructions.c -o count_instructions.so
 *     qemu-aarch64 -plugin ./count_instructions.so PROGRAM      prints "instructions N" on stderr
 * One counter without a lock: for programs of one thread. Debian has no header of the interface;
 * what is declared here is its version 1, as QEMU's documentation of TCG plugins has it. */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

#define EXPORT __attribute__((visibility("default")))
#define INLINE_ADD_U64 0 /* the only inline operation there is */

struct block; /* translated instructions without a branch between them */
typedef uint64_t plugin_id;
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id,
                                           void (*on_block)(plugin_id, struct block *));
void qemu_plugin_register_vcpu_tb_exec_inline(struct block *block, int operation, void *counter,
                                              uint64_t operand);
size_t qemu_plugin_tb_n_insns(const struct block *block);
void qemu_plugin_register_atexit_cb(plugin_id id, void (*on_exit)(plugin_id, void *),
                                    void *context);

EXPORT extern int qemu_plugin_version;
EXPORT int qemu_plugin_version = 1;
EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv);

static uint64_t n_instructions;

static void block_translated(plugin_id id, struct block *block) {
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_inline(block, INLINE_ADD_U64, &n_instructions,
                                             qemu_plugin_tb_n_insns(block));
}

static void program_ends(plugin_id id, void *context) {
    (void)id;
    (void)context;
    fprintf(stderr, "instructions %" PRIu64 "\n", n_instructions);
}

int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv) {
    (void)info;
    (void)argc;
    (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, block_translated);
    qemu_plugin_register_atexit_cb(id, program_ends, NULL);
    return 0;
}
