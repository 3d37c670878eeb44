/* SPDX-License-Identifier: MIT */
/* pare.model: a described network and where its weights come from. Objects never change; load,
 * train and init return new ones, so that one description can serve several experiments. */
#include "core/file.h"
#include "script/args.h"
#include "script/binding.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

/* Uservalues: 1 the entry { build, options = defaults, ... }, 2 the options, complete. */
struct model_box {
    char *name;  /* of the network: "resnet20" */
    char *label; /* with what differs from the defaults, or the checkpoint's name */
    int has_weights;
    enum model_source source; /* where from, when has_weights */
    struct model *checkpoint;
    int is_library;    /* described in models.lua, not by the script */
    int32_t input[3];  /* 0: by the dataset */
    int32_t n_classes; /* 0: by the dataset */
    size_t n_train;
    struct param_input *train;
    char where[96]; /* the script's line that described it */
};

static struct model_box *push_box(lua_State *L) {
    struct model_box *box = lua_newuserdatauv(L, sizeof *box, 2);
    *box = (struct model_box){0};
    luaL_setmetatable(L, MODEL_TYPE);
    return box;
}

static int model_collect(lua_State *L) {
    struct model_box *box = lua_touserdata(L, 1);
    free(box->name);
    free(box->label);
    model_destroy(box->checkpoint);
    for (size_t k = 0; k < box->n_train; k++)
        param_input_clear(&box->train[k]);
    free(box->train);
    *box = (struct model_box){0};
    return 0;
}

/* ---- the library of networks ---- */

void model_push_library(lua_State *L, const char *path) {
    luaL_checkstack(L, 6, NULL);
    if (!path)
        path = lua_pushfstring(L, "%s/models.lua", sandbox_of(L)->library_dir);
    else
        lua_pushstring(L, path);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, "pare.libraries");
    if (lua_getfield(L, -1, path) == LUA_TNIL) {
        lua_pop(L, 1);
        sandbox_push_file(L, path);
        lua_call(L, 0, 1);
        if (lua_type(L, -1) != LUA_TTABLE)
            args_fail(L, "%s returned %s, wanted a table of models", path, args_type(L, -1));
        lua_pushvalue(L, -1);
        lua_setfield(L, -3, path);
    }
    lua_remove(L, -2);
    lua_remove(L, -2);
}

/* Pushes entry `name` of the library at `library`. */
static void push_entry(lua_State *L, int library, const char *name) {
    static const char *const skip[] = {NULL};
    library = lua_absindex(L, library);
    if (lua_getfield(L, library, name) == LUA_TTABLE)
        return;
    size_t n;
    const char **names = args_sorted_keys(L, library, "models", skip, &n);
    const char *near = nearest_name(name, names, n);
    args_fail(L, "unknown model '%s'%s%s%s; `pare list models` lists them", name,
              near ? ", did you mean '" : "", near ? near : "", near ? "'?" : "");
}

/* Checks the options at `given` against the entry's defaults and pushes a complete new table. */
static void push_options(lua_State *L, const char *what, int entry, int given) {
    static const char *const skip[] = {NULL};
    entry = lua_absindex(L, entry);
    given = lua_absindex(L, given);
    int base = lua_gettop(L);
    if (lua_getfield(L, entry, "options") != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_newtable(L);
    }
    int defaults = base + 1;
    size_t n;
    const char **names = args_sorted_keys(L, defaults, what, skip, &n);
    names[n] = NULL; /* there is room for it */
    args_check_keys(L, given, what, names, 0);
    lua_createtable(L, 0, (int)n);
    for (size_t k = 0; k < n; k++) {
        int wanted = lua_getfield(L, defaults, names[k]);
        int got = lua_getfield(L, given, names[k]);
        if (got != LUA_TNIL && got != wanted)
            args_fail(L, "%s: %s is %s, wanted a %s", what, names[k], args_type(L, -1),
                      lua_typename(L, wanted));
        if (got == LUA_TNIL)
            lua_pop(L, 1);
        else
            lua_remove(L, -2);
        lua_setfield(L, -2, names[k]);
    }
    lua_replace(L, base + 1);
    lua_settop(L, base + 1);
}

/* ---- building ---- */

struct build_call {
    const char *name;
    const int32_t *dims;
    int32_t n_classes;
};

/* (call, build, options) -> graph */
static int build_protected(lua_State *L) {
    const struct build_call *call = lua_touserdata(L, 1);
    graph_build(L, call->name, call->dims, call->n_classes, 2, 3);
    return 1;
}

/* Leaves the graph userdata. A mistake in the options of a library model is reported at `where`,
 * the script's line, for the script's author did not write models.lua. */
static void build_network(lua_State *L, const char *name, int entry, int options,
                          const int32_t dims[3], int32_t n_classes, const char *where) {
    entry = lua_absindex(L, entry);
    options = lua_absindex(L, options);
    struct build_call call = {name, dims, n_classes};
    luaL_checkstack(L, 8, NULL);
    lua_pushcfunction(L, build_protected);
    lua_pushlightuserdata(L, &call);
    if (lua_getfield(L, entry, "build") != LUA_TFUNCTION)
        args_fail(L, "model %s: build is %s, wanted a function", name, args_type(L, -1));
    lua_pushvalue(L, options);
    if (!where) {
        lua_call(L, 3, 1);
        return;
    }
    int status = lua_pcall(L, 3, 1, 0);
    if (status == LUA_OK)
        return;
    if (status == LUA_ERRRUN && lua_type(L, -1) == LUA_TSTRING)
        lua_pushfstring(L, "%s%smodel %s: %s", where, where[0] ? ": " : "", name,
                        lua_tostring(L, -1));
    lua_error(L);
}

static void read_dims(lua_State *L, int index, const char *what, int32_t dims[3]) {
    if (args_table(L, index, what, "input")) {
        if (args_list(L, -1, "input") != 3)
            args_fail(L, "%s: input has %I items, wanted { height, width, channels }", what,
                      (lua_Integer)lua_rawlen(L, -1));
        for (int k = 0; k < 3; k++) {
            int is_integer;
            lua_rawgeti(L, -1, k + 1);
            lua_Integer value = lua_tointegerx(L, -1, &is_integer);
            if (!is_integer || value < 1 || value > 65536)
                args_fail(L, "%s: input's item %d is not an integer in 1..65536", what, k + 1);
            dims[k] = (int32_t)value;
            lua_pop(L, 1);
        }
    }
    lua_pop(L, 1);
}

void model_build_entry(lua_State *L, const char *name, int library, int options,
                       const int32_t dims[3], int32_t n_classes) {
    int32_t own[3] = {0, 0, 0};
    options = lua_absindex(L, options);
    push_entry(L, library, name);
    int entry = lua_gettop(L);
    if (!dims) {
        read_dims(L, entry, name, own);
        if (own[0] == 0)
            args_fail(L, "model %s: its input is not known; give it as HxWxC", name);
        dims = own;
    }
    if (n_classes == 0)
        n_classes = (int32_t)args_integer(L, entry, name, "classes", 1, 100000, 10);
    lua_settop(L, entry);
    push_options(L, name, entry, options);
    build_network(L, name, entry, -1, dims, n_classes, "");
}

/* ---- pare.model(...) ---- */

/* Pushes a copy of the table at `index` without the keys that are not options. */
static void push_rest(lua_State *L, int index) {
    static const char *const own[] = {"name", "build", "input", "classes", NULL};
    index = lua_absindex(L, index);
    lua_newtable(L);
    for (lua_pushnil(L); lua_next(L, index);) {
        int skip = lua_isinteger(L, -2) && lua_tointeger(L, -2) == 1;
        for (size_t k = 0; own[k] && lua_type(L, -2) == LUA_TSTRING; k++)
            skip |= strcmp(lua_tostring(L, -2), own[k]) == 0;
        if (skip) {
            lua_pop(L, 1);
            continue;
        }
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, -4);
    }
}

/* "resnet20(shortcut=B)": the options that differ from the defaults. */
static const char *push_label(lua_State *L, const char *name, int entry, int options) {
    static const char *const skip[] = {NULL};
    luaL_Buffer text;
    size_t n, shown = 0;
    const char **keys = args_sorted_keys(L, options, name, skip, &n);
    if (lua_getfield(L, entry, "options") != LUA_TTABLE)
        n = 0;
    int defaults = lua_gettop(L);
    lua_newtable(L); /* parts, so that nothing lies above the buffer's place on the stack */
    int parts = lua_gettop(L);
    for (size_t k = 0; k < n; k++) {
        lua_getfield(L, options, keys[k]);
        lua_getfield(L, defaults, keys[k]);
        if (!lua_rawequal(L, -1, -2)) {
            const char *value = luaL_tolstring(L, -2, NULL);
            lua_pushfstring(L, "%s%s=%s", shown ? "," : "", keys[k], value);
            lua_rawseti(L, parts, (lua_Integer)++shown);
            lua_pop(L, 1);
        }
        lua_pop(L, 2);
    }
    luaL_buffinit(L, &text);
    luaL_addstring(&text, name);
    for (size_t k = 1; k <= shown; k++) {
        luaL_addstring(&text, k == 1 ? "(" : "");
        lua_rawgeti(L, parts, (lua_Integer)k);
        luaL_addvalue(&text);
    }
    luaL_addstring(&text, shown ? ")" : "");
    luaL_pushresult(&text);
    return lua_tostring(L, -1);
}

static const char *model_name(lua_State *L, int arguments) {
    if (lua_rawgeti(L, arguments, 1) == LUA_TNIL) {
        lua_pop(L, 1);
        lua_getfield(L, arguments, "name");
    }
    if (lua_type(L, -1) != LUA_TSTRING)
        args_fail(L, "pare.model: the name is %s, wanted a string: pare.model \"lenet5\"",
                  args_type(L, -1));
    return lua_tostring(L, -1); /* stays on the stack */
}

/* Leaves the table of arguments at index 1 and the name at 2. */
static void normalise_arguments(lua_State *L) {
    if (lua_type(L, 1) == LUA_TTABLE) {
        lua_settop(L, 1);
        model_name(L, 1);
        return;
    }
    if (lua_type(L, 1) != LUA_TSTRING)
        args_fail(L, "pare.model: got %s, wanted a name or a table", args_type(L, 1));
    if (lua_isnoneornil(L, 2)) {
        lua_settop(L, 1);
        lua_newtable(L);
    }
    if (lua_type(L, 2) != LUA_TTABLE)
        args_fail(L, "pare.model: the second argument is %s, wanted a table of options",
                  args_type(L, 2));
    lua_settop(L, 2);
    lua_insert(L, 1);
}

/* Pushes the entry of the library and the complete options. */
static void push_library_description(lua_State *L, const char *what, const char *name) {
    push_rest(L, 1);
    int rest = lua_gettop(L);
    model_push_library(L, NULL);
    push_entry(L, -1, name);
    lua_remove(L, -2);
    push_options(L, what, -1, rest);
}

/* Pushes an entry made of the script's own build function, and its options as they are. */
static void push_own_description(lua_State *L, const char *what) {
    static const char *const keys[] = {"name", "build", "input", "classes", "options", NULL};
    args_check_keys(L, 1, what, keys, 1);
    lua_newtable(L);
    lua_getfield(L, 1, "build");
    lua_setfield(L, -2, "build");
    if (!args_table(L, 1, what, "options")) {
        lua_pop(L, 1);
        lua_newtable(L);
    }
}

/* pare.model "name", pare.model("name", { ... }), pare.model { "name", ... } or
 * pare.model { name = "mine", build = function(g, x) ... end, ... } */
static int pare_model(lua_State *L) {
    normalise_arguments(L);
    const char *name = lua_tostring(L, 2);
    const char *what = lua_pushfstring(L, "model %s", name);
    struct model_box *box = push_box(L);
    int object = lua_gettop(L);
    sandbox_where(L, box->where, sizeof box->where);
    box->name = args_strdup(L, name);
    read_dims(L, 1, what, box->input);
    if (lua_getfield(L, 1, "classes") != LUA_TNIL)
        box->n_classes = (int32_t)args_integer(L, 1, what, "classes", 1, 100000, 0);

    int type = lua_getfield(L, 1, "build");
    if (type != LUA_TNIL && type != LUA_TFUNCTION)
        return args_fail(L, "%s: build is %s, wanted a function", what, args_type(L, -1));
    box->is_library = type == LUA_TNIL;
    if (box->is_library)
        push_library_description(L, what, name);
    else
        push_own_description(L, what);
    int options = lua_gettop(L), entry = options - 1;
    lua_pushvalue(L, entry);
    lua_setiuservalue(L, object, 1);
    lua_pushvalue(L, options);
    lua_setiuservalue(L, object, 2);
    box->label = args_strdup(L, push_label(L, name, entry, options));
    lua_settop(L, object);
    return 1;
}

/* ---- methods ---- */

static struct model_box *box_at(lua_State *L, int index, const char *method) {
    struct model_box *box = luaL_testudata(L, index, MODEL_TYPE);
    if (!box)
        args_fail(L, "%s: called on %s, wanted a model (write model:%s)", method,
                  args_type(L, index), method);
    return box;
}

/* Pushes a new object of the same description, without weights. */
static struct model_box *push_same(lua_State *L, int index, const char *method) {
    const struct model_box *from = box_at(L, index, method);
    if (from->has_weights)
        args_fail(L, "%s: model %s has its weights already (from load, train or init)", method,
                  from->label);
    struct model_box *box = push_box(L);
    box->name = args_strdup(L, from->name);
    box->label = args_strdup(L, from->label);
    box->is_library = from->is_library;
    memcpy(box->input, from->input, sizeof box->input);
    box->n_classes = from->n_classes;
    memcpy(box->where, from->where, sizeof box->where);
    for (int k = 1; k <= 2; k++) {
        lua_getiuservalue(L, index, k);
        lua_setiuservalue(L, -2, k);
    }
    return box;
}

/* Leaves the graph userdata of the described network. */
static void build_box(lua_State *L, int index, const int32_t dims[3], int32_t n_classes) {
    const struct model_box *box = lua_touserdata(L, index);
    lua_getiuservalue(L, index, 1);
    lua_getiuservalue(L, index, 2);
    build_network(L, box->name, -2, -1, dims, n_classes, box->is_library ? box->where : NULL);
    lua_remove(L, -2);
    lua_remove(L, -2);
}

static int same_node(const pare_node *a, const pare_node *b) {
    return a->op == b->op && strcmp(a->name, b->name) == 0 && a->n_inputs == b->n_inputs &&
           memcmp(a->inputs, b->inputs, (size_t)a->n_inputs * sizeof *a->inputs) == 0 &&
           memcmp(a->dims, b->dims, sizeof a->dims) == 0 && a->kernel_h == b->kernel_h &&
           a->kernel_w == b->kernel_w && a->stride_h == b->stride_h && a->stride_w == b->stride_w &&
           a->pad_h == b->pad_h && a->pad_w == b->pad_w && a->groups == b->groups;
}

/* Is the checkpoint's network the one described? */
static void check_network(lua_State *L, const char *checkpoint, const pare_graph *file,
                          const pare_graph *described) {
    int32_t n = file->n_nodes < described->n_nodes ? file->n_nodes : described->n_nodes;
    for (int32_t k = 0; k < n; k++) {
        const pare_node *got = file->nodes[k], *wanted = described->nodes[k];
        if (!same_node(got, wanted))
            args_fail(L,
                      "load: %s holds another network than %s: node %d is %s %s making (%d,%d,%d), "
                      "wanted %s %s making (%d,%d,%d)",
                      checkpoint, described->name, k, op_name(got->op), got->name, got->dims[0],
                      got->dims[1], got->dims[2], op_name(wanted->op), wanted->name,
                      wanted->dims[0], wanted->dims[1], wanted->dims[2]);
    }
    if (file->n_nodes != described->n_nodes)
        args_fail(L, "load: %s holds another network than %s: %d nodes, wanted %d", checkpoint,
                  described->name, file->n_nodes, described->n_nodes);
}

/* "dir/lenet5-mnist.safetensors" -> "lenet5-mnist" */
static char *checkpoint_label(lua_State *L, const char *name) {
    static const char suffix[] = ".safetensors";
    const char *slash = strrchr(name, '/');
    char *label = args_strdup(L, slash ? slash + 1 : name);
    size_t n = strlen(label), m = sizeof suffix - 1;
    if (n > m && strcmp(label + n - m, suffix) == 0)
        label[n - m] = '\0';
    return label;
}

static int model_load_method(lua_State *L) {
    box_at(L, 1, "load");
    if (lua_type(L, 2) != LUA_TSTRING)
        return args_fail(L, "load: got %s, wanted a checkpoint's name or file", args_type(L, 2));
    const char *name = lua_tostring(L, 2);
    if (sandbox_of(L)->script_dir && name[0] != '/' && !file_exists(name)) {
        const char *beside = lua_pushfstring(L, "%s/%s", sandbox_of(L)->script_dir, name);
        name = file_exists(beside) ? beside : name;
    }
    struct model_box *box = push_same(L, 1, "load");
    int object = lua_gettop(L);
    struct error err;
    char *path = NULL;
    pare_status status = script_find_checkpoint(name, &err, &path);
    if (status == PARE_OK)
        status = model_load(path, &err, &box->checkpoint);
    free(path);
    if (status)
        return args_raise(L, &err);
    box->has_weights = 1;
    box->source = MODEL_CHECKPOINT;
    free(box->label);
    box->label = NULL;
    box->label = checkpoint_label(L, name);

    const pare_graph *file = &box->checkpoint->graph;
    build_box(L, object, file->input_dims, file->n_classes);
    check_network(L, name, file, graph_view(L, -1));
    lua_settop(L, object);
    return 1;
}

/* model:train { epochs = 5, lr = 0.1 } */
static int model_train_method(lua_State *L) {
    static const char *const skip[] = {NULL};
    if (lua_isnoneornil(L, 2)) {
        lua_settop(L, 1);
        lua_newtable(L);
    }
    if (lua_type(L, 2) != LUA_TTABLE)
        return args_fail(L, "train: got %s, wanted a table: model:train { epochs = 5 }",
                         args_type(L, 2));
    lua_settop(L, 2);
    struct model_box *box = push_same(L, 1, "train");
    int object = lua_gettop(L);
    size_t n;
    const char **keys = args_sorted_keys(L, 2, "train", skip, &n);
    args_check_keys(L, 2, "train", (keys[n] = NULL, keys), 0);
    box->train = args_alloc(L, n, sizeof *box->train);
    box->n_train = n;
    for (size_t k = 0; k < n; k++) {
        lua_getfield(L, 2, keys[k]);
        args_input(L, -1, "train", keys[k], &box->train[k]);
        lua_pop(L, 1);
    }
    struct param_table table = experiment_train_table();
    struct params *params = NULL;
    struct error err;
    pare_status status = params_resolve(&table, 1, box->train, n, &err, &params);
    if (status == PARE_OK && params_get(params, "epochs")->f <= 0)
        status = error_set(&err, PARE_E_RANGE, "epochs is 0, wanted more (or model:init())");
    params_destroy(params);
    if (status)
        return args_fail(L, "train: %s", err.text);
    box->has_weights = 1;
    box->source = MODEL_TRAIN;
    lua_settop(L, object);
    return 1;
}

/* model:init(): weights as initialised from each seed, for methods that train from nothing. */
static int model_init_method(lua_State *L) {
    struct model_box *box = push_same(L, 1, "init");
    box->has_weights = 1;
    box->source = MODEL_INIT;
    return 1;
}

void model_register(lua_State *L) {
    static const luaL_Reg methods[] = {{"load", model_load_method},
                                       {"train", model_train_method},
                                       {"init", model_init_method},
                                       {NULL, NULL}};
    binding_metatable(L, MODEL_TYPE, methods, model_collect, NULL);
    lua_pushcfunction(L, pare_model);
    lua_setfield(L, -2, "model");
}

/* ---- for experiments ---- */

static void check_fits(lua_State *L, const struct model_box *box, const pare_graph *graph,
                       const struct dataset_info *info) {
    const int32_t *got = graph->input_dims, *wanted = info->dims;
    if (memcmp(got, wanted, 3 * sizeof *got) != 0)
        args_fail(L, "model %s takes %dx%dx%d images, but those of %s are %dx%dx%d", box->label,
                  got[0], got[1], got[2], info->name, wanted[0], wanted[1], wanted[2]);
    if (graph->n_classes != info->n_classes)
        args_fail(L, "model %s gives %d classes, but %s has %d", box->label, graph->n_classes,
                  info->name, info->n_classes);
}

void model_fill_spec(lua_State *L, int index, const struct dataset_info *info,
                     struct model_spec *spec) {
    struct error err;
    index = lua_absindex(L, index);
    const struct model_box *box = luaL_testudata(L, index, MODEL_TYPE);
    if (!box)
        args_fail(L, "pare.experiment: model is %s, wanted pare.model(...)", args_type(L, index));
    if (!box->has_weights)
        args_fail(L,
                  "model %s has no weights: add :load(\"checkpoint\"), :train { epochs = ... } or "
                  ":init()",
                  box->label);
    spec->label = args_strdup(L, box->label);
    spec->source = box->source;
    if (box->source == MODEL_CHECKPOINT) {
        check_fits(L, box, &box->checkpoint->graph, info);
        if (model_copy(box->checkpoint, &err, &spec->model))
            args_raise(L, &err);
        return;
    }
    const int32_t *dims = box->input[0] ? box->input : info->dims;
    build_box(L, index, dims, box->n_classes ? box->n_classes : info->n_classes);
    check_fits(L, box, graph_view(L, -1), info);
    spec->model = graph_take(L, -1);
    lua_pop(L, 1);
    spec->train_inputs = args_alloc(L, box->n_train, sizeof *spec->train_inputs);
    for (size_t k = 0; k < box->n_train; k++) {
        if (param_input_copy(&box->train[k], &err, &spec->train_inputs[k]))
            args_raise(L, &err);
        spec->n_train_inputs = k + 1;
    }
}
