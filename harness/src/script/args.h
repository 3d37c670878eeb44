/* SPDX-License-Identifier: MIT */
/* Checked access to what a script passes: each failure is a Lua error "file:line: what, got,
 * wanted". */
#ifndef SCRIPT_ARGS_H
#define SCRIPT_ARGS_H

#include "core/error.h"
#include "plugin/params.h"

#include <lua.h>
#include <stddef.h>
#include <stdint.h>

/* Raise an error with the position of the Lua code that called. They do not return (the int is for
 * `return args_fail(...)`). */
int args_fail(lua_State *L, const char *format, ...);
int args_raise(lua_State *L, const struct error *err);

/* "a string", "nothing", "a dataset": for messages. */
const char *args_type(lua_State *L, int index);

/* Every key of the table must be in names (NULL-terminated), or a list index 1..n_list. */
void args_check_keys(lua_State *L, int index, const char *what, const char *const *names,
                     lua_Integer n_list);

/* Fields of a table, by key; `what` begins the message. The strings live as long as the table. */
const char *args_string(lua_State *L, int index, const char *what, const char *key,
                        const char *missing /* NULL: must be given */);
int64_t args_integer(lua_State *L, int index, const char *what, const char *key, int64_t min,
                     int64_t max, int64_t missing /* below min: must be given */);
int args_boolean(lua_State *L, int index, const char *what, const char *key, int missing);

/* Pushes field `key`, which must be a table, or nil. 1 if it is a table. */
int args_table(lua_State *L, int index, const char *what, const char *key);

/* Length of a list: a table with keys 1..n and no others. Fails if it is not one. */
lua_Integer args_list(lua_State *L, int index, const char *what);

/* Value at `index` -> *out, which the caller owns already (zeroed) and clears, also after an error.
 */
void args_input(lua_State *L, int index, const char *what, const char *name,
                struct param_input *out);
/* The other way: pushes the value. */
void args_push_input(lua_State *L, const struct param_input *input);

/* All string keys of a table but those in `skip` (NULL-terminated) -> sorted array in a userdata
 * left on the stack. */
const char **args_sorted_keys(lua_State *L, int index, const char *what, const char *const *skip,
                              size_t *n_keys);

/* Pushes "a, b, c", or "none", and returns it. */
const char *args_push_names(lua_State *L, const char *const *names, size_t n);

/* strdup, or a Lua error when out of memory; the same for zeroed arrays. */
char *args_strdup(lua_State *L, const char *text);
void *args_alloc(lua_State *L, size_t n, size_t size);

#endif
