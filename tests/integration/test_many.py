"""Requests that name a lot: nothing that one of them can name is walked in one go, or once for each other."""
import asyncio
import json
import time

import nats

from harness import SLOW, Server, eventually_async

BOUND = 6 * SLOW  # seconds; comparing each with each takes minutes


async def api(nc, subject, body=None):
    m = await nc.request("$JS.API." + subject, b"" if body is None else json.dumps(body).encode(), timeout=60 * SLOW)
    return json.loads(m.data)


async def test_tens_of_thousands_of_subjects_and_filters(tmp_path):
    s = Server(tmp_path, jetstream=True, conf="max_payload: 4000000\nmax_pending: 64000000\n").start()
    nc = await nats.connect(s.url)
    subjects = [f"s{i}.x" for i in range(40_000)]
    config = {"name": "S", "subjects": subjects}
    begun = time.monotonic()
    assert "error" not in await api(nc, "STREAM.CREATE.S", config)
    assert "error" not in await api(nc, "STREAM.CREATE.T", {"name": "T", "subjects": [f"t{i}" for i in range(40_000)]})
    assert "error" not in await api(nc, "STREAM.UPDATE.S", {"name": "S", "subjects": subjects[1:] + ["new"]})
    assert (await api(nc, "STREAM.CREATE.U", {"name": "U", "subjects": ["a", "s777.*"]}))["error"]["err_code"] == 10065
    twice = await api(nc, "STREAM.UPDATE.S", {"name": "S", "subjects": subjects + ["s7.*"]})
    assert twice["error"]["description"] == 'subject "s7.x" overlaps with "s7.*"'
    consumer = {"stream_name": "S", "config": {"durable_name": "c", "ack_policy": "explicit", "filter_subjects": subjects[:-1]}}
    assert "error" not in await api(nc, "CONSUMER.CREATE.S.c", consumer)
    consumer["config"]["filter_subjects"] = subjects[:-1] + ["s7.>"]
    assert (await api(nc, "CONSUMER.CREATE.S.c", consumer))["error"]["err_code"] == 10138
    assert (await api(nc, "STREAM.NAMES", {"subject": "s9.x"}))["streams"] == ["S"]
    # what matches is delivered: all but the last
    for i in list(range(1, 200)) + [39_999]:
        await nc.publish(f"s{i}.x", b"")
    assert json.loads((await nc.request("new", b"")).data)["seq"] == 201
    inbox = await nc.subscribe("inbox")
    await nc.publish("$JS.API.CONSUMER.MSG.NEXT.S.c", b'{"batch":300,"no_wait":true}', reply="inbox")
    for i in range(1, 200):
        assert (await inbox.next_msg(5 * SLOW)).subject == f"s{i}.x"
    assert (await inbox.next_msg(5 * SLOW)).headers["Status"] == "404"
    assert time.monotonic() - begun < BOUND
    deep = ".".join("*" * 1_000_000)
    assert (await api(nc, "STREAM.CREATE.D", {"name": "D", "subjects": [deep]}))["error"]["err_code"] == 10052
    await nc.close()
    s.stop()


async def test_tens_of_thousands_of_pulls_that_wait(server):
    nc = await nats.connect(server.url)
    other = await nats.connect(server.url)
    assert "error" not in await api(nc, "STREAM.CREATE.S", {"name": "S", "subjects": ["s"]})
    assert "error" not in await api(nc, "CONSUMER.CREATE.S.c", {"stream_name": "S", "config": {
        "durable_name": "c", "ack_policy": "explicit", "max_waiting": 1_000_000_000, "max_ack_pending": -1}})
    got, ended = [], []

    async def on_message(m):
        (ended if m.headers and "Status" in m.headers else got).append(m)
    await nc.subscribe("in.*", cb=on_message)
    begun = time.monotonic()
    for i in range(40_000):
        await nc.publish("$JS.API.CONSUMER.MSG.NEXT.S.c",
                         b'{"batch":2,"expires":600000000000,"idle_heartbeat":200000000000}', reply=f"in.{i}")
    await nc.flush(60)
    info = await api(other, "CONSUMER.INFO.S.c")
    assert info["num_waiting"] == 40_000
    for i in range(3000):
        await other.publish("s", b"%d" % i)
    async def delivered():
        return len(got) == 3000
    await eventually_async(delivered, what="the deliveries")
    assert time.monotonic() - begun < BOUND
    assert sorted(int(m.data) for m in got) == list(range(3000))
    # all are told of the end
    assert "error" not in await api(other, "CONSUMER.DELETE.S.c")
    async def all_ended():
        return len(ended) >= 40_000
    await eventually_async(all_ended, what="the end of every request")
    await nc.close()
    await other.close()
