/* SPDX-License-Identifier: MIT */
/* Parameters: every message, every way to write a value, and the JSON that records keep. */
#include "plugin/params.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const pare_param_desc rows[] = {
    {"bits", PARE_PARAM_INT, "bits", 2, 8, NULL, "8", "width"},
    {"sparsity", PARE_PARAM_FLOAT, "", 0, 1, NULL, NULL, "fraction"},
    {"observer", PARE_PARAM_STRING, "", 0, 0, "minmax|percentile|mse", "minmax", "which"},
    {"note", PARE_PARAM_STRING, "", 0, 0, NULL, "", "any text"},
    {"fold", PARE_PARAM_BOOL, "", 0, 0, NULL, "true", "whether"},
    {"exclude", PARE_PARAM_STRINGS, "", 0, 0, NULL, NULL, "names"},
    {"levels", PARE_PARAM_NUMBERS, "", 0, 1, NULL, NULL, "fractions"},
    {"free", PARE_PARAM_FLOAT, "", 0, 0, NULL, "-1e-5", "unbounded"},
};
static const pare_param_desc more_rows[] = {
    {"epochs", PARE_PARAM_FLOAT, "epochs", 0, INFINITY, NULL, "0", "how long"},
};
static const struct param_table tables[] = {
    {rows, 8, sizeof rows[0], "method ptq"},
    {more_rows, 1, sizeof more_rows[0], "training"},
};

static struct param_input number(const char *name, double value) {
    return (struct param_input){.name = (char *)(uintptr_t)name,
                                .kind = INPUT_NUMBER,
                                .is_integer = value == floor(value),
                                .number = value};
}

static struct param_input string(const char *name, const char *value, int from_text) {
    return (struct param_input){.name = (char *)(uintptr_t)name,
                                .kind = INPUT_STRING,
                                .from_text = from_text,
                                .string = (char *)(uintptr_t)value};
}

/* Resolves the inputs, with the one required parameter given unless it is among them. */
static struct params *resolve(const struct param_input *inputs, size_t n) {
    struct error err;
    struct params *params = NULL;
    struct param_input all[8] = {number("sparsity", 0.5)};
    size_t first = 1;
    for (size_t k = 0; k < n; k++) {
        first = strcmp(inputs[k].name, "sparsity") == 0 ? 0 : first;
    }
    for (size_t k = 0; k < n; k++) {
        all[first + k] = inputs[k];
    }
    if (params_resolve(tables, 2, all, n + first, &err, &params) != PARE_OK) {
        print_error("%s\n", err.text);
        fail();
    }
    return params;
}

static void refuse_all(const struct param_input *inputs, size_t n, pare_status status,
                       const char *text) {
    struct error err = {PARE_OK, ""};
    struct params *params = NULL;
    assert_int_equal(params_resolve(tables, 2, inputs, n, &err, &params), status);
    assert_string_equal(err.text, text);
    assert_int_equal(err.status, status);
    assert_null(params);
}

static void refuse(struct param_input input, pare_status status, const char *text) {
    struct param_input inputs[] = {number("sparsity", 0.5), input};
    refuse_all(inputs, 2, status, text);
}

static void test_defaults(void **state) {
    (void)state;
    struct params *params = resolve(NULL, 0);
    assert_int_equal(params_get(params, "bits")->i, 8);
    assert_true(params_get(params, "bits")->f == 8.0);
    assert_string_equal(params_get(params, "observer")->s, "minmax");
    assert_string_equal(params_get(params, "note")->s, "");
    assert_int_equal(params_get(params, "fold")->i, 1);
    assert_int_equal(params_get(params, "exclude")->n, 0);
    assert_int_equal(params_get(params, "levels")->n, 0);
    assert_true(params_get(params, "free")->f == -1e-5);
    assert_null(params_get(params, "nothing"));
    assert_int_equal(params_of_table(params, 0)->n, 8);
    assert_int_equal(params_of_table(params, 1)->n, 1);
    assert_string_equal(params_of_table(params, 1)->values[0]->name, "epochs");
    assert_null(params_of_table(params, 2));
    params_destroy(params);
}

static void test_messages(void **state) {
    (void)state;
    refuse(number("bit", 8), PARE_E_NOT_FOUND,
           "bit: unknown parameter of method ptq; did you mean \"bits\"? (known: bits, sparsity, "
           "observer, note, fold, exclude, levels, free, epochs)");
    refuse(
        number("epoch", 8), PARE_E_NOT_FOUND,
        "epoch: unknown parameter of method ptq; did you mean \"epochs\"? (known: bits, sparsity, "
        "observer, note, fold, exclude, levels, free, epochs)");
    refuse(number("bits", 9), PARE_E_RANGE, "bits: got 9, wanted 2..8 bits (method ptq)");
    refuse(number("bits", 7.5), PARE_E_ARG, "bits: got 7.5, wanted a whole number (method ptq)");
    refuse(string("bits", "8", 0), PARE_E_ARG,
           "bits: got a string, wanted a whole number (method ptq)");
    refuse(number("fold", 1), PARE_E_ARG, "fold: got a number, wanted true or false (method ptq)");
    refuse(number("observer", 1), PARE_E_ARG,
           "observer: got a number, wanted a string (method ptq)");
    refuse(
        string("observer", "minmix", 0), PARE_E_ARG,
        "observer: got \"minmix\", wanted one of minmax|percentile|mse (method ptq); did you mean "
        "\"minmax\"?");
    refuse(string("observer", "", 0), PARE_E_ARG,
           "observer: got \"\", wanted one of minmax|percentile|mse (method ptq)");
    refuse(string("observer", "minmax|mse", 0), PARE_E_ARG,
           "observer: got \"minmax|mse\", wanted one of minmax|percentile|mse (method ptq); did "
           "you mean \"minmax\"?");
    refuse(number("free", NAN), PARE_E_NUMERIC,
           "free: got nan, wanted a finite number (method ptq)");
    refuse(number("free", -INFINITY), PARE_E_NUMERIC,
           "free: got -inf, wanted a finite number (method ptq)");
    refuse(number("epochs", -1), PARE_E_RANGE,
           "epochs: got -1, wanted 0 epochs or more (training)");
    refuse(number("sparsity", 0.5), PARE_E_ARG, "sparsity: given twice (method ptq)");
    refuse_all(NULL, 0, PARE_E_ARG,
               "sparsity: not given, and it has no default: method ptq needs a number");
    refuse(string("note", "\xff\xfe", 0), PARE_E_ARG, "note: the string is not UTF-8 (method ptq)");
    double wide[] = {0.5, 1.5};
    struct param_input list = {
        .name = (char[]){"levels"}, .kind = INPUT_NUMBERS, .n = 2, .numbers = wide};
    refuse(list, PARE_E_RANGE, "levels: got 1.5, wanted 0..1 (method ptq)");
    list.name = (char[]){"exclude"};
    refuse(list, PARE_E_ARG,
           "exclude: got a list of numbers, wanted a list of strings (method ptq)");
}

static void test_whole_numbers_are_exact(void **state) {
    (void)state;
    const pare_param_desc big[] = {{"n", PARE_PARAM_INT, "", 0, 0, NULL, "0", "a number"}};
    struct param_table table = {big, 1, sizeof big[0], "test"};
    struct error err;
    struct params *params = NULL;
    struct param_input in = number("n", 9007199254740992.0);
    assert_int_equal(params_resolve(&table, 1, &in, 1, &err, &params), PARE_OK);
    assert_true(params_get(params, "n")->i == 9007199254740992);
    params_destroy(params);
    in = number("n", 1e17);
    assert_int_equal(params_resolve(&table, 1, &in, 1, &err, &params), PARE_E_RANGE);
}

/* --set k=v: the text stands for any type. */
static void test_text(void **state) {
    (void)state;
    struct param_input inputs[] = {string("bits", "4", 1),       string("sparsity", "9e-1", 1),
                                   string("fold", "false", 1),   string("note", "a, b", 1),
                                   string("exclude", "a,b*", 1), string("levels", "0.5,1", 1),
                                   string("observer", "mse", 1)};
    struct params *params = resolve(inputs, 7);
    char *json = params_json(params);
    assert_string_equal(json, "{\"bits\":4,\"sparsity\":0.9,\"observer\":\"mse\",\"note\":\"a, b\","
                              "\"fold\":false,\"exclude\":[\"a\",\"b*\"],\"levels\":[0.5,1.0],"
                              "\"free\":-1e-5,\"epochs\":0.0}");
    free(json);
    params_destroy(params);
    refuse(string("bits", "4x", 1), PARE_E_ARG,
           "bits: got \"4x\", wanted a whole number (method ptq)");
    refuse(string("bits", "", 1), PARE_E_ARG, "bits: got \"\", wanted a whole number (method ptq)");
    refuse(string("bits", "inf", 1), PARE_E_NUMERIC,
           "bits: got inf, wanted a finite number (method ptq)");
    refuse(string("fold", "yes", 1), PARE_E_ARG,
           "fold: got \"yes\", wanted true or false (method ptq)");
    refuse(string("levels", "0.5,,1", 1), PARE_E_ARG,
           "levels: got \"\", wanted a list of numbers (method ptq)");
}

static void test_lists(void **state) {
    (void)state;
    char *names[] = {(char[]){"conv1"}, (char[]){"fc"}};
    struct param_input empty_levels = {.name = (char[]){"levels"}, .kind = INPUT_STRINGS};
    struct param_input inputs[] = {
        {.name = (char[]){"exclude"}, .kind = INPUT_STRINGS, .n = 2, .strings = names},
        empty_levels};
    struct params *params = resolve(inputs, 2);
    assert_int_equal(params_get(params, "exclude")->n, 2);
    assert_string_equal(params_get(params, "exclude")->strings[1], "fc");
    assert_int_equal(params_get(params, "levels")->n, 0);
    params_destroy(params);
    struct param_input single[] = {string("exclude", "a,b", 0), number("levels", 0.25)};
    params = resolve(single, 2);
    assert_int_equal(params_get(params, "exclude")->n, 1); /* a script's string is not split */
    assert_string_equal(params_get(params, "exclude")->strings[0], "a,b");
    assert_true(params_get(params, "levels")->numbers[0] == 0.25);
    params_destroy(params);
}

/* The shortest text that reads back as the same double. */
static void test_json_numbers(void **state) {
    (void)state;
    const struct {
        double value;
        const char *text;
    } cases[] = {{0.1, "\"free\":0.1,"},
                 {1.0 / 3.0, "\"free\":0.3333333333333333,"},
                 {1e300, "\"free\":1e300,"},
                 {5e-324, "\"free\":5e-324,"},
                 {-0.0, "\"free\":-0.0,"},
                 {123456789.0, "\"free\":123456789.0,"},
                 {0.1 + 0.2, "\"free\":0.30000000000000004,"}};
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        struct param_input in = number("free", cases[k].value);
        struct params *params = resolve(&in, 1);
        char *json = params_json(params);
        if (!strstr(json, cases[k].text)) {
            print_error("%s lacks %s\n", json, cases[k].text);
            fail();
        }
        free(json);
        params_destroy(params);
    }
    struct param_input in = string("note", "a \"quote\"\n\xc3\xa9", 0);
    struct params *params = resolve(&in, 1);
    char *json = params_json(params);
    assert_non_null(strstr(json, "\"note\":\"a \\\"quote\\\"\\n\xc3\xa9\""));
    free(json);
    params_destroy(params);
}

static void test_copy(void **state) {
    (void)state;
    struct error err;
    char *names[] = {(char[]){"conv1"}, (char[]){"fc"}};
    double numbers[] = {1, 2, 3};
    struct param_input from = {
        .name = (char[]){"x"}, .kind = INPUT_STRINGS, .n = 2, .strings = names};
    struct param_input to = {0};
    assert_int_equal(param_input_copy(&from, &err, &to), PARE_OK);
    assert_ptr_not_equal(to.strings, from.strings);
    assert_string_equal(to.strings[1], "fc");
    param_input_clear(&to);
    assert_null(to.name);
    from = (struct param_input){
        .name = (char[]){"y"}, .kind = INPUT_NUMBERS, .n = 3, .numbers = numbers};
    assert_int_equal(param_input_copy(&from, &err, &to), PARE_OK);
    assert_true(to.numbers[2] == 3.0 && to.numbers != numbers);
    param_input_clear(&to);
    param_input_clear(&to);
    param_input_clear(NULL);
}

/* A plugin built against a longer pare_param_desc has a longer stride. */
static void test_row_stride(void **state) {
    (void)state;
    struct longer {
        pare_param_desc row;
        double more[2];
    };
    const struct longer longer[] = {
        {{"a", PARE_PARAM_INT, "", 0, 9, NULL, "1", "first"}, {7, 7}},
        {{"b", PARE_PARAM_INT, "", 0, 9, NULL, "2", "second"}, {7, 7}},
    };
    struct param_table table = {&longer[0].row, 2, sizeof longer[0], "method new"};
    struct error err;
    struct params *params = NULL;
    assert_int_equal(param_table_check(&table, &err), PARE_OK);
    assert_int_equal(params_resolve(&table, 1, NULL, 0, &err, &params), PARE_OK);
    assert_int_equal(params_get(params, "b")->i, 2);
    params_destroy(params);
}

static void refuse_table(pare_param_desc row, const char *text) {
    struct param_table table = {&row, 1, sizeof row, "method m"};
    struct error err;
    assert_int_equal(param_table_check(&table, &err), PARE_E_ABI);
    assert_string_equal(err.text, text);
}

static void test_table_check(void **state) {
    (void)state;
    struct error err;
    assert_int_equal(param_table_check(&tables[0], &err), PARE_OK);
    refuse_table((pare_param_desc){"Bits", PARE_PARAM_INT, "", 0, 0, NULL, "1", "d"},
                 "parameter 0 of method m: name \"Bits\" is not lower_snake_case");
    refuse_table((pare_param_desc){NULL, PARE_PARAM_INT, "", 0, 0, NULL, "1", "d"},
                 "parameter 0 of method m: name \"(null)\" is not lower_snake_case");
    refuse_table((pare_param_desc){"bits", (pare_param_type)9, "", 0, 0, NULL, "1", "d"},
                 "bits: type 9 is unknown, wanted 1..6 (method m)");
    refuse_table((pare_param_desc){"bits", PARE_PARAM_INT, NULL, 0, 0, NULL, "1", "d"},
                 "bits: unit is NULL, wanted \"\" (method m)");
    refuse_table((pare_param_desc){"bits", PARE_PARAM_INT, "", 0, 0, NULL, "1", ""},
                 "bits: has no doc (method m)");
    refuse_table((pare_param_desc){"bits", PARE_PARAM_INT, "", 3, 2, NULL, "1", "d"},
                 "bits: bounds 3..2 are empty (method m)");
    refuse_table((pare_param_desc){"bits", PARE_PARAM_INT, "", 0, NAN, NULL, "1", "d"},
                 "bits: bounds 0..nan are empty (method m)");
    refuse_table((pare_param_desc){"bits", PARE_PARAM_INT, "", 0, 0, "a|b", "1", "d"},
                 "bits: has choices, which only a STRING may have (method m)");
    refuse_table((pare_param_desc){"bits", PARE_PARAM_STRING, "", 0, 0, "a|", "a", "d"},
                 "bits: choices \"a|\" hold an empty one (method m)");
    refuse_table((pare_param_desc){"bits", PARE_PARAM_STRINGS, "", 0, 0, NULL, "a", "d"},
                 "bits: a list's default is the empty list, wanted NULL (method m)");
    refuse_table((pare_param_desc){"bits", PARE_PARAM_INT, "", 2, 8, NULL, "9", "d"},
                 "default value: bits: got 9, wanted 2..8 (method m)");
    struct param_table missing = {NULL, 3, sizeof rows[0], "method m"};
    assert_int_equal(param_table_check(&missing, &err), PARE_E_ABI);
}

/* One name in two tables is a fault of the host's tables, not of the user. */
static void test_ambiguous(void **state) {
    (void)state;
    struct param_table twice[] = {tables[1], tables[1]};
    struct param_input in = number("epochs", 1);
    struct error err;
    struct params *params = NULL;
    assert_int_equal(params_resolve(twice, 2, &in, 1, &err, &params), PARE_E_ABI);
    assert_string_equal(err.text, "epochs: declared by training and by training");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_whole_numbers_are_exact),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_json_numbers),
        cmocka_unit_test(test_copy),
        cmocka_unit_test(test_row_stride),
        cmocka_unit_test(test_table_check),
        cmocka_unit_test(test_ambiguous),
    };
    return cmocka_run_group_tests_name("plugin params", tests, NULL, NULL);
}
