#include "jetstream/store/mark.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/hash.h"

/* A slot: u64 number, u32 crc of the number and MAGIC, zeros; in the machine's byte order, as the
 * file never leaves it. Slots are a sector each: one torn write damages one. */
#define SLOT_LEN 512
static const char magic[] = "trireme mark 1";

struct slot {
    uint64_t number;
    uint32_t crc;
};

static uint32_t slot_crc(uint64_t number)
{
    return hash_crc32c(hash_crc32c(0, magic, sizeof magic), &number, sizeof number);
}

static bool read_slot(int fd, unsigned index, uint64_t *number)
{
    struct slot s;
    if (pread(fd, &s, sizeof s, (off_t)index * SLOT_LEN) != (ssize_t)sizeof s) {
        return false;
    }
    *number = s.number;
    return s.crc == slot_crc(s.number);
}

enum err mark_open(struct mark *m, const char *path, uint64_t *number, bool *known,
                   struct error *error)
{
    *m = (struct mark){.fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600)};
    *number = 0;
    *known = false;
    if (m->fd < 0) {
        return error_set(error, ERR_IO, "JetStream mark \"%s\": %s", path, strerror(errno));
    }
    for (unsigned i = 0; i < 2; i++) {
        uint64_t n;
        if (read_slot(m->fd, i, &n) && (!*known || n > *number)) {
            *number = n;
            *known = true;
            m->slot = i;
        }
    }
    return OK;
}

enum err mark_set(struct mark *m, uint64_t number)
{
    char sector[SLOT_LEN] = {0};
    struct slot s = {number, slot_crc(number)};
    memcpy(sector, &s, sizeof s);
    m->slot = 1 - m->slot;
    if (pwrite(m->fd, sector, sizeof sector, (off_t)m->slot * SLOT_LEN) != (ssize_t)sizeof sector) {
        return ERR_IO;
    }
    int64_t now = clock_mono_ns();
    if (now - m->synced_ns >= MARK_SYNC_NS) {
        m->synced_ns = now;
        return fdatasync(m->fd) == 0 ? OK : ERR_IO;
    }
    return OK;
}

void mark_close(struct mark *m)
{
    if (m->fd >= 0) {
        (void)fdatasync(m->fd);
        (void)close(m->fd);
    }
    m->fd = -1;
}
