/* SPDX-License-Identifier: MIT */
/* The embedded dataset: digits drawn from strokes. A digit's outline is one of a few hand-made
 * stroke tables; its control points are jittered, then slanted, scaled, rotated and shifted, drawn
 * with a round pen by the distance to the stroke, and covered with a stray line and noise.
 *
 * The same bits on every machine: nothing but + - * / and sqrt on doubles, which IEEE 754 rounds
 * correctly, and integers; contraction is off for the whole project. */
#include "core/rng.h"
#include "dataset/sources.h"

#include <math.h>
#include <string.h>

enum { SIDE = 28, MAX_POINTS = 12, MAX_STROKES = 3, SMOOTH_STEPS = 4 };
enum { MAX_LINE = MAX_POINTS * SMOOTH_STEPS + 1 };

/* Every choice of the generator; all in pixels, or fractions. */
static const double PEN_MIN = 0.55, PEN_MAX = 1.75;
static const double JITTER = 0.13; /* of a control point, in units of the half height */
static const double HEIGHT_MIN = 6.0, HEIGHT_MAX = 10.0; /* half height */
static const double WIDTH_MIN = 0.6, WIDTH_MAX = 1.15;   /* of the height */
static const double SLANT_MAX = 0.45;
static const double TURN_MAX = 0.22; /* tangent of half the angle: 25 degrees */
static const double SHIFT_MAX = 3.0;
static const double INK_MIN = 0.55, NOISE_MAX = 0.14;

struct stroke {
    enum { STRAIGHT, SMOOTH, CLOSED } kind;
    int n;
    double points[MAX_POINTS][2]; /* x, y in [-1,1], y down */
};

struct glyph {
    uint8_t digit;
    int n_strokes;
    struct stroke strokes[MAX_STROKES];
};

/* clang-format off */
static const struct glyph glyphs[] = {
    {0, 1, {{CLOSED, 8, {{0, -1}, {.55, -.7}, {.7, 0}, {.55, .7}, {0, 1}, {-.55, .7}, {-.7, 0},
                {-.55, -.7}}}}},
    {0, 1, {{CLOSED, 6, {{.2, -1}, {.6, -.4}, {.4, .6}, {-.1, 1}, {-.55, .5}, {-.35, -.6}}}}},
    {1, 1, {{STRAIGHT, 2, {{0, -1}, {0, 1}}}}},
    {1, 1, {{STRAIGHT, 3, {{-.4, -.55}, {.08, -1}, {.08, 1}}}}},
    {1, 2, {{STRAIGHT, 3, {{-.35, -.6}, {.05, -1}, {.05, 1}}},
            {STRAIGHT, 2, {{-.45, 1}, {.5, 1}}}}},
    {2, 2, {{SMOOTH, 7, {{-.6, -.55}, {-.3, -.93}, {.2, -.98}, {.58, -.6}, {.42, -.1}, {-.1, .45},
                {-.6, 1}}},
            {STRAIGHT, 2, {{-.6, 1}, {.65, 1}}}}},
    {2, 1, {{SMOOTH, 10, {{-.55, -.6}, {-.1, -1}, {.45, -.75}, {.4, -.2}, {-.05, .4}, {-.5, .9},
                {-.55, .6}, {-.15, .6}, {.2, .95}, {.7, .8}}}}},
    {3, 2, {{SMOOTH, 5, {{-.55, -.75}, {-.1, -1}, {.45, -.75}, {.4, -.25}, {-.1, -.05}}},
            {SMOOTH, 5, {{-.1, -.05}, {.45, .15}, {.55, .65}, {.1, 1}, {-.6, .75}}}}},
    {3, 2, {{STRAIGHT, 3, {{-.5, -1}, {.5, -1}, {-.05, -.2}}},
            {SMOOTH, 5, {{-.05, -.2}, {.5, .05}, {.5, .7}, {0, 1}, {-.6, .8}}}}},
    {4, 2, {{STRAIGHT, 3, {{.2, -1}, {-.65, .35}, {.7, .35}}},
            {STRAIGHT, 2, {{.3, -.35}, {.3, 1}}}}},
    {4, 2, {{SMOOTH, 4, {{-.5, -.95}, {-.6, -.1}, {-.1, .1}, {.55, .05}}},
            {STRAIGHT, 2, {{.5, -.95}, {.4, 1}}}}},
    {4, 2, {{STRAIGHT, 3, {{.35, -1}, {-.65, .35}, {.7, .35}}},
            {STRAIGHT, 2, {{.35, -1}, {.35, 1}}}}},
    {5, 2, {{STRAIGHT, 3, {{.55, -1}, {-.42, -1}, {-.5, -.15}}},
            {SMOOTH, 6, {{-.5, -.15}, {.1, -.32}, {.58, .12}, {.5, .72}, {-.05, 1}, {-.6, .8}}}}},
    {5, 1, {{SMOOTH, 8, {{.6, -.95}, {-.2, -.95}, {-.45, -.5}, {-.2, -.15}, {.35, .05}, {.5, .55},
                {.1, .95}, {-.55, .85}}}}},
    {6, 1, {{SMOOTH, 9, {{.45, -1}, {-.2, -.55}, {-.55, .2}, {-.4, .85}, {.1, 1}, {.55, .6},
                {.3, .1}, {-.15, .1}, {-.5, .5}}}}},
    {6, 2, {{STRAIGHT, 2, {{.1, -1}, {-.5, .4}}},
            {CLOSED, 6, {{-.5, .4}, {-.1, .05}, {.4, .15}, {.5, .6}, {.1, 1}, {-.4, .85}}}}},
    {7, 1, {{STRAIGHT, 3, {{-.6, -1}, {.6, -1}, {-.15, 1}}}}},
    {7, 2, {{SMOOTH, 5, {{-.6, -.85}, {0, -.95}, {.55, -.95}, {.15, -.1}, {-.1, 1}}},
            {STRAIGHT, 2, {{-.3, .05}, {.5, 0}}}}},
    {8, 1, {{CLOSED, 10, {{.45, -.65}, {0, -1}, {-.45, -.65}, {-.2, -.25}, {.25, .1}, {.55, .6},
                {0, 1}, {-.55, .6}, {-.25, .1}, {.2, -.25}}}}},
    {8, 2, {{CLOSED, 6, {{0, -1}, {.4, -.75}, {.35, -.3}, {0, -.1}, {-.35, -.3}, {-.4, -.75}}},
            {CLOSED, 6, {{0, -.1}, {.5, .2}, {.45, .75}, {0, 1}, {-.45, .75}, {-.5, .2}}}}},
    {9, 2, {{CLOSED, 6, {{.5, -.55}, {.1, -1}, {-.45, -.8}, {-.5, -.3}, {-.05, -.05}, {.4, -.25}}},
            {STRAIGHT, 2, {{.5, -.55}, {.3, 1}}}}},
    {9, 2, {{CLOSED, 6, {{.5, -.5}, {.1, -1}, {-.45, -.8}, {-.5, -.3}, {-.05, -.05}, {.4, -.25}}},
            {SMOOTH, 5, {{.5, -.5}, {.55, .2}, {.35, .8}, {-.1, 1}, {-.5, .8}}}}},
};
/* clang-format on */
enum { N_GLYPHS = sizeof glyphs / sizeof glyphs[0] };

static double uniform(pare_rng *rng, double lo, double hi) {
    return lo + (hi - lo) * rng_double(rng);
}

/* ---- from control points to a line ---- */

/* Catmull-Rom: through b at t = 0 and c at t = 1. */
static double smooth(double a, double b, double c, double d, double t) {
    return b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)));
}

/* The stroke's points, in order, with SMOOTH_STEPS pieces between two control points. */
static int trace(const struct stroke *stroke, double points[][2], double line[MAX_LINE][2]) {
    int n = stroke->n, closed = stroke->kind == CLOSED, n_line = 0;
    if (stroke->kind == STRAIGHT) {
        memcpy(line, points, (size_t)n * sizeof line[0]);
        return n;
    }
    for (int k = 0; k < (closed ? n : n - 1); k++) {
        int before = closed ? (k + n - 1) % n : (k > 0 ? k - 1 : 0);
        int next = (k + 1) % n;
        int after = closed ? (k + 2) % n : (k + 2 < n ? k + 2 : n - 1);
        for (int step = 0; step < SMOOTH_STEPS; step++, n_line++)
            for (int axis = 0; axis < 2; axis++)
                line[n_line][axis] =
                    smooth(points[before][axis], points[k][axis], points[next][axis],
                           points[after][axis], (double)step / SMOOTH_STEPS);
    }
    memcpy(line[n_line], points[closed ? 0 : n - 1], sizeof line[0]);
    return n_line + 1;
}

/* x' = m[0] x + m[1] y + m[2], y' = m[3] x + m[4] y + m[5], from the unit box to pixels. */
static void random_frame(pare_rng *rng, double m[6]) {
    double height = uniform(rng, HEIGHT_MIN, HEIGHT_MAX);
    double width = height * uniform(rng, WIDTH_MIN, WIDTH_MAX);
    double slant = uniform(rng, -SLANT_MAX, SLANT_MAX);
    /* A rotation without sine and cosine: t is the tangent of half the angle. */
    double t = uniform(rng, -TURN_MAX, TURN_MAX);
    double cosine = (1 - t * t) / (1 + t * t), sine = 2 * t / (1 + t * t);
    double sheared = -slant * width;
    m[0] = cosine * width;
    m[1] = cosine * sheared - sine * height;
    m[2] = SIDE / 2.0 + uniform(rng, -SHIFT_MAX, SHIFT_MAX);
    m[3] = sine * width;
    m[4] = sine * sheared + cosine * height;
    m[5] = SIDE / 2.0 + uniform(rng, -SHIFT_MAX, SHIFT_MAX);
}

/* ---- drawing ---- */

static double clamp(double x, double lo, double hi) {
    return x < lo ? lo : x > hi ? hi : x;
}

static int clamp_pixel(double x) {
    return (int)clamp(x, 0, SIDE - 1);
}

/* Lowers nearest (SIDE,SIDE), squared distances of pixel centres, around one straight piece. */
static void draw_piece(const double a[2], const double b[2], double reach, double *nearest) {
    double dx = b[0] - a[0], dy = b[1] - a[1], length2 = dx * dx + dy * dy;
    double x_lo = a[0] < b[0] ? a[0] : b[0], x_hi = a[0] < b[0] ? b[0] : a[0];
    double y_lo = a[1] < b[1] ? a[1] : b[1], y_hi = a[1] < b[1] ? b[1] : a[1];
    int right = clamp_pixel(x_hi + reach), bottom = clamp_pixel(y_hi + reach);
    for (int y = clamp_pixel(y_lo - reach); y <= bottom; y++)
        for (int x = clamp_pixel(x_lo - reach); x <= right; x++) {
            double px = x + 0.5 - a[0], py = y + 0.5 - a[1];
            double t = length2 > 0 ? clamp((px * dx + py * dy) / length2, 0, 1) : 0;
            double ex = px - t * dx, ey = py - t * dy, d2 = ex * ex + ey * ey;
            if (d2 < nearest[SIDE * y + x])
                nearest[SIDE * y + x] = d2;
        }
}

/* Ink (0..1) of a round pen: full within the radius, fading over one pixel at its edge. */
static void ink_piece(const double *nearest, double radius, double ink, double *image) {
    for (int k = 0; k < SIDE * SIDE; k++) {
        if (nearest[k] >= (radius + 0.5) * (radius + 0.5))
            continue;
        double covered = ink * clamp(radius + 0.5 - sqrt(nearest[k]), 0, 1);
        if (covered > image[k])
            image[k] = covered;
    }
}

static void draw_strokes(pare_rng *rng, const struct glyph *glyph, double radius, double *nearest) {
    double m[6];
    random_frame(rng, m);
    for (int s = 0; s < glyph->n_strokes; s++) {
        const struct stroke *stroke = &glyph->strokes[s];
        double points[MAX_POINTS][2], line[MAX_LINE][2];
        for (int k = 0; k < stroke->n; k++) {
            double x = stroke->points[k][0] + uniform(rng, -JITTER, JITTER);
            double y = stroke->points[k][1] + uniform(rng, -JITTER, JITTER);
            points[k][0] = m[0] * x + m[1] * y + m[2];
            points[k][1] = m[3] * x + m[4] * y + m[5];
        }
        int n = trace(stroke, points, line);
        for (int k = 0; k + 1 < n; k++)
            draw_piece(line[k], line[k + 1], radius + 1, nearest);
    }
}

/* A short line anywhere, fainter than the digit. */
static void draw_stray(pare_rng *rng, double *nearest) {
    double a[2], b[2];
    for (int axis = 0; axis < 2; axis++) {
        a[axis] = uniform(rng, 0, SIDE);
        b[axis] = a[axis] + uniform(rng, -9, 9);
    }
    draw_piece(a, b, 2, nearest);
}

static void forget_distances(double *nearest) {
    for (int k = 0; k < SIDE * SIDE; k++)
        nearest[k] = 1e9;
}

/* Eight random bytes, summed: close to a normal deviate of mean 1020 and deviation 209. */
static double noise(pare_rng *rng) {
    uint64_t bits = rng_next(rng);
    int sum = 0;
    for (int k = 0; k < 8; k++)
        sum += (int)(bits >> (8 * k) & 255);
    return (sum - 1020) / 209.0;
}

void glyphs_draw(const char *stream, uint64_t index, uint8_t *image, uint8_t *label) {
    pare_rng rng;
    rng_init(&rng, 1, stream, index);
    uint8_t digit = (uint8_t)rng_below(&rng, 10);
    int first = 0, n = 0;
    for (int k = 0; k < N_GLYPHS; k++) {
        first = glyphs[k].digit == digit && n == 0 ? k : first;
        n += glyphs[k].digit == digit;
    }
    const struct glyph *glyph = &glyphs[first + (int)rng_below(&rng, (uint64_t)n)];
    double nearest[SIDE * SIDE], drawn[SIDE * SIDE] = {0};
    double radius = uniform(&rng, PEN_MIN, PEN_MAX), ink = uniform(&rng, INK_MIN, 1);
    forget_distances(nearest);
    draw_strokes(&rng, glyph, radius, nearest);
    ink_piece(nearest, radius, ink, drawn);
    if (rng_below(&rng, 3) == 0) {
        forget_distances(nearest);
        draw_stray(&rng, nearest);
        /* One draw per statement: C leaves the order of a call's arguments open. */
        double shade = ink * uniform(&rng, 0.3, 0.9);
        double width = uniform(&rng, 0.3, 0.8);
        ink_piece(nearest, width, shade, drawn);
    }
    double strength = uniform(&rng, 0, NOISE_MAX);
    for (int k = 0; k < SIDE * SIDE; k++)
        image[k] = (uint8_t)(255 * clamp(drawn[k] + strength * noise(&rng), 0, 1) + 0.5);
    *label = digit;
}
