/* SPDX-License-Identifier: MIT */
/* torch.topk on the CPU, ties included. PyTorch 1.13 takes the k first of std::partial_sort
 * (64 k <= n) or std::nth_element (otherwise), which leave the order of equal elements open; which
 * of them are taken follows from how GNU libstdc++ partitions (Musser 1997, "Introspective sorting
 * and selection algorithms"): always the same for the same input, but in no simple order. */
#ifndef METHODS_COMMON_TOPK_H
#define METHODS_COMMON_TOPK_H

#include <stdint.h>

struct scored {
    float score; /* not NaN */
    int64_t place;
};

/* Reorders items (n) so that the first k, 0 <= k <= n, are those that torch.topk returns, in no
 * particular order. [any] */
void topk_smallest(struct scored *items, int64_t n, int64_t k);
void topk_largest(struct scored *items, int64_t n, int64_t k);

#endif
