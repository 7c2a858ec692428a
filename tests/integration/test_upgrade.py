"""A cluster of the last release becomes one of this version, a server at a time, under load, and nothing is lost."""
import asyncio

import nats
import pytest
from nats.js.api import ConsumerConfig, StorageType

import releases
from harness import BINARY, Cluster, Server, eventually, eventually_async

FAILED = (nats.errors.Error, nats.js.errors.Error, asyncio.TimeoutError, OSError)


@pytest.fixture(scope="module")
def old():
    path = releases.binary()
    if path is None:
        pytest.skip("the last release is not in this copy's history")
    return path


class Load:
    """Publishes numbered messages one after the other until told to stop; `acked`: number → sequence. A message that was not
    acknowledged is sent again under the same id, as a client would."""

    def __init__(self, urls, subject):
        self.urls, self.subject = urls, subject
        self.acked = {}
        self.going = True

    async def run(self):
        nc = await nats.connect(self.urls, max_reconnect_attempts=-1, reconnect_time_wait=0.05)
        js = nc.jetstream(timeout=2)
        number = 0
        while self.going:
            try:
                ack = await js.publish(self.subject, b"%d" % number, headers={"Nats-Msg-Id": str(number)})
            except FAILED:
                await asyncio.sleep(0.02)  # back-off of a client between its tries
                continue
            self.acked[number] = ack.seq
            number += 1
        await nc.close()

    async def more(self, count):
        goal = len(self.acked) + count
        async def reached():
            return len(self.acked) >= goal
        await eventually_async(reached, 30, f"{count} more acknowledged messages on {self.subject}")


async def contents(url, stream, count):
    """Every message of the stream: sequence → body."""
    nc = await nats.connect(url)
    js = nc.jetstream()
    found = {}
    sub = await js.pull_subscribe(None, stream=stream, durable="reader-" + url.rpartition(":")[2],
                                  config=ConsumerConfig(max_ack_pending=-1))
    while len(found) < count:
        for m in await sub.fetch(min(500, count - len(found)), timeout=10):
            found[m.metadata.sequence.stream] = m.data
            await m.ack()
    await nc.close()
    return found


def replace(server, binary, how):
    getattr(server, how)()
    server.binary = binary
    server.start()


@pytest.mark.parametrize("how,order", [("stop", "up"), ("kill", "up"), ("stop", "up and back")],
                         ids=["stop", "kill", "back-again"])
async def test_rolling_upgrade_under_load(tmp_path, old, how, order):
    c = Cluster(tmp_path, binaries=[old] * 3)
    c.start()
    nc = await nats.connect(c.urls())
    js = nc.jetstream()
    await js.add_stream(name="FILE", subjects=["file"], num_replicas=3)
    await js.add_stream(name="MEM", subjects=["mem"], num_replicas=3, storage=StorageType.MEMORY)
    await js.add_stream(name="ONE", subjects=["one"], num_replicas=1, max_msgs=1000)
    done = await js.pull_subscribe("file", durable="worker", config=ConsumerConfig(ack_wait=3600))
    loads = [Load(c.urls(), "file"), Load(c.urls(), "mem")]
    tasks = [asyncio.create_task(load.run()) for load in loads]
    steps = [(s, BINARY) for s in c.servers]
    if order == "up and back":  # before the last one everything can still go back
        steps = steps[:2] + [(s, old) for s in c.servers[:2]]
    last_done = 0
    for server, binary in steps:
        for load in loads:
            await load.more(50)
        for m in await done.fetch(20, timeout=10):
            last_done = max(last_done, m.metadata.sequence.stream)
            await m.ack_sync(timeout=10)
        replace(server, binary, how)
        await asyncio.to_thread(c.wait_healthy, 30)
    for load in loads:
        await load.more(50)
        load.going = False
    await asyncio.gather(*tasks)
    for load, stream in zip(loads, ("FILE", "MEM")):
        eventually(lambda: c.replicas_agree(stream), 20, f"the replicas of {stream} agreeing")
        found = await contents(c[0].url, stream, len(load.acked))
        assert {number: found.get(seq) for number, seq in load.acked.items()} == \
            {number: b"%d" % number for number in load.acked}
    info = await js.consumer_info("FILE", "worker")
    assert info.ack_floor.stream_seq == last_done and info.num_ack_pending == 0
    ack = await js.publish("one", b"x")  # what there was of one replica is there, and goes on
    assert ack.seq == 1
    await nc.close()
    c.stop()


async def test_a_server_takes_over_the_store_of_the_last_release(tmp_path, old):
    s = Server(tmp_path, jetstream=True, binary=old).start()
    nc = await nats.connect(s.url)
    js = nc.jetstream()
    await js.add_stream(name="S", subjects=["s.>"])
    for i in range(500):
        await nc.publish(f"s.{i % 7}", b"%d" % i)
    pull = await js.pull_subscribe("s.>", durable="d", config=ConsumerConfig(ack_wait=3600, filter_subject="s.3"))
    for m in await pull.fetch(10, timeout=10):
        await m.ack_sync()
    await js.purge_stream("S", seq=101)
    before = (await js.stream_info("S")).state, await js.consumer_info("S", "d")
    await nc.close()
    replace(s, BINARY, "kill")
    eventually(s.healthy, what="the stream served again")
    nc = await nats.connect(s.url)
    js = nc.jetstream()
    after = (await js.stream_info("S")).state, await js.consumer_info("S", "d")
    assert after[0] == before[0]
    assert (after[1].delivered, after[1].ack_floor, after[1].num_pending) == \
        (before[1].delivered, before[1].ack_floor, before[1].num_pending)
    assert (await js.get_msg("S", 300)).data == b"299"
    assert (await js.publish("s.1", b"new")).seq == 501
    await nc.close()
    s.stop()
