/* SPDX-License-Identifier: MIT */
/* pare.experiment { ... }: everything a run needs, checked at once. */
#include "core/alloc.h"
#include "script/args.h"
#include "script/binding.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ARMS 10000
#define MAX_SEEDS 10000
#define WHAT "pare.experiment"

static int experiment_collect(lua_State *L) {
    struct experiment_box *box = lua_touserdata(L, 1);
    experiment_clear(&box->exp);
    return 0;
}

static void check_name(lua_State *L, const char *key, const char *name) {
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
    if (n == 0 || n > 64 || name[n] != '\0' || name[0] == '.')
        args_fail(L,
                  WHAT
                  ": %s is '%s', wanted 1..64 letters, digits, '.', '_' and '-' (it names a file)",
                  key, name);
}

static const struct dataset_info *read_dataset(lua_State *L, int table, struct experiment *exp) {
    struct error err;
    const struct dataset_info *info = NULL;
    lua_getfield(L, table, "dataset");
    const struct dataset_box *box = luaL_testudata(L, -1, DATASET_TYPE);
    if (box) {
        info = box->info;
        exp->data_options = box->options;
    } else if (lua_type(L, -1) == LUA_TSTRING) {
        info = dataset_find_info(lua_tostring(L, -1), &err);
        if (!info)
            args_raise(L, &err);
    } else {
        args_fail(L, WHAT ": dataset is %s, wanted pare.dataset(...) or a name", args_type(L, -1));
    }
    exp->dataset = args_strdup(L, info->name);
    lua_pop(L, 1);
    return info;
}

static void read_seeds(lua_State *L, int table, struct experiment *exp) {
    int type = lua_getfield(L, table, "seeds");
    if (type == LUA_TNIL || type == LUA_TNUMBER) {
        lua_pop(L, 1);
        exp->seeds = args_alloc(L, 1, sizeof *exp->seeds);
        exp->n_seeds = 1;
        exp->seeds[0] = (uint64_t)args_integer(L, table, WHAT, "seeds", 0, INT64_MAX, 1);
        return;
    }
    if (type != LUA_TTABLE)
        args_fail(L, WHAT ": seeds is %s, wanted an integer or a list of integers",
                  args_type(L, -1));
    lua_Integer n = args_list(L, -1, WHAT ": seeds");
    if (n < 1 || n > MAX_SEEDS)
        args_fail(L, WHAT ": seeds has %I items, wanted 1..%d", n, MAX_SEEDS);
    exp->seeds = args_alloc(L, (size_t)n, sizeof *exp->seeds);
    for (lua_Integer k = 1; k <= n; k++) {
        int is_integer;
        lua_rawgeti(L, -1, k);
        lua_Integer seed = lua_tointegerx(L, -1, &is_integer);
        if (!is_integer || seed < 0 || lua_type(L, -1) != LUA_TNUMBER)
            args_fail(L, WHAT ": seeds[%I] is %s, wanted an integer >= 0", k,
                      luaL_tolstring(L, -1, NULL));
        for (size_t j = 0; j < exp->n_seeds; j++)
            if (exp->seeds[j] == (uint64_t)seed)
                args_fail(L, WHAT ": seeds[%I] is %I, which stands there twice", k, seed);
        exp->seeds[exp->n_seeds++] = (uint64_t)seed;
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static void read_counters(lua_State *L, int table, struct experiment *exp) {
    if (args_table(L, table, WHAT, "counters")) {
        lua_Integer n = args_list(L, -1, WHAT ": counters");
        exp->counters = args_alloc(L, (size_t)n, sizeof *exp->counters);
        for (lua_Integer k = 1; k <= n; k++) {
            if (lua_rawgeti(L, -1, k) != LUA_TSTRING)
                args_fail(L, WHAT ": counters[%I] is %s, wanted the name of a counter", k,
                          args_type(L, -1));
            exp->counters[k - 1] = args_strdup(L, lua_tostring(L, -1));
            exp->n_counters = (size_t)k;
            lua_pop(L, 1);
        }
    }
    lua_pop(L, 1);
}

/* ---- arms ---- */

/* Pushes field `key` of the arms at `table` as a list: of one value, or of alternatives. */
static lua_Integer push_alternatives(lua_State *L, int table, const char *what, const char *key) {
    int type = lua_getfield(L, table, key);
    if (luaL_testudata(L, -1, GRID_TYPE)) {
        lua_getiuservalue(L, -1, 1);
        lua_remove(L, -2);
        type = LUA_TTABLE;
    }
    if (type != LUA_TTABLE) {
        lua_createtable(L, 1, 0);
        lua_insert(L, -2);
        lua_rawseti(L, -2, 1);
        return 1; /* of nil: the default */
    }
    const char *label = lua_pushfstring(L, "%s: %s", what, key);
    lua_Integer n = args_list(L, -2, label);
    if (n == 0)
        args_fail(L, "%s is an empty list", label);
    lua_pop(L, 1);
    return n;
}

static int64_t integer_item(lua_State *L, int list, lua_Integer k, const char *what,
                            const char *key) {
    int is_integer;
    if (lua_rawgeti(L, list, k) == LUA_TNIL) {
        lua_pop(L, 1);
        return 1;
    }
    lua_Integer value = lua_tointegerx(L, -1, &is_integer);
    if (!is_integer || lua_type(L, -1) != LUA_TNUMBER)
        args_fail(L, "%s: %s is %s, wanted an integer", what, key, luaL_tolstring(L, -1, NULL));
    if (value < 1 || value > 1 << 20)
        args_fail(L, "%s: %s is %I, wanted 1..%d", what, key, value, 1 << 20);
    lua_pop(L, 1);
    return value;
}

static const char *string_item(lua_State *L, int list, lua_Integer k, const char *what,
                               const char *key, const char *missing) {
    int type = lua_rawgeti(L, list, k);
    if (type != LUA_TSTRING && type != LUA_TNIL)
        args_fail(L, "%s: %s is %s, wanted a string", what, key, args_type(L, -1));
    const char *text = type == LUA_TNIL ? missing : lua_tostring(L, -1);
    lua_pop(L, 1); /* the list keeps it */
    return text;
}

static int same_arm(const struct arm_spec *a, const struct arm_spec *b) {
    return a->threads == b->threads && a->batch == b->batch && a->cache == b->cache &&
           a->cores == b->cores && strcmp(a->backend, b->backend) == 0 &&
           strcmp(a->scenario, b->scenario) == 0;
}

enum { ARM_BACKEND, ARM_THREADS, ARM_BATCH, ARM_SCENARIO, ARM_CACHE, ARM_CORES, N_ARM_KEYS };

/* The arm at `place` (N_ARM_KEYS) in the lists that lie on the stack from `lists` on. */
static void add_arm(lua_State *L, const char *what, struct experiment *exp, int lists,
                    const lua_Integer *place) {
    struct error err;
    if (exp->n_arms == MAX_ARMS)
        args_fail(L, "%s: more than %d arms", what, MAX_ARMS);
    const char *backend =
        string_item(L, lists + ARM_BACKEND, place[ARM_BACKEND], what, "backend", "auto");
    struct arm_spec arm = {
        .threads =
            (int32_t)integer_item(L, lists + ARM_THREADS, place[ARM_THREADS], what, "threads"),
        .batch = (int32_t)integer_item(L, lists + ARM_BATCH, place[ARM_BATCH], what, "batch"),
    };
    const char *scenario = string_item(L, lists + ARM_SCENARIO, place[ARM_SCENARIO], what,
                                       "scenario", arm.batch > 1 ? "offline" : "single");
    if (experiment_parse_cache(
            string_item(L, lists + ARM_CACHE, place[ARM_CACHE], what, "cache", "hot"), &err,
            &arm.cache) ||
        topology_parse_kind(
            string_item(L, lists + ARM_CORES, place[ARM_CORES], what, "cores", "any"), &err,
            &arm.cores))
        args_fail(L, "%s: %s", what, err.text);
    struct arm_spec *arms = alloc_resize(exp->arms, exp->n_arms + 1, sizeof *arms);
    if (!arms)
        args_fail(L, "%s: out of memory", what);
    exp->arms = arms;
    arms[exp->n_arms++] = arm; /* strings next, so that a Lua error leaks nothing */
    struct arm_spec *added = &arms[exp->n_arms - 1];
    added->backend = args_strdup(L, backend);
    added->scenario = args_strdup(L, scenario);
    for (size_t k = 0; k + 1 < exp->n_arms; k++)
        if (same_arm(added, &arms[k]))
            args_fail(
                L,
                "%s: the arm { backend = \"%s\", threads = %d, batch = %d, scenario = \"%s\" } "
                "stands there twice",
                what, backend, arm.threads, arm.batch, scenario);
}

/* The product of { backend = ..., threads = ..., ... } at the top: the last key varies fastest. */
static void read_arms(lua_State *L, const char *what, struct experiment *exp) {
    static const char *const keys[] = {"backend", "threads", "batch", "scenario",
                                       "cache",   "cores",   NULL};
    int table = lua_gettop(L);
    args_check_keys(L, table, what, keys, 0);
    lua_Integer n[N_ARM_KEYS], place[N_ARM_KEYS];
    for (int k = 0; k < N_ARM_KEYS; k++) {
        n[k] = push_alternatives(L, table, what, keys[k]);
        place[k] = 1;
    }
    for (int k = 0; k >= 0;) {
        add_arm(L, what, exp, table + 1, place);
        for (k = N_ARM_KEYS - 1; k >= 0 && ++place[k] > n[k]; k--)
            place[k] = 1;
    }
    lua_settop(L, table);
}

static void read_all_arms(lua_State *L, int table, struct experiment *exp) {
    if (!args_table(L, table, WHAT, "arms")) {
        lua_pop(L, 1);
        lua_newtable(L);
    }
    lua_Integer n = (lua_Integer)lua_rawlen(L, -1);
    if (n == 0)
        read_arms(L, WHAT ": arms", exp);
    else
        args_list(L, -1, WHAT ": arms");
    for (lua_Integer k = 1; k <= n; k++) {
        const char *what = lua_pushfstring(L, WHAT ": arms[%I]", k);
        if (lua_rawgeti(L, -2, k) != LUA_TTABLE)
            args_fail(L, "%s is %s, wanted a table: { backend = \"auto\", threads = 1 }", what,
                      args_type(L, -1));
        read_arms(L, what, exp);
        lua_pop(L, 2);
    }
    lua_pop(L, 1);
    struct error err;
    struct experiment view = *exp;
    view.n_pipelines = 0;
    if (experiment_check(&view, binding_script(L)->registry, &err))
        args_fail(L, WHAT ": %s", err.text);
}

/* ---- pipelines ---- */

/* Checks the k-th pipeline of a list against methods and parameters; a failure names the script's
 * line on which the failing step's method stands, where that can be told. */
static void check_pipeline(lua_State *L, const struct experiment *exp, struct pipeline_list *list,
                           size_t k, const char *what) {
    static const char noise[] = "pipeline 1: ";
    struct error err;
    struct experiment view = *exp;
    view.pipelines = &list->pipelines[k];
    view.n_pipelines = 1;
    view.n_arms = 0;
    if (experiment_check(&view, binding_script(L)->registry, &err) == PARE_OK)
        return;
    const char *text = err.text;
    if (strncmp(text, noise, sizeof noise - 1) == 0)
        text += sizeof noise - 1;
    size_t step = 0;
    int32_t line = 0;
    if (sscanf(text, "step %zu", &step) == 1 && step >= 1 && step <= view.pipelines->n_steps)
        line = sandbox_literal_line(L, view.pipelines->steps[step - 1].method);
    if (line == 0)
        args_fail(L, "%s: %s", what, text);
    lua_pushfstring(L, "%s:%d: %s: %s", sandbox_of(L)->script_path, line, what, text);
    lua_error(L);
}

/* Notes pipeline k in the table at `labels`; 0 if one with the same steps is there already. */
static int is_new(lua_State *L, struct pipeline_list *list, size_t k, int labels) {
    free(list->label);
    list->label = pipeline_label(&list->pipelines[k]);
    if (!list->label)
        args_fail(L, "out of memory for a pipeline's label");
    lua_pushstring(L, list->label);
    lua_pushvalue(L, -1);
    int known = lua_rawget(L, labels) != LUA_TNIL;
    lua_pop(L, 1);
    lua_pushboolean(L, 1);
    lua_rawset(L, labels);
    return !known;
}

size_t experiment_add_pipelines(lua_State *L, int box, int index, const char *what,
                                int is_proposal) {
    struct experiment *exp = &((struct experiment_box *)lua_touserdata(L, box))->exp;
    struct pipeline_list *list = pipeline_read(L, index, what);
    int object = lua_gettop(L);
    size_t n_new = 0;
    struct error err;
    for (size_t k = 0; k < list->n; k++)
        check_pipeline(L, exp, list, k, what);
    lua_getiuservalue(L, box, 3);
    for (size_t k = 0; k < list->n; k++) {
        if (!is_new(L, list, k, object + 1)) {
            if (is_proposal)
                continue;
            args_fail(L, "%s gives the pipeline %s, which stands there already", what, list->label);
        }
        if (experiment_propose(exp, &list->pipelines[k], &err))
            args_raise(L, &err);
        n_new++;
    }
    lua_settop(L, object - 1); /* what the list still holds is collected */
    return n_new;
}

void experiment_push_returned(lua_State *L) {
    lua_getfield(L, LUA_REGISTRYINDEX, EXPERIMENT_TYPE ".returned");
}

static void read_pipelines(lua_State *L, int table, int box) {
    if (lua_getfield(L, table, "pipelines") != LUA_TTABLE)
        args_fail(L, WHAT ": pipelines is %s, wanted a list of pipelines: { {}, { { \"ptq\" } } }",
                  args_type(L, -1));
    lua_Integer n = args_list(L, -1, WHAT ": pipelines");
    if (n == 0)
        args_fail(L, WHAT ": pipelines is an empty list; { {} } runs the baseline alone");
    for (lua_Integer k = 1; k <= n; k++) {
        const char *what = lua_pushfstring(L, "pipelines[%I]", k);
        lua_rawgeti(L, -2, k);
        experiment_add_pipelines(L, box, lua_gettop(L), what, 0);
        lua_pop(L, 2);
    }
    lua_pop(L, 1);
}

/* ---- the call ---- */

static void read_hook(lua_State *L, int table, int box, const char *key, int uservalue) {
    int type = lua_getfield(L, table, key);
    if (type != LUA_TNIL && type != LUA_TFUNCTION)
        args_fail(L, WHAT ": %s is %s, wanted a function", key, args_type(L, -1));
    lua_setiuservalue(L, box, uservalue);
    struct experiment_hooks *hooks = &((struct experiment_box *)lua_touserdata(L, box))->exp.hooks;
    hooks->context = binding_script(L);
    if (type == LUA_TFUNCTION && uservalue == 1)
        hooks->on_trial = hooks_on_trial;
    if (type == LUA_TFUNCTION && uservalue == 2)
        hooks->on_record = hooks_on_record;
}

static int pare_experiment(lua_State *L) {
    static const char *const keys[] = {"name",      "dataset",    "model",     "seeds",
                                       "pipelines", "arms",       "counters",  "on_trial",
                                       "on_record", "checkpoint", "confusion", NULL};
    const struct script *script = binding_script(L);
    if (!script || !script->registry)
        return args_fail(L, WHAT ": not available here, only in scripts for `pare run`");
    if (lua_type(L, 1) != LUA_TTABLE)
        return args_fail(L, WHAT ": got %s, wanted a table", args_type(L, 1));
    lua_settop(L, 1);
    args_check_keys(L, 1, WHAT, keys, 0);
    struct experiment_box *box = lua_newuserdatauv(L, sizeof *box, 3);
    *box = (struct experiment_box){0};
    luaL_setmetatable(L, EXPERIMENT_TYPE);
    struct experiment *exp = &box->exp;

    exp->script = args_strdup(L, sandbox_of(L)->script_path);
    exp->name = args_strdup(L, args_string(L, 1, WHAT, "name", NULL));
    check_name(L, "name", exp->name);
    if (lua_getfield(L, 1, "checkpoint") != LUA_TNIL) {
        exp->checkpoint = args_strdup(L, args_string(L, 1, WHAT, "checkpoint", NULL));
        check_name(L, "checkpoint", exp->checkpoint);
    }
    lua_pop(L, 1);
    int type = lua_getfield(L, 1, "confusion");
    if (type != LUA_TNIL && type != LUA_TBOOLEAN)
        return args_fail(L, WHAT ": confusion is %s, wanted true or false", args_type(L, -1));
    exp->confusion = lua_toboolean(L, -1);
    lua_pop(L, 1);
    const struct dataset_info *info = read_dataset(L, 1, exp);
    lua_getfield(L, 1, "model");
    model_fill_spec(L, -1, info, &exp->model);
    lua_pop(L, 1);
    read_seeds(L, 1, exp);
    read_counters(L, 1, exp);
    read_all_arms(L, 1, exp);
    lua_newtable(L);
    lua_setiuservalue(L, 2, 3);
    read_pipelines(L, 1, 2);
    read_hook(L, 1, 2, "on_trial", 1);
    read_hook(L, 1, 2, "on_record", 2);
    return 1;
}

void experiment_register(lua_State *L) {
    static const luaL_Reg none[] = {{NULL, NULL}};
    binding_metatable(L, EXPERIMENT_TYPE, none, experiment_collect, NULL);
    lua_pushcfunction(L, pare_experiment);
    lua_setfield(L, -2, "experiment");
}
