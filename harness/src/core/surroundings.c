/* SPDX-License-Identifier: MIT */
#include "core/surroundings.h"

#include <fcntl.h>
#include <locale.h>
#include <string.h>
#include <unistd.h>

void surroundings_take(struct surroundings *before) {
    before->folder_fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

pare_status surroundings_restore(struct surroundings *before, struct error *err) {
    int has_point = strcmp(localeconv()->decimal_point, ".") == 0;
    if (!has_point)
        setlocale(LC_ALL, "C");
    /* A folder that is gone cannot be gone back to: whoever needs it says so. */
    if (before->folder_fd >= 0) {
        int failed = fchdir(before->folder_fd);
        (void)failed;
        close(before->folder_fd);
    }
    before->folder_fd = -1;
    return has_point ? PARE_OK
                     : error_set(err, PARE_E_PLUGIN,
                                 "left changed for the whole process: the locale, in which numbers "
                                 "have no decimal point");
}
