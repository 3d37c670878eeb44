/* SPDX-License-Identifier: MIT */
/* Tables for people (aligned columns), CSV or JSON: the one way commands print results. */
#ifndef CORE_TABLE_H
#define CORE_TABLE_H

#include "core/error.h"

#include <stdio.h>

enum table_format { TABLE_TEXT, TABLE_CSV, TABLE_JSON, TABLE_MARKDOWN };

struct table;

/* `headers` is NULL-terminated and copied. A header that starts with '>' is right-aligned (the '>'
 * is not part of the name): numbers. */
struct table *table_create(const char *const *headers);
void table_destroy(struct table *table);

/* Adds a row; cells are copied, one per header; NULL is an empty cell (JSON null). */
pare_status table_add(struct table *table, const char *const *cells, struct error *err);

/* TEXT fits `width` columns (0: no limit): the widest left-aligned columns are narrowed, their
 * cells going on in the next line; where that is not enough the table is folded into blocks of
 * columns, each begun by the first one. UTF-8 characters are counted. JSON is an array of objects;
 * cells that are JSON numbers stay numbers. MARKDOWN is a table as GitHub reads it. */
void table_print(const struct table *table, FILE *file, enum table_format format, int width);

/* A string as JSON: quoted, escaped, what is no UTF-8 replaced. */
void table_print_json_string(FILE *file, const char *text);

/* "table" (for people), "csv", "json" or "md" -> *format. */
pare_status table_parse_format(const char *name, struct error *err, enum table_format *format);

#endif
