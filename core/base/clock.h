/* clock: the only place that asks the system for the time. Raft and the state machines never do. */
#ifndef CORE_BASE_CLOCK_H
#define CORE_BASE_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/bytes.h"
#include "core/base/time_math.h"

/* Seconds from a configuration, in ns; at most TIME_MAX_NS either way. */
int64_t clock_seconds(double seconds);

int64_t clock_now_ns(void);  /* since 1970, UTC */
int64_t clock_mono_ns(void); /* never goes back */

#define CLOCK_RFC3339_MAX 40
/* RFC 3339, UTC, nanoseconds without trailing zeros ("2026-11-21T06:55:22.023Z");
 * 0 gives "0001-01-01T00:00:00Z", NATS's unset time. Writes a NUL; returns the length. */
size_t clock_format_rfc3339(int64_t ns, char text[CLOCK_RFC3339_MAX]);
/* Any RFC 3339 offset. What int64 cannot hold, before 1677 and after 2262, becomes its ends. */
bool clock_parse_rfc3339(struct bytes text, int64_t *ns);
/* "1m5s", "2h0m5s", "1d0h0m0s": NATS monitoring's uptime. */
void clock_format_uptime(int64_t ns, char text[48]);
#define CLOCK_DURATION_MAX 80
/* Go's duration notation: "2m0s", "1.5s", "250ms", "0s". Writes a NUL. */
void clock_format_duration(int64_t ns, char text[CLOCK_DURATION_MAX]);
/* Go's duration notation: "1h30m", "250ms", "-1.5s", "0". At most TIME_MAX_NS either way; what Go
 * cannot hold is refused as there. */
bool clock_parse_duration(struct bytes text, int64_t *ns);

#endif
