/* SPDX-License-Identifier: MIT */
/* How weights become -1 and 1, and what stands for the gradient of that. */
#ifndef BINARY_ESTIMATORS_H
#define BINARY_ESTIMATORS_H

#include "lowbit.h"

/* XNOR-Net (Rastegari et al. 2016, arXiv 1603.05279): sign(w), scale E|w|. */
extern const struct lowbit_weight_ops binary_xnor;
/* IR-Net (Qin et al. 2020, arXiv 1909.10788): sign of standardized weights, a power of two as
 * scale. */
extern const struct lowbit_weight_ops binary_irnet;
/* ReCU (Xu et al. 2021, arXiv 2103.12369): standardized weights clamped to a quantile, learned
 * scale. */
extern const struct lowbit_weight_ops binary_recu;

#endif
