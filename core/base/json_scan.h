/* json_scan: JSON text as Go's encoding/json takes it, to the words of its errors, for clients
 * compare them. Checks the syntax, and walks what has been checked; nothing is allocated, numbers
 * keep the form they were written in.
 *
 * Any thread. */
#ifndef CORE_BASE_JSON_SCAN_H
#define CORE_BASE_JSON_SCAN_H

#include "core/base/buffer.h"

#define JSON_SCAN_ERROR_MAX 96
#define JSON_SCAN_DEPTH_MAX 10000 /* Source: encoding/json */

enum json_scan { JSON_SCAN_VALUE, JSON_SCAN_END, JSON_SCAN_BAD };

/* The next value of a text that may have several, as json.Decoder reads them: checks it, and moves
 * *rest behind it. END: only blanks are left. BAD: *error says why. `text`: all of it, for offsets.
 */
enum json_scan json_scan_next(struct bytes text, struct bytes *rest, struct bytes *value,
                              char error[JSON_SCAN_ERROR_MAX]);
/* A text that is one value, as json.Unmarshal reads it. */
bool json_scan_whole(struct bytes text, struct bytes *value, char error[JSON_SCAN_ERROR_MAX]);

/* --- walking; all of this on what has been checked --- */

/* What a value is, from its first byte. */
enum json_kind { JSON_NULL_, JSON_BOOL_, JSON_NUMBER_, JSON_STRING_, JSON_ARRAY_, JSON_OBJECT_ };
enum json_kind json_scan_kind(struct bytes value);
/* "null", "bool", "number", … */
const char *json_scan_kind_name(enum json_kind kind);
/* The members or elements of an object or array, one by one. */
struct json_walk {
    struct bytes rest;
    bool object;
};
struct json_walk json_walk_begin(struct bytes value);
/* False at the end. `key`: between its quotes, undecoded; ptr NULL in arrays. */
bool json_walk_next(struct json_walk *walk, struct bytes *key, struct bytes *value);
/* Between the quotes of a string. */
struct bytes json_scan_quoted(struct bytes value);
/* Decodes what is between the quotes; what is no UTF-8 becomes U+FFFD. Appends. */
void json_scan_unescape(struct bytes quoted, struct buffer *out);

/* As Go's %q prints it. */
void go_quote(struct buffer *out, struct bytes text);

#endif
