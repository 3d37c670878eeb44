/* SPDX-License-Identifier: MIT */
/* Files of records: what is read can be written, and reads back as the same. */
#include "fuzz.h"

#include "record/csv_text.h"
#include "record/record.h"

#include <stdlib.h>
#include <string.h>

const char *const fuzz_words[] = {"schema_version", ",",     "\n1,",         "\r\n",
                                  "\"\"",           "\",\"", "\n\n",         "top1",
                                  "arm_id",         "\"\n",  "\xef\xbb\xbf", NULL};

static void write_rows(const struct record *rows, size_t n, struct csv_text *out) {
    const struct column_info *infos = column_infos();
    for (int k = 0; k < N_COLUMNS; k++)
        csv_text_cell(out, infos[k].name, k == 0);
    csv_text_end_row(out);
    for (size_t r = 0; r < n; r++) {
        for (int k = 0; k < N_COLUMNS; k++)
            csv_text_cell(out, record_get(&rows[r], (enum column)k), k == 0);
        csv_text_end_row(out);
    }
    if (out->exhausted)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
    struct error err = {0};
    struct record *rows, *again;
    size_t n, n_again;
    if (record_parse("fuzz", (const char *)data, n_bytes, &err, &rows, &n) != PARE_OK) {
        if (!err.text[0] || strchr(err.text, '\n'))
            abort();
        return 0;
    }
    struct csv_text text = {0};
    write_rows(rows, n, &text);
    if (record_parse("again", text.data, text.n, &err, &again, &n_again) != PARE_OK || n_again != n)
        abort();
    for (size_t r = 0; r < n; r++)
        for (int k = 0; k < N_COLUMNS; k++)
            if (strcmp(record_get(&rows[r], (enum column)k),
                       record_get(&again[r], (enum column)k)) != 0)
                abort();
    free(text.data);
    record_rows_free(rows, n);
    record_rows_free(again, n_again);
    return 0;
}

void fuzz_repair(uint8_t *data, size_t n_bytes) {
    (void)data, (void)n_bytes;
}

uint8_t *fuzz_seed(int i, size_t *n_bytes) {
    static const char *const texts[] = {
        "schema_version,arm_id,top1\n1,a,0.5\n1,b,\n",
        "note,schema_version,error\r\n\r\nmine,1,\"a, \"\"b\"\"\nc\"\r\n\"\",1,\" \"\r\n",
        "\xef\xbb\xbf\"schema_version\",\"seed\"\n\"1\",\"-3\"\n1,half",
    };
    if (i >= (int)(sizeof texts / sizeof *texts))
        return NULL;
    *n_bytes = strlen(texts[i]);
    uint8_t *data = malloc(*n_bytes);
    if (!data)
        abort();
    memcpy(data, texts[i], *n_bytes);
    return data;
}
