/* check: invariants that stay on in release builds.
 *
 * CHECK states a fact whose violation is a bug of ours: it logs file, line and condition and
 * aborts. DCHECK is for per-message paths that cannot afford it; it exists in test builds only. */
#ifndef CORE_BASE_CHECK_H
#define CORE_BASE_CHECK_H

#define MUST_USE          __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))
/* The compiler clears what a function leaves unset; not this: it is large, on the way of each
 * message, and a count says how much of it is there. */
#if defined(__has_attribute)
#if __has_attribute(uninitialized)
#define NOT_CLEARED __attribute__((uninitialized))
#endif
#endif
#ifndef NOT_CLEARED
#define NOT_CLEARED
#endif
#define LIKELY(x)   __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

__attribute__((noreturn)) void check_failed(const char *file, int line, const char *condition);

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (UNLIKELY(!(cond))) {                                                                   \
            check_failed(__FILE__, __LINE__, #cond);                                               \
        }                                                                                          \
    } while (0)

#ifdef TRIREME_DCHECK
#define DCHECK(cond) CHECK(cond)
#else
#define DCHECK(cond) ((void)0)
#endif

#endif
