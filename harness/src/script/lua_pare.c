/* SPDX-License-Identifier: MIT */
/* The module `pare`: its table, datasets, settings. */
#include "core/file.h"
#include "measure/machine.h"
#include "script/args.h"
#include "script/binding.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#define SETTINGS "pare.settings" /* registry: { name = value } */
#define SETTINGS_READ "pare.settings.read"

struct script *binding_script(lua_State *L) {
    lua_getfield(L, LUA_REGISTRYINDEX, "pare.script");
    struct script *script = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return script;
}

/* What `object:typo` ends in: behind the table of methods, whose own entries are found first. */
static int no_method(lua_State *L) {
    static const char *const skip[] = {NULL};
    const char *type = lua_tostring(L, lua_upvalueindex(1)) + strlen("pare.");
    const char *key = luaL_tolstring(L, 2, NULL);
    size_t n;
    const char **names = args_sorted_keys(L, 1, type, skip, &n);
    return args_fail(L, "%s: no method '%s', wanted %s", type, key, args_push_names(L, names, n));
}

/* The table of methods is at the top of the stack. */
static void refuse_other_methods(lua_State *L, const char *name) {
    lua_createtable(L, 0, 1);
    lua_pushstring(L, name);
    lua_pushcclosure(L, no_method, 1);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
}

void binding_metatable(lua_State *L, const char *name, const struct luaL_Reg *methods,
                       lua_CFunction collect, lua_CFunction index) {
    if (methods) {
        lua_newtable(L);
        luaL_setfuncs(L, methods, 0);
    }
    if (!index)
        refuse_other_methods(L, name);
    luaL_newmetatable(L, name); /* sets __name */
    if (collect) {
        lua_pushcfunction(L, collect);
        lua_setfield(L, -2, "__gc");
    }
    if (index)
        lua_pushcfunction(L, index);
    else
        lua_pushvalue(L, -2);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 2);
}

/* ---- datasets ---- */

static int64_t split_limit(lua_State *L, int table, const char *what, const char *key) {
    return args_integer(L, table, what, key, 0, INT32_MAX, 0);
}

/* pare.dataset "mnist", pare.dataset("mnist", { train = 2000 }) or pare.dataset { "mnist", ... } */
static int pare_dataset(lua_State *L) {
    static const char *const keys[] = {"train", "val", "test", NULL};
    int table = lua_type(L, 1) == LUA_TTABLE ? 1 : 2;
    lua_settop(L, table);
    if (table == 1)
        lua_rawgeti(L, 1, 1);
    else
        lua_pushvalue(L, 1);
    if (lua_type(L, -1) != LUA_TSTRING)
        return args_fail(L, "pare.dataset: the name is %s, wanted a string: pare.dataset \"mnist\"",
                         args_type(L, -1));
    struct error err;
    const struct dataset_info *info = dataset_find_info(lua_tostring(L, -1), &err);
    if (!info)
        return args_raise(L, &err);
    struct dataset_options options = {0};
    if (!lua_isnoneornil(L, table)) {
        if (lua_type(L, table) != LUA_TTABLE)
            return args_fail(L, "pare.dataset: the second argument is %s, wanted a table",
                             args_type(L, table));
        args_check_keys(L, table, "pare.dataset", keys, table == 1);
        options.max_train = split_limit(L, table, "pare.dataset", "train");
        options.max_val = split_limit(L, table, "pare.dataset", "val");
        options.max_test = split_limit(L, table, "pare.dataset", "test");
    }
    struct dataset_box *box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = (struct dataset_box){info, options};
    luaL_setmetatable(L, DATASET_TYPE);
    return 1;
}

/* ds.name, ds.classes, ds.input */
static int dataset_field(lua_State *L) {
    const struct dataset_box *box = luaL_checkudata(L, 1, DATASET_TYPE);
    const char *key = luaL_checkstring(L, 2);
    if (strcmp(key, "name") == 0) {
        lua_pushstring(L, box->info->name);
    } else if (strcmp(key, "classes") == 0) {
        lua_pushinteger(L, box->info->n_classes);
    } else if (strcmp(key, "input") == 0) {
        lua_createtable(L, 3, 0);
        for (int k = 0; k < 3; k++) {
            lua_pushinteger(L, box->info->dims[k]);
            lua_rawseti(L, -2, k + 1);
        }
    } else {
        return args_fail(L, "a dataset has no field '%s', only name, classes and input", key);
    }
    return 1;
}

/* pare.has_dataset(name) -> can it be read here? */
static int pare_has_dataset(lua_State *L) {
    if (lua_type(L, 1) != LUA_TSTRING)
        return args_fail(L, "pare.has_dataset: got %s, wanted a name", args_type(L, 1));
    struct error err;
    char *path = NULL;
    if (!dataset_find_info(lua_tostring(L, 1), &err))
        return args_raise(L, &err);
    lua_pushboolean(L, dataset_locate(lua_tostring(L, 1), &err, &path) == PARE_OK);
    free(path);
    return 1;
}

void dataset_register(lua_State *L) {
    static const luaL_Reg none[] = {{NULL, NULL}};
    binding_metatable(L, DATASET_TYPE, none, NULL, dataset_field);
    lua_pushcfunction(L, pare_dataset);
    lua_setfield(L, -2, "dataset");
    lua_pushcfunction(L, pare_has_dataset);
    lua_setfield(L, -2, "has_dataset");
}

/* ---- settings: pare.set.NAME, from --set NAME=VALUE ---- */

static int setting_field(lua_State *L) {
    const char *key = luaL_checkstring(L, 2);
    lua_getfield(L, LUA_REGISTRYINDEX, SETTINGS_READ);
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, key);
    lua_getfield(L, LUA_REGISTRYINDEX, SETTINGS);
    lua_getfield(L, -1, key);
    return 1;
}

static int setting_assigned(lua_State *L) {
    return args_fail(L, "pare.set cannot be changed by a script; it holds what --set gave");
}

void binding_push_typed(lua_State *L, const char *text) {
    if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0)
        lua_pushboolean(L, text[0] == 't');
    else if (lua_stringtonumber(L, text) == 0)
        lua_pushstring(L, text);
}

static void read_setting(lua_State *L, const char *setting) {
    size_t n = strspn(setting, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
    if (n == 0 || setting[n] != '=')
        args_fail(L, "--set %s: wanted NAME=VALUE, the name of letters, digits and _", setting);
    lua_pushlstring(L, setting, n);
    lua_pushvalue(L, -1);
    if (lua_rawget(L, -3) != LUA_TNIL)
        args_fail(L, "--set %s: given twice", setting);
    lua_pop(L, 1);
    binding_push_typed(L, setting + n + 1);
    lua_rawset(L, -3);
}

static void settings_register(lua_State *L, const struct script_options *options) {
    lua_newtable(L);
    for (size_t k = 0; options && k < options->n_sets; k++)
        read_setting(L, options->sets[k]);
    lua_setfield(L, LUA_REGISTRYINDEX, SETTINGS);
    lua_newtable(L);
    lua_setfield(L, LUA_REGISTRYINDEX, SETTINGS_READ);

    lua_newuserdatauv(L, 1, 0);
    lua_createtable(L, 0, 3);
    lua_pushcfunction(L, setting_field);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, setting_assigned);
    lua_setfield(L, -2, "__newindex");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    lua_setfield(L, -2, "set");
}

void binding_check_settings(lua_State *L) {
    static const char *const skip[] = {NULL};
    size_t n_known;
    lua_getfield(L, LUA_REGISTRYINDEX, SETTINGS_READ);
    int read = lua_gettop(L);
    const char **known = args_sorted_keys(L, read, "--set", skip, &n_known);
    lua_getfield(L, LUA_REGISTRYINDEX, SETTINGS);
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        const char *key = lua_tostring(L, -2);
        if (lua_getfield(L, read, key) == LUA_TNIL) {
            const char *near = nearest_name(key, known, n_known);
            const char *script = sandbox_of(L)->script_path;
            args_fail(L,
                      near ? "--set %s: %s never reads pare.set.%s, did you mean '%s'?"
                           : "--set %s: %s never reads pare.set.%s",
                      key, script, key, near);
        }
        lua_pop(L, 1);
    }
    lua_settop(L, read - 1);
}

/* ---- the module ---- */

int binding_open(lua_State *L) {
    struct script *script = lua_touserdata(L, 1);
    lua_pushlightuserdata(L, script);
    lua_setfield(L, LUA_REGISTRYINDEX, "pare.script");
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_newtable(L);
    lua_pushstring(L, pare_version());
    lua_setfield(L, -2, "version");
    const char *profile = script && script->options ? script->options->profile : NULL;
    lua_pushstring(L, profile ? profile : "default");
    lua_setfield(L, -2, "profile");
    lua_getglobal(L, "print");
    lua_setfield(L, -2, "log");
    settings_register(L, script ? script->options : NULL);
    dataset_register(L);
    graph_register(L);
    model_register(L);
    pipeline_register(L);
    experiment_register(L);
    lua_setfield(L, -2, "pare");
    return 0;
}
