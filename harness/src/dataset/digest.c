/* SPDX-License-Identifier: MIT */
#include "core/file.h"
#include "dataset/sources.h"

#include <errno.h>
#include <md5.h>
#include <stdio.h>
#include <string.h>

static int is_md5(const char *digest) {
    return strncmp(digest, "md5:", 4) == 0;
}

void digest_compare_bytes(const void *data, size_t n_bytes, const char *wanted, int *same,
                          char got[80]) {
    char hex[65];
    if (is_md5(wanted))
        MD5Data(data, n_bytes, hex);
    else
        bytes_sha256(data, n_bytes, hex);
    snprintf(got, 80, "%s:%s", is_md5(wanted) ? "md5" : "sha256", hex);
    *same = strcmp(got, wanted) == 0;
}

pare_status digest_compare_file(const char *path, const char *wanted, struct error *err, int *same,
                                char got[80]) {
    char hex[65];
    if (is_md5(wanted)) {
        if (!MD5File(path, hex))
            return error_set(err, PARE_E_IO, "%s: cannot read: %s", path, strerror(errno));
    } else {
        pare_status status = file_sha256(path, err, hex);
        if (status != PARE_OK)
            return status;
    }
    snprintf(got, 80, "%s:%s", is_md5(wanted) ? "md5" : "sha256", hex);
    *same = strcmp(got, wanted) == 0;
    return PARE_OK;
}
