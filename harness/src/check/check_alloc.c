/* SPDX-License-Identifier: MIT */
/* Every allocation refused in turn, once alone and once with all that follow. */
#include "check/live.h"

/* Of one model; with more allocations, as many are taken from all over. */
enum { MAX_REFUSED = 40 };

/* How many allocations a plain life makes; negative after a verdict. */
static int64_t n_allocations(struct check_case *c, int which) {
    struct watch_options options = live_options(c);
    struct outcome out;
    live(c, which, NULL, &options, &out);
    if (out.is_own) {
        case_fail(c, "pare check itself: %s", out.err.text);
        return -1;
    }
    return out.n_allocs;
}

static int64_t n_refused(int64_t n) {
    return n < MAX_REFUSED ? n : MAX_REFUSED;
}

_Static_assert(LIVE_N <= sizeof((struct check_case *)0)->memo / sizeof(int64_t),
               "one number per model");

int64_t count_allocs(struct check_case *c) {
    int64_t n = 0;
    for (int which = 0; which < live_n(c->subject); which++) {
        int64_t more = n_allocations(c, which);
        if (more < 0)
            return -1;
        c->memo[which] = more;
        n += 2 * n_refused(more);
    }
    return n;
}

static void judge(struct check_case *c, const struct outcome *out) {
    if (out->is_own) {
        case_fail(c, "pare check itself: %s", out->err.text);
    } else if (out->misuse[0]) {
        case_fail(c, "%s", out->misuse);
    } else if (out->leaked_bytes > 0) {
        case_fail(c, "leaks %zu bytes of host memory", out->leaked_bytes);
    } else if (out->status != PARE_OK && out->n_refused > 0) {
        if (out->status != PARE_E_NOMEM)
            case_fail(c, "returns another status than PARE_E_NOMEM: %s", out->err.text);
        else if (!out->is_told)
            case_fail(c, "fails without a message: %s", out->err.text);
    }
}

void check_alloc(struct check_case *c) {
    int64_t k = c->index;
    for (int which = 0; which < live_n(c->subject); which++) {
        int64_t n = c->memo[which], tried = n_refused(n);
        if (k >= 2 * tried) {
            k -= 2 * tried;
            continue;
        }
        struct watch_options options = live_options(c);
        struct outcome out;
        options.fail_at = k / 2 * n / tried;
        options.fail_on = (int)(k % 2);
        case_label(c, "%s, allocation %lld of %lld fails%s", live_name(c->subject, which),
                   (long long)options.fail_at, (long long)n,
                   options.fail_on ? ", and all that follow" : "");
        live(c, which, NULL, &options, &out);
        judge(c, &out);
        return;
    }
}
