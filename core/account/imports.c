#include "core/account/imports.h"

#include <stdlib.h>

#include "core/base/buffer.h"
#include "core/base/check.h"
#include "core/base/mem.h"
#include "core/subject/subject.h"

static void add_stream(struct imports *imports, struct account *importer, struct account *exporter,
                       struct transform *t)
{
    imports->streams[imports->stream_count++] = (struct stream_import){importer, exporter, t};
}

static void add_service(struct imports *imports, struct account *importer, struct account *exporter,
                        struct transform *t, const struct import_options *o,
                        const struct export_options *e, uint8_t kind)
{
    imports->services[imports->service_count++] =
        (struct service_import){.entry = {.text = transform_source(t).ptr,
                                          .subject_len = (uint32_t)transform_source(t).len,
                                          .weight = 1,
                                          .kind = kind},
                                .importer = importer,
                                .exporter = exporter,
                                .transform = t,
                                .response = e->response,
                                .threshold_ns = e->threshold_ns,
                                .share = o->share};
}

struct imports *imports_new(struct accounts *accounts, struct account *importer,
                            const struct options *options, uint8_t kind)
{
    const struct account_options *a = options_find_account(options, bytes_of(importer->name));
    if (a == NULL || a->import_count == 0) {
        return NULL;
    }
    struct imports *imports = NEW(struct imports);
    imports->streams = mem_zalloc(a->import_count * sizeof *imports->streams);
    imports->services = mem_zalloc(a->import_count * sizeof *imports->services);
    for (uint32_t i = 0; i < a->import_count; i++) {
        const struct import_options *o = &a->imports[i];
        struct error error;
        struct transform *t = options_import_transform(o, &error);
        CHECK(t != NULL);
        struct account *exporter = accounts_get(accounts, bytes_of(o->account));
        struct bytes remote = o->service ? transform_target(t) : transform_source(t);
        const struct export_options *e = options_find_export(
            options_find_account(options, bytes_of(o->account)), o, remote, importer->name);
        CHECK(e != NULL);
        buffer_printf(&imports->key, "%d %s %s %s %d %d %lld\n", o->service, o->account, o->subject,
                      o->local, o->share, e->response, (long long)e->threshold_ns);
        if (o->service) {
            add_service(imports, importer, exporter, t, o, e, kind);
        } else {
            add_stream(imports, importer, exporter, t);
        }
    }
    return imports;
}

void imports_free(struct imports *imports)
{
    if (imports == NULL) {
        return;
    }
    for (uint32_t i = 0; i < imports->stream_count; i++) {
        transform_free(imports->streams[i].transform);
    }
    for (uint32_t i = 0; i < imports->service_count; i++) {
        transform_free(imports->services[i].transform);
    }
    free(imports->streams);
    free(imports->services);
    buffer_deinit(&imports->key);
    free(imports);
}

bool imports_equal(const struct imports *a, const struct imports *b)
{
    return (a == NULL) == (b == NULL) &&
           (a == NULL || bytes_eq(buffer_bytes(&a->key), buffer_bytes(&b->key)));
}

bool stream_import_subject(const struct stream_import *import, struct bytes subject,
                           struct buffer *out)
{
    struct buffer common = {0};
    struct bytes a = transform_target(import->transform), b = subject, x, y;
    if (!subject_overlaps(a, b)) {
        return false;
    }
    /* what both ask for, token by token: the narrower of the two */
    while (bytes_token(&a, '.', &x) && bytes_token(&b, '.', &y)) {
        bool a_rest = bytes_is(x, ">"), b_rest = bytes_is(y, ">");
        buffer_append_text(&common, common.len > 0 ? "." : "");
        if (a_rest || b_rest) {
            struct bytes token = a_rest ? y : x;
            struct bytes left = a_rest ? b : a;
            buffer_append_bytes(&common, token);
            if (left.ptr != NULL) {
                buffer_append_char(&common, '.');
                buffer_append_bytes(&common, left);
            }
            break;
        }
        buffer_append_bytes(&common, bytes_is(x, "*") ? y : x);
    }
    transform_revert(import->transform, buffer_bytes(&common), out);
    buffer_deinit(&common);
    return true;
}
