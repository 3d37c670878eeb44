/* SPDX-License-Identifier: MIT */
/* Pipelines and grids, from Lua tables to specifications. */
#include "script/args.h"
#include "script/binding.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PIPELINES 100000
#define LIST_TYPE "pare.pipelines"

/* pare.grid { 8, 4, 2 }: a userdata whose uservalue is a copy of the list. */
static int pare_grid(lua_State *L) {
    if (lua_type(L, 1) != LUA_TTABLE)
        return args_fail(L, "pare.grid: got %s, wanted a list: pare.grid { 8, 4 }",
                         args_type(L, 1));
    lua_Integer n = args_list(L, 1, "pare.grid");
    if (n == 0)
        return args_fail(L, "pare.grid: the list is empty, wanted at least one alternative");
    lua_newuserdatauv(L, 1, 1);
    luaL_setmetatable(L, GRID_TYPE);
    lua_createtable(L, (int)n, 0);
    for (lua_Integer k = 1; k <= n; k++) {
        if (lua_rawgeti(L, 1, k) == LUA_TUSERDATA)
            return args_fail(L, "pare.grid: alternative %I is %s, wanted a plain value", k,
                             args_type(L, -1));
        lua_rawseti(L, -2, k);
    }
    lua_setiuservalue(L, -2, 1);
    return 1;
}

static int list_collect(lua_State *L) {
    struct pipeline_list *list = lua_touserdata(L, 1);
    written_clear(&list->written);
    grid_free(list->pipelines, list->n);
    free(list->label);
    *list = (struct pipeline_list){0};
    return 0;
}

void pipeline_register(lua_State *L) {
    static const luaL_Reg none[] = {{NULL, NULL}};
    binding_metatable(L, GRID_TYPE, none, NULL, NULL);
    binding_metatable(L, LIST_TYPE, none, list_collect, NULL);
    lua_pushcfunction(L, pare_grid);
    lua_setfield(L, -2, "grid");
}

/* The value on top of the stack, a grid or one alternative; pops it. */
static void read_value(lua_State *L, const char *what, const char *name,
                       struct written_value *value) {
    int is_grid = luaL_testudata(L, -1, GRID_TYPE) != NULL;
    if (is_grid) {
        lua_getiuservalue(L, -1, 1);
        lua_remove(L, -2);
    }
    size_t n = is_grid ? (size_t)lua_rawlen(L, -1) : 1;
    value->alternatives = args_alloc(L, n, sizeof *value->alternatives);
    value->n = n;
    for (size_t k = 0; k < n; k++) {
        if (is_grid)
            lua_rawgeti(L, -1, (lua_Integer)k + 1);
        else
            lua_pushvalue(L, -1);
        args_input(L, -1, what, name, &value->alternatives[k]);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

/* { "ptq", bits = 8 } at the top of the stack. */
static void read_step(lua_State *L, const char *what, struct written_step *step) {
    static const char *const skip[] = {NULL};
    int table = lua_gettop(L);
    lua_rawgeti(L, table, 1);
    if (lua_type(L, -1) != LUA_TSTRING && !luaL_testudata(L, -1, GRID_TYPE))
        args_fail(L, "%s: its first item is %s, wanted the name of a method: { \"ptq\", bits = 8 }",
                  what, args_type(L, -1));
    read_value(L, what, "the method", &step->method);
    for (size_t k = 0; k < step->method.n; k++)
        if (step->method.alternatives[k].kind != INPUT_STRING)
            args_fail(L, "%s: the method is not a string", what);
    size_t n;
    const char **keys = args_sorted_keys(L, table, what, skip, &n);
    keys[n] = NULL; /* there is room for it */
    args_check_keys(L, table, what, keys, 1);
    step->values = args_alloc(L, n, sizeof *step->values);
    step->n_values = n;
    for (size_t k = 0; k < n; k++) {
        lua_getfield(L, table, keys[k]);
        read_value(L, what, keys[k], &step->values[k]);
    }
    lua_settop(L, table);
}

struct pipeline_list *pipeline_read(lua_State *L, int index, const char *what) {
    struct error err;
    luaL_checkstack(L, 12, NULL);
    index = lua_absindex(L, index);
    if (lua_type(L, index) != LUA_TTABLE)
        args_fail(L, "%s is %s, wanted a list of steps", what, args_type(L, index));
    lua_Integer n = args_list(L, index, what);
    struct pipeline_list *list = lua_newuserdatauv(L, sizeof *list, 0);
    *list = (struct pipeline_list){0};
    luaL_setmetatable(L, LIST_TYPE);
    int object = lua_gettop(L);
    list->written.steps = args_alloc(L, (size_t)n, sizeof *list->written.steps);
    list->written.n_steps = (size_t)n;
    for (lua_Integer s = 1; s <= n; s++) {
        const char *step = lua_pushfstring(L, "%s step %I", what, s);
        if (lua_rawgeti(L, index, s) != LUA_TTABLE)
            args_fail(
                L, "%s is %s, wanted a table: { { \"ptq\", bits = 8 } } is a pipeline of one step",
                step, args_type(L, -1));
        read_step(L, step, &list->written.steps[s - 1]);
        lua_settop(L, object);
    }
    size_t n_pipelines = 0;
    struct pipeline_spec *pipelines = NULL;
    if (grid_expand(&list->written, MAX_PIPELINES, pipeline_line(L, list), &err, &pipelines,
                    &n_pipelines))
        args_fail(L, "%s: %s", what, err.text);
    list->pipelines = pipelines;
    list->n = n_pipelines;
    return list;
}

int32_t pipeline_line(lua_State *L, const struct pipeline_list *list) {
    for (size_t s = 0; s < list->written.n_steps; s++) {
        const struct written_value *method = &list->written.steps[s].method;
        int32_t line = method->n == 1 ? sandbox_literal_line(L, method->alternatives[0].string) : 0;
        if (line)
            return line;
    }
    return 0;
}
