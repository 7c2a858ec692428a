"""Requests of the JetStream API that meet nobody who could answer: they are told so, or wait for somebody."""
import asyncio
import json

import nats
import pytest
from nats.js.api import ConsumerConfig

from harness import Cluster, Server, eventually, eventually_async
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
