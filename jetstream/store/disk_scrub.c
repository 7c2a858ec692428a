/* Looking for damage: everything is read once in a while, past the caches, so that what a disk has
 * lost is found while the other replicas still have it (reliability rule 5).
 *
 * A record whose checksum is wrong is damage of one place; a block that cannot be read, of all
 * places up to where reading can go on (disk_cursor.c). */
#include "jetstream/store/disk_internal.h"

struct walk {
    struct disk_cursor cursor;
    bool states;    /* not of CF_LOG */
    uint64_t group; /* in which is_index_readable() looks */
    disk_record_cb on_record;
    void *arg;
};

static struct store_place after(struct store_place p)
{
    return p.index == UINT64_MAX ? (struct store_place){p.group + 1, 0}
                                 : (struct store_place){p.group, p.index + 1};
}

/* True: the cursor stands at, or behind, the place, or nothing is there; false: unreadable. */
static bool seek(struct walk *w, struct store_place p)
{
    char key[DISK_LOG_KEY_LEN];
    disk_log_key(key, p.group, p.index);
    return disk_cursor_seek(&w->cursor, key, w->states ? 8 : sizeof key);
}

static bool is_group_readable(void *arg, uint64_t group)
{
    return seek(arg, (struct store_place){group, 0});
}

static bool is_index_readable(void *arg, uint64_t index)
{
    struct walk *w = arg;
    return seek(w, (struct store_place){w->group, index});
}

/* The first place behind `bad`, which is not readable, that is. The bad part ends in the group
 * before the first one that is readable from its beginning. */
static struct store_place next_readable(struct walk *w, struct store_place bad)
{
    uint64_t next = disk_search(bad.group, is_group_readable, w);
    if (w->states) {
        return (struct store_place){next, 0};
    }
    w->group = next - 1;
    uint64_t from = w->group == bad.group ? bad.index : 0;
    uint64_t index = disk_search(from, is_index_readable, w);
    return index == UINT64_MAX ? (struct store_place){next, 0}
                               : (struct store_place){w->group, index};
}

/* Whether the record under the iterator is what was written, which is told then; *place, *size: its
 * own. */
static bool look(struct walk *w, struct store_place *place, size_t *size)
{
    size_t key_len, value_len;
    const char *key = rocksdb.iter_key(w->cursor.it, &key_len);
    const char *value = rocksdb.iter_value(w->cursor.it, &value_len);
    struct bytes k = bytes_make(key, key_len), v = bytes_make(value, value_len);
    bool whole = true; /* what is no record of ours is nobody's */
    *size = value_len;
    *place = (struct store_place){0, 0};
    if (w->states && key_len >= 8) {
        place->group = get_be64(key);
        whole = disk_state_is_whole(k, v);
    } else if (key_len == DISK_LOG_KEY_LEN) {
        *place = (struct store_place){get_be64(key), get_be64(key + 8)};
        whole = disk_entry_is_whole(place->group, place->index, v);
    }
    if (whole && w->on_record != NULL) {
        w->on_record(w->arg, k, v);
    }
    return whole;
}

/* True: to the end of the column family. States are looked at in one go, `bytes` or not: a place is
 * a whole group there. */
static bool walk(struct walk *w, struct store_place *at, size_t bytes, struct store_damage *found,
                 uint32_t cap, uint32_t *count)
{
    size_t taken = 0;
    bool readable = seek(w, *at);
    while ((taken < bytes || w->states) && *count < cap) {
        if (!readable) {
            struct store_place from = *at;
            disk_note_unreadable(w->cursor.disk);
            *at = next_readable(w, from);
            found[(*count)++] = (struct store_damage){from, *at, w->states};
            if (at->group == UINT64_MAX) {
                return true;
            }
            readable = seek(w, *at);
            continue;
        }
        if (!rocksdb.iter_valid(w->cursor.it)) {
            return true;
        }
        struct store_place place;
        size_t size;
        bool whole = look(w, &place, &size);
        *at = after(place);
        taken += size + DISK_LOG_KEY_LEN;
        if (!whole) {
            struct store_place to = w->states ? (struct store_place){place.group + 1, 0} : *at;
            found[(*count)++] = (struct store_damage){place, to, w->states};
        }
        readable = disk_cursor_next(&w->cursor);
    }
    return false;
}

bool disk_walk(struct disk *s, enum column_family family, struct store_place *at, size_t bytes,
               struct store_damage *found, uint32_t cap, uint32_t *count, disk_record_cb on_record,
               void *arg)
{
    struct walk w = {.states = family != CF_LOG, .on_record = on_record, .arg = arg};
    *count = 0;
    if (s->cf[family] == NULL) {
        return true;
    }
    rocksdb_readoptions_t *options = rocksdb.readoptions_create();
    rocksdb.readoptions_set_verify_checksums(options, 1);
    rocksdb.readoptions_set_fill_cache(options, 0);
    disk_cursor_init(&w.cursor, s, family, options);
    bool end = walk(&w, at, bytes, found, cap, count);
    disk_cursor_deinit(&w.cursor);
    rocksdb.readoptions_destroy(options);
    return end;
}

bool disk_scrub(struct store *store, struct store_place *at, size_t bytes,
                struct store_damage *found, uint32_t cap, uint32_t *count)
{
    struct disk *s = disk_of(store);
    bool end = disk_walk(s, CF_LOG, at, bytes, found, cap, count, NULL, NULL);
    if (end) { /* the states of all groups at once: there is little of them */
        for (enum column_family family = CF_STATE; family <= CF_COPIES; family++) {
            uint32_t more;
            *at = (struct store_place){0, 0};
            (void)disk_walk(s, family, at, bytes, found + *count, cap - *count, &more, NULL, NULL);
            *count += more;
        }
        *at = (struct store_place){0, 0};
    }
    return end;
}
