"""Requests of the JetStream API that meet nobody who could answer: they are told so, or wait for somebody."""
import asyncio
import json

import nats
import pytest
from nats.js.api import ConsumerConfig

from harness import SLOW, Cluster, Server, eventually, eventually_async
from peer import both
from raw import Raw

NOBODY = ["$JS.API.CONSUMER.MSG.NEXT.S.NO", "$JS.API.CONSUMER.MSG.NEXT.S.gone", "$JS.API.CONSUMER.MSG.NEXT.NO.c",
          "$JS.API.CONSUMER.MSG.NEXT.GONE.c", "$JS.API.DIRECT.GET.S", "$JS.API.DIRECT.GET.S.s", "$JS.API.DIRECT.GET.NO",
          "$JS.ACK.S.gone.1.1.1.0.0", "$JS.ACK.S.NO.1.1.1.0.0", "$JS.ACK.NO.c.1.1.1.0.0"]


async def make(url, replicas, **options):
    nc = await nats.connect(url, **options)
    js = nc.jetstream()
    for name in ("S", "GONE"):
        await js.add_stream(name=name, subjects=[name.lower()], num_replicas=replicas)
    for name in ("gone", "stays"):
        await js.add_consumer("S", ConsumerConfig(durable_name=name, ack_policy="explicit"))
    await js.delete_consumer("S", "gone")
    await js.delete_stream("GONE")
    return nc


async def has_nobody(nc, subject):
    try:
        await nc.request(subject, b"", timeout=2)
    except nats.errors.NoRespondersError:
        return True
    except (nats.errors.TimeoutError, asyncio.TimeoutError):
        pass
    return False


@both
@pytest.mark.parametrize("size", [1, 3])
async def test_what_nobody_answers_is_told_at_once(tmp_path, size, binary):
    if size == 1:
        servers = [Server(tmp_path, jetstream=True, binary=binary).start()]
    else:
        servers = Cluster(tmp_path, binaries=[binary] * 3).start().servers
    nc = await make(servers[0].url, size)
    for s in servers:
        other = await nats.connect(s.url)

        async def nobody():  # what was deleted may still be on its way through the mesh
            return all(await asyncio.gather(*[has_nobody(other, subject) for subject in NOBODY]))
        await eventually_async(nobody, what=f"no responders at {s.name}")
        await other.close()
    stays = await nc.request("$JS.API.CONSUMER.MSG.NEXT.S.stays", b'{"no_wait":true,"batch":1}', timeout=5)
    assert stays.headers["Status"] == "404"
    await nc.close()
    raw = Raw(servers[-1])
    raw.until(b"\r\n")
    raw.send(b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\nSUB i 1\r\nPING\r\n').until(b"PONG\r\n")
    raw.send(b"PUB $JS.API.DIRECT.GET.S i 0\r\n\r\n")
    assert raw.until(b"\r\n\r\n\r\n") == b"HMSG i 1 52 52\r\nNATS/1.0 503\r\nNats-Subject: $JS.API.DIRECT.GET.S\r\n\r\n\r\n"
    for s in servers:
        s.stop()


IMPORTING = """accounts {
  A { jetstream: enabled, users: [ { user: a, password: a } ], exports: [ { service: "$JS.API.>" } ] }
  B { users: [ { user: b, password: b } ], imports: [ { service: { account: A, subject: "$JS.API.>" } } ] }
}
"""


@both
async def test_what_nobody_answers_is_told_through_a_service_import(tmp_path, binary):
    s = Server(tmp_path, conf=IMPORTING, jetstream=True, binary=binary).start()
    nc = await make(s.url, 1, user="a", password="a")
    other = await nats.connect(s.url, user="b", password="b")
    for subject in NOBODY:
        if subject.startswith("$JS.API"):
            assert await has_nobody(other, subject), subject
    info = json.loads((await other.request("$JS.API.STREAM.INFO.S", b"", timeout=5)).data)
    assert info["config"]["name"] == "S"
    await nc.close()
    await other.close()
    s.stop()


async def ask(nc, subject, body=b""):
    """The answer and how long it took."""
    begin = asyncio.get_running_loop().time()
    try:
        answer = json.loads((await nc.request(f"$JS.API.{subject}", body, timeout=10)).data)
    except (nats.errors.TimeoutError, asyncio.TimeoutError):
        raise AssertionError(f"{subject} was not answered") from None
    return answer, asyncio.get_running_loop().time() - begin


def meta_leader(cluster):
    name = cluster[0].get("/jsz")["meta_cluster"]["leader"]
    return next(s for s in cluster.servers if s.name == name)


def new_stream(name, replicas=3):
    return json.dumps({"name": name, "subjects": [name.lower()], "num_replicas": replicas}).encode()


async def test_requests_wait_for_a_meta_leader(tmp_path):
    """One that stands still is noticed late, and comes back with what had been sent to it."""
    cluster = Cluster(tmp_path).start()
    leader = meta_leader(cluster)
    nc = await nats.connect(next(s for s in cluster.servers if s is not leader).url)
    await ask(nc, "STREAM.CREATE.S", new_stream("S"))
    leader.pause()
    (info, took), *others = await asyncio.gather(
        ask(nc, "INFO"), ask(nc, "STREAM.NAMES"), ask(nc, "STREAM.DELETE.S"), ask(nc, "STREAM.INFO.NO"),
        ask(nc, "STREAM.CREATE.T", new_stream("T", 1)))
    names, deleted, missing, created = [a for a, _ in others]
    assert "api" in info and took < 3 * SLOW  # who is found to be gone is not waited for
    assert names["streams"] == ["S"]
    assert deleted["success"] is True
    assert missing["error"]["err_code"] == 10059
    assert created["config"]["name"] == "T"
    again, _ = await ask(nc, "STREAM.CREATE.S", new_stream("S", 1))
    assert again["config"]["name"] == "S"
    await nc.jetstream().publish("s", b"kept")
    leader.go_on()
    await asyncio.to_thread(cluster.wait_healthy)
    info, _ = await ask(nc, "STREAM.INFO.S")  # nobody has deleted it once more
    assert info["state"]["messages"] == 1
    await nc.close()
    cluster.stop()


async def test_requests_wait_for_a_stream_leader(tmp_path):
    cluster = Cluster(tmp_path).start()
    nc = await nats.connect(cluster[0].url)
    await ask(nc, "STREAM.CREATE.S", new_stream("S"))
    await nc.jetstream().publish("s", b"x")
    await asyncio.to_thread(eventually, lambda: cluster.replicas_agree("S"), 10, "replicas agreeing")
    leader = cluster.leader("S")
    await nc.close()
    nc = await nats.connect(next(s for s in cluster.servers if s is not leader).url)
    leader.pause()
    consumer = {"stream_name": "S", "config": {"durable_name": "c", "ack_policy": "explicit"}}
    info, message, made = [a for a, _ in await asyncio.gather(
        ask(nc, "STREAM.INFO.S"), ask(nc, "STREAM.MSG.GET.S", b'{"seq":1}'),
        ask(nc, "CONSUMER.DURABLE.CREATE.S.c", json.dumps(consumer).encode()))]
    assert info["state"]["messages"] == 1
    assert message["message"]["seq"] == 1
    # it may have been made by the leader that nobody has heard of since
    assert made.get("name") == "c" or made["error"]["err_code"] == 10008
    purged, _ = await ask(nc, "STREAM.PURGE.S")
    assert purged["purged"] == 1
    await nc.jetstream().publish("s", b"kept")
    leader.go_on()
    await asyncio.to_thread(cluster.wait_healthy)
    info, _ = await ask(nc, "STREAM.INFO.S")
    assert info["state"]["messages"] == 1
    await nc.close()
    cluster.stop()


async def test_requests_are_refused_when_no_leader_comes(tmp_path):
    cluster = Cluster(tmp_path).start()
    nc = await nats.connect(cluster[0].url)
    await ask(nc, "STREAM.CREATE.S", new_stream("S"))
    cluster[1].kill()
    cluster[2].kill()

    def leaderless():
        meta = cluster[0].get("/jsz")["meta_cluster"]
        return not meta.get("leader") and not cluster.stream(cluster[0], "S")["cluster"].get("leader")
    await asyncio.to_thread(eventually, leaderless, what="the last one noticing")
    for answer, took in await asyncio.gather(ask(nc, "STREAM.NAMES"), ask(nc, "STREAM.INFO.S"),
                                             ask(nc, "STREAM.DELETE.S"), ask(nc, "STREAM.INFO.NO")):
        assert answer["error"] == {"code": 503, "err_code": 10008, "description": "JetStream system temporarily unavailable"}
        assert took > 3  # somebody might have come
    await nc.close()
    cluster.kill()
