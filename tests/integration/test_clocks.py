"""Clocks that are set, back or to nonsense, while a real server runs. tests/faults/clock.c sets them."""
import asyncio
import json
import os
import time

import nats
import pytest

from harness import BINARY, Cluster, Server, eventually_async

LIBRARY = os.path.join(os.path.dirname(os.path.dirname(BINARY)), "tests", "libclock_faults.so")
HOUR = 3600


class Clock:
    """The clock of one server."""

    def __init__(self, server):
        self.path = os.path.join(server.folder, server.name + "-clock")
        with open(self.path, "wb") as f:
            f.write(b"0".ljust(64, b"\0"))
        assert os.path.exists(LIBRARY), f"{LIBRARY} is not built"
        server.env.update(LD_PRELOAD=LIBRARY, TRIREME_CLOCK_FAULTS=self.path,
                          ASAN_OPTIONS=os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0")

    def is_set(self, seconds):
        with open(self.path, "r+b") as f:
            f.write(str(seconds).encode().ljust(63, b"\0"))


@pytest.fixture
def clocked(tmp_path):
    s = Server(tmp_path, jetstream=True)
    clock = Clock(s)
    s.start()
    yield s, clock
    s.stop()


async def api(nc, subject, body=None):
    m = await nc.request("$JS.API." + subject, json.dumps(body or {}).encode() if body else b"", timeout=5)
    return json.loads(m.data)


async def test_no_message_goes_before_its_age_when_the_clock_was_set_back(clocked):
    """Those that are stored then are older than what is in front of them: a search that takes times for ascending finds
    that all of them are too old."""
    s, clock = clocked
    nc = await nats.connect(s.url)
    js = nc.jetstream()
    await js.add_stream(name="S", subjects=["s"], max_age=60)
    for _ in range(3):
        await js.publish("s", b"before")
    clock.is_set(-HOUR)
    for _ in range(40):
        await js.publish("s", b"meanwhile")
    clock.is_set(0)
    for _ in range(5):
        await js.publish("s", b"after")
    await asyncio.sleep(0.3)  # an expiry would come within 0.05 s
    info = await js.stream_info("S")
    assert (info.state.messages, info.state.first_seq) == (48, 1)
    clock.is_set(61)
    await js.update_stream(name="S", subjects=["s"], max_age=60, description="so that it looks again")

    async def is_empty():
        return (await js.stream_info("S")).state.messages == 0
    await eventually_async(is_empty, what="the age of all of them being reached")
    await nc.close()


async def test_a_redelivery_does_not_wait_for_a_clock_that_was_set_back(clocked):
    s, clock = clocked
    nc = await nats.connect(s.url)
    js = nc.jetstream()
    await js.add_stream(name="S", subjects=["s"])
    await js.publish("s", b"m")
    await api(nc, "CONSUMER.DURABLE.CREATE.S.c", {"stream_name": "S", "config": {
        "durable_name": "c", "ack_policy": "explicit", "ack_wait": 500_000_000}})
    sub = await js.pull_subscribe_bind("c", "S")
    for step in (0, -HOUR, HOUR, -5 * HOUR):
        began = time.monotonic()
        (message,) = await sub.fetch(1, timeout=10)
        clock.is_set(step)
        assert time.monotonic() - began < 10 and message.data == b"m"
    began = time.monotonic()
    assert (await sub.fetch(1, timeout=10))[0].metadata.num_delivered == 5
    assert time.monotonic() - began > 0.3  # nor at once
    await nc.close()


@pytest.mark.parametrize("year", [2120, 1960])
async def test_a_clock_out_of_all_bounds_writes_nothing(clocked, year):
    """Once entries of such a time stopped their stream on every replica, for good."""
    s, clock = clocked
    nc = await nats.connect(s.url)
    js = nc.jetstream()
    await js.add_stream(name="S", subjects=["s"])
    await js.publish("s", b"1")
    await api(nc, "CONSUMER.DURABLE.CREATE.S.c", {"stream_name": "S", "config": {
        "durable_name": "c", "ack_policy": "explicit"}})
    sub = await js.pull_subscribe_bind("c", "S")
    clock.is_set((year - 2020) * 365 * 24 * HOUR)
    with pytest.raises(nats.js.errors.APIError) as e:
        await js.publish("s", b"2")
    assert "clock" in e.value.description
    answer = await api(nc, "CONSUMER.DURABLE.CREATE.S.d", {"stream_name": "S", "config": {"durable_name": "d"}})
    assert "clock" in answer["error"]["description"]
    with pytest.raises(nats.errors.TimeoutError):
        await sub.fetch(1, timeout=0.3)
    clock.is_set(0)
    assert (await js.publish("s", b"2")).seq == 2
    assert (await sub.fetch(1, timeout=10))[0].data == b"1"
    await nc.close()
    s.kill()
    s.start()
    nc = await nats.connect(s.url)

    async def is_there():
        return (await api(nc, "STREAM.INFO.S")).get("state")
    assert (await eventually_async(is_there))["messages"] == 2
    await nc.close()


async def test_streams_are_made_while_the_meta_leader_is_behind_by_an_hour(tmp_path):
    """Whoever leads the new stream answers, and its own clock does not tell how old the request is."""
    c = Cluster(tmp_path)
    clocks = {s: Clock(s) for s in c.servers}
    c.start()
    leader = c[0].get("/jsz")["meta_cluster"]["leader"]
    next(clock for s, clock in clocks.items() if s.name == leader).is_set(-HOUR)
    nc = await nats.connect(c[0].url)
    for i in range(6):
        answer = await api(nc, f"STREAM.CREATE.S{i}", {"name": f"S{i}", "subjects": [f"s{i}"], "num_replicas": 3})
        assert "error" not in answer, answer
    await nc.close()
    c.stop()
