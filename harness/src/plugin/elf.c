/* SPDX-License-Identifier: MIT */
#include "plugin/elf.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_PROGRAM_HEADERS 128

static uint16_t own_machine(void) {
#if defined(__x86_64__)
    return EM_X86_64;
#elif defined(__aarch64__)
    return EM_AARCH64;
#elif defined(__arm__)
    return EM_ARM;
#elif defined(__i386__)
    return EM_386;
#elif defined(__riscv)
    return EM_RISCV;
#else
    return EM_NONE;
#endif
}

static const char *machine_name(unsigned machine, char number[32]) {
    switch (machine) {
    case EM_X86_64:
        return "x86-64";
    case EM_AARCH64:
        return "AArch64";
    case EM_ARM:
        return "32-bit ARM";
    case EM_386:
        return "32-bit x86";
    case EM_RISCV:
        return "RISC-V";
    default:
        snprintf(number, 32, "ELF machine %u", machine);
        return number;
    }
}

static pare_status check_ident(const unsigned char ident[EI_NIDENT], struct error *err) {
    int bits = ident[EI_CLASS] == ELFCLASS64 ? 64 : ident[EI_CLASS] == ELFCLASS32 ? 32 : 0;
    if (bits != (int)sizeof(void *) * 8) {
        return error_set(err, PARE_E_ABI, "is a %d-bit ELF file, this is a %d-bit pare", bits,
                         (int)sizeof(void *) * 8);
    }
    const uint16_t one = 1;
    int own_data = *(const unsigned char *)&one == 1 ? ELFDATA2LSB : ELFDATA2MSB;
    if (ident[EI_DATA] != own_data) {
        return error_set(err, PARE_E_ABI, "is %s-endian, this machine is %s-endian",
                         ident[EI_DATA] == ELFDATA2MSB ? "big" : "little",
                         own_data == ELFDATA2MSB ? "big" : "little");
    }
    return PARE_OK;
}

static pare_status truncated(struct error *err, uint64_t wanted, uint64_t got) {
    return error_set(err, PARE_E_FORMAT,
                     "is truncated: its headers speak of %llu bytes, the file has %llu",
                     (unsigned long long)wanted, (unsigned long long)got);
}

/* Every segment that will be mapped must lie within the file. */
static pare_status check_segments(FILE *file, const ElfW(Ehdr) * header, uint64_t n_bytes,
                                  struct error *err) {
    ElfW(Phdr) segments[MAX_PROGRAM_HEADERS];
    if (header->e_phentsize != sizeof segments[0] || header->e_phnum == 0 ||
        header->e_phnum > MAX_PROGRAM_HEADERS) {
        return error_set(err, PARE_E_FORMAT,
                         "has %u program headers of %u bytes, wanted 1..%d of %zu", header->e_phnum,
                         header->e_phentsize, MAX_PROGRAM_HEADERS, sizeof segments[0]);
    }
    uint64_t end = header->e_phoff + (uint64_t)header->e_phnum * sizeof segments[0];
    if (header->e_phoff > n_bytes || end > n_bytes) {
        return truncated(err, end, n_bytes);
    }
    if (fseek(file, (long)header->e_phoff, SEEK_SET) != 0 ||
        fread(segments, sizeof segments[0], header->e_phnum, file) != header->e_phnum) {
        return error_set(err, PARE_E_IO, "cannot be read: %s", strerror(errno));
    }
    for (unsigned k = 0; k < header->e_phnum; k++) {
        uint64_t last = segments[k].p_offset + (uint64_t)segments[k].p_filesz;
        if (segments[k].p_type != PT_LOAD && segments[k].p_type != PT_DYNAMIC) {
            continue;
        }
        if (segments[k].p_offset > n_bytes || segments[k].p_filesz > n_bytes || last > n_bytes) {
            return truncated(err, last, n_bytes);
        }
    }
    return PARE_OK;
}

static pare_status check_file(FILE *file, uint64_t n_bytes, struct error *err) {
    ElfW(Ehdr) header;
    memset(&header, 0, sizeof header);
    size_t got = fread(&header, 1, sizeof header, file);
    if (got < SELFMAG || memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) {
        return error_set(err, PARE_E_FORMAT,
                         "is not an ELF shared object (it does not begin with 0x7f \"ELF\")");
    }
    if (got < sizeof header) {
        return truncated(err, sizeof header, n_bytes);
    }
    pare_status status = check_ident(header.e_ident, err);
    if (status < 0) {
        return status;
    }
    if (own_machine() != EM_NONE && header.e_machine != own_machine()) {
        char a[32], b[32];
        return error_set(err, PARE_E_ABI, "is for %s, this is %s: build it for this machine",
                         machine_name(header.e_machine, a), machine_name(own_machine(), b));
    }
    if (header.e_type != ET_DYN) {
        return error_set(
            err, PARE_E_FORMAT,
            "is an ELF file of type %u, wanted a shared object (type %d): link with -shared",
            header.e_type, ET_DYN);
    }
    status = check_segments(file, &header, n_bytes, err);
    if (status < 0) {
        return status;
    }
    uint64_t sections_end = header.e_shoff + (uint64_t)header.e_shnum * header.e_shentsize;
    if (header.e_shoff > n_bytes || sections_end > n_bytes) {
        return truncated(err, sections_end, n_bytes);
    }
    return PARE_OK;
}

pare_status elf_check(const char *path, struct error *err) {
    /* A pipe of that name would keep a blocking open waiting. */
    int descriptor = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    FILE *file = descriptor < 0 ? NULL : fdopen(descriptor, "rb");
    struct stat info;
    if (!file) {
        return error_set(err, errno == ENOENT ? PARE_E_NOT_FOUND : PARE_E_IO,
                         "cannot be opened: %s", strerror(errno));
    }
    pare_status status = PARE_OK;
    if (fstat(fileno(file), &info) != 0 || !S_ISREG(info.st_mode)) {
        status = error_set(err, PARE_E_IO, "is not a regular file");
    } else {
        status = check_file(file, (uint64_t)info.st_size, err);
    }
    fclose(file);
    return status;
}
