/* SPDX-License-Identifier: MIT */
#include "record/reader.h"

#include "core/alloc.h"
#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void reader_clear(struct reader *reader) {
    for (size_t k = 0; k < reader->n_columns; k++)
        free(reader->names[k]);
    free(reader->names);
    free(reader->columns);
    reader->names = NULL;
    reader->columns = NULL;
    reader->n_columns = 0;
}

static int find_column(const char *name) {
    const struct column_info *infos = column_infos();
    for (int k = 0; k < N_COLUMNS; k++)
        if (strcmp(name, infos[k].name) == 0)
            return k;
    return -1;
}

static pare_status check_header(const char *path, char *const *names, size_t n, struct error *err) {
    int has_version = 0;
    for (size_t k = 0; k < n; k++) {
        has_version |= find_column(names[k]) == COL_schema_version;
        for (size_t j = 0; j < k; j++)
            if (strcmp(names[k], names[j]) == 0)
                return error_set(err, PARE_E_FORMAT,
                                 "%s: line 1: header names column '%s' twice (columns %zu and "
                                 "%zu); remove or rename one of them",
                                 path, names[k], j + 1, k + 1);
    }
    if (!has_version)
        return error_set(err, PARE_E_FORMAT,
                         "%s: not a file of records: its first line has no column schema_version; "
                         "name another file",
                         path);
    return PARE_OK;
}

static pare_status take_header(struct reader *reader, char *const *cells, size_t n,
                               struct error *err) {
    pare_status status = check_header(reader->path, cells, n, err);
    if (status != PARE_OK)
        return status;
    reader->names = alloc_array(n, sizeof *reader->names);
    reader->columns = alloc_array(n, sizeof *reader->columns);
    if (!reader->names || !reader->columns)
        return error_set(err, PARE_E_NOMEM, "%s: out of memory", reader->path);
    reader->n_columns = n; /* from here on reader_clear frees what is there */
    for (size_t k = 0; k < n; k++) {
        reader->columns[k] = find_column(cells[k]);
        reader->names[k] = strdup(cells[k]);
        if (!reader->names[k])
            return error_set(err, PARE_E_NOMEM, "%s: out of memory", reader->path);
    }
    return PARE_OK;
}

/* Some editors put a byte order mark before the first cell. */
static void skip_mark(char **cell) {
    if (strncmp(*cell, "\xef\xbb\xbf", 3) == 0)
        *cell += 3;
}

static pare_status read_header(struct reader *reader, char *const *cells, size_t n_cells,
                               struct error *err) {
    char **names = alloc_array(n_cells, sizeof *names);
    if (!names)
        return error_set(err, PARE_E_NOMEM, "%s: out of memory", reader->path);
    memcpy(names, cells, n_cells * sizeof *names);
    skip_mark(&names[0]);
    pare_status status = take_header(reader, names, n_cells, err);
    free(names);
    return status;
}

pare_status reader_row(void *arg, char *const *cells, size_t n_cells, size_t line,
                       struct error *err) {
    struct reader *reader = arg;
    if (reader->n_columns == 0)
        return read_header(reader, cells, n_cells, err);
    if (n_cells != reader->n_columns)
        return error_set(err, PARE_E_FORMAT,
                         "%s: line %zu: row has %zu cells, the header has %zu; repair or remove "
                         "that line",
                         reader->path, line, n_cells, reader->n_columns);
    size_t k = 0;
    while (reader->columns[k] != COL_schema_version)
        k++;
    char *end;
    if (cells[k][0] < '0' || cells[k][0] > '9' ||
        strtoll(cells[k], &end, 10) != RECORD_SCHEMA_VERSION || *end != 0)
        return error_set(err, PARE_E_FORMAT,
                         "%s: line %zu: schema_version is '%.32s', this pare reads and writes %d; "
                         "write to another file, or use the pare that wrote this one",
                         reader->path, line, cells[k], RECORD_SCHEMA_VERSION);
    return reader->row ? reader->row(reader->arg, cells, n_cells, line, err) : PARE_OK;
}

pare_status reader_load(const char *path, int fd, size_t from, struct error *err, char **text,
                        size_t *n) {
    struct stat st;
    if (fstat(fd, &st) != 0)
        return error_set(err, PARE_E_IO, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return error_set(err, PARE_E_IO,
                         "%s: not a regular file; records need one (they are locked, synced and "
                         "read back)",
                         path);
    size_t size = st.st_size > 0 ? (size_t)st.st_size : 0;
    size_t wanted = size > from ? size - from : 0, got = 0;
    char *buffer = alloc_resize(NULL, wanted + 1, 1);
    if (!buffer)
        return error_set(err, PARE_E_NOMEM, "%s: out of memory for %zu bytes", path, wanted);
    while (got < wanted) {
        ssize_t more = pread(fd, buffer + got, wanted - got, (off_t)(from + got));
        if (more < 0 && errno == EINTR)
            continue;
        if (more < 0) {
            error_set(err, PARE_E_IO, "%s: cannot read: %s", path, strerror(errno));
            free(buffer);
            return err->status;
        }
        if (more == 0)
            break; /* made shorter meanwhile */
        got += (size_t)more;
    }
    buffer[got] = 0;
    *text = buffer;
    *n = got;
    return PARE_OK;
}

pare_status reader_text(struct reader *reader, const char *text, size_t n, struct error *err,
                        size_t *n_whole) {
    pare_status status = csv_text_scan(reader->path, text, n, 1, reader_row, reader, err, n_whole);
    if (status == PARE_OK && reader->n_columns == 0)
        status = error_set(err, PARE_E_FORMAT, "%s: holds no records: it has no whole header line",
                           reader->path);
    return status;
}

pare_status reader_read(struct reader *reader, const char *path, struct error *err,
                        size_t *n_whole) {
    reader->path = path;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return error_set(err, errno == ENOENT ? PARE_E_NOT_FOUND : PARE_E_IO,
                         "%s: cannot open for reading: %s", path, strerror(errno));
    char *text = NULL;
    size_t n;
    pare_status status = reader_load(path, fd, 0, err, &text, &n);
    close(fd);
    if (status == PARE_OK)
        status = reader_text(reader, text, n, err, n_whole);
    free(text);
    return status;
}

int record_is_cut(const char *path) {
    char last = '\n';
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0 && lseek(fd, -1, SEEK_END) >= 0 && read(fd, &last, 1) != 1)
        last = '\n';
    if (fd >= 0)
        close(fd);
    return last != '\n';
}

pare_status reader_make_folder(const char *path, struct error *err) {
    const char *slash = strrchr(path, '/');
    if (!slash || slash == path)
        return PARE_OK;
    char *folder = alloc_printf("%.*s", (int)(slash - path), path);
    if (!folder)
        return error_set(err, PARE_E_NOMEM, "%s: out of memory", path);
    pare_status status = file_make_dirs(folder, err);
    free(folder);
    return status == PARE_OK ? status : error_prefix(err, "%s: cannot write records", path);
}
