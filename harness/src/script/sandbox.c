/* SPDX-License-Identifier: MIT */
#include "script/sandbox.h"

#include "core/alloc.h"
#include "core/file.h"
#include "script/args.h"

#include <ctype.h>
#include <inttypes.h>
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_MAX_BYTES ((size_t)256 << 20)
#define DEFAULT_MAX_INSTRUCTIONS UINT64_C(1000000000)
#define MAX_FILE_BYTES ((size_t)4 << 20)
#define HOOK_INTERVAL 1000
#define NO_MEMORY "not enough memory" /* Lua's own text for a refused allocation */

struct sandbox *sandbox_of(lua_State *L) {
    return *(struct sandbox **)lua_getextraspace(L);
}

void sandbox_where(lua_State *L, char *text, size_t size) {
    lua_Debug ar;
    text[0] = '\0';
    for (int level = 0; lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "Sl", &ar);
        if (ar.currentline > 0) {
            snprintf(text, size, "%s:%d", ar.short_src, ar.currentline);
            return;
        }
    }
}

/* ---- limits ---- */

/* lua_Alloc. Lua relies on shrinking never failing. */
static void *limited_alloc(void *context, void *ptr, size_t old_bytes, size_t new_bytes) {
    struct sandbox *sandbox = context;
    size_t held = ptr ? old_bytes : 0; /* without a block, old_bytes is a type tag */
    if (new_bytes == 0) {
        free(ptr);
        sandbox->used_bytes -= held;
        return NULL;
    }
    if (new_bytes > held && new_bytes - held > sandbox->max_bytes - sandbox->used_bytes) {
        sandbox->refused_bytes = new_bytes;
        if (sandbox->L) /* reads the call stack only: allocates nothing */
            sandbox_where(sandbox->L, sandbox->refused_at, sizeof sandbox->refused_at);
        return NULL;
    }
    void *block = realloc(ptr, new_bytes);
    if (!block)
        return new_bytes <= held ? ptr : NULL;
    sandbox->used_bytes += new_bytes - held;
    return block;
}

static void count_hook(lua_State *L, lua_Debug *ar) {
    (void)ar;
    struct sandbox *sandbox = sandbox_of(L);
    sandbox->used_instructions += (uint64_t)lua_gethookcount(L);
    if (sandbox->used_instructions < sandbox->max_instructions)
        return;
    /* A pcall in the script may catch this; from now on no single instruction gets through. */
    lua_sethook(L, count_hook, LUA_MASKCOUNT, 1);
    char count[32];
    snprintf(count, sizeof count, "%" PRIu64, sandbox->max_instructions);
    args_fail(L, "ran %s instructions without finishing (the limit of one script or hook)", count);
}

static void arm_limits(struct sandbox *sandbox) {
    uint64_t interval = HOOK_INTERVAL;
    if (interval > sandbox->max_instructions)
        interval = sandbox->max_instructions;
    sandbox->used_instructions = 0;
    sandbox->refused_at[0] = '\0';
    lua_sethook(sandbox->L, count_hook, LUA_MASKCOUNT, (int)interval);
}

/* ---- calling ---- */

/* Does the message begin with a position, "file:line:"? */
static int has_position(const char *message) {
    for (const char *colon = strchr(message, ':'); colon; colon = strchr(colon + 1, ':')) {
        size_t digits = strspn(colon + 1, "0123456789");
        if (digits > 0 && colon[1 + digits] == ':')
            return 1;
    }
    return 0;
}

/* Message handler: makes any error object a string that says where. */
static int to_message(lua_State *L) {
    char where[96];
    sandbox_where(L, where, sizeof where);
    if (lua_type(L, 1) != LUA_TSTRING &&
        (!luaL_callmeta(L, 1, "__tostring") || lua_type(L, -1) != LUA_TSTRING))
        lua_pushfstring(L, "error object is a %s value", luaL_typename(L, 1));
    if (!has_position(lua_tostring(L, -1)) && where[0])
        lua_pushfstring(L, "%s: %s", where, lua_tostring(L, -1));
    return 1;
}

static pare_status fail_with_message(struct sandbox *sandbox, struct error *err) {
    const char *message = lua_tostring(sandbox->L, -1);
    if (!message)
        message = "error without a message";
    if (strcmp(message, NO_MEMORY) == 0) {
        const char *at = sandbox->refused_at;
        error_set(err, PARE_E_LIMIT,
                  "%s%sout of memory: the script wanted %zu bytes more, the limit is %zu MiB", at,
                  at[0] ? ": " : "", sandbox->refused_bytes, sandbox->max_bytes >> 20);
    } else if (sandbox->used_instructions >= sandbox->max_instructions) {
        error_set(err, PARE_E_LIMIT, "%s", message);
    } else {
        error_set(err, PARE_E_ARG, "%s", message);
    }
    return err->status;
}

pare_status sandbox_call(struct sandbox *sandbox, lua_CFunction body, void *arg,
                         struct error *err) {
    lua_State *L = sandbox->L;
    pare_status status = PARE_OK;
    arm_limits(sandbox);
    int top = lua_gettop(L);
    lua_pushcfunction(L, to_message);
    lua_pushcfunction(L, body);
    lua_pushlightuserdata(L, arg);
    if (lua_pcall(L, 1, 0, top + 1) != LUA_OK)
        status = fail_with_message(sandbox, err);
    lua_settop(L, top);
    return status;
}

/* ---- files ---- */

void sandbox_push_file(lua_State *L, const char *path) {
    struct error err;
    uint8_t *data = NULL;
    size_t n_bytes = 0;
    luaL_checkstack(L, 4, NULL);
    const char *chunk = lua_pushfstring(L, "@%s", path);
    if (file_read(path, MAX_FILE_BYTES, &err, &data, &n_bytes))
        args_raise(L, &err);
    if (n_bytes >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0)
        memcpy(data, "   ", 3); /* a byte order mark */
    if (n_bytes > 0 && data[0] == LUA_SIGNATURE[0]) {
        free(data);
        args_fail(L, "%s:1: attempt to load a binary chunk, wanted Lua source text", path);
    }
    if (n_bytes > 1 && data[0] == '#' && data[1] == '!')
        memcpy(data, "--", 2); /* a line for the shell */
    /* Neither call raises an error, so that data is freed in any case. */
    int status = luaL_loadbufferx(L, (const char *)data, n_bytes, chunk, "t");
    struct sandbox *sandbox = sandbox_of(L);
    if (sandbox->script_path && !sandbox->source && strcmp(path, sandbox->script_path) == 0)
        sandbox->source = (char *)data;
    else
        free(data);
    if (status != LUA_OK)
        lua_error(L);
    lua_remove(L, -2);
}

static int line_has_literal(const char *line, size_t length, const char *literal) {
    size_t n = strlen(literal);
    for (size_t k = 0; k + n + 2 <= length; k++) {
        if (line[k] == '-' && line[k + 1] == '-')
            return 0; /* a comment */
        if ((line[k] == '"' || line[k] == '\'') && line[k + n + 1] == line[k] &&
            memcmp(line + k + 1, literal, n) == 0)
            return 1;
    }
    return 0;
}

int32_t sandbox_literal_line(lua_State *L, const char *literal) {
    struct sandbox *sandbox = sandbox_of(L);
    lua_Debug ar;
    int found = 0;
    for (int level = 0; !found && lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "Sl", &ar);
        found = ar.currentline > 0;
    }
    if (!found || !sandbox->source || strcmp(ar.source + 1, sandbox->script_path) != 0)
        return 0;
    int32_t line = 1, at = 0;
    for (const char *s = sandbox->source; *s; line++) {
        size_t length = strcspn(s, "\n");
        if (line_has_literal(s, length, literal)) {
            if (at)
                return 0;
            at = line;
        }
        s += length + (s[length] == '\n');
    }
    return at;
}

/* ---- the libraries ---- */

static int safe_print(lua_State *L) {
    int n = lua_gettop(L);
    luaL_Buffer buffer;
    luaL_buffinit(L, &buffer);
    for (int k = 1; k <= n; k++) {
        size_t length;
        const char *text = luaL_tolstring(L, k, &length);
        if (k > 1)
            luaL_addchar(&buffer, '\t');
        for (size_t i = 0; i < length; i++) {
            char c = text[i];
            /* What could drive a terminal does not reach it. */
            luaL_addchar(&buffer, iscntrl((unsigned char)c) && c != '\n' && c != '\t' ? '?' : c);
        }
        lua_pop(L, 1);
    }
    luaL_addchar(&buffer, '\n');
    luaL_pushresult(&buffer);
    size_t length;
    const char *line = lua_tolstring(L, -1, &length);
    fwrite(line, 1, length, stderr);
    return 0;
}

/* Upvalue 1 with all arguments, n_results results. */
static int call_original(lua_State *L, int n_results) {
    int n = lua_gettop(L);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, n, n_results);
    return lua_gettop(L);
}

/* load() with the mode "t" always: bytecode can break the interpreter. */
static int safe_load(lua_State *L) {
    int type = lua_type(L, 1);
    luaL_argexpected(L, type == LUA_TSTRING || type == LUA_TFUNCTION, 1, "string or function");
    if (lua_gettop(L) < 3)
        lua_settop(L, 3);
    lua_pushliteral(L, "t");
    lua_replace(L, 3);
    return call_original(L, LUA_MULTRET);
}

/* setmetatable() without finalizers, which Lua runs with the instruction limit switched off. */
static int safe_setmetatable(lua_State *L) {
    int type = lua_type(L, 2);
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_argexpected(L, type == LUA_TNIL || type == LUA_TTABLE, 2, "nil or table");
    if (luaL_getmetafield(L, 1, "__metatable") != LUA_TNIL)
        return args_fail(L, "cannot change a protected metatable");
    if (type == LUA_TTABLE) {
        lua_pushliteral(L, "__gc");
        lua_rawget(L, 2);
        if (!lua_isnil(L, -1))
            return args_fail(L, "setmetatable: __gc is not available in scripts");
    }
    lua_settop(L, 2);
    lua_setmetatable(L, 1);
    return 1;
}

/* math.randomseed() with a seed: without one it would take the time. */
static int safe_randomseed(lua_State *L) {
    if (lua_gettop(L) == 0)
        return args_fail(L, "math.randomseed: wanted a seed, so that every run is the same");
    luaL_checkinteger(L, 1);
    luaL_optinteger(L, 2, 0);
    return call_original(L, 0);
}

/* string.rep(). Nothing repeated n times takes neither memory nor instructions, only time. */
static int safe_rep(lua_State *L) {
    size_t length, separator_length;
    luaL_checklstring(L, 1, &length);
    lua_Integer n = luaL_checkinteger(L, 2);
    luaL_optlstring(L, 3, "", &separator_length);
    if (n <= 0 || length + separator_length == 0) {
        lua_pushliteral(L, "");
        return 1;
    }
    size_t max_bytes = sandbox_of(L)->max_bytes;
    if ((uint64_t)n > max_bytes / (length + separator_length))
        return args_fail(L, "string.rep: out of memory: %I times %I bytes, the limit is %I MiB", n,
                         (lua_Integer)length, (lua_Integer)(max_bytes >> 20));
    return call_original(L, 1);
}

/* __index of the globals: what was taken away says so; anything else undefined is nil, as in Lua.
 */
static int missing_global(lua_State *L) {
    static const char *const removed[] = {"os",        "io",     "debug",    "package",
                                          "coroutine", "dofile", "loadfile", "collectgarbage"};
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    for (size_t k = 0; k < sizeof removed / sizeof *removed; k++)
        if (strcmp(name, removed[k]) == 0)
            return args_fail(
                L, "%s is not available in scripts (string, table, math, utf8 and pare are)", name);
    lua_pushnil(L);
    return 1;
}

static int is_plain_name(const char *name) {
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
    return n > 0 && n <= 64 && name[n] == '\0';
}

/* Pushes the path of a module's file; 0 (and nothing pushed) if there is none. */
static int push_module_path(lua_State *L, const char *name) {
    const struct sandbox *sandbox = sandbox_of(L);
    const char *folders[] = {sandbox->script_dir, sandbox->library_dir};
    for (size_t k = 0; k < 2; k++) {
        if (!folders[k])
            continue;
        const char *path = lua_pushfstring(L, "%s/%s.lua", folders[k], name);
        if (file_exists(path))
            return 1;
        lua_pop(L, 1);
    }
    return 0;
}

/* require(name) -> what the module returned (once), from beside the script or from scripts/lib. */
static int safe_require(lua_State *L) {
    static const char in_progress; /* its address marks a module that is being loaded */
    if (lua_type(L, 1) != LUA_TSTRING)
        return args_fail(L, "require: got %s, wanted the name of a module", args_type(L, 1));
    const char *name = lua_tostring(L, 1);
    if (!is_plain_name(name) || strlen(name) != lua_rawlen(L, 1))
        return args_fail(L,
                         "require: '%s' is not a plain module name (letters, digits, _ and -); "
                         "modules lie beside the script or in scripts/lib",
                         name);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    int loaded = lua_gettop(L);
    if (lua_getfield(L, loaded, name) != LUA_TNIL) {
        if (lua_touserdata(L, -1) == &in_progress)
            return args_fail(L, "require: module '%s' requires itself", name);
        return 1;
    }
    if (!push_module_path(L, name))
        return args_fail(L, "require: no module '%s' beside the script or in %s", name,
                         sandbox_of(L)->library_dir);
    int path = lua_gettop(L);
    sandbox_push_file(L, lua_tostring(L, path));
    lua_pushlightuserdata(L, (void *)(uintptr_t)&in_progress);
    lua_setfield(L, loaded, name);
    lua_pushvalue(L, 1);
    lua_pushvalue(L, path);
    lua_call(L, 2, 1);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_pushboolean(L, 1);
    }
    lua_pushvalue(L, -1);
    lua_setfield(L, loaded, name);
    return 1;
}

/* Replaces field `name` of the table on top by `function`, which gets the old value as upvalue 1.
 */
static void wrap(lua_State *L, const char *name, lua_CFunction function) {
    lua_getfield(L, -1, name);
    lua_pushcclosure(L, function, 1);
    lua_setfield(L, -2, name);
}

static void remove_field(lua_State *L, const char *name) {
    lua_pushnil(L);
    lua_setfield(L, -2, name);
}

static void open_string_and_math(lua_State *L) {
    luaL_requiref(L, LUA_STRLIBNAME, luaopen_string, 1);
    remove_field(L, "dump");
    wrap(L, "rep", safe_rep);
    lua_pop(L, 1);

    luaL_requiref(L, LUA_MATHLIBNAME, luaopen_math, 1);
    lua_getfield(L, -1, "randomseed");
    lua_pushinteger(L, 0);
    lua_call(L, 1, 0);
    wrap(L, "randomseed", safe_randomseed);
    lua_pop(L, 1);
}

static int open_libraries(lua_State *L) {
    static const char *const removed[] = {"dofile", "loadfile", "collectgarbage", "warn"};
    open_string_and_math(L);
    luaL_requiref(L, LUA_TABLIBNAME, luaopen_table, 1);
    luaL_requiref(L, LUA_UTF8LIBNAME, luaopen_utf8, 1);
    luaL_requiref(L, LUA_GNAME, luaopen_base, 1);
    for (size_t k = 0; k < sizeof removed / sizeof *removed; k++)
        remove_field(L, removed[k]);
    wrap(L, "load", safe_load);
    wrap(L, "setmetatable", safe_setmetatable);
    lua_pushcfunction(L, safe_print);
    lua_setfield(L, -2, "print");
    lua_pushcfunction(L, safe_require);
    lua_setfield(L, -2, "require");
    lua_createtable(L, 0, 2);
    lua_pushcfunction(L, missing_global);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    return 0;
}

/* ---- life ---- */

static pare_status set_folders(struct sandbox *sandbox, const char *script_path,
                               struct error *err) {
    sandbox->library_dir = home_path("scripts/lib");
    if (!sandbox->library_dir)
        return error_set(err, PARE_E_NOMEM, "script: out of memory");
    if (!script_path)
        return PARE_OK;
    const char *slash = strrchr(script_path, '/');
    sandbox->script_path = strdup(script_path);
    sandbox->script_dir = !slash ? strdup(".")
                          : slash == script_path
                              ? strdup("/")
                              : strndup(script_path, (size_t)(slash - script_path));
    if (!sandbox->script_path || !sandbox->script_dir)
        return error_set(err, PARE_E_NOMEM, "script: out of memory");
    return PARE_OK;
}

pare_status sandbox_create(const char *script_path, size_t max_bytes, uint64_t max_instructions,
                           struct error *err, struct sandbox **out) {
    struct sandbox *sandbox = alloc_array(1, sizeof *sandbox);
    if (!sandbox)
        return error_set(err, PARE_E_NOMEM, "script: out of memory");
    sandbox->max_bytes = max_bytes ? max_bytes : DEFAULT_MAX_BYTES;
    sandbox->max_instructions = max_instructions ? max_instructions : DEFAULT_MAX_INSTRUCTIONS;
    if (set_folders(sandbox, script_path, err))
        goto fail;
    sandbox->L = lua_newstate(limited_alloc, sandbox);
    if (!sandbox->L) {
        error_set(err, PARE_E_LIMIT, "script: a Lua state needs more than %zu bytes",
                  sandbox->max_bytes);
        goto fail;
    }
    *(struct sandbox **)lua_getextraspace(sandbox->L) = sandbox;
    if (sandbox_call(sandbox, open_libraries, NULL, err))
        goto fail;
    *out = sandbox;
    return PARE_OK;
fail:
    sandbox_destroy(sandbox);
    return err->status;
}

void sandbox_destroy(struct sandbox *sandbox) {
    if (!sandbox)
        return;
    if (sandbox->L)
        lua_close(sandbox->L);
    free(sandbox->script_path);
    free(sandbox->script_dir);
    free(sandbox->library_dir);
    free(sandbox->source);
    free(sandbox);
}
