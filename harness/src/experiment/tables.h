/* SPDX-License-Identifier: MIT */
/* Parameter tables of the host itself: they extend the tables of methods (see pipeline.c). */
#ifndef EXPERIMENT_TABLES_H
#define EXPERIMENT_TABLES_H

#include "plugin/params.h"

struct param_table tables_where(void);       /* include, exclude */
struct param_table tables_calibration(void); /* calibration_samples, calibration_batch */

#endif
