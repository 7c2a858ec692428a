#include "core/subject/transform.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "core/base/hash.h"
#include "core/base/mem.h"
#include "core/subject/subject.h"

#define TOKENS_MAX 128 /* of a subject that is transformed; what is beyond is cut at '>' only */
#define ARGS_MAX   TOKENS_MAX

#define BAD_DESTINATION "invalid mapping destination: "

enum op {
    OP_TEXT,
    OP_REST, /* '>' */
    OP_WILDCARD,
    OP_PARTITION,
    OP_SPLIT_LEFT,
    OP_SPLIT_RIGHT,
    OP_SLICE_LEFT,
    OP_SLICE_RIGHT,
    OP_SPLIT,
    OP_LEFT,
    OP_RIGHT,
    OP_RANDOM
};

/* One token of the destination. */
struct step {
    enum op op;
    struct bytes text;   /* OP_TEXT: the token; OP_SPLIT: the delimiter. Borrowed from the copy */
    uint32_t number;     /* how many partitions, characters, … */
    uint32_t *wildcards; /* owned: numbers from 1 */
    uint32_t wildcard_count;
};

struct transform {
    struct bytes source, destination; /* in `copy` */
    char *copy;
    struct buffer target; /* strict */
    struct step *steps;
    uint32_t step_count, step_cap;
    uint32_t stars[TOKENS_MAX]; /* token number of the n-th '*' of the source */
    uint32_t star_count;
    bool rest; /* the source ends in '>' */
};

static const struct {
    const char *name;
    enum op op;
    int args; /* after the first; -1: any number of further wildcards */
} functions[] = {{"wildcard", OP_WILDCARD, 0},
                 {"partition", OP_PARTITION, -1},
                 {"splitfromleft", OP_SPLIT_LEFT, 1},
                 {"splitfromright", OP_SPLIT_RIGHT, 1},
                 {"slicefromleft", OP_SLICE_LEFT, 1},
                 {"slicefromright", OP_SLICE_RIGHT, 1},
                 {"split", OP_SPLIT, 1},
                 {"left", OP_LEFT, 1},
                 {"right", OP_RIGHT, 1},
                 {"random", OP_RANDOM, 0}};

/* --- reading the destination --- */

static struct bytes trim(struct bytes b)
{
    while (b.len > 0 && (b.ptr[0] == ' ' || b.ptr[0] == '\t')) {
        b = bytes_skip(b, 1);
    }
    while (b.len > 0 && (b.ptr[b.len - 1] == ' ' || b.ptr[b.len - 1] == '\t')) {
        b.len--;
    }
    return b;
}

static enum err bad(struct error *error, const char *what, struct bytes token)
{
    return error_set(error, ERR_INVALID, BAD_DESTINATION "%s in %.*s", what, BYTES_ARG(token));
}

static enum err out_of_range(const struct transform *t, struct error *error, struct bytes token,
                             uint64_t index)
{
    if (t->star_count == 0) {
        return bad(error, "wildcard index out of range", token);
    }
    return error_set(error, ERR_INVALID,
                     BAD_DESTINATION "wildcard index out of range in %.*s: [%llu]",
                     BYTES_ARG(token), (unsigned long long)index);
}

static enum err add_wildcard(const struct transform *t, struct step *step, struct bytes token,
                             struct bytes text, struct error *error)
{
    uint64_t index;
    if (!bytes_to_u64(trim(text), &index)) {
        return bad(error, "function argument is invalid or in the wrong format", token);
    }
    bool any = step->op == OP_PARTITION && t->star_count == 0; /* there is nothing it could mean */
    if ((index == 0 || index > t->star_count) && !any) {
        return out_of_range(t, error, token, index);
    }
    step->wildcards =
        mem_realloc(step->wildcards, (step->wildcard_count + 1) * sizeof *step->wildcards);
    step->wildcards[step->wildcard_count] = (uint32_t)index;
    step->wildcard_count += !any;
    return OK;
}

static enum err read_number(struct step *step, struct bytes token, struct bytes text,
                            struct error *error)
{
    uint64_t value;
    if (!bytes_to_u64(trim(text), &value) || value > INT32_MAX) {
        return bad(error, "function argument is invalid or in the wrong format", token);
    }
    step->number = (uint32_t)value;
    return OK;
}

/* {{name(args)}} */
static enum err read_function(const struct transform *t, struct step *step, struct bytes token,
                              struct error *error)
{
    struct bytes inner = trim(bytes_make(token.ptr + 2, token.len - 4));
    const char *open = inner.len == 0 ? NULL : memchr(inner.ptr, '(', inner.len);
    if (open == NULL || inner.ptr[inner.len - 1] != ')') {
        return bad(error, "unknown function", token);
    }
    struct bytes name = trim(bytes_make(inner.ptr, (size_t)(open - inner.ptr)));
    struct bytes args = bytes_make(open + 1, (size_t)(inner.ptr + inner.len - 1 - (open + 1)));
    size_t f = 0, count = sizeof functions / sizeof functions[0];
    while (f < count && !bytes_eq_nocase(name, bytes_of(functions[f].name))) {
        f++;
    }
    if (f == count) {
        return bad(error, "unknown function", token);
    }
    step->op = functions[f].op;
    bool numbered = step->op == OP_PARTITION || step->op == OP_RANDOM; /* the number comes first */
    struct bytes arg;
    int n = 0;
    enum err err = OK;
    for (; bytes_token(&args, ',', &arg) && err == OK; n++) {
        if (functions[f].args >= 0 && n > functions[f].args) {
            return bad(error, "too many arguments passed to the function", token);
        }
        if (n >= ARGS_MAX) {
            return bad(error, "too many arguments passed to the function", token);
        }
        if (n == 0 ? numbered : step->op != OP_PARTITION && step->op != OP_SPLIT) {
            err = read_number(step, token, arg, error);
        } else if (n > 0 && step->op == OP_SPLIT) {
            step->text = arg;
            err = arg.len == 0 || memchr(arg.ptr, '.', arg.len) != NULL
                      ? bad(error, "function argument is invalid or in the wrong format", token)
                      : OK;
        } else {
            err = add_wildcard(t, step, token, arg, error);
        }
    }
    if (err == OK && (n == 0 || n < functions[f].args + 1)) {
        return bad(error,
                   n == 0 ? "function argument is invalid or in the wrong format"
                          : "not enough arguments passed to the function",
                   token);
    }
    return err;
}

static bool all_digits(struct bytes b)
{
    uint64_t ignored;
    return bytes_to_u64(b, &ignored);
}

static enum err read_step(const struct transform *t, struct step *step, struct bytes token,
                          struct error *error)
{
    if (token.len > 4 && bytes_starts(token, BYTES_LIT("{{")) && token.ptr[token.len - 1] == '}' &&
        token.ptr[token.len - 2] == '}') {
        enum err err = read_function(t, step, token, error);
        bool free_of_wildcards = step->op == OP_PARTITION || step->op == OP_RANDOM;
        return err == OK && t->star_count == 0 && !free_of_wildcards
                   ? bad(error, "wildcard index out of range", token)
                   : err;
    }
    if (token.len > 1 && token.ptr[0] == '$' && all_digits(bytes_skip(token, 1))) {
        step->op = OP_WILDCARD;
        return add_wildcard(t, step, token, bytes_skip(token, 1), error);
    }
    step->op = bytes_is(token, ">") ? OP_REST : OP_TEXT;
    step->text = token;
    return subject_is_valid(token)
               ? OK
               : error_set(error, ERR_INVALID, BAD_DESTINATION "invalid transform");
}

/* '.' inside {{ }} does not separate: there is none in a well-formed function. */
static enum err read_steps(struct transform *t, bool strict, struct error *error)
{
    struct bytes rest = t->destination, token;
    uint32_t star = 0;
    bool ends = false;
    enum err err = OK;
    while (bytes_token(&rest, '.', &token) && err == OK) {
        VEC_RESERVE(t->steps, t->step_cap, t->step_count);
        struct step *step = &t->steps[t->step_count++];
        *step = (struct step){0};
        if (token.len == 0 || ends || t->step_count > TOKENS_MAX) {
            return error_set(error, ERR_INVALID, BAD_DESTINATION "invalid transform");
        }
        if (bytes_is(token, "*")) {
            char text[16];
            if (!strict) {
                return error_set(error, ERR_INVALID, "invalid subject");
            }
            if (star == t->star_count) {
                return error_set(error, ERR_INVALID,
                                 BAD_DESTINATION "not using all of the token wildcard(s) in %.*s",
                                 BYTES_ARG(t->source));
            }
            (void)snprintf(text, sizeof text, "%u", ++star);
            step->op = OP_WILDCARD;
            err = add_wildcard(t, step, token, bytes_of(text), error);
        } else {
            err = read_step(t, step, token, error);
        }
        ends = step->op == OP_REST;
    }
    if (err == OK && ends != t->rest) {
        return error_set(error, ERR_INVALID, "invalid subject");
    }
    return err;
}

/* Every wildcard once, nothing else that computes; builds the target. */
static enum err check_strict(struct transform *t, struct error *error)
{
    uint32_t used[TOKENS_MAX] = {0};
    uint32_t count = 0;
    for (uint32_t i = 0; i < t->step_count; i++) {
        const struct step *step = &t->steps[i];
        buffer_append_text(&t->target, i > 0 ? "." : "");
        if (step->op == OP_WILDCARD) {
            count += used[step->wildcards[0] - 1]++ == 0;
            buffer_append_char(&t->target, '*');
        } else if (step->op == OP_TEXT || step->op == OP_REST) {
            buffer_append_bytes(&t->target, step->text);
        } else {
            return error_set(error, ERR_INVALID, BAD_DESTINATION "functions are not allowed here");
        }
    }
    for (uint32_t i = 0; i < t->star_count; i++) {
        if (used[i] != 1) {
            return error_set(error, ERR_INVALID,
                             BAD_DESTINATION "not using all of the token wildcard(s) in %.*s",
                             BYTES_ARG(t->source));
        }
    }
    return count == t->star_count ? OK : ERR_INVALID;
}

static struct transform *build(struct bytes source, struct bytes destination, bool strict,
                               struct error *error)
{
    if (!subject_is_valid(source) || subject_token_count(source) > TOKENS_MAX) {
        (void)error_set(error, ERR_INVALID, "invalid subject");
        return NULL;
    }
    struct transform *t = NEW(struct transform);
    t->copy = mem_alloc(source.len + destination.len + 1);
    memcpy(t->copy, source.ptr, source.len);
    if (destination.len > 0) {
        memcpy(t->copy + source.len, destination.ptr, destination.len);
    }
    t->source = bytes_make(t->copy, source.len);
    t->destination = bytes_make(t->copy + source.len, destination.len);
    struct bytes rest = t->source, token;
    for (uint32_t i = 0; bytes_token(&rest, '.', &token); i++) {
        if (bytes_is(token, "*")) {
            t->stars[t->star_count++] = i;
        }
        t->rest = bytes_is(token, ">");
    }
    enum err err = read_steps(t, strict, error);
    err = err == OK && strict ? check_strict(t, error) : err;
    if (err != OK) {
        transform_free(t);
        return NULL;
    }
    return t;
}

struct transform *transform_new(struct bytes source, struct bytes destination, struct error *error)
{
    return build(source, destination, false, error);
}

struct transform *transform_new_strict(struct bytes source, struct bytes destination,
                                       struct error *error)
{
    return build(source, destination, true, error);
}

void transform_free(struct transform *t)
{
    if (t == NULL) {
        return;
    }
    for (uint32_t i = 0; i < t->step_count; i++) {
        free(t->steps[i].wildcards);
    }
    free(t->steps);
    buffer_deinit(&t->target);
    free(t->copy);
    free(t);
}

struct bytes transform_source(const struct transform *t)
{
    return t->source;
}

struct bytes transform_target(const struct transform *t)
{
    return buffer_bytes(&t->target);
}

/* --- applying --- */

struct tokens {
    struct bytes list[TOKENS_MAX];
    uint32_t count;
    struct bytes subject;
};

static void split_tokens(struct bytes subject, struct tokens *tokens)
{
    tokens->count = 0;
    tokens->subject = subject;
    while (tokens->count < TOKENS_MAX && bytes_token(&subject, '.', &tokens->list[tokens->count])) {
        tokens->count++;
    }
}

static struct bytes wildcard(const struct transform *t, const struct tokens *tokens,
                             const struct step *step)
{
    uint32_t at = t->stars[step->wildcards[0] - 1];
    return at < tokens->count ? tokens->list[at] : BYTES_NONE;
}

static void put_partition(const struct transform *t, const struct tokens *tokens,
                          const struct step *step, struct buffer *out)
{
    struct buffer key = {0};
    for (uint32_t i = 0; i < step->wildcard_count; i++) {
        uint32_t at = t->stars[step->wildcards[i] - 1];
        buffer_append_bytes(&key, at < tokens->count ? tokens->list[at] : BYTES_NONE);
    }
    struct bytes hashed = step->wildcard_count > 0 ? buffer_bytes(&key) : tokens->subject;
    buffer_printf(out, "%u", step->number == 0 ? 0 : hash_fnv1a(hashed) % step->number);
    buffer_deinit(&key);
}

/* The token in pieces of `size`, the odd one first or last. */
static void put_slices(struct bytes token, uint32_t size, bool odd_first, struct buffer *out)
{
    if (size == 0 || size >= token.len) {
        buffer_append_bytes(out, token);
        return;
    }
    size_t first = odd_first && token.len % size != 0 ? token.len % size : size;
    buffer_append_bytes(out, bytes_make(token.ptr, first));
    for (size_t at = first; at < token.len; at += size) {
        buffer_append_char(out, '.');
        buffer_append_bytes(
            out, bytes_make(token.ptr + at, token.len - at < size ? token.len - at : size));
    }
}

static void put_split(struct bytes token, struct bytes delimiter, struct buffer *out)
{
    bool any = false;
    while (token.len > 0) {
        const char *at = memmem(token.ptr, token.len, delimiter.ptr, delimiter.len);
        struct bytes piece = at == NULL ? token : bytes_make(token.ptr, (size_t)(at - token.ptr));
        token = at == NULL ? BYTES_NONE : bytes_skip(token, piece.len + delimiter.len);
        if (piece.len > 0) {
            buffer_append_text(out, any ? "." : "");
            buffer_append_bytes(out, piece);
            any = true;
        }
    }
}

static void put_cut(struct bytes token, size_t at, struct buffer *out)
{
    buffer_append_bytes(out, bytes_make(token.ptr, at));
    if (at > 0 && at < token.len) {
        buffer_append_char(out, '.');
    }
    buffer_append_bytes(out, bytes_skip(token, at));
}

static void put_step(const struct transform *t, const struct tokens *tokens,
                     const struct step *step, struct random *random, struct buffer *out)
{
    struct bytes token = step->wildcard_count > 0 && step->op != OP_PARTITION
                             ? wildcard(t, tokens, step)
                             : BYTES_NONE;
    size_t n = step->number;
    bool fits = n > 0 && n < token.len; /* out of range: the token stays as it is */
    switch (step->op) {
    case OP_TEXT:
        buffer_append_bytes(out, step->text);
        return;
    case OP_REST: {
        uint32_t from = subject_token_count(t->source) - 1;
        const char *end = tokens->subject.ptr + tokens->subject.len;
        if (from < tokens->count) {
            buffer_append(out, tokens->list[from].ptr, (size_t)(end - tokens->list[from].ptr));
        }
        return;
    }
    case OP_WILDCARD:
        buffer_append_bytes(out, token);
        return;
    case OP_PARTITION:
        put_partition(t, tokens, step, out);
        return;
    case OP_SPLIT_LEFT:
        put_cut(token, fits ? n : token.len, out);
        return;
    case OP_SPLIT_RIGHT:
        put_cut(token, fits ? token.len - n : token.len, out);
        return;
    case OP_SLICE_LEFT:
        put_slices(token, step->number, false, out);
        return;
    case OP_SLICE_RIGHT:
        put_slices(token, step->number, true, out);
        return;
    case OP_SPLIT:
        put_split(token, step->text, out);
        return;
    case OP_LEFT:
        buffer_append_bytes(out, fits ? bytes_make(token.ptr, n) : token);
        return;
    case OP_RIGHT:
        buffer_append_bytes(out, fits ? bytes_skip(token, token.len - n) : token);
        return;
    case OP_RANDOM:
        buffer_printf(out, "%llu",
                      step->number == 0 || random == NULL
                          ? 0ULL
                          : (unsigned long long)random_below(random, step->number));
        return;
    }
}

void transform_apply(const struct transform *t, struct bytes subject, struct random *random,
                     struct buffer *out)
{
    struct tokens tokens;
    split_tokens(subject, &tokens);
    for (uint32_t i = 0; i < t->step_count; i++) {
        if (i > 0) {
            buffer_append_char(out, '.');
        }
        put_step(t, &tokens, &t->steps[i], random, out);
    }
}

void transform_revert(const struct transform *t, struct bytes subject, struct buffer *out)
{
    struct tokens tokens;
    split_tokens(subject, &tokens);
    struct bytes rest = t->source, token;
    uint32_t star = 0;
    for (uint32_t i = 0; bytes_token(&rest, '.', &token); i++) {
        buffer_append_text(out, i > 0 ? "." : "");
        if (bytes_is(token, "*")) { /* where did this one go? */
            star++;
            uint32_t at = 0;
            while (at < t->step_count &&
                   (t->steps[at].op != OP_WILDCARD || t->steps[at].wildcards[0] != star)) {
                at++;
            }
            buffer_append_bytes(out, at < tokens.count ? tokens.list[at] : BYTES_NONE);
        } else if (bytes_is(token, ">")) {
            uint32_t from = t->step_count - 1;
            const char *end = subject.ptr + subject.len;
            if (from < tokens.count) {
                buffer_append(out, tokens.list[from].ptr, (size_t)(end - tokens.list[from].ptr));
            }
        } else {
            buffer_append_bytes(out, token);
        }
    }
}
