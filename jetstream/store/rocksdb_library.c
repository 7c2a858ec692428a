#include "jetstream/store/rocksdb_library.h"

#include <dlfcn.h>
#include <string.h>

struct rocksdb_library rocksdb;

static void *library;

/* A function pointer, which C does not let one make of a void pointer. */
static bool find(const char *name, void *function, size_t size)
{
    void *symbol = dlsym(library, name);
    memcpy(function, &symbol, size);
    return symbol != NULL;
}

enum err rocksdb_library_load(struct error *error)
{
    if (library != NULL) {
        return OK;
    }
    library = dlopen(ROCKSDB_SONAME, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        return error_set(error, ERR_IO, "RocksDB: %s", dlerror());
    }
#define FIND(name)                                                                                 \
    if (!find("rocksdb_" #name, &rocksdb.name, sizeof rocksdb.name)) {                             \
        return error_set(error, ERR_IO, "RocksDB: %s", dlerror());                                 \
    }
    ROCKSDB_FUNCTIONS(FIND)
#undef FIND
    return OK;
}
