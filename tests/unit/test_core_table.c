/* SPDX-License-Identifier: MIT */
#include "core/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const headers[] = {"name", ">value", "note", NULL};

static struct table *sample(void) {
    struct error err;
    struct table *table = table_create(headers);
    const char *a[] = {"ptq", "8", "caf\xc3\xa9, \"x\""};
    const char *b[] = {"magnitude", "0.25", NULL};
    assert_int_equal(table_add(table, a, &err), PARE_OK);
    assert_int_equal(table_add(table, b, &err), PARE_OK);
    return table;
}

/* Prints into a string the caller frees, and destroys the table. */
static char *printed(struct table *table, enum table_format format, int width) {
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    table_print(table, file, format, width);
    fclose(file);
    table_destroy(table);
    return text;
}

static void expect(struct table *table, enum table_format format, int width, const char *wanted) {
    char *text = printed(table, format, width);
    assert_string_equal(text, wanted);
    free(text);
}

static void text_is_aligned(void **state) {
    (void)state;
    expect(sample(), TABLE_TEXT, 0,
           "name       value  note\n"
           "---------  -----  ---------\n"
           "ptq            8  caf\xc3\xa9, \"x\"\n"
           "magnitude   0.25\n");
}

static void text_fits_the_width(void **state) {
    (void)state;
    const char *const columns[] = {"pipeline", ">top1", NULL};
    struct error err;
    struct table *table = table_create(columns);
    const char *row[] = {"magnitude(sparsity=0.9) + caf\xc3\xa9 + ptq(bits=8)", "0.9912"};
    assert_int_equal(table_add(table, row, &err), PARE_OK);
    expect(table, TABLE_TEXT, 40,
           "pipeline                            top1\n"
           "--------------------------------  ------\n"
           "magnitude(sparsity=0.9) + caf\xc3\xa9 +  0.9912\n"
           "ptq(bits=8)\n");
}

static void long_words_go_on_in_the_next_line(void **state) {
    (void)state;
    const char *const columns[] = {"a", ">b", NULL};
    struct error err;
    struct table *table = table_create(columns);
    const char *row[] = {"12345678901234567890", "123456789012"};
    assert_int_equal(table_add(table, row, &err), PARE_OK);
    expect(table, TABLE_TEXT, 30,
           "a                            b\n"
           "----------------  ------------\n"
           "1234567890123456  123456789012\n"
           "7890\n");
}

/* Too many columns for the width: blocks, each with the first column. Nothing is lost. */
static void wide_tables_are_folded(void **state) {
    (void)state;
    const char *const columns[] = {"name", ">first", ">second", "note", NULL};
    struct error err;
    struct table *table = table_create(columns);
    const char *a[] = {"one", "1234567890", "1", "a few words"};
    const char *b[] = {"two", NULL, "22", "a note of some length"};
    assert_int_equal(table_add(table, a, &err), PARE_OK);
    assert_int_equal(table_add(table, b, &err), PARE_OK);
    expect(table, TABLE_TEXT, 24,
           "name       first  second\n"
           "----  ----------  ------\n"
           "one   1234567890       1\n"
           "two                   22\n"
           "\n"
           "name  note\n"
           "----  ------------------\n"
           "one   a few words\n"
           "two   a note of some\n"
           "      length\n");
}

/* No width, however small, makes it hang or print nothing. */
static void any_width_works(void **state) {
    (void)state;
    const char *const one[] = {"only", NULL};
    struct error err;
    for (int width = 1; width < 40; width++) {
        char *text = printed(sample(), TABLE_TEXT, width);
        assert_non_null(strstr(text, "magnitude"));
        free(text);
        struct table *table = table_create(one);
        const char *row[] = {"a cell of more than sixteen characters"};
        assert_int_equal(table_add(table, row, &err), PARE_OK);
        text = printed(table, TABLE_TEXT, width);
        assert_non_null(strstr(text, "characters"));
        free(text);
    }
}

static void control_characters_do_not_reach_the_terminal(void **state) {
    (void)state;
    const char *const columns[] = {"a", NULL};
    struct error err;
    struct table *table = table_create(columns);
    const char *row[] = {"x\033[2Jy\n"};
    assert_int_equal(table_add(table, row, &err), PARE_OK);
    expect(table, TABLE_TEXT, 0, "a\n-------\nx?[2Jy?\n");
}

static void csv_quotes(void **state) {
    (void)state;
    expect(sample(), TABLE_CSV, 0,
           "name,value,note\n"
           "ptq,8,\"caf\xc3\xa9, \"\"x\"\"\"\n"
           "magnitude,0.25,\n");
}

static void json_keeps_numbers_and_nulls(void **state) {
    (void)state;
    expect(sample(), TABLE_JSON, 0,
           "[\n"
           "  {\"name\": \"ptq\", \"value\": 8, \"note\": \"caf\xc3\xa9, \\\"x\\\"\"},\n"
           "  {\"name\": \"magnitude\", \"value\": 0.25, \"note\": null}\n"
           "]\n");
    expect(table_create(headers), TABLE_JSON, 0, "[]\n");
}

static void json_numbers_are_strict(void **state) {
    (void)state;
    static const struct {
        const char *cell, *json;
    } cases[] = {
        {"-1.5e+3", "-1.5e+3"},
        {"0", "0"},
        {"01", "\"01\""},
        {"1.", "\"1.\""},
        {"nan", "\"nan\""},
        {"-", "\"-\""},
        {"0x1p3", "\"0x1p3\""},
        {"", "\"\""},
        {"1e", "\"1e\""},
        {"a\nb\\", "\"a\\u000ab\\\\\""},
        {"\xff\xc3", "\"\\ufffd\\ufffd\""},
        {"\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\""},
    };
    const char *const columns[] = {"c", NULL};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        struct error err;
        struct table *table = table_create(columns);
        assert_int_equal(table_add(table, &cases[k].cell, &err), PARE_OK);
        char wanted[64];
        snprintf(wanted, sizeof wanted, "[\n  {\"c\": %s}\n]\n", cases[k].json);
        expect(table, TABLE_JSON, 0, wanted);
    }
}

static void markdown_cells_stay_cells(void **state) {
    (void)state;
    struct error err;
    expect(sample(), TABLE_MARKDOWN, 0,
           "| name | value | note |\n|---|---:|---|\n"
           "| ptq | 8 | caf\xc3\xa9, \"x\" |\n| magnitude | 0.25 |  |\n");
    struct table *table = table_create(headers);
    const char *cells[] = {"a|b", "1\n2", "<b> `c` *d* [e] f_g \\"};
    assert_int_equal(table_add(table, cells, &err), PARE_OK);
    expect(table, TABLE_MARKDOWN, 0,
           "| name | value | note |\n|---|---:|---|\n"
           "| a\\|b | 1 2 | \\<b\\> \\`c\\` \\*d\\* \\[e\\] f\\_g \\\\ |\n");
}

static void formats_parse(void **state) {
    (void)state;
    struct error err;
    enum table_format format = TABLE_TEXT;
    assert_int_equal(table_parse_format("json", &err, &format), PARE_OK);
    assert_int_equal(format, TABLE_JSON);
    assert_int_equal(table_parse_format("yaml", &err, &format), PARE_E_ARG);
    assert_int_equal(format, TABLE_JSON);
    assert_string_equal(err.text, "format is 'yaml', wanted table, csv, json or md");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_aligned),
        cmocka_unit_test(text_fits_the_width),
        cmocka_unit_test(long_words_go_on_in_the_next_line),
        cmocka_unit_test(wide_tables_are_folded),
        cmocka_unit_test(any_width_works),
        cmocka_unit_test(control_characters_do_not_reach_the_terminal),
        cmocka_unit_test(csv_quotes),
        cmocka_unit_test(json_keeps_numbers_and_nulls),
        cmocka_unit_test(json_numbers_are_strict),
        cmocka_unit_test(markdown_cells_stay_cells),
        cmocka_unit_test(formats_parse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
