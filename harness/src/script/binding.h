/* SPDX-License-Identifier: MIT */
/* The pieces of the Lua module `pare`, and the objects that scripts hold. Every object is a
 * userdata that frees what it owns when collected, so that an error anywhere leaks nothing. */
#ifndef SCRIPT_BINDING_H
#define SCRIPT_BINDING_H

#include "dataset/dataset.h"
#include "experiment/experiment.h"
#include "script/grid.h"
#include "script/sandbox.h"
#include "script/script.h"

#include <lua.h>

struct script {
    struct sandbox *sandbox;
    const struct registry *registry; /* NULL: no experiments, models only */
    const struct script_options *options;
    struct experiment *experiment; /* inside its userdata, which the registry keeps alive */
};

/* The script a state belongs to; NULL where only models are built. */
struct script *binding_script(lua_State *L);

/* Makes `pare` what require "pare" gives. arg of the sandbox_call: struct script *. */
int binding_open(lua_State *L);

/* Pushes text from a command line: "true", "false" and whatever reads as a number get their type.
 */
void binding_push_typed(lua_State *L, const char *text);

/* A --set that the script never read is an error. */
void binding_check_settings(lua_State *L);

/* Creates metatable `name` with these methods, `collect` as __gc (NULL: none) and,
 * if not NULL, `index` as __index (else the methods; NULL: they are the table on top, which is
 * popped). Nothing of it can be reached from scripts. */
struct luaL_Reg;
void binding_metatable(lua_State *L, const char *name, const struct luaL_Reg *methods,
                       lua_CFunction collect, lua_CFunction index);

/* ---- datasets ---- */
#define DATASET_TYPE "pare.dataset"
struct dataset_box {
    const struct dataset_info *info;
    struct dataset_options options;
};
void dataset_register(lua_State *L); /* metatable; adds dataset, has_dataset to the table on top */

/* ---- graphs ---- */
#define GRAPH_TYPE "pare.graph"
#define NODE_TYPE "pare.node"
void graph_register(lua_State *L);
/* Calls the build function at `build` as build(g, x, n_classes, options) and checks what it made.
 * The model belongs to the graph userdata left on the stack (graph_take takes it over). n_classes
 * 0: what the network gives. */
void graph_build(lua_State *L, const char *name, const int32_t input_dims[3], int32_t n_classes,
                 int build, int options);
const pare_graph *graph_view(lua_State *L, int index); /* borrowed from the userdata */
struct model *graph_take(lua_State *L, int index);

/* ---- models ---- */
#define MODEL_TYPE "pare.model"
void model_register(lua_State *L);
/* Fills spec from the model object at `index` (the label, network, weights), for a dataset with
 * these dimensions. spec is owned by the caller already and may be half filled after an error. */
void model_fill_spec(lua_State *L, int index, const struct dataset_info *info,
                     struct model_spec *spec);
/* Pushes the table that scripts/lib/models.lua or another such file returns. */
void model_push_library(lua_State *L, const char *path /* NULL: models.lua */);
/* Builds entry `name` of such a table with the options in the table at `options`, which are checked
 * and completed: leaves the graph userdata. dims NULL and n_classes 0: as the entry says. */
void model_build_entry(lua_State *L, const char *name, int library, int options,
                       const int32_t dims[3], int32_t n_classes);

/* ---- pipelines and experiments ---- */
#define GRID_TYPE "pare.grid"
#define EXPERIMENT_TYPE "pare.experiment"
void pipeline_register(lua_State *L); /* adds grid */
/* Reads the pipeline at `index`, expands it and leaves a userdata that owns the result on the
 * stack. */
struct pipeline_list {
    struct written_pipeline written;
    char *label; /* of the pipeline being looked at */
    size_t n;
    struct pipeline_spec *pipelines;
};
struct pipeline_list *pipeline_read(lua_State *L, int index, const char *what);
/* Line of the script to blame for a pipeline; 0: that of the call. */
int32_t pipeline_line(lua_State *L, const struct pipeline_list *list);

void experiment_register(lua_State *L); /* adds experiment */
/* Adds what the pipeline at `index` expands to, to the experiment userdata at `box`; how many.
 * Known ones: an error, or passed over in a proposal. */
size_t experiment_add_pipelines(lua_State *L, int box, int index, const char *what,
                                int is_proposal);
/* Pushes the experiment that the script returned. */
void experiment_push_returned(lua_State *L);
struct experiment_box {
    /* First; uservalues: 1 on_trial, 2 on_record, 3 { [label] = true } of all its pipelines. */
    struct experiment exp;
};
/* The hooks of struct experiment, which call the script's functions. */
pare_status hooks_on_trial(void *context, const struct pipeline_spec *pipeline, uint64_t seed,
                           int *go, struct error *err);
pare_status hooks_on_record(void *context, const struct record *rec, struct error *err);

#endif
