/* SPDX-License-Identifier: MIT */
#include "experiment/fill.h"

#include "core/alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void fill_machine(struct record *rec, const struct machine *m) {
    record_set(rec, COL_host, m->host);
    record_set(rec, COL_cpu, m->cpu);
    record_set(rec, COL_arch, m->arch);
    record_set(rec, COL_os, m->os);
    record_set(rec, COL_compiler, m->compiler);
    record_set(rec, COL_flags, m->flags);
    record_set(rec, COL_git_commit, m->git_commit);
    record_set(rec, COL_pare_version, pare_version());
    record_set_int(rec, COL_cores, m->cores);
    record_set(rec, COL_governor, m->governor);
    record_set(rec, COL_boost, m->boost);
    record_set(rec, COL_topology, m->topology);
    record_set(rec, COL_virtual, m->virtualization);
    record_set(rec, COL_features, m->isa);
}

void fill_accuracy(struct record *rec, const struct accuracy *acc) {
    record_set_int(rec, COL_n_samples, acc->n_samples);
    record_set_real(rec, COL_top1, acc->top1);
    record_set_real(rec, COL_top1_ci_lo, acc->top1_ci_lo);
    record_set_real(rec, COL_top1_ci_hi, acc->top1_ci_hi);
    record_set_real(rec, COL_top5, acc->top5);
    record_set_real(rec, COL_loss, acc->loss);
    record_set_real(rec, COL_precision_macro, acc->precision_macro);
    record_set_real(rec, COL_recall_macro, acc->recall_macro);
    record_set_real(rec, COL_f1_macro, acc->f1_macro);
    record_set_real(rec, COL_precision_micro, acc->precision_micro);
    record_set_real(rec, COL_recall_micro, acc->recall_micro);
    record_set_real(rec, COL_f1_micro, acc->f1_micro);
    record_set_real(rec, COL_precision_weighted, acc->precision_weighted);
    record_set_real(rec, COL_recall_weighted, acc->recall_weighted);
    record_set_real(rec, COL_f1_weighted, acc->f1_weighted);
}

void fill_paired(struct record *rec, const struct accuracy_paired *paired) {
    record_set_int(rec, COL_flips_lost, paired->flips_lost);
    record_set_int(rec, COL_flips_won, paired->flips_won);
    record_set_real(rec, COL_mcnemar_p, paired->mcnemar_p);
    record_set_real(rec, COL_agreement, paired->agreement);
}

/* "[[row of true class 0],[row of true class 1]]"; malloc'd. */
static char *confusion_text(const int64_t *cells, int32_t n_classes) {
    char *text = NULL;
    size_t n_bytes = 0;
    FILE *out = open_memstream(&text, &n_bytes);
    if (!out)
        return NULL;
    for (int32_t t = 0; t < n_classes; t++) {
        for (int32_t p = 0; p < n_classes; p++)
            fprintf(out, "%s%lld",
                    p   ? ","
                    : t ? "],["
                        : "[[",
                    (long long)cells[(size_t)t * (size_t)n_classes + (size_t)p]);
    }
    fputs("]]", out);
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

pare_status fill_confusion(struct record *rec, const uint8_t *predictions, const uint8_t *labels,
                           int64_t n, int32_t n_classes, struct error *err) {
    int64_t *cells = alloc_array((size_t)n_classes * (size_t)n_classes, sizeof *cells);
    for (int64_t i = 0; cells && i < n; i++)
        cells[labels[i] * n_classes + predictions[i]]++;
    char *text = cells ? confusion_text(cells, n_classes) : NULL;
    free(cells);
    if (!text)
        return error_set(err, PARE_E_NOMEM, "out of memory for a confusion matrix");
    record_set(rec, COL_confusion_json, text);
    free(text);
    return PARE_OK;
}

int graph_is_quantized(const pare_graph *graph) {
    for (int32_t i = 0; i < graph->n_weights; i++) {
        if (graph->weights[i]->quant.bits)
            return 1;
    }
    for (int32_t i = 0; i < graph->n_nodes; i++) {
        if (graph->nodes[i]->activation.bits)
            return 1;
    }
    return 0;
}

static double mean_weight_bits(const pare_graph *graph) {
    double bits = 0, n = 0;
    for (int32_t i = 0; i < graph->n_weights; i++) {
        const pare_weight *w = graph->weights[i];
        if (w->role != PARE_ROLE_WEIGHT)
            continue;
        bits += (double)w->n_elems * (w->quant.bits ? w->quant.bits : 32);
        n += (double)w->n_elems;
    }
    return n > 0 ? bits / n : 32;
}

/* Bits of a value, 0: float. What only moves values and has no quantization has its input's. */
static int32_t value_bits(const pare_graph *graph, const pare_node *node) {
    while (!node->activation.bits &&
           (node->op == PARE_OP_RELU || node->op == PARE_OP_MAX_POOL ||
            node->op == PARE_OP_FLATTEN || node->op == PARE_OP_SHORTCUT_A ||
            node->op == PARE_OP_QUANTIZE))
        node = graph->nodes[node->inputs[0]];
    return node->activation.bits;
}

/* Over the values that a conv2d or linear reads: those decide the arithmetic. */
static double mean_activation_bits(const pare_graph *graph) {
    double bits = 0, n = 0;
    for (int32_t i = 0; i < graph->n_nodes; i++) {
        const pare_node *node = graph->nodes[i];
        if (node->op != PARE_OP_CONV2D && node->op != PARE_OP_LINEAR)
            continue;
        const pare_node *in = graph->nodes[node->inputs[0]];
        double elems = (double)in->dims[0] * in->dims[1] * in->dims[2];
        int32_t in_bits = value_bits(graph, in);
        bits += elems * (in_bits ? in_bits : 32);
        n += elems;
    }
    return n > 0 ? bits / n : 32;
}

pare_status fill_size(struct record *rec, const struct model *model, const struct model *base,
                      struct error *err) {
    struct model_counts counts, base_counts;
    struct model_sizes sizes, base_sizes;
    if (model_measure_sizes(model, err, &sizes) != PARE_OK ||
        model_measure_sizes(base, err, &base_sizes) != PARE_OK)
        return err->status;
    model_count(model, &counts);
    model_count(base, &base_counts);
    record_set_int(rec, COL_params_total, base_counts.params_total);
    record_set_int(rec, COL_params_nonzero, counts.params_nonzero);
    /* Of what the model has now, so that folding batch norm does not count as pruning. */
    record_set_real(rec, COL_sparsity,
                    1 - (double)counts.params_nonzero / (double)counts.params_total);
    record_set_real(rec, COL_sparsity_prunable,
                    1 - (double)counts.prunable_nonzero / (double)base_counts.prunable_total);
    record_set_int(rec, COL_macs_dense, base_counts.macs_dense);
    record_set_int(rec, COL_macs_effective, counts.macs_effective);
    record_set_real(rec, COL_sparsity_macs,
                    1 - (double)counts.macs_effective / (double)base_counts.macs_dense);
    record_set_int(rec, COL_bytes_fp32, base_sizes.bytes_fp32);
    record_set_int(rec, COL_bytes_file, sizes.bytes_file);
    record_set_int(rec, COL_bytes_zstd, sizes.bytes_zstd);
    record_set_real(rec, COL_compression_ratio,
                    (double)base_sizes.bytes_fp32 / (double)sizes.bytes_file);
    record_set_real(rec, COL_weight_bits, mean_weight_bits(&model->graph));
    record_set_real(rec, COL_activation_bits, mean_activation_bits(&model->graph));
    return fill_layers(rec, model, err);
}

/* "ref_conv2d_i8 x20; ref_add_i8 x9": in order of first use. */
static void fill_kernels(struct record *rec, const pare_executable_info *info) {
    char *text = NULL;
    size_t n_bytes = 0;
    FILE *out = open_memstream(&text, &n_bytes);
    if (!out)
        return;
    for (int32_t i = 0; i < info->n_kernels; i++) {
        int32_t n = 0, first = 1;
        for (int32_t k = 0; k < info->n_kernels; k++) {
            if (strcmp(info->kernels[k]->kernel, info->kernels[i]->kernel) != 0)
                continue;
            first &= k >= i;
            n++;
        }
        if (first)
            fprintf(out, "%s%s x%d", i ? "; " : "", info->kernels[i]->kernel, n);
    }
    if (fclose(out) == 0)
        record_set(rec, COL_kernels, text);
    free(text);
}

void fill_execution(struct record *rec, const struct deployment *dep) {
    record_set(rec, COL_backend, dep->backend->id);
    record_set(rec, COL_backend_version, dep->backend->version);
    record_set(rec, COL_isa, dep->info->isa);
    record_set(rec, COL_execution, dep->info->execution);
    record_set_int(rec, COL_fallback_ops, dep->n_fallback);
    record_set_int(rec, COL_bytes_resident, dep->info->bytes_resident);
    record_set_int(rec, COL_bytes_activations, dep->info->bytes_activations);
    fill_kernels(rec, dep->info);
}

void fill_profile(struct record *rec, enum latency_profile profile) {
    static const char *const names[] = {
        [PROFILE_QUICK] = "quick", [PROFILE_DEFAULT] = "default", [PROFILE_MLPERF] = "mlperf"};
    record_set(rec, COL_profile, names[profile]);
}

void fill_outcome(struct record *rec, pare_status status, const char *error) {
    char text[32];
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
    record_set_int(rec, COL_schema_version, RECORD_SCHEMA_VERSION);
    record_set(rec, COL_time_utc, text);
    record_set(rec, COL_status,
               status == PARE_OK              ? "ok"
               : status == PARE_E_UNSUPPORTED ? "unsupported"
                                              : "failed");
    record_set(rec, COL_error, status == PARE_OK ? "" : error);
}
