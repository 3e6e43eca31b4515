#include "embed/embed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_every_module_is_found(void **state)
{
    (void)state;
    assert_true(tg_embed_modules() > 0);
    for (size_t i = 0; i < tg_embed_modules(); i++) {
        const void *data = NULL;
        size_t size = 0;
        assert_int_equal(tg_embed_find(tg_embed_name(i), &data, &size), 1);
        assert_true(size > 4);
        assert_memory_equal(data, "\033LJ", 3); /* LuaJIT bytecode */
    }
}

static void test_names_are_sorted(void **state)
{
    (void)state;
    for (size_t i = 1; i < tg_embed_modules(); i++)
        assert_true(strcmp(tg_embed_name(i - 1), tg_embed_name(i)) < 0);
}

static void test_others_are_not_found(void **state)
{
    const void *data;
    size_t size;
    (void)state;
    assert_int_equal(tg_embed_find("tidegate.no.such", &data, &size), 0);
    assert_int_equal(tg_embed_find("", &data, &size), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_module_is_found),
        cmocka_unit_test(test_names_are_sorted),
        cmocka_unit_test(test_others_are_not_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
