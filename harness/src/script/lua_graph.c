/* SPDX-License-Identifier: MIT */
/* Networks described node by node: the graph `g` and the nodes that build functions work with. */
#include "script/args.h"
#include "script/binding.h"

#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#define MAX_DIM (1 << 20)

struct graph_box {
    struct model *model;
    int is_finished;
};

/* A node; its uservalue is the graph it belongs to. */
struct node_box {
    int32_t index;
};

static struct graph_box *graph_at(lua_State *L, int index, const char *what) {
    struct graph_box *box = luaL_testudata(L, index, GRAPH_TYPE);
    if (!box)
        args_fail(L, "%s: called on %s, wanted the graph (write g:%s)", what, args_type(L, index),
                  what);
    if (box->is_finished)
        args_fail(L, "%s: this network is finished", what);
    return box;
}

static void push_node(lua_State *L, int graph, int32_t index) {
    graph = lua_absindex(L, graph);
    struct node_box *node = lua_newuserdatauv(L, sizeof *node, 1);
    node->index = index;
    lua_pushvalue(L, graph);
    lua_setiuservalue(L, -2, 1);
    luaL_setmetatable(L, NODE_TYPE);
}

static int32_t node_index(lua_State *L, int index, const char *what) {
    const struct node_box *node = luaL_testudata(L, index, NODE_TYPE);
    if (!node)
        args_fail(L, "%s: argument %d is %s, wanted a node of this network", what, index - 1,
                  args_type(L, index));
    lua_getiuservalue(L, index, 1);
    if (lua_touserdata(L, -1) != lua_touserdata(L, 1))
        args_fail(L, "%s: argument %d is a node of another network", what, index - 1);
    lua_pop(L, 1);
    return node->index;
}

/* x.channels, x.height, x.width, x.features, x.name */
static int node_field(lua_State *L) {
    const struct node_box *box = luaL_checkudata(L, 1, NODE_TYPE);
    const char *key = luaL_checkstring(L, 2);
    lua_getiuservalue(L, 1, 1);
    const struct graph_box *graph = lua_touserdata(L, -1);
    if (!graph->model)
        return args_fail(L, "%s: this network is finished", key);
    const pare_node *node = graph->model->graph.nodes[box->index];
    if (strcmp(key, "channels") == 0)
        lua_pushinteger(L, node->dims[2]);
    else if (strcmp(key, "height") == 0)
        lua_pushinteger(L, node->dims[0]);
    else if (strcmp(key, "width") == 0)
        lua_pushinteger(L, node->dims[1]);
    else if (strcmp(key, "features") == 0)
        lua_pushinteger(L, (lua_Integer)node->dims[0] * node->dims[1] * node->dims[2]);
    else if (strcmp(key, "name") == 0)
        lua_pushstring(L, node->name);
    else
        return args_fail(
            L, "a node has no field '%s', only channels, height, width, features and name", key);
    return 1;
}

/* ---- adding nodes ---- */

/* One method of g: g:conv2d(x, { out = 20, kernel = 5 }). */
struct form {
    const char *method;
    pare_op op;
    int32_t n_inputs;
    const char *short_name; /* nodes without a name are conv1, conv2, ... */
    const char *keys[9];    /* options, NULL-terminated */
};

static const struct form forms[] = {
    {"conv2d",
     PARE_OP_CONV2D,
     1,
     "conv",
     {"name", "out", "kernel", "stride", "pad", "groups", "bias", NULL}},
    {"linear", PARE_OP_LINEAR, 1, "fc", {"name", "out", "bias", NULL}},
    {"batch_norm", PARE_OP_BATCH_NORM, 1, "bn", {"name", "eps", NULL}},
    {"relu", PARE_OP_RELU, 1, "relu", {"name", NULL}},
    {"add", PARE_OP_ADD, 2, "add", {"name", NULL}},
    {"max_pool", PARE_OP_MAX_POOL, 1, "pool", {"name", "kernel", "stride", "pad", NULL}},
    {"avg_pool", PARE_OP_AVG_POOL, 1, "pool", {"name", "kernel", "stride", NULL}},
    {"global_avg_pool", PARE_OP_GLOBAL_AVG_POOL, 1, "pool", {"name", NULL}},
    {"flatten", PARE_OP_FLATTEN, 1, "flatten", {"name", NULL}},
    {"shortcut", PARE_OP_SHORTCUT_A, 1, "shortcut", {"name", "out", "stride", NULL}},
    {"quantize", PARE_OP_QUANTIZE, 1, "quantize", {"name", NULL}},
    {"softmax", PARE_OP_SOFTMAX, 1, "softmax", {"name", NULL}},
};

static int takes(const struct form *form, const char *key) {
    for (size_t k = 0; form->keys[k]; k++)
        if (strcmp(form->keys[k], key) == 0)
            return 1;
    return 0;
}

/* Option `key`, an integer or a pair { height, width }; `missing` (2), NULL: it must be given.
 * `pair` stays as it is where the form has no such option. */
static void read_pair(lua_State *L, int options, const struct form *form, const char *key,
                      int32_t min, const int32_t *missing, int32_t pair[2]) {
    if (!takes(form, key))
        return;
    int type = lua_getfield(L, options, key);
    lua_Integer n = type == LUA_TTABLE ? args_list(L, -1, key) : 0;
    lua_pop(L, 1);
    if (type == LUA_TNIL && missing) {
        memcpy(pair, missing, 2 * sizeof *pair);
        return;
    }
    if (type != LUA_TTABLE) {
        pair[0] = (int32_t)args_integer(L, options, form->method, key, min, MAX_DIM, min - 1);
        pair[1] = pair[0];
        return;
    }
    if (n != 2)
        args_fail(L, "%s: %s has %I items, wanted an integer or { height, width }", form->method,
                  key, n);
    lua_getfield(L, options, key);
    for (int k = 0; k < 2; k++) {
        int is_integer;
        lua_rawgeti(L, -1, k + 1);
        lua_Integer value = lua_tointegerx(L, -1, &is_integer);
        if (!is_integer)
            args_fail(L, "%s: %s is a table with %s, wanted integers", form->method, key,
                      args_type(L, -1));
        if (value < min || value > MAX_DIM)
            args_fail(L, "%s: %s is %I, wanted %d..%d", form->method, key, value, min, MAX_DIM);
        pair[k] = (int32_t)value;
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static int32_t read_integer(lua_State *L, int options, const struct form *form, const char *key,
                            int32_t missing) {
    if (!takes(form, key))
        return 0;
    return (int32_t)args_integer(L, options, form->method, key, 1, MAX_DIM, missing);
}

static void read_options(lua_State *L, int options, const struct form *form,
                         struct node_spec *spec) {
    static const int32_t zero[2] = {0, 0}, one[2] = {1, 1};
    int32_t kernel[2] = {0, 0}, stride[2] = {0, 0}, pad[2] = {0, 0};
    args_check_keys(L, options, form->method, form->keys, 0);
    spec->name = args_string(L, options, form->method, "name", "");
    spec->out_channels = read_integer(L, options, form, "out", 0);
    spec->groups = read_integer(L, options, form, "groups", 1);
    spec->bias = takes(form, "bias") && args_boolean(L, options, form->method, "bias", 1);
    read_pair(L, options, form, "kernel", 1, NULL, kernel);
    /* A pool steps by its window unless told otherwise. */
    int is_pool = form->op == PARE_OP_MAX_POOL || form->op == PARE_OP_AVG_POOL;
    read_pair(L, options, form, "stride", 1, is_pool ? kernel : one, stride);
    read_pair(L, options, form, "pad", 0, zero, pad);
    spec->kernel_h = kernel[0];
    spec->kernel_w = kernel[1];
    spec->stride_h = stride[0];
    spec->stride_w = stride[1];
    spec->pad_h = pad[0];
    spec->pad_w = pad[1];
    if (takes(form, "eps") && lua_getfield(L, options, "eps") != LUA_TNIL) {
        if (lua_type(L, -1) != LUA_TNUMBER || !(lua_tonumber(L, -1) > 0) || lua_tonumber(L, -1) > 1)
            args_fail(L, "%s: eps is %s, wanted a number in (0, 1]", form->method,
                      luaL_tolstring(L, -1, NULL));
        spec->eps = (float)lua_tonumber(L, -1);
    }
}

static int add_node(lua_State *L) {
    const struct form *form = lua_touserdata(L, lua_upvalueindex(1));
    struct graph_box *graph = graph_at(L, 1, form->method);
    struct node_spec spec = {.op = form->op};
    for (int32_t k = 0; k < form->n_inputs; k++)
        spec.inputs[k] = node_index(L, k + 2, form->method);
    int options = form->n_inputs + 2;
    if (lua_isnoneornil(L, options)) {
        lua_settop(L, options - 1);
        lua_newtable(L);
    }
    if (lua_type(L, options) != LUA_TTABLE)
        args_fail(L, "%s: argument %d is %s, wanted a table of options", form->method, options - 1,
                  args_type(L, options));
    lua_settop(L, options);
    read_options(L, options, form, &spec);
    char name[48];
    if (!spec.name[0]) {
        int k = 1;
        do
            snprintf(name, sizeof name, "%s%d", form->short_name, k++);
        while (model_find_node(graph->model, name) >= 0);
        spec.name = name;
    }
    struct error err;
    int32_t index;
    if (model_add(graph->model, &spec, &err, &index))
        return args_raise(L, &err);
    push_node(L, 1, index);
    return 1;
}

static int graph_input(lua_State *L) {
    graph_at(L, 1, "input");
    push_node(L, 1, 0);
    return 1;
}

static int graph_collect(lua_State *L) {
    struct graph_box *box = lua_touserdata(L, 1);
    model_destroy(box->model);
    box->model = NULL;
    return 0;
}

void graph_register(lua_State *L) {
    lua_newtable(L);
    for (size_t k = 0; k < sizeof forms / sizeof *forms; k++) {
        lua_pushlightuserdata(L, (void *)(uintptr_t)&forms[k]);
        lua_pushcclosure(L, add_node, 1);
        lua_setfield(L, -2, forms[k].method);
    }
    lua_pushcfunction(L, graph_input);
    lua_setfield(L, -2, "input");
    binding_metatable(L, GRAPH_TYPE, NULL, graph_collect, NULL);
    static const luaL_Reg none[] = {{NULL, NULL}};
    binding_metatable(L, NODE_TYPE, none, NULL, node_field);
}

/* ---- whole networks ---- */

void graph_build(lua_State *L, const char *name, const int32_t input_dims[3], int32_t n_classes,
                 int build, int options) {
    struct error err;
    luaL_checkstack(L, 10, NULL);
    build = lua_absindex(L, build);
    options = lua_absindex(L, options);
    struct graph_box *box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = (struct graph_box){0};
    luaL_setmetatable(L, GRAPH_TYPE);
    int graph = lua_gettop(L);
    if (model_create(name, input_dims, &err, &box->model))
        args_raise(L, &err);
    lua_pushvalue(L, build);
    lua_pushvalue(L, graph);
    push_node(L, graph, 0);
    lua_pushinteger(L, n_classes);
    lua_pushvalue(L, options);
    lua_call(L, 4, 1);

    const struct node_box *last = luaL_testudata(L, -1, NODE_TYPE);
    if (!last)
        args_fail(L, "model %s: build returned %s, wanted its last node", name, args_type(L, -1));
    lua_getiuservalue(L, -1, 1);
    const pare_graph *made = &box->model->graph;
    if (lua_touserdata(L, -1) != box)
        args_fail(L, "model %s: build returned a node of another network", name);
    if (last->index != made->n_nodes - 1)
        args_fail(L, "model %s: build returned node %s, but %s was added after it", name,
                  made->nodes[last->index]->name, made->nodes[made->n_nodes - 1]->name);
    if (model_finish(box->model, &err))
        args_fail(L, "model %s: %s", name, err.text);
    if (n_classes > 0 && box->model->graph.n_classes != n_classes)
        args_fail(L, "model %s: the last node gives %d values, wanted %d classes", name,
                  box->model->graph.n_classes, n_classes);
    box->is_finished = 1;
    lua_settop(L, graph);
}

const pare_graph *graph_view(lua_State *L, int index) {
    const struct graph_box *box = luaL_checkudata(L, index, GRAPH_TYPE);
    return &box->model->graph;
}

struct model *graph_take(lua_State *L, int index) {
    struct graph_box *box = luaL_checkudata(L, index, GRAPH_TYPE);
    struct model *model = box->model;
    box->model = NULL;
    return model;
}
