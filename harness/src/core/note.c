/* SPDX-License-Identifier: MIT */
#include "core/note.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

enum { OWNER_BYTES = 80, CALL_BYTES = 48 };

/* The child writes, and its heap may be in ruins by then: the parent reads nothing from here but
 * numbers and texts that it bounds itself, and follows no pointer. */
struct note {
    _Atomic uint64_t count;
    _Atomic int inside, refused;
    const void *last_who, *last_call; /* compared only */
    char who[OWNER_BYTES], call[CALL_BYTES];
};

pare_status note_create(struct error *err, struct note **out) {
    struct note *note =
        mmap(NULL, sizeof *note, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (note == MAP_FAILED)
        return error_set(err, PARE_E_NOMEM, "no shared memory for notes: %s", strerror(errno));
    *out = note;
    return PARE_OK;
}

void note_destroy(struct note *note) {
    if (note)
        munmap(note, sizeof *note);
}

/* One writer, so no locked addition. */
static void count(struct note *note) {
    uint64_t now = atomic_load_explicit(&note->count, memory_order_relaxed);
    atomic_store_explicit(&note->count, now + 1, memory_order_relaxed);
}

void note_enter(struct note *note, const char *who, const char *call) {
    if (!note)
        return;
    if (note->last_who != who || note->last_call != call) {
        snprintf(note->who, sizeof note->who, "%s", who);
        snprintf(note->call, sizeof note->call, "%s", call);
        note->last_who = who;
        note->last_call = call;
    }
    atomic_store_explicit(&note->inside, 1, memory_order_relaxed);
    count(note);
}

void note_leave(struct note *note) {
    if (!note)
        return;
    atomic_store_explicit(&note->inside, 0, memory_order_relaxed);
    count(note);
}

void note_beat(struct note *note) {
    if (note)
        count(note);
}

void note_refusal(struct note *note) {
    if (note)
        atomic_store_explicit(&note->refused, 1, memory_order_relaxed);
}

void note_reset(struct note *note) {
    if (note)
        memset(note, 0, sizeof *note);
}

uint64_t note_count(const struct note *note) {
    return note ? atomic_load_explicit(&note->count, memory_order_relaxed) : 0;
}

int note_was_refused(const struct note *note) {
    return note && atomic_load_explicit(&note->refused, memory_order_relaxed) != 0;
}

void note_describe(const struct note *note, char text[NOTE_TEXT_BYTES]) {
    text[0] = '\0';
    if (note && note->who[0])
        snprintf(text, NOTE_TEXT_BYTES, "%s %.*s of %.*s",
                 atomic_load_explicit(&note->inside, memory_order_relaxed) ? "in" : "after",
                 CALL_BYTES - 1, note->call, OWNER_BYTES - 1, note->who);
}
