/* SPDX-License-Identifier: MIT */
#include "core/file.h"

#include "core/alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <sha256.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

/* zlib's gzread passes a file without the gzip magic through unchanged. */
static pare_status read_all(gzFile file, const char *path, off_t disk_bytes, size_t max_bytes,
                            struct error *err, uint8_t **data, size_t *n_bytes) {
    size_t capacity = 1u << 16, n = 0;
    uint8_t *buffer = alloc_resize(NULL, capacity + 1, 1);
    if (!buffer)
        return error_set(err, PARE_E_NOMEM, "%s: out of memory", path);
    for (;;) {
        int got = gzread(file, buffer + n, (unsigned)(capacity - n));
        if (got < 0) {
            int code;
            error_set(err, PARE_E_FORMAT,
                      "%s: damaged gzip data after %zu bytes (%s); fetch it again", path, n,
                      gzerror(file, &code));
            free(buffer);
            return err->status;
        }
        n += (size_t)got;
        if (n > max_bytes) {
            free(buffer);
            return error_set(err, PARE_E_LIMIT,
                             "%s: larger than the %zu bytes that it may have (%lld on disk)", path,
                             max_bytes, (long long)disk_bytes);
        }
        if (n < capacity) {
            if (gzeof(file))
                break;
            continue;
        }
        uint8_t *grown = alloc_resize(buffer, capacity * 2 + 1, 1);
        if (!grown) {
            free(buffer);
            return error_set(err, PARE_E_NOMEM, "%s: out of memory at %zu bytes", path, n);
        }
        buffer = grown;
        capacity *= 2;
    }
    buffer[n] = 0;
    *data = buffer;
    *n_bytes = n;
    return PARE_OK;
}

pare_status file_read(const char *path, size_t max_bytes, struct error *err, uint8_t **data,
                      size_t *n_bytes) {
    /* Not blocking: a FIFO must be refused, not waited for. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return error_set(err, errno == ENOENT ? PARE_E_NOT_FOUND : PARE_E_IO, "%s: %s", path,
                         strerror(errno));
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return error_set(err, PARE_E_IO, "%s: is not a regular file", path);
    }
    gzFile file = gzdopen(fd, "rb");
    if (!file) {
        close(fd);
        return error_set(err, PARE_E_NOMEM, "%s: out of memory", path);
    }
    pare_status status = read_all(file, path, st.st_size, max_bytes, err, data, n_bytes);
    /* A gzip stream cut short is only told at the close. */
    if (gzclose(file) == Z_BUF_ERROR && status == PARE_OK) {
        free(*data);
        *data = NULL;
        status = error_set(err, PARE_E_FORMAT, "%s: gzip data end too early; fetch it again", path);
    }
    return status;
}

pare_status file_write(const char *path, const void *data, size_t n_bytes, struct error *err) {
    char *temporary = alloc_printf("%s.tmp-%ld", path, (long)getpid());
    if (!temporary)
        return error_set(err, PARE_E_NOMEM, "%s: out of memory", path);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        error_set(err, PARE_E_IO, "%s: cannot write: %s", path, strerror(errno));
        free(temporary);
        return err->status;
    }
    const uint8_t *bytes = data;
    size_t done = 0;
    while (done < n_bytes) {
        ssize_t got = write(fd, bytes + done, n_bytes - done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        done += (size_t)got;
    }
    int failed = done < n_bytes || fsync(fd) != 0;
    failed |= close(fd) != 0;
    failed = failed || rename(temporary, path) != 0;
    if (failed) {
        error_set(err, PARE_E_IO, "%s: cannot write %zu bytes: %s", path, n_bytes, strerror(errno));
        unlink(temporary);
    }
    free(temporary);
    return failed ? err->status : PARE_OK;
}

char *file_join(const char *dir, const char *name) {
    if (name[0] == '/')
        return alloc_printf("%s", name);
    size_t n = strlen(dir);
    return alloc_printf("%s%s%s", dir, n > 0 && dir[n - 1] == '/' ? "" : "/", name);
}

int file_exists(const char *path) {
    return access(path, F_OK) == 0;
}

pare_status file_make_dirs(const char *path, struct error *err) {
    char *copy = alloc_printf("%s", path);
    if (!copy)
        return error_set(err, PARE_E_NOMEM, "%s: out of memory", path);
    pare_status status = PARE_OK;
    for (char *p = copy + 1; status == PARE_OK; p++) {
        if (*p != '/' && *p != 0)
            continue;
        char kept = *p;
        *p = 0;
        struct stat st;
        if (mkdir(copy, 0777) != 0 &&
            !(errno == EEXIST && stat(copy, &st) == 0 && S_ISDIR(st.st_mode)))
            status = error_set(err, PARE_E_IO, "%s: cannot make folder: %s", copy, strerror(errno));
        *p = kept;
        if (kept == 0)
            break;
    }
    free(copy);
    return status;
}

static void hex_of(const uint8_t digest[SHA256_DIGEST_LENGTH], char hex[65]) {
    for (int i = 0; i < SHA256_DIGEST_LENGTH; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}

pare_status file_sha256(const char *path, struct error *err, char hex[65]) {
    FILE *file = fopen(path, "rbe");
    if (!file)
        return error_set(err, errno == ENOENT ? PARE_E_NOT_FOUND : PARE_E_IO, "%s: %s", path,
                         strerror(errno));
    SHA2_CTX context;
    SHA256Init(&context);
    uint8_t buffer[1 << 16], digest[SHA256_DIGEST_LENGTH];
    size_t got;
    while ((got = fread(buffer, 1, sizeof buffer, file)) > 0)
        SHA256Update(&context, buffer, got);
    int failed = ferror(file);
    fclose(file);
    if (failed)
        return error_set(err, PARE_E_IO, "%s: cannot read", path);
    SHA256Final(digest, &context);
    hex_of(digest, hex);
    return PARE_OK;
}

void bytes_sha256(const void *data, size_t n_bytes, char hex[65]) {
    SHA2_CTX context;
    uint8_t digest[SHA256_DIGEST_LENGTH];
    SHA256Init(&context);
    SHA256Update(&context, data, n_bytes);
    SHA256Final(digest, &context);
    hex_of(digest, hex);
}
