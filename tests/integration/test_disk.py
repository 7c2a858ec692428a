"""Disks that fail: syncs, writes, torn writes. tests/faults/disk.c makes them, preloaded into a real server."""
import asyncio
import os

import nats
import pytest

from harness import BINARY, Cluster, Server, eventually, eventually_async

LIBRARY = os.path.join(os.path.dirname(os.path.dirname(BINARY)), "tests", "libdisk_faults.so")


class Disk:
    """The disk of one server, to be broken while it runs."""

    def __init__(self, server):
        self.path = os.path.join(server.folder, server.name + "-fault")
        self.heal()
        assert os.path.exists(LIBRARY), f"{LIBRARY} is not built"
        server.env.update(LD_PRELOAD=LIBRARY, TRIREME_DISK_FAULTS=self.path,
                          ASAN_OPTIONS=os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0")

    def breaks(self, how):
        with open(self.path, "r+b") as f:
            f.write(how.encode().ljust(63, b"\0"))

    def heal(self):
        with open(self.path, "wb") as f:
            f.write(b"-".ljust(64, b"\0"))


async def with_stream(tmp_path, **config):
    """A server alone, its disk, and a connection to it; it has the stream S of subject s."""
    s = Server(tmp_path, jetstream=True)
    disk = Disk(s)
    s.start()
    nc = await nats.connect(s.url, max_reconnect_attempts=-1, reconnect_time_wait=0.05)
    await nc.jetstream().add_stream(name="S", subjects=["s"], **config)
    return s, disk, nc


def comes_back(s, disk):
    disk.heal()
    s.start()
    eventually(s.healthy, 20)


async def publish_some(js, acked, count, timeout=1):
    """Publishes until `count` more are acknowledged; what fails is tried again, and may be there twice."""
    want = len(acked) + count
    deadline = asyncio.get_running_loop().time() + 30
    while len(acked) < want:
        assert asyncio.get_running_loop().time() < deadline, f"{len(acked)} of {want} acknowledged"
        text = b"m%d" % len(acked)
        try:
            ack = await js.publish("s", text, timeout=timeout)
            acked.append((ack.seq, text))
        except (nats.errors.Error, nats.js.errors.Error, asyncio.TimeoutError):
            pass


async def all_there(js, acked):
    for seq, text in acked:
        assert (await js.get_msg("S", seq)).data == text


@pytest.mark.parametrize("how", ["s", "w", "f"])
async def test_a_server_whose_disk_fails_steps_aside_until_it_is_restarted(tmp_path, how):
    c = Cluster(tmp_path)
    disks = {s.name: Disk(s) for s in c.servers}
    c.start()
    nc = await nats.connect(servers=c.urls())
    js = nc.jetstream()
    await js.add_stream(name="S", subjects=["s"], num_replicas=3)
    acked = []
    await publish_some(js, acked, 20)
    broken = eventually(lambda: c.leader("S"))
    disks[broken.name].breaks(how)
    await publish_some(js, acked, 20)  # another one leads
    assert c.leader("S") is not broken
    eventually(lambda: broken.get("/healthz", expect=None).get("status") != "ok", 10)
    assert "the store accepts no more writes until restart" in broken.text()
    disks[broken.name].heal()  # a disk that works again is not trusted: what it has is not known
    await publish_some(js, acked, 5)
    assert not broken.healthy()
    broken.kill()
    broken.start()
    c.wait_healthy(30)
    await publish_some(js, acked, 5)
    await asyncio.to_thread(eventually, lambda: c.replicas_agree("S"), 30, "replicas agreeing")
    await all_there(js, acked)
    await nc.close()
    c.stop()


@pytest.mark.parametrize("how", ["s", "w", "t"])
async def test_a_server_alone_acknowledges_nothing_that_its_disk_has_not(tmp_path, how):
    s, disk, nc = await with_stream(tmp_path)
    js = nc.jetstream()
    acked = []
    await publish_some(js, acked, 30)
    disk.breaks(how)
    for _ in range(3):
        with pytest.raises((nats.errors.Error, nats.js.errors.Error, asyncio.TimeoutError)):
            await js.publish("s", b"never acknowledged", timeout=0.3)
    if how == "t":
        s.process.wait(10)
    else:
        eventually(lambda: s.get("/healthz", expect=None).get("status") != "ok", 10)
        s.kill()
    comes_back(s, disk)

    async def back():
        try:
            return await js.stream_info("S")
        except (nats.errors.Error, nats.js.errors.Error, asyncio.TimeoutError):
            return None
    await eventually_async(back, 20, "the stream")
    await all_there(js, acked)
    await publish_some(js, acked, 5)
    await nc.close()
    s.stop()


async def write_until_it_dies(s, acked):
    """Messages of 100 KB, some of them deleted, until the server is gone."""
    nc = await nats.connect(s.url, allow_reconnect=False)
    js = nc.jetstream()
    body = os.urandom(100_000)
    try:
        for i in range(10000):
            text = b"%d " % len(acked) + body
            ack = await asyncio.wait_for(js.publish("s", text, timeout=2), 3)
            acked[ack.seq] = text
            if i % 10 == 9:
                seq = ack.seq - 5
                text = acked.pop(seq)  # from now on it may be there, or not
                await asyncio.wait_for(js.delete_msg("S", seq), 3)
        raise AssertionError("the point was never passed")
    except (nats.errors.Error, nats.js.errors.Error, asyncio.TimeoutError, OSError):
        await asyncio.to_thread(s.process.wait, 10)
    finally:
        await nc.close()


@pytest.mark.parametrize("point", ["wal.write 40", "wal.written 40", "wal.sync 40", "wal.synced 40", "mark.write 40",
                                   "mark.synced 2", "table.write 2", "table.sync 1", "table.synced 2",
                                   "manifest.write 2", "manifest.written 2", "manifest.synced 1", "wal.unlink 1",
                                   "wal.unlinked 1", "table.unlink 1", "table.unlinked 1"])
async def test_killed_at_a_failpoint(tmp_path, point):
    """kill -9 between any two steps of the store: what was acknowledged is there, what was deleted is not there half."""
    s, disk, nc = await with_stream(tmp_path, max_bytes=24 << 20)
    await nc.close()
    acked = {}
    disk.breaks("k" + point)
    await write_until_it_dies(s, acked)
    assert s.process.returncode == -9
    comes_back(s, disk)
    nc = await nats.connect(s.url)
    js = nc.jetstream()
    state = (await js.stream_info("S")).state
    assert state.last_seq >= max(acked)
    last = None
    for seq, text in sorted(acked.items()):
        if seq >= state.first_seq:
            assert (await js.get_msg("S", seq)).data == text
            last = seq
    assert last == max(acked)
    held = 0
    for seq in range(state.first_seq, state.last_seq + 1):
        try:
            await js.get_msg("S", seq)
            held += 1
        except nats.js.errors.NotFoundError:
            pass
    assert held == state.messages
    assert (await js.publish("s", b"on")).seq == state.last_seq + 1
    await nc.close()
    s.stop()


@pytest.mark.parametrize("point", ["manifest.sync 1", "manifest.synced 1", "current.rename 1", "current.renamed 1",
                                   "wal.write 1", "wal.synced 1", "mark.synced 1"])
async def test_killed_while_it_starts(tmp_path, point):
    s, disk, nc = await with_stream(tmp_path)
    acked = []
    await publish_some(nc.jetstream(), acked, 50)
    await nc.close()
    s.kill()
    disk.breaks("k" + point)
    s.start(wait=False)
    assert await asyncio.to_thread(s.process.wait, 10) == -9
    comes_back(s, disk)
    nc = await nats.connect(s.url)
    await all_there(nc.jetstream(), acked)
    await publish_some(nc.jetstream(), acked, 5)
    await nc.close()
    s.stop()
