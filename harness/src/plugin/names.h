/* SPDX-License-Identifier: MIT */
/* Spelling of ids and parameter names. */
#ifndef PLUGIN_NAMES_H
#define PLUGIN_NAMES_H

/* The longest id or parameter name, without the NUL. */
#define NAME_MAX_CHARS 31

/* 1 if `name` is 1..31 of a-z, 0-9 and '_', starting with a letter. */
static inline int name_is_snake_case(const char *name) {
    int n = 0;
    for (; name && name[n]; n++) {
        char c = name[n];
        int is_letter = c >= 'a' && c <= 'z';
        int is_other = (c >= '0' && c <= '9') || c == '_';
        if (!(is_letter || (n > 0 && is_other)) || n >= NAME_MAX_CHARS) {
            return 0;
        }
    }
    return n > 0;
}

#endif
