/* SPDX-License-Identifier: MIT */
#include "script/args.h"

#include "core/alloc.h"
#include "core/file.h"
#include "script/sandbox.h"

#include <lauxlib.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

int args_fail(lua_State *L, const char *format, ...) {
    char where[96];
    va_list list;
    sandbox_where(L, where, sizeof where);
    lua_pushfstring(L, where[0] ? "%s: " : "", where);
    va_start(list, format);
    lua_pushvfstring(L, format, list);
    va_end(list);
    lua_concat(L, 2);
    return lua_error(L);
}

int args_raise(lua_State *L, const struct error *err) {
    return args_fail(L, "%s", err->text);
}

const char *args_type(lua_State *L, int index) {
    switch (lua_type(L, index)) {
    case LUA_TNONE:
    case LUA_TNIL:
        return "nothing";
    case LUA_TBOOLEAN:
        return "a boolean";
    case LUA_TNUMBER:
        return "a number";
    case LUA_TSTRING:
        return "a string";
    case LUA_TTABLE:
        return "a table";
    case LUA_TFUNCTION:
        return "a function";
    default:
        break;
    }
    if (luaL_getmetafield(L, index, "__name") == LUA_TSTRING) {
        /* "pare.dataset" -> "a pare.dataset"; the string is kept alive by the metatable. */
        const char *text = lua_pushfstring(L, "a %s", lua_tostring(L, -1));
        lua_remove(L, -2);
        return text; /* left on the stack: only errors ask for it */
    }
    return "a userdata";
}

const char *args_push_names(lua_State *L, const char *const *names, size_t n) {
    luaL_Buffer text;
    luaL_buffinit(L, &text);
    luaL_addstring(&text, n ? "" : "none");
    for (size_t k = 0; k < n; k++) {
        luaL_addstring(&text, k ? ", " : "");
        luaL_addstring(&text, names[k]);
    }
    luaL_pushresult(&text);
    return lua_tostring(L, -1);
}

void args_check_keys(lua_State *L, int index, const char *what, const char *const *names,
                     lua_Integer n_list) {
    index = lua_absindex(L, index);
    size_t n = 0;
    while (names[n])
        n++;
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        if (lua_type(L, -2) == LUA_TSTRING) {
            const char *key = lua_tostring(L, -2);
            size_t k = 0;
            while (k < n && strcmp(key, names[k]) != 0)
                k++;
            if (k < n)
                continue;
            const char *near = nearest_name(key, names, n);
            if (near)
                args_fail(L, "%s: unknown key '%s', did you mean '%s'?", what, key, near);
            args_fail(L, "%s: unknown key '%s', wanted %s", what, key,
                      args_push_names(L, names, n));
        }
        if (lua_isinteger(L, -2) && lua_tointeger(L, -2) >= 1 && lua_tointeger(L, -2) <= n_list)
            continue;
        luaL_tolstring(L, -2, NULL);
        args_fail(L, "%s: unexpected key [%s], wanted names only", what, lua_tostring(L, -1));
    }
}

const char *args_string(lua_State *L, int index, const char *what, const char *key,
                        const char *missing) {
    int type = lua_getfield(L, index, key);
    if (type == LUA_TNIL && missing) {
        lua_pop(L, 1);
        return missing;
    }
    if (type != LUA_TSTRING)
        args_fail(L, "%s: %s is %s, wanted a string", what, key, args_type(L, -1));
    const char *text = lua_tostring(L, -1);
    if (strlen(text) != lua_rawlen(L, -1))
        args_fail(L, "%s: %s contains a zero byte", what, key);
    lua_pop(L, 1); /* the table keeps it */
    return text;
}

int64_t args_integer(lua_State *L, int index, const char *what, const char *key, int64_t min,
                     int64_t max, int64_t missing) {
    int type = lua_getfield(L, index, key);
    if (type == LUA_TNIL && missing >= min) {
        lua_pop(L, 1);
        return missing;
    }
    if (type != LUA_TNUMBER)
        args_fail(L, "%s: %s is %s, wanted an integer", what, key, args_type(L, -1));
    int is_integer;
    lua_Integer value = lua_tointegerx(L, -1, &is_integer);
    if (!is_integer)
        args_fail(L, "%s: %s is %f, wanted an integer", what, key, lua_tonumber(L, -1));
    if (value < min || value > max)
        args_fail(L, "%s: %s is %I, wanted %I..%I", what, key, value, (lua_Integer)min,
                  (lua_Integer)max);
    lua_pop(L, 1);
    return value;
}

int args_boolean(lua_State *L, int index, const char *what, const char *key, int missing) {
    int type = lua_getfield(L, index, key);
    if (type != LUA_TNIL && type != LUA_TBOOLEAN)
        args_fail(L, "%s: %s is %s, wanted true or false", what, key, args_type(L, -1));
    int value = type == LUA_TNIL ? missing : lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

int args_table(lua_State *L, int index, const char *what, const char *key) {
    int type = lua_getfield(L, index, key);
    if (type != LUA_TNIL && type != LUA_TTABLE)
        args_fail(L, "%s: %s is %s, wanted a table", what, key, args_type(L, -1));
    return type == LUA_TTABLE;
}

lua_Integer args_list(lua_State *L, int index, const char *what) {
    index = lua_absindex(L, index);
    lua_Integer n = (lua_Integer)lua_rawlen(L, index), seen = 0;
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1), seen++) {
        lua_Integer k = lua_isinteger(L, -2) ? lua_tointeger(L, -2) : 0;
        if (k < 1 || k > n) {
            luaL_tolstring(L, -2, NULL);
            args_fail(L, "%s: unexpected key [%s], wanted a list", what, lua_tostring(L, -1));
        }
    }
    if (seen != n)
        args_fail(L, "%s: the list has a hole (nil) before its item %I", what, n);
    return n;
}

/* ---- values for parameters ---- */

char *args_strdup(lua_State *L, const char *text) {
    char *copy = strdup(text);
    if (!copy)
        args_fail(L, "out of memory");
    return copy;
}

void *args_alloc(lua_State *L, size_t n, size_t size) {
    void *block = alloc_array(n, size);
    if (!block)
        args_fail(L, "out of memory for %I items", (lua_Integer)n);
    return block;
}

static const char *plain_string(lua_State *L, int index, const char *what, const char *name) {
    const char *text = lua_tostring(L, index);
    if (strlen(text) != lua_rawlen(L, index))
        args_fail(L, "%s: %s contains a zero byte", what, name);
    return text;
}

static void list_input(lua_State *L, int index, const char *what, const char *name,
                       struct param_input *out) {
    const char *label = lua_pushfstring(L, "%s: %s", what, name);
    lua_Integer n = args_list(L, index, label);
    if (n > 100000)
        args_fail(L, "%s has %I items, wanted at most 100000", label, n);
    lua_rawgeti(L, index, 1);
    int type = n ? lua_type(L, -1) : LUA_TSTRING;
    lua_pop(L, 1);
    if (type != LUA_TSTRING && type != LUA_TNUMBER) {
        lua_rawgeti(L, index, 1);
        args_fail(L, "%s: item 1 is %s, wanted a string or a number", label, args_type(L, -1));
    }
    if (type == LUA_TSTRING) {
        out->kind = INPUT_STRINGS;
        out->strings = args_alloc(L, (size_t)n, sizeof *out->strings);
    } else {
        out->kind = INPUT_NUMBERS;
        out->numbers = args_alloc(L, (size_t)n, sizeof *out->numbers);
    }
    out->n = (int32_t)n;
    for (lua_Integer k = 1; k <= n; k++) {
        lua_rawgeti(L, index, k);
        if (lua_type(L, -1) != type)
            args_fail(L, "%s: item %I is %s, but item 1 is a %s", label, k, args_type(L, -1),
                      lua_typename(L, type));
        if (type == LUA_TSTRING)
            out->strings[k - 1] = args_strdup(L, plain_string(L, -1, what, name));
        else
            out->numbers[k - 1] = lua_tonumber(L, -1);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

void args_input(lua_State *L, int index, const char *what, const char *name,
                struct param_input *out) {
    index = lua_absindex(L, index);
    out->name = args_strdup(L, name);
    switch (lua_type(L, index)) {
    case LUA_TBOOLEAN:
        out->kind = INPUT_BOOL;
        out->number = lua_toboolean(L, index);
        return;
    case LUA_TNUMBER:
        out->kind = INPUT_NUMBER;
        out->number = lua_tonumber(L, index);
        out->is_integer = out->number == floor(out->number) && fabs(out->number) <= 0x1p53;
        return;
    case LUA_TSTRING:
        out->kind = INPUT_STRING;
        out->string = args_strdup(L, plain_string(L, index, what, name));
        return;
    case LUA_TTABLE:
        list_input(L, index, what, name, out);
        return;
    default:
        args_fail(L, "%s: %s is %s, wanted a number, a string, a boolean or a list", what, name,
                  args_type(L, index));
    }
}

void args_push_input(lua_State *L, const struct param_input *input) {
    switch (input->kind) {
    case INPUT_BOOL:
        lua_pushboolean(L, input->number != 0);
        return;
    case INPUT_NUMBER:
        if (input->is_integer)
            lua_pushinteger(L, (lua_Integer)input->number);
        else
            lua_pushnumber(L, input->number);
        return;
    case INPUT_STRING:
        lua_pushstring(L, input->string);
        return;
    case INPUT_STRINGS:
    case INPUT_NUMBERS:
        lua_createtable(L, input->n, 0);
        for (int32_t k = 0; k < input->n; k++) {
            if (input->kind == INPUT_STRINGS)
                lua_pushstring(L, input->strings[k]);
            else
                lua_pushnumber(L, input->numbers[k]);
            lua_rawseti(L, -2, k + 1);
        }
        return;
    }
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int is_skipped(const char *name, const char *const *skip) {
    while (*skip && strcmp(*skip, name) != 0)
        skip++;
    return *skip != NULL;
}

const char **args_sorted_keys(lua_State *L, int index, const char *what, const char *const *skip,
                              size_t *n_keys) {
    index = lua_absindex(L, index);
    size_t n = 0;
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1))
        n++;
    const char **keys = lua_newuserdatauv(L, (n + 1) * sizeof *keys, 0);
    size_t k = 0;
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING)
            continue;
        const char *name = plain_string(L, -2, what, "a key");
        if (!is_skipped(name, skip))
            keys[k++] = name; /* the table keeps it */
    }
    qsort(keys, k, sizeof *keys, compare_names);
    *n_keys = k;
    return keys;
}
