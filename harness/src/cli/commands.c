/* SPDX-License-Identifier: MIT */
/* The table of commands: what --help says and the parser accepts. */
#include "cli/cli.h"

#define END                                                                                        \
    { NULL, NULL, NULL, 0 }

static const struct flag run_flags[] = {
    {"out", "FILE.csv", "Where rows are appended; default: results/runs/<experiment>.csv.", 0},
    {"set", "K=V", "A value the script reads as pare.set.K.", 1},
    {"profile", "quick|default|mlperf", "How long each arm is timed; default: default.", 0},
    {"resume", NULL, "Skip arms that the file has already with status ok.", 0},
    {"dry-run", NULL, "List the trials and do nothing.", 0},
    {"filter", "PATTERN", "Only trials whose label (as --dry-run shows it) matches; * and ?.", 0},
    {"shard", "I/N", "Only part I of a stable partition into N.", 0},
    {"keep-samples", "FILE.csv", "Also write every timed query.", 0},
    {"trial-timeout", "SECONDS", "Longest a trial may take; default: 0, no limit.", 0},
    {"call-timeout", "SECONDS",
     "Longest a call into a plugin, or a step of training, may take; default: 1800; 0: no limit.",
     0},
    {"trial-memory", "MB", "Memory a trial may add; default: 3/4 of what there is; 0: no limit.",
     0},
    {"no-isolation", NULL, "Trials in this process, not in children: for debuggers.", 0},
    {"quiet", NULL, "No progress.", 0},
    END};
static const char *const run_examples[] = {
    "pare run scripts/experiments/quickstart.lua",
    "pare run sweep.lua --set epochs=3 --dry-run",
    "pare run sweep.lua --resume --profile quick --filter '*ptq*'",
    "pare run sweep.lua --shard 2/8 --out part2.csv",
    NULL,
};

static const struct flag bench_flags[] = {
    {"model", "NAME|FILE", "A network's name, a checkpoint's name, or its file.", 0},
    CLI_MODEL_FLAGS,
    {"backend", "NAME,..", "Backends to time; default: auto, the best one here.", 0},
    {"isa", "NAME", "Force a backend's instruction set level.", 0},
    {"precision", "fp32|int8|int4|int2|ternary|binary-weights|binary",
     "Of weights and of what layers read; default: fp32.", 0},
    {"sparsity", "FRACTION",
     "Time the model, and then again with so much of each layer's weights 0, as 0.9.", 0},
    {"sparsity-pattern", "unstructured|2:4",
     "Which weights are 0: the smallest of a layer, or two of each four; default: unstructured.",
     0},
    {"threads", "N", "Default: 1.", 0},
    {"batch", "N", "Default: 1.", 0},
    {"scenario", "single|multi|offline",
     "One sample per query, eight, or full batches; default: single, with a batch offline.", 0},
    {"cache", "hot|cold-weights|cold-all", "What is in the caches when a query begins.", 0},
    {"cores", "any|big|mid|LITTLE", "Kind of cores to run on; default: any, big ones first.", 0},
    {"counters", "NAME,..",
     "Events or groups to count beside those always tried: ipc, cache, branch, "
     "tlb, stall, model, kernel, PAPI events. Shown in csv and json.",
     0},
    {"profile", "quick|default|mlperf", "How long to time; default: default.", 0},
    {"layers", NULL, "Also the time of each layer. In csv and json it always is.", 0},
    {"seed", "N", "Seed of inputs, and of weights for a network by name; default: 1.", 0},
    END};
static const char *const bench_examples[] = {
    "pare bench --model resnet20 --input 3x32x32",
    "pare bench --model lenet5-mnist --precision int8 --backend ref,auto --threads 2",
    "pare bench --model lenet5-mnist --precision int8 --layers",
    "pare bench --model resnet20 --input 3x32x32 --sparsity 0.9",
    "pare bench --model lenet5 --cache cold-weights --profile quick",
    NULL,
};

static const char *const list_examples[] = {"pare list methods", "pare list datasets --format csv",
                                            NULL};
static const char *const describe_examples[] = {"pare describe ptq", "pare describe ref", NULL};

static const struct flag check_flags[] = {
    {"method", "NAME", "Only this method of the plugin.", 0},
    {"backend", "NAME", "Only this backend.", 0},
    {"only", "CHECK", "Only this check.", 0},
    {"case", "N", "Only case N of that check: what a failure is reproduced with.", 0},
    {"set", "K=V", "A parameter that is not to have its default.", 1},
    {"seed", "N", "Seed of models, images and graphs; default: 1.", 0},
    {"graphs", "N", "Random graphs that a backend is compared on; default: 40.", 0},
    {"time-limit", "SECONDS", "For one case; default: 20.", 0},
    END};
static const char *const check_examples[] = {
    "pare check build/release/plugins/ptq.so",
    "pare check mine.so --format csv",
    "pare check mine.so --method mine --only alloc --case 17",
    NULL,
};
static const char *const env_examples[] = {"pare env", "pare env --format json", NULL};
static const char *const data_list_examples[] = {"pare data list", NULL};

static const struct flag fetch_flags[] = {
    {"mirror", "URL", "Take the files from here instead; https:// or file://.", 0},
    {"dest", "DIR", "Store in DIR/NAME; default: the cache folder.", 0},
    END};
static const char *const fetch_examples[] = {
    "pare data fetch mnist",
    "pare data fetch mnist --dest datasets --mirror file:///media/usb/mnist",
    NULL,
};
static const char *const verify_examples[] = {"pare data verify mnist", NULL};

static const struct flag info_flags[] = {
    CLI_MODEL_FLAGS,
    {"layers", NULL, "One row per layer.", 0},
    END,
};
static const char *const info_examples[] = {
    "pare model info lenet5-mnist",
    "pare model info resnet20 --input 3x32x32 --option shortcut=B --layers",
    NULL,
};

static const struct flag eval_flags[] = {
    {"dataset", "NAME", "Dataset to evaluate on.", 0},
    {"split", "test|val|train", "Default: test.", 0},
    {"samples", "N", "Only the first N of the split; default: 0, all.", 0},
    {"backend", "NAME", "Default: auto.", 0},
    {"isa", "NAME", "Force this level of the backend; one that the machine lacks is refused.", 0},
    {"threads", "N", "Default: all cores.", 0},
    {"confusion", NULL, "Also print the confusion matrix.", 0},
    {"logits", "FILE",
     "Write the deployed logits: (samples,classes) fp32, in the machine's byte order.", 0},
    END};
static const char *const eval_examples[] = {
    "pare model eval lenet5-mnist --dataset mnist",
    "pare model eval small.safetensors --dataset mnist --format csv",
    "pare model eval lenet5-mnist --dataset mnist --confusion",
    NULL,
};

static const struct flag quantize_flags[] = {
    {"out", "FILE.safetensors", "Where the result is written.", 0},
    {"method", "NAME", "The method to apply; default: ptq.", 0},
    {"set", "K=V", "A parameter of the method, such as bits=8.", 1},
    {"dataset", "NAME", "Data for calibration and fine-tuning.", 0},
    {"seed", "N", "Default: 1.", 0},
    END};
static const char *const quantize_examples[] = {
    "pare model quantize lenet5-mnist --dataset mnist --set bits=8 --out small.safetensors",
    "pare model quantize lenet5-mnist --method magnitude --set sparsity=0.9 --dataset mnist "
    "--out sparse.safetensors",
    NULL,
};

static const struct flag export_flags[] = {
    {"out", "FILE.safetensors", "Where the file is written.", 0},
    CLI_MODEL_FLAGS,
    {"seed", "N", "Seed of the weights, for a network by name; default: 1.", 0},
    END};
static const char *const export_examples[] = {
    "pare model export resnet20 --input 3x32x32 --seed 3 --out untrained.safetensors",
    "pare model export small.safetensors --out copy.safetensors",
    NULL,
};

static const struct flag merge_flags[] = {
    {"out", "ALL.csv", "Where the joined file is written (-o for short).", 0},
    END,
};
static const char *const merge_examples[] = {"pare merge part1.csv part2.csv -o all.csv", NULL};

static const struct flag compare_flags[] = {
    {"threshold", "PCT", "Changes of latency up to this are no finding; default: 2.", 0},
    {"threshold-top1", "POINTS", "The same for top-1, in points of percent; default: 0.2.", 0},
    {"threshold-bytes", "PCT", "The same for sizes; default: 1.", 0},
    {"gate", NULL, "Exit status 1 if an arm regressed or cannot be measured any more.", 0},
    {"junit", "FILE.xml", "Also write JUnit XML, for CI.", 0},
    {"markdown", "FILE.md", "Also write a summary in Markdown, for the page of a CI job.", 0},
    {"across-machines", NULL,
     "The files come from different machines: compare ratios to the baseline, not times.", 0},
    END,
};
static const char *const compare_examples[] = {
    "pare compare base.csv new.csv",
    "pare compare base.csv new.csv --gate --junit pare.xml --markdown pare.md",
    NULL,
};

static const struct flag report_flags[] = {
    {"out", "FILE", "Where the report is written (-o for short).", 0},
    {"format", "html|md", "Default: html, one file that needs no network.", 0},
    {"figures", "DIR", "Write each figure as an SVG file of its own.", 0},
    {"png", NULL, "Also as PNG, with rsvg-convert (Debian: librsvg2-bin).", 0},
    {"title", "TEXT", "Default: pare report.", 0},
    {"script", "FILE.lua", "Your own in place of scripts/lib/report.lua.", 0},
    END,
};
static const char *const report_examples[] = {
    "pare report results/runs/quickstart.csv -o report.html",
    "pare report a.csv b.csv --format md -o report.md --figures figures --png",
    NULL,
};

static const char *const completion_examples[] = {
    "pare completion bash >~/.local/share/bash-completion/completions/pare",
    "pare completion zsh >~/.zfunc/_pare",
    NULL,
};
static const char *const man_examples[] = {"pare man >pare.1", NULL};

static const struct command commands[] = {
    {"run", "SCRIPT.lua", 1, 1,
     "Runs an experiment script: builds each trial, measures it, appends a row per arm to a CSV "
     "file.",
     run_flags, 1, 1, run_examples, run_command},
    {"bench", "", 0, 0,
     "Times one model on backends. No data is needed: inputs come from a seed, so this says "
     "nothing "
     "about accuracy.",
     bench_flags, 1, 1, bench_examples, bench_command},
    {"list", "methods|backends|models|datasets|checkpoints", 1, 1, "Lists what there is.", NULL, 1,
     1, list_examples, list_command},
    {"describe", "METHOD|BACKEND", 1, 1, "Shows a method or backend with all its parameters.", NULL,
     1, 1, describe_examples, describe_command},
    {"check", "PLUGIN.so", 1, 1,
     "Checks that a plugin keeps the contract of its headers: a verdict per check, and a line that "
     "reproduces each failure. Every case runs in a process of its own, with a time limit.",
     check_flags, 1, 0, check_examples, check_command, 1},
    {"env", "", 0, 0, "Shows the machine, and what can be measured on it and what cannot, and why.",
     NULL, 1, 1, env_examples, env_command},
    {"data list", "", 0, 0, "Lists datasets and where each was found.", NULL, 1, 0,
     data_list_examples, data_list_command},
    {"data fetch", "NAME", 1, 1,
     "Downloads a dataset. A broken download goes on where it stopped; checksums are compared.",
     fetch_flags, 0, 0, fetch_examples, data_fetch_command},
    {"data verify", "NAME", 1, 1, "Compares a dataset's files with their checksums.", NULL, 1, 0,
     verify_examples, data_verify_command},
    {"model info", "NAME|FILE", 1, 1, "Shows a model's layers, parameters, operations and sizes.",
     info_flags, 1, 0, info_examples, model_info_command},
    {"model eval", "NAME|FILE", 1, 1,
     "Measures a checkpoint's accuracy, deployed on a backend and, if quantized, simulated.",
     eval_flags, 1, 1, eval_examples, model_eval_command},
    {"model quantize", "NAME|FILE", 1, 1,
     "Applies one method to a checkpoint and writes the compressed model.", quantize_flags, 0, 1,
     quantize_examples, model_quantize_command},
    {"model export", "NAME|FILE", 1, 1, "Writes a model as a safetensors file.", export_flags, 0, 0,
     export_examples, model_export_command},
    {"merge", "A.csv B.csv..", 1, 100000,
     "Joins record files: rows that say the same appear once, rows that contradict are an error.",
     merge_flags, 0, 0, merge_examples, merge_command},
    {"compare", "BASE.csv NEW.csv", 2, 2,
     "Compares two files arm by arm: regressed, improved, same, inconclusive or failed-to-measure.",
     compare_flags, 1, 0, compare_examples, compare_command},
    {"report", "RUN.csv..", 1, 100000,
     "Makes a page of record files: figures with intervals and Pareto fronts, layers, counters, "
     "machine, and all rows in a table.",
     report_flags, 0, 0, report_examples, report_command},
    {"completion", "bash|zsh", 1, 1,
     "Prints a script that completes commands, flags and names in a shell. An installed pare comes "
     "with it.",
     NULL, 0, 0, completion_examples, completion_command},
    {"man", "", 0, 0, "Prints the manual page, for `man`. An installed pare comes with it.", NULL,
     0, 0, man_examples, man_command},
    {0},
};

const struct command *cli_commands(void) {
    return commands;
}
