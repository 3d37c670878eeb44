/* SPDX-License-Identifier: MIT */
/* Every comparison and exchange here is in the order in which libstdc++ makes it: that order
 * decides which of equal elements end up in front. */
#include "topk.h"

/* Does a come before b? */
typedef int (*precedes)(const struct scored *a, const struct scored *b);

static int is_smaller(const struct scored *a, const struct scored *b) {
    return a->score < b->score;
}

static int is_larger(const struct scored *a, const struct scored *b) {
    return a->score > b->score;
}

static void swap(struct scored *a, struct scored *b) {
    const struct scored t = *a;
    *a = *b;
    *b = t;
}

/* ---- heaps: the item that comes last is at the top ---- */

/* Puts `item` into the hole: down to a leaf along the later children, then up to its place. */
static void fill_hole(struct scored *heap, int64_t hole, int64_t n, struct scored item,
                      precedes before) {
    const int64_t top = hole;
    int64_t child = hole;
    while (child < (n - 1) / 2) {
        child = 2 * (child + 1);
        child -= before(&heap[child], &heap[child - 1]);
        heap[hole] = heap[child];
        hole = child;
    }
    if (n % 2 == 0 && child == (n - 2) / 2) { /* the last one has no sibling */
        heap[hole] = heap[2 * child + 1];
        hole = 2 * child + 1;
    }
    while (hole > top && before(&heap[(hole - 1) / 2], &item)) {
        heap[hole] = heap[(hole - 1) / 2];
        hole = (hole - 1) / 2;
    }
    heap[hole] = item;
}

/* The first k of n, as a heap in front. */
static void heap_select(struct scored *items, int64_t k, int64_t n, precedes before) {
    for (int64_t parent = k / 2 - 1; parent >= 0; parent--) {
        fill_hole(items, parent, k, items[parent], before);
    }
    for (int64_t i = k; i < n; i++) {
        if (before(&items[i], &items[0])) {
            const struct scored item = items[i];
            items[i] = items[0];
            fill_hole(items, 0, k, item, before);
        }
    }
}

/* ---- partitions ---- */

/* Exchanges items[0] with the median of the second, the middle and the last. */
static void median_to_front(struct scored *items, int64_t n, precedes before) {
    struct scored *a = &items[1];
    struct scored *b = &items[n / 2];
    struct scored *c = &items[n - 1];
    if (before(a, b)) {
        swap(items, before(b, c) ? b : before(a, c) ? c : a);
    } else {
        swap(items, before(a, c) ? a : before(b, c) ? c : b);
    }
}

/* By the pivot in items[0]; the length of the first part. The median of three guards both ends. */
static int64_t partition(struct scored *items, int64_t n, precedes before) {
    int64_t low = 1;
    int64_t high = n;
    for (;; low++) {
        while (before(&items[low], &items[0])) {
            low++;
        }
        do {
            high--;
        } while (before(&items[0], &items[high]));
        if (low >= high) {
            return low;
        }
        swap(&items[low], &items[high]);
    }
}

static void insertion_sort(struct scored *items, int64_t n, precedes before) {
    for (int64_t i = 1; i < n; i++) {
        const struct scored item = items[i];
        int64_t at = i;
        while (at > 0 && before(&item, &items[at - 1])) {
            items[at] = items[at - 1];
            at--;
        }
        items[at] = item;
    }
}

static int floor_log2(int64_t n) {
    int log = 0;
    while (n > 1) {
        n /= 2;
        log++;
    }
    return log;
}

/* Item `nth` to where sorting would put it, nothing later before it. */
static void introselect(struct scored *items, int64_t nth, int64_t n, precedes before) {
    for (int depth = 2 * floor_log2(n); n > 3; depth--) {
        if (depth == 0) { /* too many bad pivots */
            heap_select(items, nth + 1, n, before);
            swap(&items[0], &items[nth]);
            return;
        }
        median_to_front(items, n, before);
        const int64_t cut = partition(items, n, before);
        if (cut <= nth) {
            items += cut;
            nth -= cut;
            n -= cut;
        } else {
            n = cut;
        }
    }
    insertion_sort(items, n, before);
}

static void take(struct scored *items, int64_t n, int64_t k, precedes before) {
    if (k <= 0) {
        return;
    }
    if (k <= n / 64) {
        heap_select(items, k, n, before);
    } else {
        introselect(items, k - 1, n, before);
    }
}

void topk_smallest(struct scored *items, int64_t n, int64_t k) {
    take(items, n, k, is_smaller);
}

void topk_largest(struct scored *items, int64_t n, int64_t k) {
    take(items, n, k, is_larger);
}
