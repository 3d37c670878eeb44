/* SPDX-License-Identifier: MIT */
/* The weights of DoReFa-Net (Zhou et al. 2016, arXiv 1606.06160, eq. 9), which PACT has, too. With
 * n = 2^k - 1 and M = max |tanh w| over the tensor: w_q = M (2/n rne(n (tanh(w) / (2 M) + 1/2)) -
 * 1) The codes are the odd numbers from -n to n, which need one more bit than k, so k is at most 7;
 * a weight of exactly 0 (a pruned one) has code 0. M is a constant to the gradient: g (1 - tanh^2
 * w). The paper has no factor M: it begins with random weights and has a batch norm behind each
 * layer, here trained weights keep their size. */
#ifndef METHODS_COMMON_LOWBIT_TANH_H
#define METHODS_COMMON_LOWBIT_TANH_H

#include "lowbit.h"

extern const struct lowbit_weight_ops lowbit_weight_tanh;

/* PARE_E_RANGE for widths above 7 of weights, which lowbit_create lets pass. */
pare_status lowbit_tanh_check(const pare_host *host, int weight_bits);

#endif
