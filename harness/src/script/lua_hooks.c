/* SPDX-License-Identifier: MIT */
/* The hooks on_trial and on_record: the run calls the script's functions. */
#include "script/args.h"
#include "script/binding.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

struct hook_call {
    struct script *script;
    const struct pipeline_spec *pipeline;
    uint64_t seed;
    int go;
    const struct record *record;
};

/* Pushes the hook kept as this uservalue of the experiment. */
static void push_hook(lua_State *L, int uservalue) {
    experiment_push_returned(L);
    lua_getiuservalue(L, -1, uservalue);
    lua_remove(L, -2);
}

/* { { method = "ptq", bits = 8 }, ... } */
static void push_steps(lua_State *L, const struct pipeline_spec *pipeline) {
    lua_createtable(L, (int)pipeline->n_steps, 0);
    for (size_t s = 0; s < pipeline->n_steps; s++) {
        const struct step_spec *step = &pipeline->steps[s];
        lua_newtable(L);
        for (size_t k = 0; k < step->n_inputs; k++) {
            args_push_input(L, &step->inputs[k]);
            lua_setfield(L, -2, step->inputs[k].name);
        }
        lua_pushstring(L, step->method);
        lua_setfield(L, -2, "method");
        lua_rawseti(L, -2, (lua_Integer)s + 1);
    }
}

/* on_trial { pipeline = "ptq(bits=8)", seed = 1, steps = { ... } } -> false skips the trial */
static int call_on_trial(lua_State *L) {
    struct hook_call *call = lua_touserdata(L, 1);
    push_hook(L, 1);
    lua_newtable(L);
    char *label = pipeline_label(call->pipeline);
    /* At most a leak of one label when the Lua state is out of memory just here. */
    lua_pushstring(L, label ? label : "");
    free(label);
    lua_setfield(L, -2, "pipeline");
    lua_pushinteger(L, (lua_Integer)call->seed);
    lua_setfield(L, -2, "seed");
    push_steps(L, call->pipeline);
    lua_setfield(L, -2, "steps");
    lua_call(L, 1, 1);
    if (!lua_isnil(L, -1) && !lua_isboolean(L, -1))
        return args_fail(L, "on_trial returned %s, wanted true, false or nothing",
                         args_type(L, -1));
    call->go = lua_isnil(L, -1) || lua_toboolean(L, -1);
    return 0;
}

pare_status hooks_on_trial(void *context, const struct pipeline_spec *pipeline, uint64_t seed,
                           int *go, struct error *err) {
    struct hook_call call = {.script = context, .pipeline = pipeline, .seed = seed};
    if (sandbox_call(call.script->sandbox, call_on_trial, &call, err))
        return error_prefix(err, "on_trial");
    *go = call.go;
    return PARE_OK;
}

/* propose(pipeline) -> how many pipelines are new */
static int propose(lua_State *L) {
    lua_settop(L, 1);
    experiment_push_returned(L);
    size_t n = experiment_add_pipelines(L, 2, 1, "propose", 1);
    lua_pushinteger(L, (lua_Integer)n);
    return 1;
}

/* A record as a table: numbers as numbers, and no field where nothing was measured. */
static void push_record(lua_State *L, const struct record *record) {
    const struct column_info *columns = column_infos();
    lua_createtable(L, 0, N_COLUMNS);
    for (int k = 0; k < N_COLUMNS; k++) {
        const char *cell = record_get(record, (enum column)k);
        if (!cell[0])
            continue;
        if (strcmp(columns[k].type, "text") == 0 || lua_stringtonumber(L, cell) == 0)
            lua_pushstring(L, cell);
        lua_setfield(L, -2, columns[k].name);
    }
}

/* on_record(record, propose) */
static int call_on_record(lua_State *L) {
    const struct hook_call *call = lua_touserdata(L, 1);
    push_hook(L, 2);
    push_record(L, call->record);
    lua_pushcfunction(L, propose);
    lua_call(L, 2, 0);
    return 0;
}

pare_status hooks_on_record(void *context, const struct record *record, struct error *err) {
    struct hook_call call = {.script = context, .record = record};
    if (sandbox_call(call.script->sandbox, call_on_record, &call, err))
        return error_prefix(err, "on_record");
    return PARE_OK;
}
