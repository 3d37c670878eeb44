/* SPDX-License-Identifier: MIT */
/* Appending rows. Invariant, whenever the lock is held and settle() has returned PARE_OK: the file
 * consists of whole rows and ends at file->n_bytes. */
#include "core/alloc.h"
#include "core/file.h"
#include "record/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct record_file {
    char *path;
    int fd;
    struct reader reader; /* the file's own columns */
    size_t n_bytes;       /* checked so far: whole rows */
    size_t line;          /* number of the line that begins at n_bytes */
};

static pare_status lock(struct record_file *file, struct error *err) {
    while (flock(file->fd, LOCK_EX) != 0)
        if (errno != EINTR)
            return error_set(err, PARE_E_IO, "%s: cannot lock: %s", file->path, strerror(errno));
    return PARE_OK;
}

static void unlock(struct record_file *file) {
    flock(file->fd, LOCK_UN);
}

/* ---- writing ---- */

/* write() what there is room for; 0, or the errno of what stopped it. */
static int write_all(int fd, const char *text, size_t n) {
    for (size_t done = 0; done < n;) {
        ssize_t got = write(fd, text + done, n - done);
        if (got < 0 && errno != EINTR)
            return errno;
        if (got == 0)
            return ENOSPC;
        if (got > 0)
            done += (size_t)got;
    }
    return 0;
}

/* Appends whole rows, or nothing. */
static pare_status append_text(struct record_file *file, const struct csv_text *text,
                               struct error *err) {
    if (text->exhausted)
        return error_set(err, PARE_E_NOMEM, "%s: out of memory for a row", file->path);
    int failure = write_all(file->fd, text->data, text->n);
    /* EINVAL: a file system that knows no sync. */
    if (!failure && fsync(file->fd) != 0 && errno != EINVAL)
        failure = errno;
    if (!failure) {
        file->n_bytes += text->n;
        for (size_t i = 0; i < text->n; i++)
            file->line += text->data[i] == '\n';
        return PARE_OK;
    }
    if (ftruncate(file->fd, (off_t)file->n_bytes) != 0)
        return error_set(err, PARE_E_IO,
                         "%s: cannot append a row of %zu bytes: %s; the half row could not be "
                         "removed either (%s), the next run will cut it off",
                         file->path, text->n, strerror(failure), strerror(errno));
    return error_set(err, PARE_E_IO,
                     "%s: cannot append a row of %zu bytes: %s; the file keeps its whole rows: "
                     "put that right, then go on with --resume",
                     file->path, text->n, strerror(failure));
}

static void make_header(struct csv_text *text) {
    const struct column_info *infos = column_infos();
    for (int k = 0; k < N_COLUMNS; k++)
        csv_text_cell(text, infos[k].name, k == 0);
    csv_text_end_row(text);
}

/* A new file is lost with its folder's entry: sync that too, as far as the system lets us. */
static void sync_folder(const char *path) {
    char *folder = alloc_printf("%s", path);
    char *slash = folder ? strrchr(folder, '/') : NULL;
    if (slash)
        slash[slash == folder] = 0;
    int fd = folder ? open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    free(folder);
}

/* ---- what others, or a killed writer, left in the file ---- */

static pare_status count_row(void *arg, char *const *cells, size_t n_cells, size_t line,
                             struct error *err) {
    (void)cells, (void)line, (void)err;
    size_t *wanted = arg;
    if (n_cells == *wanted)
        *wanted = 0; /* seen */
    return PARE_OK;
}

/* A stray quote makes all that follows look like one unfinished row. If the lines after the first
 * one hold whole rows, that is damage, and cutting would lose them. */
static int hides_rows(const struct reader *reader, const char *tail, size_t n) {
    const char *feed = memchr(tail, '\n', n);
    if (!feed)
        return 0;
    struct error ignored;
    size_t n_cells = reader->n_columns, n_whole, skip = (size_t)(feed - tail) + 1;
    csv_text_scan("", tail + skip, n - skip, 1, count_row, &n_cells, &ignored, &n_whole);
    return n_cells == 0;
}

static pare_status cut_tail(struct record_file *file, const char *tail, size_t n,
                            struct error *err) {
    if (hides_rows(&file->reader, tail, n))
        return error_set(err, PARE_E_FORMAT,
                         "%s: line %zu: a quote opens a cell that never ends, and whole rows "
                         "follow; repair that line",
                         file->path, file->line);
    if (ftruncate(file->fd, (off_t)file->n_bytes) != 0)
        return error_set(err, PARE_E_IO, "%s: line %zu: cannot cut off a half row: %s", file->path,
                         file->line, strerror(errno));
    fprintf(stderr,
            "pare: note: %s: line %zu: cut off a row that was not written to its end (%zu bytes)\n",
            file->path, file->line, n);
    return PARE_OK;
}

/* The file has no whole header: it is new, or its writer was killed at once, or it is not ours. */
static pare_status begin(struct record_file *file, const char *text, size_t n, struct error *err) {
    struct csv_text header = {0};
    size_t n_whole;
    pare_status status = PARE_OK;
    make_header(&header);
    if (header.exhausted)
        status = error_set(err, PARE_E_NOMEM, "%s: out of memory", file->path);
    else if (n >= header.n || memcmp(text, header.data, n) != 0)
        status = error_set(err, PARE_E_FORMAT,
                           "%s: not a file of records: it has no header line; name another file",
                           file->path);
    else if (n > 0 && ftruncate(file->fd, 0) != 0)
        status = error_set(err, PARE_E_IO, "%s: cannot write: %s", file->path, strerror(errno));
    if (status == PARE_OK)
        status = append_text(file, &header, err);
    if (status == PARE_OK) {
        sync_folder(file->path);
        status = reader_text(&file->reader, header.data, header.n, err, &n_whole);
    }
    free(header.data);
    return status;
}

static pare_status check_still_there(const struct record_file *file, struct error *err) {
    struct stat st;
    if (fstat(file->fd, &st) != 0)
        return error_set(err, PARE_E_IO, "%s: %s", file->path, strerror(errno));
    if (st.st_nlink == 0)
        return error_set(err, PARE_E_IO,
                         "%s: was removed or replaced while records were written to it",
                         file->path);
    if (st.st_size < (off_t)file->n_bytes)
        return error_set(err, PARE_E_IO,
                         "%s: became shorter while records were written to it (%lld bytes, had "
                         "%zu)",
                         file->path, (long long)st.st_size, file->n_bytes);
    return PARE_OK;
}

/* With the lock held: checks what was added since we last looked, and cuts off a half row. */
static pare_status settle(struct record_file *file, struct error *err) {
    pare_status status = check_still_there(file, err);
    if (status != PARE_OK)
        return status;
    char *text = NULL;
    size_t n, n_whole = 0;
    status = reader_load(file->path, file->fd, file->n_bytes, err, &text, &n);
    if (status != PARE_OK)
        return status;
    status =
        csv_text_scan(file->path, text, n, file->line, reader_row, &file->reader, err, &n_whole);
    if (status == PARE_OK && file->reader.n_columns == 0)
        status = begin(file, text, n, err);
    else if (status == PARE_OK) {
        file->n_bytes += n_whole;
        for (size_t i = 0; i < n_whole; i++)
            file->line += text[i] == '\n';
        if (n_whole < n)
            status = cut_tail(file, text + n_whole, n - n_whole, err);
    }
    free(text);
    return status;
}

/* ---- the interface ---- */

/* Columns of ours that an existing file lacks, told once: their figures are not written. */
static void note_missing(const struct record_file *file) {
    char seen[N_COLUMNS] = {0}, names[256] = "";
    size_t n_missing = 0, used = 0;
    for (size_t k = 0; k < file->reader.n_columns; k++)
        if (file->reader.columns[k] >= 0)
            seen[file->reader.columns[k]] = 1;
    for (int k = 0; k < N_COLUMNS; k++) {
        if (seen[k])
            continue;
        const char *name = column_infos()[k].name;
        n_missing++;
        if (used + strlen(name) + 2 < sizeof names)
            used +=
                (size_t)snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "", name);
    }
    if (n_missing)
        fprintf(stderr,
                "pare: note: %s: lacks %zu columns of this version, which new rows leave out (%s); "
                "write to a new file to have them\n",
                file->path, n_missing, names);
}

static pare_status open_locked(struct record_file *file, struct error *err) {
    pare_status status = reader_make_folder(file->path, err);
    if (status != PARE_OK)
        return status;
    file->fd = open(file->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0666);
    if (file->fd < 0)
        return error_set(err, PARE_E_IO, "%s: cannot open for writing: %s; name another file",
                         file->path, strerror(errno));
    status = lock(file, err);
    if (status == PARE_OK) {
        status = settle(file, err);
        unlock(file);
    }
    return status;
}

pare_status record_open(const char *path, struct error *err, struct record_file **out) {
    struct record_file *file = alloc_array(1, sizeof *file);
    if (!file || !(file->path = alloc_printf("%s", path))) {
        free(file);
        return error_set(err, PARE_E_NOMEM, "%s: out of memory", path);
    }
    file->fd = -1;
    file->line = 1;
    file->reader.path = file->path;
    pare_status status = open_locked(file, err);
    if (status != PARE_OK) {
        record_close(file);
        return status;
    }
    note_missing(file);
    *out = file;
    return PARE_OK;
}

pare_status record_append(struct record_file *file, const struct record *rec, struct error *err) {
    if (rec->exhausted)
        return error_set(err, PARE_E_NOMEM, "%s: out of memory while the row was made", file->path);
    struct csv_text row = {0};
    char version[16];
    snprintf(version, sizeof version, "%d", RECORD_SCHEMA_VERSION);
    for (size_t k = 0; k < file->reader.n_columns; k++) {
        int col = file->reader.columns[k];
        const char *cell = col < 0 ? "" : record_get(rec, (enum column)col);
        csv_text_cell(&row, col == COL_schema_version ? version : cell, k == 0);
    }
    csv_text_end_row(&row);
    pare_status status = lock(file, err);
    if (status == PARE_OK) {
        status = settle(file, err);
        if (status == PARE_OK)
            status = append_text(file, &row, err);
        unlock(file);
    }
    free(row.data);
    return status;
}

void record_close(struct record_file *file) {
    if (!file)
        return;
    if (file->fd >= 0)
        close(file->fd);
    reader_clear(&file->reader);
    free(file->path);
    free(file);
}
