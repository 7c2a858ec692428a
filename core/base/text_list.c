#include "core/base/text_list.h"

#include <stdlib.h>

#include "core/base/mem.h"

void text_list_add(struct text_list *list, struct bytes text)
{
    VEC_RESERVE(list->items, list->cap, list->count);
    list->items[list->count++] = mem_dup(text.ptr, text.len);
}

bool text_list_has(const struct text_list *list, struct bytes text)
{
    for (uint32_t i = 0; i < list->count; i++) {
        if (bytes_eq(bytes_of(list->items[i]), text)) {
            return true;
        }
    }
    return false;
}

bool text_list_equal(const struct text_list *a, const struct text_list *b)
{
    bool equal = a->count == b->count;
    for (uint32_t i = 0; i < a->count && equal; i++) {
        equal = strcmp(a->items[i], b->items[i]) == 0;
    }
    return equal;
}

void text_list_clear(struct text_list *list)
{
    for (uint32_t i = 0; i < list->count; i++) {
        mem_free_secret(list->items[i]); /* URLs have passwords in them */
    }
    free(list->items);
    *list = (struct text_list){0};
}
