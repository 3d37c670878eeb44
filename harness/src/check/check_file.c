/* SPDX-License-Identifier: MIT */
/* Checks of the plugin as a file. */
#include "check/case.h"
#include "core/file.h"

#include <elf.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FILE_BYTES = 1 << 28 };

void check_load(struct check_case *c) {
    struct error err;
    const char *path = c->subject->options->path;
    for (int k = 0; k < 2; k++) { /* what the first unloading leaves behind shows in the second */
        struct registry *reg = NULL;
        if (registry_create(&err, &reg) ||
            (note_enter(c->note, "the file", "loading"), registry_load(reg, path, &err))) {
            case_fail(c, "%s", err.text);
            return;
        }
        note_leave(c->note);
        for (size_t i = 0; i < registry_n_entries(reg); i++) {
            const struct plugin_entry *entry = registry_entry(reg, i);
            note_enter(c->note, entry->owner, "get_extension");
            if (entry->method && registry_check_extensions(entry, &err))
                case_fail(c, "%s", err.text);
            note_leave(c->note);
        }
        note_enter(c->note, "the file", "unloading");
        registry_destroy(reg);
        note_leave(c->note);
    }
}

/* ---- symbols ---- */

/* The part of a file in which a table of n entries of `size` bytes lies; NULL: beyond its end. */
static const void *part(const uint8_t *data, size_t n_bytes, uint64_t offset, uint64_t n,
                        uint64_t size) {
    uint64_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes) || offset > n_bytes || bytes > n_bytes - offset ||
        offset % 8 != 0)
        return NULL;
    return data + offset;
}

struct symbols {
    const ElfW(Sym) * all; /* (n) */
    uint64_t n;
    const char *names; /* (n_names), the last byte a NUL */
    uint64_t n_names;
};

/* The dynamic symbols, by the section headers; 0: there are none to be read. */
static int find_symbols(const uint8_t *data, size_t n_bytes, struct symbols *out) {
    const ElfW(Ehdr) *header = part(data, n_bytes, 0, 1, sizeof *header);
    const ElfW(Shdr) *sections =
        header ? part(data, n_bytes, header->e_shoff, header->e_shnum, sizeof *sections) : NULL;
    for (unsigned k = 0; sections && k < header->e_shnum; k++) {
        const ElfW(Shdr) *s = &sections[k];
        if (s->sh_type != SHT_DYNSYM || s->sh_link >= header->e_shnum)
            continue;
        const ElfW(Shdr) *names = &sections[s->sh_link];
        out->n = s->sh_size / sizeof *out->all;
        out->all = part(data, n_bytes, s->sh_offset, out->n, sizeof *out->all);
        out->n_names = names->sh_size;
        int fits = names->sh_offset <= n_bytes && names->sh_size <= n_bytes - names->sh_offset;
        out->names = (const char *)data + names->sh_offset;
        return out->all && fits && out->n_names && out->names[out->n_names - 1] == '\0';
    }
    return 0;
}

static int is_one_of(const char *name, const char *const *list) {
    while (*list && strcmp(*list, name) != 0)
        list++;
    return *list != NULL;
}

static void judge_symbol(struct check_case *c, const ElfW(Sym) * symbol, const char *name) {
    static const char *const linkers[] = {
        "pare_plugin_entry", "_init", "_fini", "_edata", "_end", "_etext", "__bss_start", NULL};
    static const char *const ends[] = {"abort",  "exit",  "_exit",         "_Exit",  "quick_exit",
                                       "raise",  "kill",  "__assert_fail", "system", "fork",
                                       "execve", "execv", "execvp",        NULL};
    static const char *const stdio[] = {
        "printf",  "fprintf",      "vprintf",       "vfprintf", "puts",   "putchar",
        "fputs",   "fputc",        "putc",          "fwrite",   "perror", "fopen",
        "fopen64", "__printf_chk", "__fprintf_chk", "stdout",   "stderr", NULL};
    static const char *const state[] = {
        "setlocale", "chdir",      "fchdir",         "signal",    "sigaction",   "setenv",
        "unsetenv",  "putenv",     "clearenv",       "setrlimit", "setpriority", "umask",
        "fesetenv",  "fesetround", "feenableexcept", "uselocale", NULL};
    int binding = ELF64_ST_BIND(symbol->st_info);
    int is_import = symbol->st_shndx == SHN_UNDEF;
    if (!is_import && binding != STB_WEAK && binding != STB_LOCAL && !is_one_of(name, linkers))
        case_fail(c,
                  "exports %s: only pare_plugin_entry may be seen from outside (make it static, or "
                  "compile with -fvisibility=hidden)",
                  name);
    else if (is_import && is_one_of(name, ends))
        case_fail(c,
                  "calls %s: a plugin returns a status after host->fail, and never ends or makes a "
                  "process",
                  name);
    else if (is_import && is_one_of(name, stdio))
        case_fail(c, "calls %s: a plugin says what it has to say through host->log and host->fail",
                  name);
    else if (is_import && is_one_of(name, state))
        case_fail(c,
                  "calls %s: locale, folder, environment, signals, limits and rounding belong to "
                  "the process, which others share",
                  name);
}

void check_exports(struct check_case *c) {
    struct error err;
    struct symbols symbols;
    uint8_t *data = NULL;
    size_t n_bytes = 0;
    if (file_read(c->subject->options->path, MAX_FILE_BYTES, &err, &data, &n_bytes)) {
        case_fail(c, "%s", err.text);
        return;
    }
    if (!find_symbols(data, n_bytes, &symbols)) {
        case_skip(c, "the file has no section headers: its symbols cannot be listed");
        free(data);
        return;
    }
    for (uint64_t k = 1; k < symbols.n; k++) { /* the first is no symbol */
        uint32_t at = symbols.all[k].st_name;
        if (at < symbols.n_names)
            judge_symbol(c, &symbols.all[k], symbols.names + at);
    }
    free(data);
}
