/* SPDX-License-Identifier: MIT */
/* What a process is doing, in memory that it shares with its children: after a child has died, its
 * parent still reads which call it was in. */
#ifndef CORE_NOTE_H
#define CORE_NOTE_H

#include "core/error.h"

#include <stdint.h>

struct note;

enum { NOTE_TEXT_BYTES = 160 };

/* One page. To be made before the fork. PARE_E_NOMEM. */
pare_status note_create(struct error *err, struct note **out);
void note_destroy(struct note *note); /* NULL is fine, here and below */

/* Before and after a call into code that is not ours; `who` is its owner ("method ptq"), `call` the
 * function. One thread at a time. Strings are copied; the same pointers again cost no copy, so they
 * must not change what they point to. [hot] */
void note_enter(struct note *note, const char *who, const char *call);
void note_leave(struct note *note);

/* A sign of life in work of our own that takes long. [hot] */
void note_beat(struct note *note);

/* A request for memory was refused: what follows may come from that. [any] */
void note_refusal(struct note *note);

/* Forgets all, before the next piece of work. */
void note_reset(struct note *note);

/* Grows with every enter, leave and beat. */
uint64_t note_count(const struct note *note);
int note_was_refused(const struct note *note);

/* "in apply of method ptq", "after run of backend ref", or "" where no call was noted. */
void note_describe(const struct note *note, char text[NOTE_TEXT_BYTES]);

#endif
