/* SPDX-License-Identifier: MIT */
/* Values that share a few centroids: k-means in one dimension. */
#ifndef DEEP_COMPRESSION_CODEBOOK_H
#define DEEP_COMPRESSION_CODEBOOK_H

#include <pare/plugin.h>

enum { CODEBOOK_MAX_BITS = 8, CODEBOOK_MAX = 1 << CODEBOOK_MAX_BITS };

struct codebook {
    int32_t n; /* centroids, ascending as k-means leaves them; 0: there are no values */
    float centroids[CODEBOOK_MAX];
};

/* k-means (Lloyd 1982) of the kept values of w (n) into at most 2^bits centroids. They start evenly
 * between the least and the largest value (Han et al. 2015, section 3.2, linear initialization);
 * one without values stays where it is. mask NULL: all are kept. indices (n): the centroid of each
 * kept value, the nearest one, the lower of two. [main] */
pare_status codebook_make(const pare_host *host, const float *w, const uint8_t *mask, int64_t n,
                          int32_t bits, struct codebook *book, uint8_t *indices);

#endif
