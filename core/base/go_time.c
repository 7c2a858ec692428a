#include "core/base/go_time.h"

#include <stdio.h>

#include "core/base/clock.h"

#define LAYOUT "2006-01-02T15:04:05Z07:00"

#define DAY_S INT64_C(86400)

static const struct go_time FIRST = {true, -TIME_MAX_NS, 0}, LAST = {true, TIME_MAX_NS, 0};

struct parse {
    struct bytes all, rest;
    struct buffer *error;
};

/* As package time quotes, byte by byte. */
static void quote(struct buffer *out, struct bytes text)
{
    buffer_append_char(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c < ' ' || c >= 0x7f) {
            buffer_printf(out, "\\x%02x", c);
        } else {
            buffer_printf(out, "%s%c", c == '"' || c == '\\' ? "\\" : "", c);
        }
    }
    buffer_append_char(out, '"');
}

static bool mismatch(const struct parse *p, struct bytes rest, const char *element)
{
    buffer_append_text(p->error, "parsing time ");
    quote(p->error, p->all);
    buffer_append_text(p->error, " as \"" LAYOUT "\": cannot parse ");
    quote(p->error, rest);
    buffer_printf(p->error, " as \"%s\"", element);
    return false;
}

static bool wrong(const struct parse *p, const char *what)
{
    buffer_append_text(p->error, "parsing time ");
    quote(p->error, p->all);
    buffer_printf(p->error, ": %s", what);
    return false;
}

static bool digit_at(struct bytes b, size_t i)
{
    return i < b.len && b.ptr[i] >= '0' && b.ptr[i] <= '9';
}

/* `least` to `most` digits. */
static bool number(struct parse *p, size_t least, size_t most, const char *element, int *value)
{
    size_t n = 0;
    *value = 0;
    while (n < most && digit_at(p->rest, n)) {
        *value = *value * 10 + (p->rest.ptr[n++] - '0');
    }
    if (n < least) {
        return mismatch(p, p->rest, element);
    }
    p->rest = bytes_skip(p->rest, n);
    return true;
}

static bool literal(struct parse *p, char c)
{
    const char text[] = {c, '\0'};
    if (p->rest.len == 0 || p->rest.ptr[0] != c) {
        return mismatch(p, p->rest, text);
    }
    p->rest = bytes_skip(p->rest, 1);
    return true;
}

static int64_t fraction(struct parse *p)
{
    int64_t ns = 0, unit = NS_PER_SEC / 10;
    if (p->rest.len < 2 || (p->rest.ptr[0] != '.' && p->rest.ptr[0] != ',') ||
        !digit_at(p->rest, 1)) {
        return 0;
    }
    for (p->rest = bytes_skip(p->rest, 1); digit_at(p->rest, 0); unit /= 10) {
        ns += (p->rest.ptr[0] - '0') * unit;
        p->rest = bytes_skip(p->rest, 1);
    }
    return ns;
}

static bool zone(struct parse *p, int64_t *offset_s)
{
    struct bytes z = p->rest;
    *offset_s = 0;
    if (z.len > 0 && z.ptr[0] == 'Z') {
        p->rest = bytes_skip(z, 1);
        return true;
    }
    if (z.len < 6 || (z.ptr[0] != '+' && z.ptr[0] != '-') || !digit_at(z, 1) || !digit_at(z, 2) ||
        z.ptr[3] != ':' || !digit_at(z, 4) || !digit_at(z, 5)) {
        return mismatch(p, z, "Z07:00");
    }
    int hours = (z.ptr[1] - '0') * 10 + (z.ptr[2] - '0');
    int minutes = (z.ptr[4] - '0') * 10 + (z.ptr[5] - '0');
    if (hours > 24) {
        return wrong(p, "time zone offset hour out of range");
    }
    if (minutes > 60) {
        return wrong(p, "time zone offset minute out of range");
    }
    *offset_s = (hours * 60 + minutes) * (z.ptr[0] == '+' ? 60 : -60);
    p->rest = bytes_skip(z, 6);
    return true;
}

static int days_of(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && leap);
}

/* Days since 1970-01-01 in the proleptic Gregorian calendar. */
static int64_t days_since_epoch(int year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t of_era = y - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static bool parse_date(struct parse *p, int *year, int *month, int *day)
{
    if (!number(p, 4, 4, "2006", year) || !literal(p, '-') || !number(p, 2, 2, "01", month)) {
        return false;
    }
    if (*month < 1 || *month > 12) {
        return wrong(p, "month out of range");
    }
    return literal(p, '-') && number(p, 2, 2, "02", day) && literal(p, 'T');
}

static bool parse_clock(struct parse *p, int64_t *second_of_day, int64_t *ns)
{
    int hour, minute, second;
    if (!number(p, 1, 2, "15", &hour)) {
        return false;
    }
    if (hour > 23) {
        return wrong(p, "hour out of range");
    }
    if (!literal(p, ':') || !number(p, 2, 2, "04", &minute)) {
        return false;
    }
    if (minute > 59) {
        return wrong(p, "minute out of range");
    }
    if (!literal(p, ':') || !number(p, 2, 2, "05", &second)) {
        return false;
    }
    if (second > 59) {
        return wrong(p, "second out of range");
    }
    *second_of_day = (hour * 60 + minute) * 60 + second;
    *ns = fraction(p);
    return true;
}

bool go_time_parse(struct bytes text, struct go_time *time, struct buffer *error)
{
    struct parse p = {text, text, error};
    int year = 0, month = 0, day = 0;
    int64_t of_day = 0, part = 0, offset = 0;
    if (!parse_date(&p, &year, &month, &day) || !parse_clock(&p, &of_day, &part) ||
        !zone(&p, &offset)) {
        return false;
    }
    if (p.rest.len > 0) {
        struct buffer extra = {0};
        buffer_append_text(&extra, "extra text: ");
        quote(&extra, p.rest);
        buffer_append_char(&extra, '\0');
        (void)wrong(&p, extra.data);
        buffer_deinit(&extra);
        return false;
    }
    if (day < 1 || day > days_of(year, month)) {
        return wrong(&p, "day out of range");
    }
    int64_t seconds = days_since_epoch(year, month, day) * DAY_S + of_day - offset;
    bool narrow = offset > -DAY_S && offset < DAY_S;
    *time = (struct go_time){.set = true, .offset_min = narrow ? (int32_t)(offset / 60) : 0};
    if (seconds >= TIME_MAX_NS / NS_PER_SEC || seconds <= -TIME_MAX_NS / NS_PER_SEC) {
        *time = seconds > 0 ? LAST : FIRST;
    } else {
        time->ns = seconds * NS_PER_SEC + part;
    }
    return true;
}

static void print(int64_t ns, int32_t offset_min, char text[GO_TIME_MAX])
{
    int64_t shifted = ns + offset_min * 60 * NS_PER_SEC;
    size_t len = 0;
    if (shifted == 0) {
        len = (size_t)snprintf(text, GO_TIME_MAX, "1970-01-01T00:00:00Z");
    } else {
        len = clock_format_rfc3339(shifted, text);
    }
    if (offset_min != 0) { /* instead of the Z */
        int minutes = offset_min < 0 ? -offset_min : offset_min;
        (void)snprintf(text + len - 1, GO_TIME_MAX - (len - 1), "%c%02d:%02d",
                       offset_min < 0 ? '-' : '+', minutes / 60, minutes % 60);
    }
}

void go_time_print(struct go_time time, char text[GO_TIME_MAX])
{
    if (time.ns == LAST.ns || time.ns == FIRST.ns) {
        (void)snprintf(text, GO_TIME_MAX, "%s",
                       time.ns > 0 ? "9999-12-31T23:59:59Z" : "0001-01-01T00:00:00Z");
    } else {
        print(time.ns, time.offset_min, text);
    }
}

void go_time_print_stored(struct go_time time, char text[GO_TIME_MAX])
{
    print(time.ns == 0 ? 1 : time.ns, time.offset_min, text);
}

void go_time_from_stored(struct go_time *time)
{
    time->ns -= time->ns == 1;
}
