"""A server that comes back with less than it had acknowledged: it must not help to form a majority that never had
what is missing, and must become whole again by itself. Reliability rules 2 and 5."""
import asyncio
import os
import shutil
import subprocess

import nats
import pytest

from harness import Cluster, Server, eventually


async def connect(server):
    return await nats.connect(server.url, max_reconnect_attempts=-1, reconnect_time_wait=0.05)


async def publish_all(server, values):
    nc = await connect(server)
    js = nc.jetstream()
    for v in values:
        async def stored():
            try:
                return await js.publish("s", v.encode(), timeout=1, headers={"Nats-Msg-Id": v})
            except (nats.errors.Error, nats.js.errors.Error, asyncio.TimeoutError):
                return None
        deadline = asyncio.get_running_loop().time() + 20
        while await stored() is None:
            assert asyncio.get_running_loop().time() < deadline, f"{v} was not stored"
    await nc.close()


async def make(cluster, count):
    nc = await connect(cluster[0])
    await nc.jetstream().add_stream(name="S", subjects=["s"], num_replicas=len(cluster.servers))
    await nc.close()
    await publish_all(cluster[0], [f"v{i}" for i in range(count)])
    await asyncio.to_thread(eventually, lambda: cluster.replicas_agree("S"), 20, "replicas agreeing")


async def nothing_is_stored(server):
    """For as long as a leader would have been elected several times over."""
    nc = await connect(server)
    end = asyncio.get_running_loop().time() + 4
    while asyncio.get_running_loop().time() < end:
        with pytest.raises((nats.errors.Error, nats.js.errors.Error, asyncio.TimeoutError)):
            await nc.jetstream().publish("s", b"never", timeout=0.2)
        await asyncio.sleep(0.05)  # the rate of trying
    await nc.close()


async def read_all(server):
    nc = await connect(server)
    js = nc.jetstream()
    info = await js.stream_info("S")
    out = [(await js.get_msg("S", seq)).data.decode()
           for seq in range(info.state.first_seq, info.state.last_seq + 1)]
    await nc.close()
    return out


async def whole(cluster, count):
    """All three agree, hold everything, and count again."""
    await asyncio.to_thread(cluster.wait_healthy, 40)
    await asyncio.to_thread(eventually, lambda: (cluster.replicas_agree("S") or {}).get("messages") == count, 40,
                            f"all replicas holding {count} messages")
    assert await read_all(cluster[0]) == [f"v{i}" for i in range(count)]


def store(server):
    return os.path.join(server.store, "jetstream")


def newest(folder, suffix):
    return max((os.path.join(folder, f) for f in os.listdir(folder) if f.endswith(suffix)), key=os.path.getmtime)


def wipe(server, saved):
    shutil.rmtree(server.store)


def cut_the_log(server, saved):
    """The last half of the write-ahead log is gone, at a place like any other."""
    log = newest(store(server), ".log")
    os.truncate(log, os.path.getsize(log) // 2)


def put_an_old_copy_back(server, saved):
    shutil.rmtree(store(server))
    shutil.copytree(saved, store(server))


def lose_the_mark(server, saved):
    os.remove(store(server) + ".mark")


LOSSES = [wipe, cut_the_log, put_an_old_copy_back, lose_the_mark]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda f: f.__name__)
async def test_it_becomes_whole_again(tmp_path, loss):
    c = Cluster(tmp_path).start()
    await make(c, 20)
    c[2].kill()
    saved = str(tmp_path / "saved")
    shutil.copytree(store(c[2]), saved)
    c[2].start()
    await publish_all(c[0], [f"v{i}" for i in range(20, 60)])
    await whole(c, 60)
    c[2].kill()
    loss(c[2], saved)
    c[2].start()
    await whole(c, 60)
    if loss is not wipe:
        assert "take no part until they have caught up" in c[2].text()
    # and it is a full member: with another one down, writing goes on
    c[0].kill()
    await publish_all(c[1], [f"v{i}" for i in range(60, 80)])
    c[0].start()
    await whole(c, 80)
    c.stop()


async def test_a_wiped_one_need_not_wait_for_one_that_is_down(tmp_path):
    c = Cluster(tmp_path, 5).start()
    await make(c, 20)
    leader = c.leader("S")
    down, wiped = [s for s in c.servers if s is not leader][:2]
    down.kill()
    wiped.kill()
    wipe(wiped, None)
    wiped.start()
    await asyncio.to_thread(eventually, wiped.healthy, 40, "the wiped server healthy")
    assert "which has nothing of it: it catches up" in wiped.text() or "has told who votes" in wiped.text()
    await publish_all(wiped, [f"v{i}" for i in range(20, 40)])
    down.start()
    await whole(c, 40)
    c.stop()


async def test_records_of_deleted_messages_are_written_anew(tmp_path):
    """Nine of ten messages are purged; a replica that begins anew gets what is left of their records, and no more."""
    c = Cluster(tmp_path).start()
    nc = await connect(c[0])
    js = nc.jetstream()
    await js.add_stream(name="S", subjects=["s.*"], num_replicas=3)
    for i in range(0, 600, 200):  # many at once: records of many messages
        await asyncio.gather(*(js.publish("s.keep" if n % 10 == 0 else "s.drop", b"body-%05d-" % n + b"x" * 500)
                               for n in range(i, i + 200)))
    await js.purge_stream("S", subject="s.drop")
    for i in range(200):  # past four checkpoints: the log needs the records no more, and the next one finds them
        await js.publish("s.more", b"x" * 100_000)
    kept = [(m.subject, m.data) for m in [await js.get_msg("S", seq) for seq in range(1, 602, 10)]]
    await nc.close()
    assert all(subject == "s.keep" for subject, _ in kept[:60])
    victim = c[1]
    victim.kill()
    wipe(victim, None)
    victim.start()
    await asyncio.to_thread(c.wait_healthy, 40)
    await asyncio.to_thread(eventually, lambda: c.replicas_agree("S"), 40, "replicas agreeing")
    victim.stop()
    there = b""
    for name in os.listdir(store(victim)):
        with open(os.path.join(store(victim), name), "rb") as f:
            there += f.read()
    assert sum(b"body-%05d-" % n in there for n in range(600)) < 200
    assert all(b"body-%05d-" % n in there for n in range(0, 600, 10))
    victim.start()
    c[0].kill()
    c[2].kill()
    c[2].start()
    await asyncio.to_thread(eventually, victim.healthy, 40, "the replica healthy")
    nc = await connect(victim)
    js = nc.jetstream()
    assert kept == [(m.subject, m.data) for m in [await js.get_msg("S", seq) for seq in range(1, 602, 10)]]
    info = await js.stream_info("S")
    assert info.state.messages == 260 and info.state.num_deleted == 540
    await nc.close()
    c.stop()


@pytest.mark.parametrize("loss", LOSSES[:3], ids=lambda f: f.__name__)
async def test_it_helps_nobody_who_never_had_the_messages(tmp_path, loss):
    """A is down while B and C acknowledge; B forgets; A and B must not go on without C (nats-server #7567)."""
    c = Cluster(tmp_path).start()
    await make(c, 10)
    a, b, rest = c.servers
    b.kill()
    saved = str(tmp_path / "saved")
    shutil.copytree(store(b), saved)
    b.start()
    await whole(c, 10)
    a.kill()
    await publish_all(rest, [f"v{i}" for i in range(10, 40)])  # B and C have them
    b.kill()
    rest.kill()
    loss(b, saved)
    a.start()
    b.start()
    await nothing_is_stored(a)
    assert c.leader("S") is None
    rest.start()
    await whole(c, 40)
    c.stop()


async def test_all_in_doubt_need_everybody_and_nobody_else(tmp_path):
    """Every server has lost its mark: two wait, three go on, without a human."""
    c = Cluster(tmp_path).start()
    await make(c, 30)
    c.kill()
    for s in c.servers:
        lose_the_mark(s, None)
    c[0].start()
    c[1].start()
    await nothing_is_stored(c[0])
    c[2].start()
    await whole(c, 30)
    await publish_all(c[1], [f"v{i}" for i in range(30, 40)])
    c[1].kill()
    c[1].start()  # it has proven itself: two of three are enough again
    c[2].kill()
    await publish_all(c[0], [f"v{i}" for i in range(40, 50)])
    c[2].start()
    await whole(c, 50)
    c.stop()


async def test_damage_in_the_middle_of_the_log_stops_the_start(tmp_path):
    """RocksDB's default would drop all that follows. Here nothing is changed, and the error says what can be done."""
    c = Cluster(tmp_path).start()
    await make(c, 30)
    c[2].kill()
    log = newest(store(c[2]), ".log")
    with open(log, "r+b") as f:
        f.seek(os.path.getsize(log) // 3)
        byte = f.read(1)
        f.seek(-1, os.SEEK_CUR)
        f.write(bytes([byte[0] ^ 0x40]))
    c[2].start(wait=False)
    c[2].process.wait(timeout=20)
    assert c[2].process.returncode != 0
    assert "could not be opened: Corruption" in c[2].text() and "can be put aside" in c[2].text()
    shutil.move(store(c[2]), store(c[2]) + ".aside")
    c[2].start()
    await whole(c, 30)
    c.stop()


async def test_a_server_alone_goes_on_with_what_it_has(tmp_path):
    s = Server(tmp_path, jetstream=True).start()
    nc = await connect(s)
    await nc.jetstream().add_stream(name="S", subjects=["s"])
    await nc.close()
    await publish_all(s, [f"v{i}" for i in range(10)])
    s.kill()
    lose_the_mark(s, None)
    s.start()
    eventually(s.healthy, 20)
    assert await read_all(s) == [f"v{i}" for i in range(10)]
    assert "what it acknowledged may be lost" in s.text()
    s.stop()


class Volume:
    """A small file system of its own, to be filled."""

    def __init__(self, path, megabytes):
        self.path = str(path)
        os.makedirs(self.path)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", self.path], check=True,
                       capture_output=True)

    def fill(self, leave_mb):
        s = os.statvfs(self.path)
        with open(os.path.join(self.path, "ballast"), "wb") as f:
            os.posix_fallocate(f.fileno(), 0, s.f_bavail * s.f_frsize - (leave_mb << 20))

    def free(self):
        os.remove(os.path.join(self.path, "ballast"))

    def remove(self):
        subprocess.run(["umount", "-l", self.path], capture_output=True)


@pytest.fixture
def volumes(tmp_path):
    made = []
    try:
        for i in range(3):
            made.append(Volume(tmp_path / f"v{i}", 160))
    except (subprocess.CalledProcessError, OSError):
        pytest.skip("needs root, to mount small file systems")
    yield made
    for v in made:
        v.remove()


def cluster_on(volumes, folder):
    c = Cluster(folder)
    for s, v in zip(c.servers, volumes):
        s.store = v.path
        s.base = s.base.replace(os.path.join(s.folder, s.name + "-data"), v.path)
        text = open(s.conf).read()
        s.configure(text[text.index("cluster {"):])
    return c.start()


def is_full(server):  # asking is what makes an idle server look
    return server.get("/healthz", expect=None).get("error", "").startswith("JetStream store is full")


@pytest.mark.parametrize("leave_mb", [10, 30])  # too little for entries, for new messages
async def test_a_leader_whose_disk_is_full_hands_over(tmp_path, volumes, leave_mb):
    c = cluster_on(volumes, tmp_path)
    await make(c, 10)
    for round in range(2 if leave_mb == 30 else 1):  # the second has one to ask that has no room, and one that has
        leader = await asyncio.to_thread(eventually, lambda: c.leader("S"), 10, "a leader")
        volumes[c.servers.index(leader)].fill(leave_mb)
        await asyncio.to_thread(eventually, lambda: is_full(leader), 10, "a full disk")
        await publish_all(c[0], [f"r{round}v{i}" for i in range(10)])
        assert c.leader("S") is not leader
    c.stop()


async def test_a_full_disk_refuses_and_recovers(tmp_path, volumes):
    c = cluster_on(volumes, tmp_path)
    await make(c, 10)
    volumes[2].fill(leave_mb=10)  # one of three: the others go on
    eventually(lambda: is_full(c[2]), 10)
    assert "is full" in c[2].text()
    await publish_all(c[0], [f"v{i}" for i in range(10, 20)])
    volumes[0].fill(leave_mb=30)
    volumes[1].fill(leave_mb=30)
    for s in c.servers:
        eventually(lambda: is_full(s), 10)
    nc = await connect(c[1])
    js = nc.jetstream()

    async def refused():
        try:
            await js.publish("s", b"never", timeout=1)
        except nats.js.errors.APIError as e:
            return e.err_code == 10023
        except (nats.errors.Error, asyncio.TimeoutError):
            return False
    deadline = asyncio.get_running_loop().time() + 20
    while not await refused():
        assert asyncio.get_running_loop().time() < deadline
    assert (await js.get_msg("S", 5)).data == b"v4"  # reading goes on
    assert await js.purge_stream("S", keep=15)       # and so does what frees space
    await nc.close()
    for v in volumes:
        v.free()
    await asyncio.to_thread(c.wait_healthy, 40)
    await publish_all(c[0], [f"v{i}" for i in range(20, 30)])
    state = await asyncio.to_thread(eventually, lambda: c.replicas_agree("S"), 40, "replicas agreeing")
    assert (state["messages"], state["last_seq"]) == (25, 30)
    c.stop()


def conf_with_key(server, words):
    server.base = server.base.split("jetstream {")[0] + f'jetstream {{ store_dir: "{server.store}", {words} }}\n'
    server.configure("")


def on_disk(server):
    found = b""
    for folder, _, files in os.walk(server.store):
        for f in files:
            with open(os.path.join(folder, f), "rb") as opened:
                found += opened.read()
    return found


@pytest.mark.parametrize("cipher", ["aes", "chachapoly"])
async def test_records_are_encrypted_and_keys_can_change(tmp_path, cipher):
    s = Server(tmp_path, jetstream=True)
    s.start()
    nc = await connect(s)
    await nc.jetstream().add_stream(name="S", subjects=["s"])
    await nc.jetstream().publish("s", b"in the clear")
    await nc.close()
    s.stop()
    conf_with_key(s, f'key: "one", cipher: {cipher}')  # what is there stays as it is; what comes is encrypted
    s.start()
    nc = await connect(s)
    js = nc.jetstream()
    for i in range(20):
        await js.publish("s", b"a well kept secret %d" % i)
    await js.pull_subscribe("s", durable="hidden-worker")
    await nc.close()
    s.kill()
    disk = on_disk(s)
    assert b"in the clear" in disk and b"well kept" not in disk and b"hidden-worker" not in disk
    for words, problem in (("max_file: 1G", "is encrypted, and there is no key"), ('key: "two"', "wrong key"),
                           ('key: "two", prev_key: "three"', "wrong key")):
        conf_with_key(s, words)
        s.start(wait=False)
        assert s.process.wait(timeout=20) != 0 and problem in s.tail()
    conf_with_key(s, 'key: "two", prev_key: "one"')
    s.start()
    s.stop()
    conf_with_key(s, 'key: "two"')
    s.start()
    nc = await connect(s)
    stored = [(await nc.jetstream().get_msg("S", i)).data for i in range(1, 22)]
    assert stored == [b"in the clear"] + [b"a well kept secret %d" % i for i in range(20)]
    await nc.close()
    s.stop()


async def test_a_memory_stream_on_a_restarted_server_takes_nobody_for_a_majority(tmp_path):
    """Whoever was killed has nothing of it, whatever the log of the meta group says when it is read again."""
    c = Cluster(tmp_path).start()
    nc = await connect(c[0])
    await nc.jetstream().add_stream(name="S", subjects=["s"], num_replicas=3, storage="memory")
    await nc.close()
    await publish_all(c[0], [f"v{i}" for i in range(10)])
    await asyncio.to_thread(eventually, lambda: c.replicas_agree("S"), 20, "replicas agreeing")
    leader = c.leader("S")
    lags, killed = [s for s in c.servers if s is not leader]
    lags.pause()
    await publish_all(leader, [f"v{i}" for i in range(10, 40)])
    leader.pause()
    killed.kill()
    killed.start(wait=False)
    lags.go_on()
    await asyncio.to_thread(eventually, killed.accepts, 20, "the killed server accepting clients")
    await nothing_is_stored(killed)
    leader.go_on()
    await whole(c, 40)
    await publish_all(killed, [f"v{i}" for i in range(40, 50)])
    await whole(c, 50)
    c.stop()
