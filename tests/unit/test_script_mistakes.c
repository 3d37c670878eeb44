/* SPDX-License-Identifier: MIT */
/* Every mistake a script can make is reported at its line, and costs nothing else. */
#include "script/script.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Line 1 and 2 of every script below; `good` is what else a whole experiment needs. */
#define HEAD                                                                                       \
    "local pare = require 'pare'\n"                                                                \
    "local lenet = pare.model 'lenet300':init()\n"
#define GOOD "name = 'x', dataset = 'glyphs', model = lenet, "
#define EXPERIMENT(fields) HEAD "return pare.experiment { " GOOD fields " }\n"
#define PIPELINE(steps) EXPERIMENT("pipelines = { {}, " steps " }")

static char folder[] = "/tmp/pare_script_XXXXXX";
static char script_path[64], module_path[64];
static struct registry *reg;

static void write_text(const char *path, const char *text, size_t n_bytes) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, n_bytes, file), n_bytes);
    fclose(file);
}

static pare_status load(const char *text, const struct script_options *options, struct error *err,
                        struct script **out) {
    write_text(script_path, text, strlen(text));
    return script_load(script_path, options, reg, err, out);
}

/* The message must begin with the script's path and line and contain `wanted`. */
static void expect_message(const char *text, const struct script_options *options, int line,
                           const char *wanted) {
    struct error err;
    struct script *script = NULL;
    if (load(text, options, &err, &script) == PARE_OK)
        fail_msg("no error from:\n%s", text);
    assert_null(script);
    char where[96];
    snprintf(where, sizeof where, "%s:%d: ", script_path, line);
    if (strncmp(err.text, where, strlen(where)) != 0 || !strstr(err.text, wanted))
        fail_msg("got    '%s'\nwanted '%s...%s...'\nfrom:\n%s", err.text, where, wanted, text);
}

struct mistake {
    const char *text;
    int line;
    const char *wanted;
};

static void expect_all(const struct mistake *mistakes, size_t n) {
    for (size_t k = 0; k < n; k++)
        expect_message(mistakes[k].text, NULL, mistakes[k].line, mistakes[k].wanted);
}
#define EXPECT_ALL(list) expect_all(list, sizeof(list) / sizeof *(list))

static void language(void **state) {
    (void)state;
    static const struct mistake list[] = {
        {"local x = = 1\n", 1, "unexpected symbol near '='"},
        {"local t = {\n  1\nlocal x\n", 3, "'}' expected"},
        {HEAD "return pare.nothing.more\n", 3, "attempt to index a nil value"},
        {HEAD "return lenet.nothing\n", 3, "model: no method 'nothing', wanted init, load, train"},
        {"return nil + 1\n", 1, "attempt to perform arithmetic on a nil value"},
        {"error('no', 0)\n", 1, "no"},
        {"\nerror({})\n", 2, "error object is a table value"},
        {"local function f() return 1 + f() end\nreturn f()\n", 1, "stack overflow"},
        {"-- nothing\n\n", 2, "the script returned nothing, wanted `return pare.experiment"},
        {HEAD "return lenet\n", 3, "the script returned a pare.model, wanted"},
        {"return {}\n", 1, "the script returned a table, wanted"},
    };
    EXPECT_ALL(list);
}

static void sandbox(void **state) {
    (void)state;
    static const struct mistake list[] = {
        {"os.execute('touch /tmp/x')\n", 1, "os is not available in scripts"},
        {"\nlocal f = io.open('/etc/passwd')\n", 2, "io is not available in scripts"},
        {"debug.getinfo(1)\n", 1, "debug is not available"},
        {"package.loadlib('x', 'y')\n", 1, "package is not available"},
        {"dofile('x.lua')\n", 1, "dofile is not available"},
        {"loadfile('x.lua')\n", 1, "loadfile is not available"},
        {"collectgarbage('stop')\n", 1, "collectgarbage is not available"},
        {"coroutine.wrap(print)\n", 1, "coroutine is not available"},
        {"assert(load('\\27Lua'))\n", 1, "attempt to load a binary chunk (mode is 't')"},
        {"assert(load('\\27Lua', 'c', 'b'))\n", 1, "attempt to load a binary chunk"},
        {"local s = string.dump(print)\n", 1, "field 'dump'"},
        {"setmetatable({}, { __gc = print })\n", 1, "__gc is not available in scripts"},
        {"setmetatable(_G, nil)\n", 1, "cannot change a protected metatable"},
        {"math.randomseed()\n", 1, "wanted a seed"},
        {"require '../secret'\n", 1, "'../secret' is not a plain module name"},
        {"require '/etc/passwd'\n", 1, "is not a plain module name"},
        {"require 'a.b'\n", 1, "is not a plain module name"},
        {"require 'a\\0b'\n", 1, "is not a plain module name"},
        {"require ''\n", 1, "is not a plain module name"},
        {"require(1)\n", 1, "require: got a number, wanted the name of a module"},
        {"\nrequire 'absent'\n", 2, "no module 'absent' beside the script or in "},
        {"local p = require 'pare'\np.set.x = 1\n", 2, "pare.set cannot be changed"},
        {"getmetatable(require('pare').set).__index = nil\n", 1, "attempt to index a boolean"},
    };
    EXPECT_ALL(list);
}

static void bytecode_is_refused(void **state) {
    (void)state;
    static const char bytecode[] = "\x1bLua\x54\x00\x19\x93\r\n\x1a\n";
    struct error err;
    struct script *script = NULL;
    write_text(script_path, bytecode, sizeof bytecode - 1);
    assert_int_not_equal(script_load(script_path, NULL, reg, &err, &script), PARE_OK);
    assert_non_null(strstr(err.text, "attempt to load a binary chunk"));
    assert_non_null(strstr(err.text, script_path));
    assert_int_not_equal(script_load("/no/such/script.lua", NULL, reg, &err, &script), PARE_OK);
    assert_non_null(strstr(err.text, "/no/such/script.lua"));
}

static void instructions_are_limited(void **state) {
    (void)state;
    const struct script_options options = {.max_instructions = 100000};
    expect_message("local n = 0\nwhile true do n = n + 1 end\n", &options, 2,
                   "ran 100000 instructions without finishing");
    expect_message("while true do\n  pcall(function() while true do end end)\nend\n", &options, 2,
                   "ran 100000 instructions");
    expect_message("for _ in function() return 1 end do end\n", &options, 1,
                   "ran 100000 instructions");
    expect_message("setmetatable({}, { __index = function(t, k) return t[k .. 'x'] end }).y()\n",
                   &options, 1, "");
}

static void memory_is_limited(void **state) {
    (void)state;
    const struct script_options options = {.max_memory_bytes = 8 << 20};
    expect_message("local s = 'x'\nwhile true do\n  s = s .. s\nend\n", &options, 3,
                   "out of memory");
    expect_message("local t = {}\nfor i = 1, 1e9 do t[i] = {} end\n", &options, 2, "out of memory");
    expect_message("\nlocal s = string.rep('x', 1e12)\n", &options, 2,
                   "out of memory: 1000000000000 times 1 bytes, the limit is 8 MiB");
    expect_message("local s = ('x'):rep(1 << 21)\nlocal t = s .. s .. s\n", &options, 2,
                   "the limit is 8 MiB");
    expect_message("local s = string.rep('', 1 << 62)\nerror('done')\n", &options, 2, "done");
    expect_message("local t = {}\npcall(function() while true do t[#t + 1] = {} end end)\n"
                   "t = nil\nerror('goes on')\n",
                   &options, 4, "goes on");
}

static void datasets_and_models(void **state) {
    (void)state;
    static const struct mistake list[] = {
        {HEAD "pare.dataset 'minst'\n", 3, "mnist"},
        {HEAD "pare.dataset(1)\n", 3, "the name is a number, wanted a string"},
        {HEAD "pare.dataset('mnist', { tain = 5 })\n", 3,
         "unknown key 'tain', did you mean 'train'?"},
        {HEAD "pare.dataset('mnist', { train = -5 })\n", 3, "train is -5, wanted 0.."},
        {HEAD "pare.dataset { 'mnist', train = 'x' }\n", 3, "train is a string, wanted an integer"},
        {HEAD "pare.has_dataset 'x'\n", 3, "x"},
        {HEAD "print(pare.dataset 'mnist'.size)\n", 3, "a dataset has no field 'size'"},
        {HEAD "pare.model 'lenet6'\n", 3, "unknown model 'lenet6', did you mean 'lenet5'?"},
        {HEAD "pare.model('resnet20', { shortcut = 1 })\n", 3,
         "shortcut is a number, wanted a string"},
        {HEAD "pare.model('resnet20', { short = 'A' })\n", 3, "unknown key 'short'"},
        {HEAD "pare.model(5)\n", 3, "pare.model: got a number"},
        {HEAD "pare.model { input = { 28, 28 }, 'lenet5' }\n", 3,
         "input has 2 items, wanted { height, width, channels }"},
        {HEAD "pare.model 'lenet5':load 'lenet5-minst'\n", 3, "checkpoint 'lenet5-minst'"},
        {HEAD "pare.model 'lenet5':load()\n", 3, "load: got nothing"},
        {HEAD "pare.model 'lenet5'.load('x')\n", 3, "load: called on a string, wanted a model"},
        {HEAD "lenet:train { epochs = 1 }\n", 3, "has its weights already"},
        {HEAD "pare.model 'lenet5':train { epoch = 1 }\n", 3, "epoch: unknown parameter"},
        {HEAD "pare.model 'lenet5':train { epochs = 'x' }\n", 3, "epochs"},
        {HEAD "pare.model 'lenet5':train { lr = 0.1 }\n", 3, "epochs is 0"},
        {HEAD "pare.model 'lenet5':train { epochs = 1, lr = 0/0 }\n", 3, "lr"},
        {HEAD "local m = pare.model('resnet20', { shortcut = 'C' }):init()\n"
              "return pare.experiment { name = 'x', dataset = 'cifar10', model = m, "
              "pipelines = { {} } }\n",
         3, "model resnet20: shortcut is 'C', wanted 'A'"},
    };
    EXPECT_ALL(list);
}

#define NETWORK(body)                                                                              \
    HEAD "local function build(g, x, classes)\n" body "\nend\n"                                    \
         "local m = pare.model { name = 'mine', build = build }:init()\n"                          \
         "return pare.experiment { name = 'x', dataset = 'glyphs', model = m, "                    \
         "pipelines = { {} } }\n"

static void networks(void **state) {
    (void)state;
    static const struct mistake list[] = {
        {NETWORK("return g:conv3d(x)"), 4, "conv3d"},
        {NETWORK("return g:conv2d(x, { out = 4 })"), 4, "conv2d: kernel is nothing"},
        {NETWORK("return g:conv2d(x, { out = 4, kernal = 3 })"), 4,
         "conv2d: unknown key 'kernal', did you mean 'kernel'?"},
        {NETWORK("return g:conv2d(x, { out = 4, kernel = { 3 } })"), 4, "kernel has 1 items"},
        {NETWORK("return g:conv2d(x, { out = 4, kernel = 99 })"), 4, "conv1"},
        {NETWORK("return g:conv2d('x', { out = 4, kernel = 3 })"), 4,
         "conv2d: argument 1 is a string, wanted a node"},
        {NETWORK("return g.relu(x)"), 4, "relu: called on a pare.node"},
        {NETWORK("return x.depth"), 4, "a node has no field 'depth'"},
        {NETWORK("return g:linear(g:flatten(x), { out = 0 })"), 4, "out is 0, wanted 1.."},
        {NETWORK("return g:linear(g:flatten(x), { out = 7 })"), 7, "gives 7 values, wanted 10"},
        {NETWORK("return g:flatten(x, 3)"), 4, "flatten: argument 2 is a number"},
        {NETWORK("return g:add(x, g:conv2d(x, { out = 2, kernel = 1 }))"), 4, "add1"},
        {NETWORK("return 5"), 7, "build returned a number, wanted its last node"},
        {NETWORK("local y = g:flatten(x); g:relu(y); return y"), 7,
         "build returned node flatten1, but relu1 was added after it"},
        {NETWORK("return g:linear(g:flatten(x), { out = 10, name = 'a b' })"), 4, "a b"},
    };
    EXPECT_ALL(list);
}

static void experiments(void **state) {
    (void)state;
    static const struct mistake list[] = {
        {HEAD "return pare.experiment('x')\n", 3, "pare.experiment: got a string, wanted a table"},
        {HEAD "return pare.experiment { dataset = 'glyphs' }\n", 3, "name is nothing"},
        {HEAD "return pare.experiment { name = '../x', dataset = 'glyphs' }\n", 3,
         "name is '../x'"},
        {EXPERIMENT("pipeline = {}"), 3, "unknown key 'pipeline', did you mean 'pipelines'?"},
        {EXPERIMENT(""), 3, "pipelines is nothing"},
        {EXPERIMENT("pipelines = {}"), 3, "pipelines is an empty list"},
        {EXPERIMENT("pipelines = 'ptq'"), 3, "pipelines is a string"},
        {EXPERIMENT("pipelines = { {} }, seeds = 'x'"), 3, "seeds is a string"},
        {EXPERIMENT("pipelines = { {} }, seeds = {}"), 3, "seeds has 0 items"},
        {EXPERIMENT("pipelines = { {} }, seeds = { 1, 1 }"), 3, "which stands there twice"},
        {EXPERIMENT("pipelines = { {} }, seeds = { -1 }"), 3, "seeds[1] is -1"},
        {EXPERIMENT("pipelines = { {} }, counters = { 1 }"), 3, "counters[1] is a number"},
        {EXPERIMENT("pipelines = { {} }, on_trial = 1"), 3, "on_trial is a number"},
        {EXPERIMENT("pipelines = { {} }, confusion = 'yes'"), 3,
         "confusion is a string, wanted true or false"},
        {EXPERIMENT("pipelines = { {} }, arms = { thread = 1 }"), 3,
         "unknown key 'thread', did you mean 'threads'?"},
        {EXPERIMENT("pipelines = { {} }, arms = { threads = {} }"), 3, "threads is an empty list"},
        {EXPERIMENT("pipelines = { {} }, arms = { threads = 0 }"), 3, "threads is 0, wanted 1.."},
        {EXPERIMENT("pipelines = { {} }, arms = { threads = { 1, 1 } }"), 3, "stands there twice"},
        {EXPERIMENT("pipelines = { {} }, arms = { scenario = 'x' }"), 3, "scenario"},
        {EXPERIMENT("pipelines = { {} }, arms = { cache = 'warm' }"), 3,
         "cache is \"warm\", wanted hot, cold-weights or cold-all"},
        {EXPERIMENT("pipelines = { {} }, arms = { cores = 'huge' }"), 3,
         "cores is \"huge\", wanted any, big, mid or LITTLE"},
        {EXPERIMENT("pipelines = { {} }, arms = { cores = 2 }"), 3, "cores is a number"},
        {EXPERIMENT("pipelines = { {} }, arms = { backend = 'reff' }"), 3, "reff"},
        {HEAD "return pare.experiment { name = 'x', dataset = 5, model = lenet }\n", 3,
         "dataset is a number"},
        {HEAD "return pare.experiment { name = 'x', dataset = 'glyphs', model = 'lenet5' }\n", 3,
         "model is a string, wanted pare.model"},
        {HEAD "return pare.experiment { name = 'x', dataset = 'glyphs', "
              "model = pare.model 'lenet5' }\n",
         3, "model lenet5 has no weights"},
        {HEAD "local m = pare.model('lenet5', { input = { 28, 28, 1 } }):init()\n"
              "return pare.experiment { name = 'x', dataset = 'cifar10', model = m }\n",
         4, "model lenet5 takes 28x28x1 images, but those of cifar10 are 32x32x3"},
    };
    EXPECT_ALL(list);
}

static void pipelines(void **state) {
    (void)state;
    static const struct mistake list[] = {
        {PIPELINE("{ { 'ptqq', bits = 8 } }"), 3, "unknown method"},
        {PIPELINE("{ { 'ptq', bitts = 8 } }"), 3, "bitts: unknown parameter"},
        {PIPELINE("{ { 'ptq', bits = 99 } }"), 3, "bits"},
        {PIPELINE("{ { 'ptq', bits = 'x' } }"), 3, "bits"},
        {PIPELINE("{ { 'ptq', bits = 0/0 } }"), 3, "bits"},
        {PIPELINE("{ { 'ptq', bits = print } }"), 3, "bits is a function"},
        {PIPELINE("{ { 'ptq', exclude = { 'a', 1 } } }"), 3, "item 2 is a number"},
        {PIPELINE("{ { 'ptq', exclude = { 'a', nil, 'b' } } }"), 3, "exclude"},
        {PIPELINE("{ { 'ptq', 8 } }"), 3, "unexpected key [2]"},
        {PIPELINE("{ { bits = 8 } }"), 3, "its first item is nothing"},
        {PIPELINE("{ 'ptq' }"), 3, "pipelines[2] step 1 is a string, wanted a table"},
        {PIPELINE("'ptq'"), 3, "pipelines[2] is a string"},
        {PIPELINE("{ { 'ptq', bits = pare.grid {} } }"), 3, "pare.grid: the list is empty"},
        {PIPELINE("{ { 'ptq', bits = pare.grid(8) } }"), 3, "pare.grid: got a number"},
        {PIPELINE("{ { 'ptq', bits = pare.grid { 8, 1000 } } }"), 3, "bits"},
        {PIPELINE("{ { 'ptq', bits = pare.grid { pare.grid { 8 } } } }"), 3,
         "wanted a plain value"},
        {PIPELINE("{ { 'ptq', bits = pare.grid { 8, 8 } } }"), 3, "stands there already"},
        {PIPELINE("{ { 'ptq', bits = 8 }, { 'magnitude', sparsity = 0.5 } }"), 3, "magnitude"},
        /* The method's own line, not that of the call. */
        {HEAD "local bad = { 'magnitude', sparsity = 7 }\nlocal ok = { 'ptq' }\n"
              "return pare.experiment { " GOOD "pipelines = { { ok }, { bad } } }\n",
         3, "pipelines[2]: step 1 (magnitude): sparsity"},
    };
    EXPECT_ALL(list);
}

static void settings(void **state) {
    (void)state;
    const char *text = HEAD "local n = pare.set.epochs or 1\n"
                            "return pare.experiment { " GOOD "pipelines = { {} }, seeds = n }\n";
    const char *good[] = {"epochs=3"}, *unread[] = {"epoch=3"}, *bad[] = {"epochs"};
    const char *typed[] = {"epochs=x"};
    struct script_options options = {.n_sets = 1, .sets = good};
    struct error err;
    struct script *script = NULL;
    assert_int_equal(load(text, &options, &err, &script), PARE_OK);
    assert_int_equal(script_experiment(script)->seeds[0], 3);
    script_destroy(script);
    options.sets = typed;
    expect_message(text, &options, 4, "seeds is a string");
    options.sets = unread;
    assert_int_not_equal(load(text, &options, &err, &script), PARE_OK);
    assert_non_null(strstr(err.text, "never reads pare.set.epoch, did you mean 'epochs'?"));
    options.sets = bad;
    assert_int_not_equal(load(text, &options, &err, &script), PARE_OK);
    assert_non_null(strstr(err.text, "--set epochs: wanted NAME=VALUE"));
}

static void modules(void **state) {
    (void)state;
    static const char module[] = "local m = { ... }\nreturn m\n";
    static const char cyclic[] = "return require 'beside'\n";
    static const char broken[] = "local x = = 1\n";
    struct error err;
    struct script *script = NULL;
    const char *text = HEAD "local a, b = require 'beside', require 'beside'\n"
                            "assert(a == b and a[1] == 'beside' and require('models').lenet5)\n"
                            "return pare.experiment { " GOOD "pipelines = { {} } }\n";
    write_text(module_path, module, strlen(module));
    if (load(text, NULL, &err, &script))
        fail_msg("%s", err.text);
    script_destroy(script);
    write_text(module_path, cyclic, strlen(cyclic));
    assert_int_not_equal(load(text, NULL, &err, &script), PARE_OK);
    assert_non_null(strstr(err.text, "beside.lua:1: require: module 'beside' requires itself"));
    write_text(module_path, broken, strlen(broken));
    assert_int_not_equal(load(text, NULL, &err, &script), PARE_OK);
    assert_non_null(strstr(err.text, "beside.lua:1: unexpected symbol"));
}

static int set_up(void **state) {
    (void)state;
    struct error err;
    if (!mkdtemp(folder) || registry_create(&err, &reg))
        return 1;
    snprintf(script_path, sizeof script_path, "%s/exp.lua", folder);
    snprintf(module_path, sizeof module_path, "%s/beside.lua", folder);
    return registry_scan(reg, TEST_BINARY_DIR "/plugins", &err) != PARE_OK;
}

static int tear_down(void **state) {
    (void)state;
    registry_destroy(reg);
    unlink(script_path);
    unlink(module_path);
    return rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(language),
        cmocka_unit_test(sandbox),
        cmocka_unit_test(bytecode_is_refused),
        cmocka_unit_test(instructions_are_limited),
        cmocka_unit_test(memory_is_limited),
        cmocka_unit_test(datasets_and_models),
        cmocka_unit_test(networks),
        cmocka_unit_test(experiments),
        cmocka_unit_test(pipelines),
        cmocka_unit_test(settings),
        cmocka_unit_test(modules),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
