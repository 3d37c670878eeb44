/* SPDX-License-Identifier: MIT */
/* Tensors that a user gives a method by a file. */
#include "core/file.h"
#include "model/safetensors.h"
#include "plugin/host.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FILE_BYTES ((size_t)1 << 31)

/* "(20, 5, 5, 1)" */
static const char *shape_text(int32_t rank, const int64_t *dims, char text[96]) {
    size_t at = 0;
    text[0] = '\0';
    for (int32_t k = 0; k < rank && at < 90; k++) {
        at += (size_t)snprintf(text + at, 96 - at, "%s%lld", k ? ", " : "(", (long long)dims[k]);
    }
    snprintf(text + (at < 94 ? at : 94), 2, ")");
    return text;
}

static pare_status check_shape(const struct st_tensor *t, int32_t rank, const int64_t *dims,
                               struct error *err) {
    int is_same = t->rank == rank;
    for (int32_t k = 0; is_same && k < rank; k++) {
        is_same = t->dims[k] == dims[k];
    }
    if (!is_same) {
        char got[96], wanted[96];
        return error_set(err, PARE_E_ARG, "%s: its shape is %s, wanted %s, as the weight's",
                         t->name, shape_text(t->rank, t->dims, got),
                         shape_text(rank, dims, wanted));
    }
    return PARE_OK;
}

static pare_status copy_values(const struct st_tensor *t, struct error *err, float *data) {
    int64_t n = 1;
    for (int32_t k = 0; k < t->rank; k++) {
        n *= t->dims[k];
    }
    for (int64_t i = 0; i < n; i++) {
        float value = 0.0f;
        if (t->dtype == ST_U8) {
            value = (float)t->data[i];
        } else {
            memcpy(&value, t->data + (size_t)i * sizeof value, sizeof value);
        }
        if (!isfinite(value)) {
            return error_set(err, PARE_E_NUMERIC, "%s[%lld]: value is %g, wanted a finite number",
                             t->name, (long long)i, (double)value);
        }
        data[i] = value;
    }
    return PARE_OK;
}

static pare_status read_tensor(const struct st_file *file, const char *name, int32_t rank,
                               const int64_t *dims, struct error *err, float *data) {
    const struct st_tensor *t = st_find(file, name);
    if (!t) {
        return error_set(err, PARE_E_NOT_FOUND,
                         "has no tensor %s, wanted one for every selected layer (exclude the "
                         "others)",
                         name);
    }
    const pare_status status = check_shape(t, rank, dims, err);
    return status == PARE_OK ? copy_values(t, err, data) : status;
}

static pare_status host_read_tensor(const pare_host *host, const char *path, const char *name,
                                    int32_t rank, const int64_t *dims, float *data) {
    struct error err;
    uint8_t *bytes = NULL;
    size_t n_bytes = 0;
    pare_status status = file_read(path, MAX_FILE_BYTES, &err, &bytes, &n_bytes);
    if (status != PARE_OK) {
        return host->fail(host, status, "%s", err.text);
    }
    struct st_file file = {0};
    status = st_read(bytes, n_bytes, &err, &file);
    if (status == PARE_OK) {
        status = read_tensor(&file, name, rank, dims, &err, data);
    }
    st_file_clear(&file);
    free(bytes);
    return status == PARE_OK ? PARE_OK : host->fail(host, status, "%s: %s", path, err.text);
}

const pare_host_tensors host_tensors = {
    .struct_size = sizeof host_tensors,
    .read = host_read_tensor,
};
