/* go_time: RFC 3339 as Go's time.Time reads it from JSON and prints it, to the words of its errors.
 * Any thread. */
#ifndef CORE_BASE_GO_TIME_H
#define CORE_BASE_GO_TIME_H

#include "core/base/buffer.h"
#include "core/base/time_math.h"

/* A point in time that somebody named, or none: of zeros. Go's zero time is one that is named. */
struct go_time {
    bool set;
    int64_t ns;         /* since 1970, within ±TIME_MAX_NS: what is beyond is at that end */
    int32_t offset_min; /* of the zone that it is printed in, less than a day */
};

/* `text`: between the quotes. On failure appends to *error why. */
bool go_time_parse(struct bytes text, struct go_time *time, struct buffer *error);

#define GO_TIME_MAX 40 /* bytes of text, the final NUL included */
/* In its zone; the ends as the first and the last second that Go names. */
void go_time_print(struct go_time time, char text[GO_TIME_MAX]);
/* As every version reads it back, also those to which 1970 and Go's zero time are none (before
 * 0.4): the ends as they are kept, 1970 as the ns after it. */
void go_time_print_stored(struct go_time time, char text[GO_TIME_MAX]);
/* What was meant by that, after go_time_parse(). */
void go_time_from_stored(struct go_time *time);

static inline bool go_time_is_zero(struct go_time time)
{
    return time.ns == -TIME_MAX_NS;
}

#endif
