/* Subject transforms as a configuration might write them: "source destination subject". */
#include "core/base/mem.h"
#include "core/subject/subject.h"
#include "core/subject/transform.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes rest = bytes_make(data, size);
    struct bytes source, destination;
    struct error error;
    struct random random;
    if (!bytes_token(&rest, ' ', &source) || !bytes_token(&rest, ' ', &destination)) {
        return 0;
    }
    random_seed(&random, 1);
    for (int strict = 0; strict < 2; strict++) {
        struct transform *t = strict != 0 ? transform_new_strict(source, destination, &error)
                                          : transform_new(source, destination, &error);
        if (t != NULL && subject_is_valid(rest) && subject_matches(source, rest)) {
            struct buffer out = {0}, back = {0};
            transform_apply(t, rest, &random, &out);
            if (strict != 0) { /* there and back again */
                transform_revert(t, buffer_bytes(&out), &back);
                CHECK(bytes_eq(buffer_bytes(&back), rest));
            }
            buffer_deinit(&out);
            buffer_deinit(&back);
        }
        transform_free(t);
    }
    return 0;
}
