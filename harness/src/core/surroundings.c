/* SPDX-License-Identifier: MIT */
#include "core/surroundings.h"

#include <fcntl.h>
#include <fenv.h>
#include <locale.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#if defined(__SSE__)
#include <xmmintrin.h>
#endif

/* Does the processor take subnormal numbers for 0, or make 0 of them? */
static int flushes_to_zero(void) {
#if defined(__SSE__)
    enum { FLUSH_TO_ZERO = 0x8000, DENORMALS_ARE_ZEROS = 0x40 };
    return (_mm_getcsr() & (FLUSH_TO_ZERO | DENORMALS_ARE_ZEROS)) != 0;
#elif defined(__aarch64__)
    uint64_t control;
    __asm__ volatile("mrs %0, fpcr" : "=r"(control));
    return (int)(control >> 24 & 1);
#else
    return 0;
#endif
}

void surroundings_take(struct surroundings *before) {
    before->folder_fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

pare_status surroundings_restore(struct surroundings *before, struct error *err) {
    const char *what = fegetround() != FE_TONEAREST ? "the rounding mode, wanted to nearest"
                       : flushes_to_zero()          ? "that subnormal numbers are flushed to 0"
                       : strcmp(localeconv()->decimal_point, ".") != 0
                           ? "the locale, in which numbers have no decimal point"
                           : NULL;
    if (what) {
        fesetenv(FE_DFL_ENV);
        setlocale(LC_ALL, "C");
    }
    /* A folder that is gone cannot be gone back to: whoever needs it says so. */
    if (before->folder_fd >= 0) {
        int failed = fchdir(before->folder_fd);
        (void)failed;
        close(before->folder_fd);
    }
    before->folder_fd = -1;
    return what ? error_set(err, PARE_E_PLUGIN, "left changed for the whole process: %s", what)
                : PARE_OK;
}
