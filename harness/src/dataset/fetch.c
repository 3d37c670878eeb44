/* SPDX-License-Identifier: MIT */
/* Downloads, by libcurl. A file grows as <name>.part, under a lock, and gets its name only after
 * its checksum was found right; a part that stays behind is resumed by the next try. */
#include "core/alloc.h"
#include "core/file.h"
#include "core/progress.h"
#include "dataset/sources.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Packing may make a file longer by this much at most. */
enum { PACKED_SLACK_BYTES = 1 << 20 };

struct download {
    int fd; /* the part */
    int64_t n_bytes, max_bytes;
    int failure; /* errno of a failed write, or EFBIG */
    struct progress progress;
    int has_begun; /* progress is shown */
};

static size_t on_data(char *data, size_t size, size_t n, void *arg) {
    struct download *dl = arg;
    size_t wanted = size * n, done = 0;
    if ((uint64_t)wanted > (uint64_t)(dl->max_bytes - dl->n_bytes)) {
        dl->failure = EFBIG;
        return 0;
    }
    while (done < wanted) {
        ssize_t got = write(dl->fd, data + done, wanted - done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            dl->failure = got < 0 ? errno : ENOSPC;
            return 0;
        }
        done += (size_t)got;
    }
    dl->n_bytes += (int64_t)wanted;
    return wanted;
}

static int on_progress(void *arg, curl_off_t total, curl_off_t now, curl_off_t up_total,
                       curl_off_t up_now) {
    (void)up_total, (void)up_now;
    struct download *dl = arg;
    if (total > 0 && !dl->has_begun) {
        progress_begin(&dl->progress, dl->progress.label, total);
        dl->has_begun = 1;
    }
    if (dl->has_begun)
        progress_update(&dl->progress, now, "");
    return 0;
}

static void set_options(CURL *curl, const char *url, struct download *dl, char *message) {
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, message);
#if LIBCURL_VERSION_NUM >= 0x075500
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https,file");
    curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, "https");
#else
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTPS | CURLPROTO_FILE));
    curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS, (long)CURLPROTO_HTTPS);
#endif
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(curl, CURLOPT_MAXREDIRS, 5L);
    curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 20L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1024L); /* bytes/s, for */
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, 30L);    /* so many seconds: give up */
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "pare");
    curl_easy_setopt(curl, CURLOPT_RESUME_FROM_LARGE, (curl_off_t)dl->n_bytes);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, dl);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, dl);
}

/* The server cannot go on where the part ends: begin again. */
static int refuses_resume(CURLcode code, long http) {
    return code == CURLE_RANGE_ERROR || code == CURLE_BAD_DOWNLOAD_RESUME || http == 416;
}

static pare_status transfer(const char *url, struct download *dl, struct error *err,
                            int *resume_refused) {
    char message[CURL_ERROR_SIZE] = "";
    CURL *curl = curl_easy_init();
    if (!curl)
        return error_set(err, PARE_E_NOMEM, "%s: out of memory", url);
    int64_t resumed_at = dl->n_bytes;
    set_options(curl, url, dl, message);
    CURLcode code = curl_easy_perform(curl);
    long http = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &http);
    curl_easy_cleanup(curl);
    if (dl->has_begun)
        progress_end(&dl->progress, code == CURLE_OK ? "" : "failed");
    dl->has_begun = 0;
    if (code == CURLE_OK)
        return PARE_OK;
    *resume_refused = resumed_at > 0 && refuses_resume(code, http);
    if (dl->failure == EFBIG)
        return error_set(err, PARE_E_LIMIT, "%s: more than the %" PRId64 " bytes it may have", url,
                         dl->max_bytes);
    if (dl->failure)
        return error_set(err, PARE_E_IO, "%s: cannot write what was fetched: %s", url,
                         strerror(dl->failure));
    return error_set(err, PARE_E_IO,
                     "%s: cannot fetch: %s; run the command again to go on from byte %" PRId64
                     ", or name a mirror (https:// or file:///folder)",
                     url, message[0] ? message : curl_easy_strerror(code), dl->n_bytes);
}

/* ---- one file ---- */

/* Is this the file of the manifest: as packed by its publisher, or packed by another with the same
 * contents? */
static pare_status check_file(const struct manifest_file *file, const char *path,
                              struct error *err) {
    char got[80];
    int same = 0;
    pare_status status = digest_compare_file(path, file->packed_digest, err, &same, got);
    if (status != PARE_OK || same)
        return status;
    if (file->content_digest[0]) {
        struct error ignored;
        uint8_t *data = NULL;
        size_t n;
        char content[80];
        if (file_read(path, (size_t)file->n_bytes, &ignored, &data, &n) == PARE_OK)
            digest_compare_bytes(data, n, file->content_digest, &same, content);
        free(data);
    }
    if (same)
        return PARE_OK;
    struct stat st;
    long long n_bytes = stat(path, &st) == 0 ? (long long)st.st_size : -1;
    return error_set(err, PARE_E_FORMAT,
                     "%s: checksum differs: got %s (%lld bytes), wanted %s; the source is damaged, "
                     "truncated or another file: name another mirror",
                     path, got, n_bytes, file->packed_digest);
}

/* Opens and locks the part. */
static pare_status open_part(const char *path, struct error *err, struct download *dl) {
    dl->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (dl->fd < 0)
        return error_set(err, PARE_E_IO, "%s: cannot open for writing: %s", path, strerror(errno));
    if (flock(dl->fd, LOCK_EX | LOCK_NB) != 0)
        return error_set(err, PARE_E_STATE, "%s: another process is fetching it: wait for that one",
                         path);
    struct stat st;
    if (fstat(dl->fd, &st) != 0)
        return error_set(err, PARE_E_IO, "%s: %s", path, strerror(errno));
    dl->n_bytes = st.st_size;
    return PARE_OK;
}

static pare_status restart(struct download *dl, const char *path, struct error *err) {
    if (ftruncate(dl->fd, 0) != 0)
        return error_set(err, PARE_E_IO, "%s: cannot write: %s", path, strerror(errno));
    dl->n_bytes = 0;
    dl->failure = 0;
    return PARE_OK;
}

/* Fills the part until its checksum is right. What was there before may be the beginning of another
 * file: if it does not lead to the right one, it is thrown away, once. */
static pare_status fill_part(const struct manifest_file *file, const char *url, const char *part,
                             struct download *dl, struct error *err) {
    int was_resumed = dl->n_bytes > 0;
    if (was_resumed && check_file(file, part, err) == PARE_OK)
        return PARE_OK; /* killed between the last byte and the rename */
    if (dl->n_bytes > dl->max_bytes && restart(dl, part, err) != PARE_OK)
        return err->status;
    int refused = 0;
    pare_status status = transfer(url, dl, err, &refused);
    if (status == PARE_OK)
        status = check_file(file, part, err);
    if (was_resumed && (refused || status == PARE_E_FORMAT)) {
        status = restart(dl, part, err);
        if (status == PARE_OK)
            status = transfer(url, dl, err, &refused);
        if (status == PARE_OK)
            status = check_file(file, part, err);
    }
    if (status == PARE_E_FORMAT || status == PARE_E_LIMIT || dl->n_bytes == 0)
        unlink(part); /* nothing worth resuming */
    return status;
}

static pare_status fetch_one(const struct manifest_file *file, const char *url, const char *target,
                             struct error *err) {
    char *part = alloc_printf("%s.part", target);
    char *label = alloc_printf("fetching %s", strrchr(url, '/') + 1);
    if (!part || !label) {
        free(part);
        free(label);
        return error_set(err, PARE_E_NOMEM, "%s: out of memory", url);
    }
    struct download dl = {.fd = -1, .max_bytes = file->n_bytes + PACKED_SLACK_BYTES};
    dl.progress.label = label;
    pare_status status = open_part(part, err, &dl);
    if (status == PARE_OK)
        status = fill_part(file, url, part, &dl, err);
    if (status == PARE_OK && (fsync(dl.fd) != 0 || rename(part, target) != 0))
        status = error_set(err, PARE_E_IO, "%s: cannot write: %s", target, strerror(errno));
    if (dl.fd >= 0)
        close(dl.fd);
    free(part);
    free(label);
    return status;
}

/* ---- all files ---- */

static int ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* Are all files that come out of the archive there, and right? */
static int is_unpacked(const struct manifest_file *files, size_t n_files, const char *dir) {
    for (size_t k = 0; k < n_files; k++) {
        if (files[k].url[0])
            continue;
        struct error ignored;
        char got[80];
        int same = 0;
        char *path = file_join(dir, files[k].file);
        if (path)
            digest_compare_file(path, files[k].content_digest, &ignored, &same, got);
        free(path);
        if (!same)
            return 0;
    }
    return 1;
}

static pare_status unpack(const struct manifest_file *archive, const char *target,
                          const struct manifest_file *files, size_t n_files, const char *dir,
                          struct error *err) {
    uint8_t *data = NULL;
    size_t n;
    pare_status status =
        file_read(target, (size_t)archive->n_bytes + PACKED_SLACK_BYTES, err, &data, &n);
    if (status == PARE_OK)
        status = tar_unpack(target, data, n, files, n_files, dir, err);
    free(data);
    if (status == PARE_OK)
        unlink(target);
    return status;
}

static pare_status fetch_row(const struct manifest_file *row, const struct manifest_file *files,
                             size_t n_files, const char *mirror, const char *dir,
                             struct error *err) {
    struct error ignored;
    const char *last = strrchr(row->url, '/') + 1;
    int is_archive = ends_with(row->file, ".tar");
    if (is_archive && is_unpacked(files, n_files, dir))
        return PARE_OK;
    int has_slash = mirror && ends_with(mirror, "/");
    char *url = mirror ? alloc_printf("%s%s%s", mirror, has_slash ? "" : "/", last)
                       : alloc_printf("%s", row->url);
    char *target = file_join(dir, last);
    pare_status status = PARE_OK;
    if (!url || !target)
        status = error_set(err, PARE_E_NOMEM, "%s: out of memory", row->url);
    else if (!file_exists(target) || check_file(row, target, &ignored) != PARE_OK)
        status = fetch_one(row, url, target, err);
    if (status == PARE_OK && is_archive)
        status = unpack(row, target, files, n_files, dir, err);
    free(url);
    free(target);
    return status;
}

pare_status fetch_files(const struct manifest_file *files, size_t n_files, const char *mirror,
                        const char *dir, struct error *err) {
    if (mirror && strncmp(mirror, "https://", 8) != 0 && strncmp(mirror, "file:///", 8) != 0)
        return error_set(err, PARE_E_ARG,
                         "mirror '%s': wanted https://... or file:///absolute/folder", mirror);
    pare_status status = file_make_dirs(dir, err);
    if (status != PARE_OK)
        return status;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return error_set(err, PARE_E_STATE, "libcurl does not start");
    for (size_t k = 0; k < n_files && status == PARE_OK; k++)
        if (files[k].url[0])
            status = fetch_row(&files[k], files, n_files, mirror, dir, err);
    curl_global_cleanup();
    return status;
}

/* ---- datasets ---- */

/* The rows of a dataset stand together. */
static const struct manifest_file *rows_of(const char *name, size_t *n_rows) {
    size_t n, first = 0, end;
    const struct manifest_file *files = manifest_files(&n);
    while (first < n && strcmp(files[first].dataset, name) != 0)
        first++;
    for (end = first; end < n && strcmp(files[end].dataset, name) == 0;)
        end++;
    *n_rows = end - first;
    return files + first;
}

pare_status dataset_fetch(const char *name, const char *mirror, const char *dest,
                          struct error *err) {
    if (!dataset_find_info(name, err))
        return err->status;
    size_t n;
    const struct manifest_file *rows = rows_of(name, &n);
    if (n == 0)
        return error_set(err, PARE_E_ARG, "dataset %s: embedded, nothing to fetch", name);
    int fetchable = 0;
    for (size_t k = 0; k < n; k++)
        fetchable |= rows[k].url[0] != 0;
    if (!fetchable)
        return error_set(err, PARE_E_UNSUPPORTED,
                         "dataset %s: not published anywhere to fetch it from; see "
                         "datasets/README.md for how it is made",
                         name);
    char *cache = dest ? NULL : dataset_cache_dir();
    char *dir = dest || cache ? file_join(dest ? dest : cache, name) : NULL;
    pare_status status = dir ? fetch_files(rows, n, mirror, dir, err)
                             : error_set(err, PARE_E_NOMEM, "dataset %s: out of memory", name);
    free(cache);
    free(dir);
    return status;
}

/* ---- verifying ---- */

/* Writes the verdict; 0 if the file is not what it should be. */
static int verify_file(const struct manifest_file *file, const char *dir, char *verdict,
                       size_t n_verdict) {
    struct error err;
    char *path = NULL, got[80] = "";
    uint8_t *data = NULL;
    size_t n;
    int same = 0;
    const char *wanted = file->content_digest;
    if (idx_find(dir, file->file, &err, &path) != PARE_OK) {
        snprintf(verdict, n_verdict, "missing");
        return 0;
    }
    pare_status status = PARE_OK;
    if (wanted[0]) {
        status = file_read(path, (size_t)file->n_bytes, &err, &data, &n);
        if (status == PARE_OK)
            digest_compare_bytes(data, n, wanted, &same, got);
        free(data);
    } else {
        wanted = file->packed_digest;
        status = digest_compare_file(path, wanted, &err, &same, got);
    }
    if (status != PARE_OK)
        snprintf(verdict, n_verdict, "%s", err.text);
    else if (same)
        snprintf(verdict, n_verdict, "ok");
    else if (!file->content_digest[0] && !ends_with(path, ".gz"))
        snprintf(verdict, n_verdict, "unpacked: a checksum is known only of %s.gz", file->file);
    else
        snprintf(verdict, n_verdict, "differs: got %s, wanted %s", got, wanted);
    free(path);
    return same;
}

pare_status dataset_verify(const char *name,
                           void (*report)(void *arg, const char *file, const char *verdict),
                           void *arg, struct error *err) {
    char *dir = NULL;
    pare_status status = dataset_locate(name, err, &dir);
    if (status != PARE_OK)
        return status;
    size_t n, n_bad = 0;
    const struct manifest_file *rows = rows_of(name, &n);
    if (n == 0)
        report(arg, name, "ok (embedded)");
    for (size_t k = 0; k < n; k++) {
        char verdict[1100];
        if (ends_with(rows[k].file, ".tar"))
            continue;
        n_bad += !verify_file(&rows[k], dir, verdict, sizeof verdict);
        report(arg, rows[k].file, verdict);
    }
    if (n_bad > 0)
        status = error_set(err, PARE_E_FORMAT,
                           "dataset %s: %zu files in %s are missing, damaged or cannot be checked",
                           name, n_bad, dir);
    free(dir);
    return status;
}
