/* SPDX-License-Identifier: MIT */
#include "script/script.h"

#include "core/alloc.h"
#include "core/file.h"
#include "script/args.h"
#include "script/binding.h"

#include <dirent.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- experiment scripts ---- */

static int32_t count_lines(const char *text) {
    int32_t n = 1;
    for (; *text; text++)
        n += *text == '\n' && text[1] != '\0';
    return n;
}

static int run_script(lua_State *L) {
    struct script *script = lua_touserdata(L, 1);
    const char *path = script->sandbox->script_path;
    sandbox_push_file(L, path);
    lua_call(L, 0, 1);
    struct experiment_box *box = luaL_testudata(L, -1, EXPERIMENT_TYPE);
    if (!box) {
        lua_pushfstring(L, "%s:%d: the script returned %s, wanted `return pare.experiment { ... }`",
                        path, count_lines(script->sandbox->source), args_type(L, -1));
        return lua_error(L);
    }
    binding_check_settings(L);
    lua_settop(L, 2);
    lua_setfield(L, LUA_REGISTRYINDEX, EXPERIMENT_TYPE ".returned");
    script->experiment = &box->exp;
    return 0;
}

pare_status script_load(const char *path, const struct script_options *options,
                        const struct registry *reg, struct error *err, struct script **out) {
    static const struct script_options defaults;
    struct script *script = alloc_array(1, sizeof *script);
    if (!script)
        return error_set(err, PARE_E_NOMEM, "%s: out of memory", path);
    script->options = options ? options : &defaults;
    script->registry = reg;
    pare_status status = sandbox_create(path, script->options->max_memory_bytes,
                                        script->options->max_instructions, err, &script->sandbox);
    if (status == PARE_OK)
        status = sandbox_call(script->sandbox, binding_open, script, err);
    if (status == PARE_OK)
        status = sandbox_call(script->sandbox, run_script, script, err);
    if (status) {
        script_destroy(script);
        return err->status;
    }
    script->options = NULL; /* the caller's; not needed any more */
    *out = script;
    return PARE_OK;
}

struct experiment *script_experiment(struct script *script) {
    return script->experiment;
}

void script_destroy(struct script *script) {
    if (!script)
        return;
    sandbox_destroy(script->sandbox);
    free(script);
}

/* ---- the library of models ---- */

struct build_request {
    const char *name;
    const char *library; /* NULL: models.lua */
    const int32_t *dims;
    int32_t n_classes;
    const struct param_input *options;
    size_t n_options;
    struct model *model;
};

static int build_requested(lua_State *L) {
    struct build_request *request = lua_touserdata(L, 1);
    model_push_library(L, request->library);
    lua_newtable(L);
    for (size_t k = 0; k < request->n_options; k++) {
        const struct param_input *option = &request->options[k];
        if (option->kind == INPUT_STRING && option->from_text)
            binding_push_typed(L, option->string);
        else
            args_push_input(L, option);
        lua_setfield(L, -2, request->options[k].name);
    }
    model_build_entry(L, request->name, -2, -1, request->dims, request->n_classes);
    request->model = graph_take(L, -1);
    return 0;
}

/* Runs `body` in a sandbox of its own; modules are also looked for beside `file` (may be NULL). */
static pare_status with_library(const char *file, lua_CFunction body, void *arg,
                                struct error *err) {
    struct sandbox *sandbox = NULL;
    pare_status status = sandbox_create(file, 0, 0, err, &sandbox);
    if (status == PARE_OK)
        status = sandbox_call(sandbox, binding_open, NULL, err);
    if (status == PARE_OK)
        status = sandbox_call(sandbox, body, arg, err);
    sandbox_destroy(sandbox);
    return status;
}

pare_status script_build_model(const char *name, const int32_t input_dims[3], int32_t n_classes,
                               const struct param_input *options, size_t n_options,
                               struct error *err, struct model **out) {
    struct build_request request = {.name = name,
                                    .dims = input_dims,
                                    .n_classes = n_classes,
                                    .options = options,
                                    .n_options = n_options};
    /* "nets.lua:mine" */
    char *file = NULL;
    const char *colon = strrchr(name, ':');
    if (colon && colon - name > 4 && strncmp(colon - 4, ".lua", 4) == 0) {
        file = strndup(name, (size_t)(colon - name));
        if (!file)
            return error_set(err, PARE_E_NOMEM, "%s: out of memory", name);
        request.library = file;
        request.name = colon + 1;
    }
    pare_status status = with_library(file, build_requested, &request, err);
    free(file);
    if (status == PARE_OK)
        *out = request.model;
    return status;
}

struct list_request {
    void (*item)(void *arg, const char *name, const char *doc);
    void *arg;
};

static int list_requested(lua_State *L) {
    static const char *const skip[] = {NULL};
    const struct list_request *request = lua_touserdata(L, 1);
    size_t n;
    model_push_library(L, NULL);
    int library = lua_gettop(L);
    const char **names = args_sorted_keys(L, library, "models", skip, &n);
    for (size_t k = 0; k < n; k++) {
        if (lua_getfield(L, library, names[k]) != LUA_TTABLE)
            return args_fail(L, "models.lua: %s is %s, wanted a table", names[k], args_type(L, -1));
        request->item(request->arg, names[k], args_string(L, -1, names[k], "doc", ""));
        lua_pop(L, 1);
    }
    return 0;
}

pare_status script_list_models(void (*item)(void *arg, const char *name, const char *doc),
                               void *arg, struct error *err) {
    struct list_request request = {item, arg};
    return with_library(NULL, list_requested, &request, err);
}
