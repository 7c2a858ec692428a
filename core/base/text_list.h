/* text_list: C strings in the order they were added. */
#ifndef CORE_BASE_TEXT_LIST_H
#define CORE_BASE_TEXT_LIST_H

#include "core/base/bytes.h"

struct text_list {
    char **items; /* owned */
    uint32_t count, cap;
};

/* Copies. */
void text_list_add(struct text_list *list, struct bytes text);
bool text_list_has(const struct text_list *list, struct bytes text);
bool text_list_equal(const struct text_list *a, const struct text_list *b);
/* Empty, and without memory. */
void text_list_clear(struct text_list *list);

#endif
