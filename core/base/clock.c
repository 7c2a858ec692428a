#include "core/base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int64_t read_clock(clockid_t id)
{
    struct timespec ts;
    (void)clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}

int64_t clock_seconds(double seconds)
{
    double ns = seconds * (double)NS_PER_SEC;
    return ns >= (double)TIME_MAX_NS    ? TIME_MAX_NS
           : ns <= -(double)TIME_MAX_NS ? -TIME_MAX_NS
                                        : (int64_t)ns; /* NaN cannot be written */
}

int64_t clock_now_ns(void)
{
    return read_clock(CLOCK_REALTIME);
}

int64_t clock_mono_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

size_t clock_format_rfc3339(int64_t ns, char text[CLOCK_RFC3339_MAX])
{
    if (ns == 0) {
        return (size_t)snprintf(text, CLOCK_RFC3339_MAX, "0001-01-01T00:00:00Z");
    }
    int64_t sec = ns / NS_PER_SEC;
    int64_t frac = ns % NS_PER_SEC;
    if (frac < 0) {
        frac += NS_PER_SEC;
        sec--;
    }
    time_t t = (time_t)sec;
    struct tm tm;
    (void)gmtime_r(&t, &tm);
    size_t len = strftime(text, CLOCK_RFC3339_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
    if (frac != 0) {
        len += (size_t)snprintf(text + len, CLOCK_RFC3339_MAX - len, ".%09d", (int)frac);
        while (text[len - 1] == '0') {
            len--;
        }
    }
    text[len++] = 'Z';
    text[len] = '\0';
    return len;
}

static bool digits(const char **at, const char *end, int count, int *value)
{
    *value = 0;
    for (int i = 0; i < count; i++, (*at)++) {
        if (*at >= end || **at < '0' || **at > '9') {
            return false;
        }
        *value = *value * 10 + (**at - '0');
    }
    return true;
}

static bool expect(const char **at, const char *end, char c)
{
    return *at < end && *(*at)++ == c;
}

bool clock_parse_rfc3339(struct bytes text, int64_t *ns)
{
    const char *at = text.ptr;
    const char *end = text.ptr + text.len;
    int year, month, day, hour, minute, second;
    if (!digits(&at, end, 4, &year) || !expect(&at, end, '-') || !digits(&at, end, 2, &month) ||
        !expect(&at, end, '-') || !digits(&at, end, 2, &day) || at >= end ||
        (*at != 'T' && *at != 't')) {
        return false;
    }
    at++;
    if (!digits(&at, end, 2, &hour) || !expect(&at, end, ':') || !digits(&at, end, 2, &minute) ||
        !expect(&at, end, ':') || !digits(&at, end, 2, &second)) {
        return false;
    }
    if (month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 60) {
        return false;
    }
    int64_t frac = 0;
    if (at < end && *at == '.') {
        int64_t unit = NS_PER_SEC / 10;
        for (at++; at < end && *at >= '0' && *at <= '9'; at++, unit /= 10) {
            frac += (*at - '0') * unit;
        }
    }
    int64_t offset = 0;
    if (at < end && (*at == 'Z' || *at == 'z')) {
        at++;
    } else if (at < end && (*at == '+' || *at == '-')) {
        int sign = *at++ == '+' ? 1 : -1;
        int oh, om;
        if (!digits(&at, end, 2, &oh) || !expect(&at, end, ':') || !digits(&at, end, 2, &om)) {
            return false;
        }
        offset = sign * (oh * 3600 + om * 60);
    } else {
        return false;
    }
    struct tm tm = {.tm_year = year - 1900,
                    .tm_mon = month - 1,
                    .tm_mday = day,
                    .tm_hour = hour,
                    .tm_min = minute,
                    .tm_sec = second};
    int64_t sec = (int64_t)timegm(&tm) - offset;
    if (sec < 0 && frac > 0) { /* towards zero, so that the first time of int64 is read, too */
        sec++;
        frac -= NS_PER_SEC;
    }
    *ns = year == 1 ? 0 : time_add(time_scale(sec, NS_PER_SEC), frac);
    return at == end;
}

void clock_format_uptime(int64_t ns, char text[48])
{
    int64_t s = ns / NS_PER_SEC;
    const struct {
        int64_t seconds;
        char unit;
    } units[] = {{31536000, 'y'}, {86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};
    size_t len = 0;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (len > 0 || s >= units[i].seconds || units[i].seconds == 1) {
            len += (size_t)snprintf(text + len, 48 - len, "%lld%c",
                                    (long long)(s / units[i].seconds), units[i].unit);
            s %= units[i].seconds;
        }
    }
}

bool clock_parse_duration(struct bytes text, int64_t *ns)
{
    const char *at = text.ptr;
    const char *end = text.ptr + text.len;
    double sign = 1;
    if (at < end && (*at == '-' || *at == '+')) {
        sign = *at++ == '-' ? -1 : 1;
    }
    if (at == end) {
        return false;
    }
    if (end - at == 1 && *at == '0') {
        *ns = 0;
        return true;
    }
    static const struct {
        const char *unit;
        double ns;
    } units[] = {{"ns", 1},  {"us", 1e3}, {"\xc2\xb5s", 1e3}, {"ms", 1e6},
                 {"s", 1e9}, {"m", 6e10}, {"h", 3.6e12}};
    double total = 0;
    while (at < end) {
        double value = 0;
        double scale = 1;
        bool any = false;
        bool fraction = false;
        for (; at < end && ((*at >= '0' && *at <= '9') || (*at == '.' && !fraction)); at++) {
            if (*at == '.') {
                fraction = true;
                continue;
            }
            any = true;
            value = value * 10 + (*at - '0');
            scale = fraction ? scale * 10 : scale;
        }
        const char *unit = at;
        while (at < end && *at != '.' && (*at < '0' || *at > '9')) {
            at++;
        }
        size_t i = 0;
        size_t count = sizeof units / sizeof units[0];
        while (i < count && !bytes_is(bytes_make(unit, (size_t)(at - unit)), units[i].unit)) {
            i++;
        }
        if (!any || i == count) {
            return false;
        }
        total += value / scale * units[i].ns;
    }
    if (total >= 9223372036854775808.0) { /* 2^63 */
        return false;
    }
    *ns = total > (double)TIME_MAX_NS ? (int64_t)sign * TIME_MAX_NS : (int64_t)(sign * total);
    return true;
}

/* `value` / `unit` with up to nine decimals, none of them a trailing zero. */
static void format_decimal(uint64_t value, uint64_t unit, const char *suffix, char *text)
{
    char digits[16] = "";
    uint64_t rest = value % unit;
    if (rest > 0) {
        int n = snprintf(digits, sizeof digits, ".%09llu",
                         (unsigned long long)(rest * (1000000000u / unit)));
        while (n > 0 && digits[n - 1] == '0') {
            digits[--n] = '\0';
        }
    }
    (void)snprintf(text, 32, "%llu%s%s", (unsigned long long)(value / unit), digits, suffix);
}

void clock_format_duration(int64_t ns, char text[CLOCK_DURATION_MAX])
{
    uint64_t left = ns < 0 ? -(uint64_t)ns : (uint64_t)ns;
    char seconds[32];
    const char *sign = ns < 0 ? "-" : "";
    if (left < 1000) {
        (void)snprintf(text, CLOCK_DURATION_MAX, left == 0 ? "%s0s" : "%s%lluns", sign,
                       (unsigned long long)left);
        return;
    }
    if (left < 1000000000u) {
        bool micro = left < 1000000u;
        format_decimal(left, micro ? 1000u : 1000000u, micro ? "\xc2\xb5s" : "ms", seconds);
        (void)snprintf(text, CLOCK_DURATION_MAX, "%s%s", sign, seconds);
        return;
    }
    uint64_t minutes = left / 60000000000u;
    format_decimal(left % 60000000000u, 1000000000u, "s", seconds);
    if (minutes == 0) {
        (void)snprintf(text, CLOCK_DURATION_MAX, "%s%s", sign, seconds);
    } else if (minutes < 60) {
        (void)snprintf(text, CLOCK_DURATION_MAX, "%s%llum%s", sign, (unsigned long long)minutes,
                       seconds);
    } else {
        (void)snprintf(text, CLOCK_DURATION_MAX, "%s%lluh%llum%s", sign,
                       (unsigned long long)(minutes / 60), (unsigned long long)(minutes % 60),
                       seconds);
    }
}
