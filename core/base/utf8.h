/* utf8: the encoding's rules, for text that others have to be able to read. RFC 3629. */
#ifndef CORE_BASE_UTF8_H
#define CORE_BASE_UTF8_H

#include "core/base/bytes.h"

/* Length of the well-formed sequence that `text` begins with, 1 to 4; 0 when there is none. */
size_t utf8_sequence(struct bytes text);

#endif
