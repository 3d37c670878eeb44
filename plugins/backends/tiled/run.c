/* SPDX-License-Identifier: MIT */
/* Runs executables: chunks of a batch through all steps, tasks for threads, values shown. */
#include "show.h"
#include "tiled.h"

#include <pare/ext/profile.h>
#include <string.h>

/* Tasks that each thread gets of a step of a single image, so that a late one does not hold up the
 * others for long. */
#define ROW_TASKS_PER_THREAD 4

/* Some images of a batch on their way through the steps. */
struct chunk {
    const struct tiled_executable *exe;
    const float *images; /* (n,H,W,C) */
    float *output;       /* (n,n_classes) */
    int32_t n;
    char *arena;
    int shared; /* is each step shared by the threads? */
};

/* A value's memory: the images are only read. */
static char *value_memory(const struct chunk *chunk, int32_t v) {
    const struct lower_value *value = &chunk->exe->plan.low.values[v];
    switch (value->place) {
    case LOWER_IMAGES:
        return (char *)(uintptr_t)chunk->images;
    case LOWER_OUTPUT:
        return (char *)chunk->output;
    case LOWER_ARENA:
        break;
    }
    return chunk->arena + value->offset_bytes;
}

static pare_status check_images(const struct tiled_executable *exe, const float *images,
                                int32_t n) {
    if (n < 1 || n > exe->max_batch) {
        return exe->host->fail(exe->host, PARE_E_RANGE, "batch is %d, compiled for 1..%d", n,
                               exe->max_batch);
    }
    for (int32_t i = 0; i < n; i++) {
        if (!exe->kernels->all_finite(images + (int64_t)i * exe->input_elems, exe->input_elems)) {
            return exe->host->fail(exe->host, PARE_E_NUMERIC,
                                   "image %d of the batch holds a value that is not finite", i);
        }
    }
    return PARE_OK;
}

static int is_in_planes(const struct tiled_layout *l) {
    return l->planes.pitch_h > 0;
}

/* A step that makes planes, or reads them. */
static int runs_planes(const struct tiled_call *call) {
    return is_in_planes(call->out_layout) || is_in_planes(call->in_layout[0]);
}

/* What there is to cut for threads: channels of planes; blocks or (16-bit) samples of a linear
 * layer for all samples together, rows of each sample otherwise. */
static int32_t n_pieces(const struct tiled_call *call) {
    const struct lower_step *s = &call->step->low;
    if (runs_planes(call)) {
        return s->out_c;
    }
    if (s->kind == LOWER_LINEAR) {
        return s->arith == LOWER_I16 ? call->n_samples : call->step->product.n_blocks;
    }
    return s->out_h;
}

static void run_part(const struct tiled_call *call, int32_t sample, int32_t part) {
    int64_t n = n_pieces(call);
    int32_t first = (int32_t)(n * part / call->n_parts);
    int32_t end = (int32_t)(n * (part + 1) / call->n_parts);
    if (runs_planes(call)) {
        call->kernels->planes->run(call, sample, first, end);
    } else if (call->step->low.kind == LOWER_LINEAR) {
        call->kernels->run_linear(call, first, end);
    } else {
        call->kernels->run_rows(call, sample, first, end);
    }
}

static void run_task(void *arg, int64_t index) {
    const struct tiled_call *call = arg;
    run_part(call, (int32_t)(index / call->n_parts), (int32_t)(index % call->n_parts));
}

/* Every output is one chain of operations whatever the parts, so that they may depend on the number
 * of threads. */
static void share(const struct chunk *chunk, struct tiled_call *call) {
    const pare_host *host = chunk->exe->host;
    int32_t n_samples = call->step->low.kind == LOWER_LINEAR ? 1 : call->n_samples;
    if (!chunk->shared) {
        call->n_parts = 1;
        for (int32_t i = 0; i < n_samples; i++) {
            run_part(call, i, 0);
        }
        return;
    }
    int64_t wanted = (int64_t)ROW_TASKS_PER_THREAD * host->n_threads(host);
    int64_t parts = (wanted + n_samples - 1) / n_samples;
    int64_t pieces = n_pieces(call);
    call->n_parts = (int32_t)(parts < pieces ? parts : pieces);
    host->parallel_for(host, (int64_t)n_samples * call->n_parts, run_task, call);
}

static void run_step(const struct chunk *chunk, int32_t index) {
    const struct tiled_executable *exe = chunk->exe;
    const struct tiled_step *step = &exe->steps[index];
    struct tiled_call call = {
        .kernels = exe->kernels,
        .step = step,
        .out = &exe->plan.low.values[step->low.out],
        .out_layout = &exe->plan.layouts[step->low.out],
        .middle = &exe->plan.low.values[step->fused.middle],
        .y = value_memory(chunk, step->low.out),
        .n_samples = chunk->n,
    };
    for (int32_t k = 0; k < step->low.n_inputs; k++) {
        int32_t v = step->low.in[k];
        call.in[k] = &exe->plan.low.values[v];
        call.in_layout[k] = &exe->plan.layouts[v];
        call.x[k] = value_memory(chunk, v);
    }
    share(chunk, &call);
}

/* Images [first, first + n) of a batch, in the arena of task `task`. */
static struct chunk chunk_at(const struct tiled_executable *exe, const float *images, float *output,
                             int32_t first, int32_t n, int32_t task) {
    return (struct chunk){
        .exe = exe,
        .images = images + (int64_t)first * exe->input_elems,
        .output = output + (int64_t)first * exe->output_elems,
        .n = n,
        .arena = exe->arenas + task * exe->plan.low.arena_bytes,
    };
}

struct batch {
    const struct tiled_executable *exe;
    const float *images;
    float *output;
    int32_t n, n_tasks;
};

/* A task's share of the images, chunk after chunk. */
static void run_images(void *arg, int64_t task) {
    const struct batch *b = arg;
    int32_t first = (int32_t)(b->n * task / b->n_tasks);
    int32_t end = (int32_t)(b->n * (task + 1) / b->n_tasks);
    int32_t most = b->exe->plan.low.max_batch;
    for (int32_t i = first; i < end; i += most) {
        int32_t n = end - i < most ? end - i : most;
        struct chunk chunk = chunk_at(b->exe, b->images, b->output, i, n, (int32_t)task);
        for (int32_t s = 0; s < b->exe->n_steps; s++) {
            run_step(&chunk, s);
        }
    }
}

pare_status tiled_run(void *executable, const float *images, int32_t n, float *output) {
    const struct tiled_executable *exe = executable;
    pare_status status = check_images(exe, images, n);
    if (status != PARE_OK) {
        return status;
    }
    int32_t n_threads = exe->host->n_threads(exe->host);
    if (n_threads == 1) {
        run_images(&(struct batch){exe, images, output, n, 1}, 0);
    } else if (n == 1) {
        struct chunk chunk = chunk_at(exe, images, output, 0, 1, 0);
        chunk.shared = 1;
        for (int32_t s = 0; s < exe->n_steps; s++) {
            run_step(&chunk, s);
        }
    } else {
        struct batch b = {exe, images, output, n, n < exe->n_arenas ? n : exe->n_arenas};
        exe->host->parallel_for(exe->host, b.n_tasks, run_images, &b);
    }
    return PARE_OK;
}

void tiled_run_step(void *executable, int32_t step, const float *images, float *output) {
    struct chunk chunk = chunk_at(executable, images, output, 0, 1, 0);
    run_step(&chunk, step);
}

const struct tiled_step *tiled_steps(void *executable, int32_t *n) {
    const struct tiled_executable *exe = executable;
    *n = exe->n_steps;
    return exe->steps;
}

/* ---- showing values ---- */

/* A row of n signs that are bits in pixels of c. */
static pare_status show_bits(struct show *show, int32_t v, const struct tiled_layout *l, int64_t at,
                             const char *row) {
    const int32_t offset = show->code_offset;
    pare_status status = PARE_OK;
    for (int64_t x = 0; status == PARE_OK && x < l->w; x++, row += l->pixel_bytes) {
        for (int64_t c = 0; status == PARE_OK && c < l->c; c++) {
            int bit = ((const uint8_t *)row)[c / 8] >> c % 8 & 1;
            uint8_t code = (uint8_t)(2 * bit - 1 + offset);
            status = show_gather(show, v, at + x * l->c + c, 1, &code);
        }
    }
    return status;
}

/* Row y of sample i of a value in planes. */
static pare_status show_planes(struct show *show, int32_t v, const struct tiled_layout *l,
                               const struct tiled_planes_kernels *kernels, int64_t at, int32_t y,
                               const char *sample) {
    const struct tiled_planes *p = &l->planes;
    pare_status status = PARE_OK;
    for (int32_t x = 0; status == PARE_OK && x < l->w; x++) {
        int32_t lane = y / p->pitch_h * kernels->grid_w + x / p->pitch_w;
        const char *from = sample + l->first_bytes + y % p->pitch_h * l->row_bytes +
                           x % p->pitch_w * l->pixel_bytes + lane * l->elem_bytes;
        for (int32_t c = 0; status == PARE_OK && c < l->c; c++) {
            status = show_gather(show, v, at + (int64_t)x * l->c + c, 1, from + c * p->plane_bytes);
        }
    }
    return status;
}

/* Value v of a chunk, whose first image is image `first`. */
static pare_status show_value(struct show *show, const struct chunk *chunk, int32_t v,
                              int64_t first) {
    const struct tiled_layout *l = &chunk->exe->plan.layouts[v];
    const char *memory = value_memory(chunk, v);
    const int64_t n = (int64_t)l->w * l->c;
    pare_status status = PARE_OK;
    for (int64_t i = 0; i < chunk->n; i++) {
        for (int64_t y = 0; status == PARE_OK && y < l->h; y++) {
            const char *row = memory + i * l->sample_bytes + l->first_bytes + y * l->row_bytes;
            const int64_t at = ((first + i) * l->h + y) * n;
            if (is_in_planes(l)) {
                status = show_planes(show, v, l, chunk->exe->kernels->planes, at, (int32_t)y,
                                     memory + i * l->sample_bytes);
                continue;
            }
            status = l->is_bits ? show_bits(show, v, l, at, row) : show_gather(show, v, at, n, row);
        }
    }
    return status;
}

static pare_status show_chunk(struct show *show, const struct chunk *chunk, int64_t first) {
    pare_status status = show_value(show, chunk, 0, first); /* value 0 is the images */
    for (int32_t s = 0; status == PARE_OK && s < chunk->exe->n_steps; s++) {
        run_step(chunk, s);
        status = show_value(show, chunk, chunk->exe->steps[s].low.out, first);
    }
    return status;
}

static pare_status observe_run(void *executable, const float *images, int32_t n, float *output,
                               pare_observer observer, void *context) {
    const struct tiled_executable *exe = executable;
    struct show show;
    pare_status status = check_images(exe, images, n);
    if (status == PARE_OK) {
        status = show_begin(&show, exe->host, &exe->plan.low, n, exe->backend->code_offset);
    }
    if (status != PARE_OK) {
        return status;
    }
    int32_t most = exe->plan.low.max_batch;
    for (int32_t i = 0; status == PARE_OK && i < n; i += most) {
        struct chunk chunk = chunk_at(exe, images, output, i, n - i < most ? n - i : most, 0);
        status = show_chunk(&show, &chunk, i);
    }
    if (status == PARE_OK) {
        status = show_hand_over(&show, 0, observer, context);
    }
    for (int32_t s = 0; status == PARE_OK && s < exe->n_steps; s++) {
        status = show_hand_over(&show, exe->steps[s].low.out, observer, context);
    }
    show_end(&show);
    return status;
}

/* Chunks in turn, the steps of each shared by the threads as those of a single image are. */
static pare_status profile_run(void *executable, const float *images, int32_t n, float *output,
                               pare_kernel_done done, void *context) {
    const struct tiled_executable *exe = executable;
    pare_status status = check_images(exe, images, n);
    int32_t most = exe->plan.low.max_batch;
    done(context, -1);
    for (int32_t i = 0; status == PARE_OK && i < n; i += most) {
        struct chunk chunk = chunk_at(exe, images, output, i, n - i < most ? n - i : most, 0);
        chunk.shared = exe->host->n_threads(exe->host) > 1;
        for (int32_t s = 0; s < exe->n_steps; s++) {
            run_step(&chunk, s);
            done(context, s);
        }
    }
    return status;
}

const void *tiled_get_extension(const char *id) {
    static const pare_backend_observe observe = {
        .struct_size = sizeof(pare_backend_observe),
        .run = observe_run,
    };
    static const pare_backend_profile profile = {
        .struct_size = sizeof(pare_backend_profile),
        .run = profile_run,
    };
    if (strcmp(id, PARE_BACKEND_PROFILE) == 0) {
        return &profile;
    }
    return strcmp(id, PARE_BACKEND_OBSERVE) == 0 ? &observe : NULL;
}
