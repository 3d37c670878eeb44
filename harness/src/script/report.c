/* SPDX-License-Identifier: MIT */
#include "script/report.h"

#include "core/alloc.h"
#include "core/file.h"
#include "measure/machine.h"
#include "record/record.h"
#include "script/args.h"
#include "script/binding.h"
#include "script/sandbox.h"

#include <jansson.h>
#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LUA_BYTES ((size_t)512 << 20)
#define MAX_PAGES 1000
#define MAX_JSON_DEPTH 16

struct report {
    const char *script, *format, *title;
    const char *const *paths;
    size_t n_paths;
    struct record *rows; /* (n_rows) of all files */
    size_t n_rows;
    size_t *ends; /* (n_paths) rows of the files up to and with this one */
    struct report_page *pages;
    size_t n_pages;
};

/* ---- reading ---- */

static pare_status read_files(struct report *report, struct error *err) {
    report->ends = alloc_array(report->n_paths, sizeof *report->ends);
    if (!report->ends)
        return error_set(err, PARE_E_NOMEM, "out of memory");
    for (size_t f = 0; f < report->n_paths; f++) {
        struct record *rows = NULL;
        size_t n = 0;
        if (record_read(report->paths[f], err, &rows, &n) != PARE_OK)
            return err->status;
        struct record *grown = alloc_resize(report->rows, report->n_rows + n + 1, sizeof *grown);
        if (!grown) {
            record_rows_free(rows, n);
            return error_set(err, PARE_E_NOMEM, "%s: out of memory", report->paths[f]);
        }
        report->rows = grown;
        if (n > 0)
            memcpy(grown + report->n_rows, rows, n * sizeof *rows);
        free(rows); /* the cells moved */
        report->n_rows += n;
        report->ends[f] = report->n_rows;
    }
    if (report->n_rows == 0)
        return error_set(err, PARE_E_FORMAT,
                         "%s: no rows to report on; wanted a file that `pare "
                         "run` wrote",
                         report->paths[0]);
    return PARE_OK;
}

/* ---- giving them to Lua ---- */

/* A figure that is none is not measured: a report is no place to stop at it. */
static void push_cell(lua_State *L, const char *cell, int is_number) {
    char *end;
    if (!is_number) {
        lua_pushstring(L, cell);
        return;
    }
    double value = strtod(cell, &end);
    if (*end != '\0' || !isfinite(value))
        lua_pushnil(L);
    else
        lua_pushnumber(L, value);
}

/* Column `col` as a list with gaps. Cells are freed as they are passed on: there may be many. */
static void push_column(lua_State *L, struct report *report, int col) {
    int is_number = strcmp(column_infos()[col].type, "text") != 0;
    lua_createtable(L, (int)report->n_rows, 0);
    for (size_t r = 0; r < report->n_rows; r++) {
        char **cell = &report->rows[r].cells[col];
        if (!*cell)
            continue;
        push_cell(L, *cell, is_number);
        lua_rawseti(L, -2, (lua_Integer)r + 1);
    }
    for (size_t r = 0; r < report->n_rows; r++)
        record_set(&report->rows[r], (enum column)col, NULL);
}

static void push_infos(lua_State *L) {
    const struct column_info *infos = column_infos();
    lua_createtable(L, N_COLUMNS, 0);
    for (int k = 0; k < N_COLUMNS; k++) {
        lua_createtable(L, 0, 5);
        lua_pushstring(L, infos[k].name);
        lua_setfield(L, -2, "name");
        lua_pushstring(L, infos[k].group);
        lua_setfield(L, -2, "group");
        lua_pushstring(L, infos[k].type);
        lua_setfield(L, -2, "type");
        lua_pushstring(L, infos[k].unit);
        lua_setfield(L, -2, "unit");
        lua_pushstring(L, infos[k].doc);
        lua_setfield(L, -2, "doc");
        lua_rawseti(L, -2, k + 1);
    }
}

static void push_files(lua_State *L, const struct report *report) {
    lua_createtable(L, (int)report->n_paths, 0);
    for (size_t f = 0; f < report->n_paths; f++) {
        lua_createtable(L, 0, 3);
        lua_pushstring(L, report->paths[f]);
        lua_setfield(L, -2, "path");
        lua_pushinteger(L, (lua_Integer)(f ? report->ends[f - 1] : 0) + 1);
        lua_setfield(L, -2, "first");
        lua_pushinteger(L, (lua_Integer)report->ends[f]);
        lua_setfield(L, -2, "last");
        lua_rawseti(L, -2, (lua_Integer)f + 1);
    }
}

static void push_data(lua_State *L, struct report *report) {
    lua_createtable(L, 0, 6);
    lua_pushinteger(L, (lua_Integer)report->n_rows);
    lua_setfield(L, -2, "n");
    lua_createtable(L, 0, N_COLUMNS);
    for (int k = 0; k < N_COLUMNS; k++) {
        push_column(L, report, k);
        lua_setfield(L, -2, column_infos()[k].name);
    }
    lua_setfield(L, -2, "columns");
    push_infos(L);
    lua_setfield(L, -2, "infos");
    push_files(L, report);
    lua_setfield(L, -2, "files");
    lua_pushstring(L, report->title);
    lua_setfield(L, -2, "title");
    lua_pushstring(L, pare_version());
    lua_setfield(L, -2, "version");
}

/* ---- JSON for the module ---- */

static void push_json(lua_State *L, const json_t *json, int depth) {
    luaL_checkstack(L, 4, NULL);
    const char *key;
    json_t *value;
    size_t index;
    if (depth > MAX_JSON_DEPTH)
        lua_pushnil(L);
    else if (json_is_object(json)) {
        lua_newtable(L);
        json_object_foreach((json_t *)json, key, value) {
            push_json(L, value, depth + 1);
            lua_setfield(L, -2, key);
        }
    } else if (json_is_array(json)) {
        lua_newtable(L);
        json_array_foreach(json, index, value) {
            push_json(L, value, depth + 1);
            lua_rawseti(L, -2, (lua_Integer)index + 1);
        }
    } else if (json_is_number(json))
        lua_pushnumber(L, json_number_value(json));
    else if (json_is_string(json))
        lua_pushlstring(L, json_string_value(json), json_string_length(json));
    else if (json_is_boolean(json))
        lua_pushboolean(L, json_is_true(json));
    else
        lua_pushnil(L);
}

static int free_json(lua_State *L) {
    json_t **box = lua_touserdata(L, 1);
    json_decref(*box);
    *box = NULL;
    return 0;
}

/* pare.json(text) -> tables, or nil if it is no JSON. */
static int parse_json(lua_State *L) {
    size_t n;
    const char *text = luaL_checklstring(L, 1, &n);
    json_t **box = lua_newuserdatauv(L, sizeof *box, 0); /* frees it, whatever happens */
    *box = NULL;
    luaL_setmetatable(L, "pare.json");
    *box = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
    if (*box)
        push_json(L, *box, 0);
    else
        lua_pushnil(L);
    return 1;
}

/* ---- taking what it returns ---- */

static int is_page_name(const char *name) {
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.");
    return n > 0 && n < 100 && name[n] == '\0' && name[0] != '.';
}

/* Page k of the list on top: { name = "..", text = ".." }. */
static void take_page(lua_State *L, struct report *report, lua_Integer k) {
    if (lua_rawgeti(L, -1, k) != LUA_TTABLE)
        args_fail(L, "%s: page %I is %s, wanted { name = .., text = .. }", report->script, k,
                  args_type(L, -1));
    struct report_page *page = &report->pages[report->n_pages++];
    const char *name = args_string(L, lua_gettop(L), "page", "name", NULL);
    if (!is_page_name(name))
        args_fail(L, "%s: page %I has the name '%s', wanted letters, digits, _, - and .",
                  report->script, k, name);
    page->name = args_strdup(L, name);
    if (lua_getfield(L, -1, "text") != LUA_TSTRING)
        args_fail(L, "%s: page %s: text is %s, wanted a string", report->script, name,
                  args_type(L, -1));
    const char *text = lua_tolstring(L, -1, &page->n_bytes);
    page->text = malloc(page->n_bytes + 1);
    if (!page->text)
        args_fail(L, "%s: out of memory for %I bytes", name, (lua_Integer)page->n_bytes);
    memcpy(page->text, text, page->n_bytes + 1);
    lua_pop(L, 2);
}

static int run_report(lua_State *L) {
    struct report *report = lua_touserdata(L, 1);
    luaL_newmetatable(L, "pare.json");
    lua_pushcfunction(L, free_json);
    lua_setfield(L, -2, "__gc");
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_getfield(L, -1, "pare");
    lua_pushcfunction(L, parse_json);
    lua_setfield(L, -2, "json");
    lua_settop(L, 1);
    sandbox_push_file(L, report->script);
    lua_call(L, 0, 1);
    if (!lua_istable(L, -1) || lua_getfield(L, -1, report->format) != LUA_TFUNCTION)
        return args_fail(L, "%s: returned no table with a function `%s`", report->script,
                         report->format);
    push_data(L, report);
    lua_call(L, 1, 1);
    if (!lua_istable(L, -1))
        return args_fail(L, "%s: %s returned %s, wanted a list of pages", report->script,
                         report->format, args_type(L, -1));
    lua_Integer n = args_list(L, lua_gettop(L), "pages");
    if (n > MAX_PAGES)
        return args_fail(L, "%s: %I pages, wanted at most %d", report->script, n, MAX_PAGES);
    report->pages = args_alloc(L, (size_t)n, sizeof *report->pages);
    for (lua_Integer k = 1; k <= n; k++)
        take_page(L, report, k);
    return 0;
}

pare_status report_make(const char *script, const char *format, const char *title,
                        const char *const *paths, size_t n_paths, struct error *err,
                        struct report_page **pages, size_t *n) {
    char *own = script ? NULL : home_path("scripts/lib/report.lua");
    struct report report = {.script = script ? script : own,
                            .format = format,
                            .title = title,
                            .paths = paths,
                            .n_paths = n_paths};
    struct sandbox *sandbox = NULL;
    pare_status status =
        report.script ? PARE_OK : error_set(err, PARE_E_NOMEM, "report: out of memory");
    if (status == PARE_OK)
        status = read_files(&report, err);
    if (status == PARE_OK)
        status = sandbox_create(report.script, MAX_LUA_BYTES, 0, err, &sandbox);
    if (status == PARE_OK)
        status = sandbox_call(sandbox, binding_open, NULL, err);
    if (status == PARE_OK)
        status = sandbox_call(sandbox, run_report, &report, err);
    sandbox_destroy(sandbox);
    record_rows_free(report.rows, report.n_rows);
    free(report.ends);
    free(own);
    if (status != PARE_OK) {
        report_pages_free(report.pages, report.n_pages);
        return status;
    }
    *pages = report.pages;
    *n = report.n_pages;
    return PARE_OK;
}

void report_pages_free(struct report_page *pages, size_t n) {
    for (size_t k = 0; k < n; k++) {
        free(pages[k].name);
        free(pages[k].text);
    }
    free(pages);
}
