"""Crashes and power cuts under load: what was acknowledged is there, once, in order, everywhere.

The number of rounds: TRIREME_CRASH_ROUNDS (default 6) and TRIREME_POWER_ROUNDS (default 3).
The seed: TRIREME_SEED (default drawn and printed)."""
import asyncio
import base64
import json
import os
import random
import shutil
import subprocess
import time

import nats
import pytest

from harness import PEER, Cluster, Server, eventually, eventually_async

SEED = int(os.environ.get("TRIREME_SEED", random.randrange(1 << 30)))


class Writer:
    """Publishes numbered messages one after the other; remembers which were acknowledged as what."""

    def __init__(self, nc, number):
        self.js = nc.jetstream()
        self.number = number
        self.acked = {}    # sequence → value
        self.next = 0
        self.gap = 0.0     # longest time between two acks
        self.last = time.monotonic()
        self.running = True

    async def run(self):
        while self.running:
            value = f"{self.number}:{self.next}"
            try:
                ack = await self.js.publish("s", value.encode(), timeout=0.5,
                                            headers={"Nats-Msg-Id": value})
            except (nats.errors.Error, nats.js.errors.Error, asyncio.TimeoutError):
                await asyncio.sleep(0.02)
                continue  # outcome unknown: the same id again
            assert self.acked.setdefault(ack.seq, value) == value
            now = time.monotonic()
            self.gap = max(self.gap, now - self.last)
            self.last = now
            self.next += 1


async def close(nc):
    """The client library may trip over a server that has just been killed."""
    try:
        await asyncio.wait_for(nc.close(), 5)
    except (nats.errors.Error, asyncio.CancelledError, OSError, asyncio.TimeoutError):
        pass


async def read_all(url, stream):
    """Every message of the stream by sequence."""
    nc = await nats.connect(url)
    js = nc.jetstream()
    info = await js.stream_info(stream)
    sub = await js.pull_subscribe("s", durable=f"check{random.randrange(1 << 30)}", stream=stream)
    out = {}
    while len(out) < info.state.messages:
        for m in await sub.fetch(500, timeout=10):
            out[m.metadata.sequence.stream] = m.data.decode()
            await m.ack()
    await nc.close()
    return out


def check(acked, stored):
    for seq, value in acked.items():
        assert stored.get(seq) == value, f"acknowledged {value} as {seq}, found {stored.get(seq)}"
    values = list(stored.values())
    assert len(values) == len(set(values)), "a message was stored twice"
    for writer in {v.split(":")[0] for v in values}:
        order = [int(v.split(":")[1]) for _, v in sorted(stored.items())
                 if v.split(":")[0] == writer]
        assert order == sorted(order), "a writer's messages are out of order"


@pytest.mark.timeout(900)
async def test_kill_9_under_load(cluster):
    rounds = int(os.environ.get("TRIREME_CRASH_ROUNDS", "6"))
    rng = random.Random(SEED)
    print("seed", SEED)
    ncs = [await nats.connect(servers=cluster.urls(), reconnect_time_wait=0.05,
                              max_reconnect_attempts=-1, dont_randomize=True) for _ in range(3)]
    await ncs[0].jetstream().add_stream(name="S", subjects=["s"], num_replicas=3)
    writers = [Writer(nc, i) for i, nc in enumerate(ncs)]
    tasks = [asyncio.create_task(w.run()) for w in writers]
    leader_gaps = []
    for r in range(rounds):
        await asyncio.sleep(0.5 + rng.random())  # load between faults: the fault's time is the test
        kind = ["leader", "follower", "all"][r % 3]
        leader = await asyncio.to_thread(
            eventually, lambda: cluster.leader("S"), 20, "a stream leader")
        victims = {"leader": [leader], "all": list(cluster.servers),
                   "follower": [rng.choice([s for s in cluster.servers if s is not leader])]}[kind]
        for w in writers:
            w.gap = 0.0
        for v in victims:
            v.kill()
        if kind == "leader":
            before = [w.next for w in writers]
            start = time.monotonic()
            # Two more each: the first ack may have been on its way when the leader died.
            while any(w.next < b + 2 for w, b in zip(writers, before)):
                assert time.monotonic() - start < 20, "publishing did not go on"
                await asyncio.sleep(0.01)
            leader_gaps.append(time.monotonic() - start)
        for v in victims:
            v.start(wait=False)
        await asyncio.to_thread(cluster.wait_healthy, 30)
    for w in writers:
        w.running = False
    await asyncio.gather(*tasks)
    state = await asyncio.to_thread(
        eventually, lambda: cluster.replicas_agree("S"), 60, "replicas agreeing")
    acked = {}
    for w in writers:
        acked.update(w.acked)
    assert len(acked) == sum(len(w.acked) for w in writers), "two messages got one sequence"
    stored = await read_all(cluster[0].url, "S")
    check(acked, stored)
    print(f"{len(acked)} acknowledged, {state['messages']} stored, publishing went on after a "
          f"leader's death within {max(leader_gaps):.2f} s")
    assert max(leader_gaps) < 2.0 * float(os.environ.get("TRIREME_TEST_SLOWNESS", "1"))
    for nc in ncs:
        await close(nc)


class Disk:
    """A file system in an image. What was not synced is not in a copy of the image."""

    def __init__(self, folder, name):
        self.image = os.path.join(folder, name + ".img")
        self.mount = os.path.join(folder, name + ".mnt")
        os.makedirs(self.mount, exist_ok=True)
        subprocess.run(["truncate", "-s", "256M", self.image], check=True)
        subprocess.run(["mkfs.ext4", "-q", self.image], check=True)
        self.attach()

    def attach(self):
        subprocess.run(["mount", "-o", "loop", self.image, self.mount], check=True)

    def cut_power(self):
        copy = self.image + ".copy"
        subprocess.run(["cp", "--sparse=always", self.image, copy], check=True)
        subprocess.run(["umount", self.mount], check=True)
        os.replace(copy, self.image)
        self.attach()

    def detach(self):
        subprocess.run(["umount", self.mount], check=False)


def loop_mounts_work(folder):
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        return False
    try:
        Disk(str(folder), "probe").detach()
        return True
    except (subprocess.CalledProcessError, FileNotFoundError):
        return False


async def power_rounds(cluster, disks, rounds, replicas):
    """Load, power cut of all nodes, restart; returns (acknowledged, lost)."""
    rng = random.Random(SEED)
    acked, lost, made = {}, 0, False
    for r in range(rounds):
        nc = await nats.connect(servers=cluster.urls())
        js = nc.jetstream()
        if not made:
            await js.add_stream(name=f"S{r}", subjects=["s"], num_replicas=replicas)
            made, name, acked_now = True, f"S{r}", {}
        w = Writer(nc, r)
        task = asyncio.create_task(w.run())
        await asyncio.sleep(1 + rng.random())
        for s in cluster.servers:
            s.kill()
        w.running = False
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        acked_now.update(w.acked)
        await close(nc)
        for d in disks:
            d.cut_power()
        for s in cluster.servers:
            s.start(wait=False)
        await asyncio.to_thread(cluster.wait_healthy, 60)
        acked = acked_now
    def stream_is_back():
        return cluster.leader(name) or not cluster.stream(cluster[0], name)
    await asyncio.to_thread(eventually, stream_is_back, 30)
    try:
        stored = await read_all(cluster[0].url, name)
    except nats.js.errors.NotFoundError:
        stored = {}
    lost = sum(stored.get(seq) != value for seq, value in acked.items())
    return len(acked), lost


@pytest.mark.timeout(900)
async def test_power_cut_of_all_nodes(tmp_path):
    if not loop_mounts_work(tmp_path):
        pytest.skip("loop-mounted images need root and loop devices")
    rounds = int(os.environ.get("TRIREME_POWER_ROUNDS", "3"))
    c = Cluster(tmp_path)
    disks = [Disk(str(tmp_path), s.name) for s in c.servers]
    try:
        for s, d in zip(c.servers, disks):
            text = open(s.conf).read().replace(s.store, d.mount)
            open(s.conf, "w").write(text)
        c.start()
        acked, lost = await power_rounds(c, disks, rounds, 3)
        print(f"Trireme: {lost} of {acked} acknowledged messages lost in {rounds} power cuts")
        assert acked > 0 and lost == 0
    finally:
        c.kill()
        for d in disks:
            d.detach()


@pytest.mark.skipif(PEER is None, reason="nats-server is not installed: nothing to compare with")
async def test_power_cut_of_nats_server_for_comparison(tmp_path):
    """The same cut, one node, with nats-server's defaults: it acknowledges before it syncs."""
    if not loop_mounts_work(tmp_path):
        pytest.skip("loop-mounted images need root and loop devices")
    s = Server(tmp_path, jetstream=True, binary=PEER)
    disk = Disk(str(tmp_path), "theirs")
    try:
        text = open(s.conf).read().replace(s.store, disk.mount)
        open(s.conf, "w").write(text)
        s.start()
        nc = await nats.connect(s.url)
        js = nc.jetstream()
        await js.add_stream(name="S", subjects=["s"])
        acked = 0
        for i in range(2000):
            await js.publish("s", b"%d" % i)
            acked += 1
        s.kill()
        await close(nc)
        disk.cut_power()
        s.start()
        nc = await nats.connect(s.url)
        try:
            left = (await nc.jetstream().stream_info("S")).state.messages
        except nats.js.errors.NotFoundError:
            left = 0
        print(f"nats-server with its defaults: {acked - left} of {acked} acknowledged messages lost")
        await nc.close()
    finally:
        s.kill()
        disk.detach()


async def test_a_node_that_missed_much_catches_up_by_snapshot(tmp_path):
    c = Cluster(tmp_path)
    c.start()
    nc = await nats.connect(servers=c.urls()[:2], reconnect_time_wait=0.05)
    js = nc.jetstream()
    await js.add_stream(name="S", subjects=["s"], num_replicas=3, max_bytes=6 << 20)
    body = b"x" * 20000
    c[2].kill()
    async def put(n):
        done = 0
        while done < n:
            try:
                await js.publish("s", body, timeout=2)
                done += 1
            except (nats.errors.Error, nats.js.errors.Error):
                await asyncio.sleep(0.02)  # between leaders
    await asyncio.gather(*(put(100) for _ in range(10)))  # 20 MB: several checkpoints
    c[2].start()
    state = await asyncio.to_thread(
        eventually, lambda: c.replicas_agree("S"), 30, "the late node catching up")
    assert state["last_seq"] >= 900
    await nc.close()
    c.kill()


async def test_garbage_on_every_port(cluster):
    """Nonsense costs the sender its connection and nobody else anything."""
    rng = random.Random(SEED)
    with open(cluster[0].conf) as f:
        route_port = int(f.read().split('cluster')[1].split('"127.0.0.1:')[1].split('"')[0])
    for port in (cluster[0].port, cluster[0].http, route_port):
        for i in range(60):
            data = rng.randbytes(rng.randrange(1, 2000))
            if i % 3 == 0:
                data = b"TRIREME " + data + b"\r\n"
            if i % 3 == 1:
                data = b'CONNECT {"verbose":false}\r\nINFO {}\r\n' + data
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(data)
            try:
                await writer.drain()
                writer.close()
                await writer.wait_closed()
            except OSError:
                pass
    assert all(s.process.poll() is None for s in cluster.servers)
    cluster.wait_healthy()
    nc = await nats.connect(cluster[0].url)
    js = nc.jetstream()
    await js.add_stream(name="S", subjects=["s"], num_replicas=3)
    assert (await js.publish("s", b"fine")).seq == 1
    await nc.close()


async def led(cluster, data):
    """Makes the replicated stream S with one message. Its leader, the followers, and a connection to the leader."""
    nc = await nats.connect(servers=cluster.urls())
    js = nc.jetstream()
    await js.add_stream(name="S", subjects=["s"], num_replicas=3)
    await js.publish("s", data)
    await nc.close()
    leader = eventually(lambda: cluster.leader("S"))
    return leader, [s for s in cluster.servers if s is not leader], await nats.connect(leader.url)


async def test_a_leader_without_a_majority_tells_nothing(cluster):
    """It may have been replaced without knowing it: what it has may be old."""
    _, followers, there = await led(cluster, b"data")
    assert (await there.jetstream().get_msg("S", 1)).data == b"data"
    for s in followers:
        s.pause()
    try:
        with pytest.raises((nats.errors.TimeoutError, nats.js.errors.Error)):
            await there.request("$JS.API.STREAM.MSG.GET.S", b'{"seq":1}', timeout=2)
    finally:
        for s in followers:
            s.go_on()
    cluster.wait_healthy()

    async def answers():
        try:
            return (await there.jetstream().get_msg("S", 1)).data == b"data"
        except (nats.errors.Error, nats.js.errors.Error):
            return False
    await eventually_async(answers, 20, "an answer with a majority")
    await there.close()


async def test_a_leader_reads_by_lease_and_not_beyond(tmp_path):
    c = Cluster(tmp_path, jetstream="read_lease: 250ms").start()
    leader, followers, there = await led(c, b"1")

    async def answers(what):
        try:
            return json.loads((await there.request("$JS.API.STREAM.MSG.GET.S", b'{"last_by_subj":"s"}', timeout=1)).data)[
                "message"]["data"] == base64.b64encode(what).decode()
        except (nats.errors.Error, KeyError):
            return False
    await eventually_async(lambda: answers(b"1"), what="an answer")
    for s in followers:
        s.pause()

    async def silent():
        return not await answers(b"1")
    await eventually_async(silent, what="silence when the promises have ended")
    for s in followers:
        s.go_on()
    await eventually_async(lambda: answers(b"1"), 20, "an answer with a majority")
    await there.close()
    leader.kill()
    there = await nats.connect(followers[0].url)

    async def goes_on():
        try:
            await there.jetstream().publish("s", b"2", timeout=1)
            return True
        except (nats.errors.Error, nats.js.errors.Error):
            return False
    await eventually_async(goes_on, 20, "another leader")
    await eventually_async(lambda: answers(b"2"), 20, "its answer")
    await there.close()
    c.stop()
