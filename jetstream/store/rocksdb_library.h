/* rocksdb_library: RocksDB's C functions, loaded when a store is opened.
 *
 * The library and what it pulls in cost nine megabytes of memory as soon as they are there; a
 * server without JetStream does without. The headers are those of <rocksdb/c.h>; a function that
 * the store begins to use gets a line below.
 *
 * Threads: rocksdb_library_load() once, before anything else; then read-only. */
#ifndef JETSTREAM_STORE_ROCKSDB_LIBRARY_H
#define JETSTREAM_STORE_ROCKSDB_LIBRARY_H

#include <rocksdb/c.h>

#include "core/base/err.h"

#define ROCKSDB_FUNCTIONS(X)                                                                       \
    X(block_based_options_create)                                                                  \
    X(block_based_options_destroy)                                                                 \
    X(block_based_options_set_block_cache)                                                         \
    X(block_based_options_set_block_size)                                                          \
    X(block_based_options_set_cache_index_and_filter_blocks)                                       \
    X(cache_create_lru)                                                                            \
    X(cache_destroy)                                                                               \
    X(close)                                                                                       \
    X(column_family_handle_destroy)                                                                \
    X(compactionfilter_create)                                                                     \
    X(compactionfilterfactory_create)                                                              \
    X(create_iterator_cf)                                                                          \
    X(destroy_db)                                                                                  \
    X(flush_cf)                                                                                    \
    X(flushoptions_create)                                                                         \
    X(flushoptions_destroy)                                                                        \
    X(flushoptions_set_wait)                                                                       \
    X(get_cf)                                                                                      \
    X(get_options_from_string)                                                                     \
    X(get_pinned_cf)                                                                               \
    X(iter_destroy)                                                                                \
    X(iter_get_error)                                                                              \
    X(iter_key)                                                                                    \
    X(iter_next)                                                                                   \
    X(iter_seek)                                                                                   \
    X(iter_seek_to_first)                                                                          \
    X(iter_valid)                                                                                  \
    X(iter_value)                                                                                  \
    X(list_column_families)                                                                        \
    X(list_column_families_destroy)                                                                \
    X(open_column_families)                                                                        \
    X(open_for_read_only_column_families)                                                          \
    X(options_create)                                                                              \
    X(options_destroy)                                                                             \
    X(options_set_block_based_table_factory)                                                       \
    X(options_set_compaction_filter_factory)                                                       \
    X(options_set_compression)                                                                     \
    X(options_set_create_if_missing)                                                               \
    X(options_set_create_missing_column_families)                                                  \
    X(options_set_db_write_buffer_size)                                                            \
    X(options_set_info_log_level)                                                                  \
    X(options_set_keep_log_file_num)                                                               \
    X(options_set_max_background_jobs)                                                             \
    X(options_set_max_open_files)                                                                  \
    X(options_set_max_total_wal_size)                                                              \
    X(options_set_max_write_buffer_number)                                                         \
    X(options_set_recycle_log_file_num)                                                            \
    X(options_set_stats_dump_period_sec)                                                           \
    X(options_set_stats_persist_period_sec)                                                        \
    X(options_set_write_buffer_size)                                                               \
    X(pinnableslice_destroy)                                                                       \
    X(pinnableslice_value)                                                                         \
    X(readoptions_create)                                                                          \
    X(readoptions_destroy)                                                                         \
    X(readoptions_set_fill_cache)                                                                  \
    X(readoptions_set_verify_checksums)                                                            \
    X(write)                                                                                       \
    X(writebatch_clear)                                                                            \
    X(writebatch_create)                                                                           \
    X(writebatch_delete_cf)                                                                        \
    X(writebatch_delete_range_cf)                                                                  \
    X(writebatch_destroy)                                                                          \
    X(writebatch_put_cf)                                                                           \
    X(writebatch_putv_cf) X(writeoptions_create) X(writeoptions_destroy) X(writeoptions_set_sync)

#define ROCKSDB_POINTER(name) __typeof__(rocksdb_##name) *name;
struct rocksdb_library {
    ROCKSDB_FUNCTIONS(ROCKSDB_POINTER)
};
#undef ROCKSDB_POINTER

/* rocksdb.write(…) is rocksdb_write(…). */
extern struct rocksdb_library rocksdb;

/* ERR_IO with the loader's reason when the library, of the version this was built with, is not to
 * be had. May be called again. */
MUST_USE enum err rocksdb_library_load(struct error *error);

#endif
