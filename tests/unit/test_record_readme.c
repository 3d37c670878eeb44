/* SPDX-License-Identifier: MIT */
/* The column dictionary in results/README.md is that of columns.inc. With --write it is made so. */
#include "record/record.h"
#include "scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#define README TEST_SOURCE_DIR "/results/README.md"
static const char begin_mark[] =
    "<!-- columns: begin (made from harness/src/record/columns.inc) -->\n";
static const char end_mark[] = "<!-- columns: end -->\n";

/* The dictionary as Markdown, malloc'd. */
static char *make_dictionary(void) {
    char *text = NULL;
    size_t n;
    FILE *out = open_memstream(&text, &n);
    if (!out)
        abort();
    const struct column_info *infos = column_infos();
    for (int k = 0; k < N_COLUMNS; k++) {
        if (k == 0 || strcmp(infos[k].group, infos[k - 1].group) != 0)
            fprintf(out,
                    "\n### %s\n\n| column | type | unit | repeats | meaning |\n"
                    "|---|---|---|---|---|\n",
                    infos[k].group);
        fprintf(out, "| `%s` | %s | %s | %s | %s |\n", infos[k].name, infos[k].type, infos[k].unit,
                infos[k].repeatable ? "yes" : "", infos[k].doc);
    }
    fputc('\n', out);
    fclose(out);
    return text;
}

/* The places of the dictionary in the file's text. */
static void find_dictionary(char *text, char **from, char **to) {
    *from = strstr(text, begin_mark);
    *to = strstr(text, end_mark);
    if (!*from || !*to || *to < *from) {
        fprintf(stderr, "%s: lacks the lines\n%s%s", README, begin_mark, end_mark);
        abort();
    }
    *from += sizeof begin_mark - 1;
}

static void dictionary_is_that_of_columns_inc(void **state) {
    (void)state;
    char *text = scratch_read(README, NULL), *wanted = make_dictionary(), *from, *to;
    find_dictionary(text, &from, &to);
    *to = 0;
    if (strcmp(from, wanted) != 0)
        fail_msg("results/README.md is not what columns.inc says; run\n    %s --write\n",
                 TEST_BINARY_DIR "/tests/unit/test_record_readme");
    free(wanted);
    free(text);
}

static int write_dictionary(void) {
    char *text = scratch_read(README, NULL), *dictionary = make_dictionary(), *from, *to;
    find_dictionary(text, &from, &to);
    FILE *out = fopen(README, "wb");
    if (!out) {
        perror(README);
        return 1;
    }
    fwrite(text, 1, (size_t)(from - text), out);
    fputs(dictionary, out);
    fputs(to, out);
    free(dictionary);
    free(text);
    return fclose(out) != 0;
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--write") == 0)
        return write_dictionary();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dictionary_is_that_of_columns_inc),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
