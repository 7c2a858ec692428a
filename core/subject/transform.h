/* transform: from one subject to another. Mappings, imports, and later stream sources use it.
 *
 *   source       foo.*.*           its '*' are numbered from 1
 *   destination  bar.$2.{{left(1,3)}}
 *
 * Whole tokens of the destination may be $n, {{wildcard(n)}} or one of the functions partition,
 * splitFromLeft, splitFromRight, sliceFromLeft, sliceFromRight, split, left, right, random.
 * NATS client protocol §12. */
#ifndef CORE_SUBJECT_TRANSFORM_H
#define CORE_SUBJECT_TRANSFORM_H

#include "core/base/buffer.h"
#include "core/base/err.h"
#include "core/base/random.h"

struct transform;

/* NULL with *error filled, in nats-server's words, when the two do not make one. */
struct transform *transform_new(struct bytes source, struct bytes destination, struct error *error);
/* The stricter kind, whose way back is clear: the destination takes every '*' of the source exactly
 * once, as '*' (in their order) or $n, and no function. */
struct transform *transform_new_strict(struct bytes source, struct bytes destination,
                                       struct error *error);
/* NULL is allowed. */
void transform_free(struct transform *t);

/* The source, and (strict) the destination with its wildcards as '*'. Borrowed from `t`. */
struct bytes transform_source(const struct transform *t);
struct bytes transform_target(const struct transform *t);

/* Appends what `subject` becomes. It must be valid and match the source; its tokens may be
 * wildcards, they are carried over. */
void transform_apply(const struct transform *t, struct bytes subject, struct random *random,
                     struct buffer *out);
/* The way back of a strict one: matching the target, to the source's form. */
void transform_revert(const struct transform *t, struct bytes subject, struct buffer *out);

#endif
