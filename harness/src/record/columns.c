/* SPDX-License-Identifier: MIT */
#include "record/record.h"

static const struct column_info infos[N_COLUMNS] = {
#define COLUMN(name, group, type, unit, repeatable, doc)                                           \
    {#name, group, type, unit, repeatable, doc},
#include "record/columns.inc"
#undef COLUMN
};

const struct column_info *column_infos(void) {
    return infos;
}
