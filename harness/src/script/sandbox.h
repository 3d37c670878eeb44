/* SPDX-License-Identifier: MIT */
/* A Lua state with limits on memory and instructions and only harmless libraries. All work in it
 * goes through sandbox_call, one protected call. */
#ifndef SCRIPT_SANDBOX_H
#define SCRIPT_SANDBOX_H

#include "core/error.h"

#include <lua.h>
#include <stddef.h>
#include <stdint.h>

struct sandbox {
    lua_State *L;
    size_t max_bytes, used_bytes;
    uint64_t max_instructions, used_instructions;
    char refused_at[96]; /* "file:line" of the last allocation that was refused, or "" */
    size_t refused_bytes;
    char *script_path; /* as given; NULL: no script, only library modules */
    char *script_dir;  /* where require looks first; NULL: nowhere */
    char *library_dir; /* <home>/scripts/lib */
    char *source;      /* the script's text, for finding lines */
};

/* max_bytes and max_instructions of 0 mean 256 MiB and 1e9. `script_path` may be NULL. */
pare_status sandbox_create(const char *script_path, size_t max_bytes, uint64_t max_instructions,
                           struct error *err, struct sandbox **out);
void sandbox_destroy(struct sandbox *sandbox); /* runs the collectors of everything in it */

/* Runs body with arg as its only Lua argument, a light userdata, with the full instruction limit
 * again. A Lua error becomes *err, "file:line: what". */
pare_status sandbox_call(struct sandbox *sandbox, lua_CFunction body, void *arg, struct error *err);

struct sandbox *sandbox_of(lua_State *L);

/* ---- for C functions called from Lua ---- */

/* Pushes the chunk of a Lua file, compiled; text only. Raises an error if it cannot. */
void sandbox_push_file(lua_State *L, const char *path);

/* "file:line" of the innermost Lua function that is running; "" if there is none. */
void sandbox_where(lua_State *L, char *text, size_t size);

/* Line of the script on which the quoted string `literal` stands, if it stands on exactly one and
 * the innermost Lua function running belongs to the script; else 0. */
int32_t sandbox_literal_line(lua_State *L, const char *literal);

#endif
