"""What is stored whole and not understood: a newer version wrote it, or a bug. It is never taken for damage: the stream
stops on that server, says so, and nothing of it is touched. tests/faults/newer.c makes it, and takes it back."""
import asyncio
import json
import os
import subprocess

import nats
import pytest

from harness import BINARY, Cluster, Server, eventually, eventually_async

TOOL = os.path.join(os.path.dirname(BINARY), "newer")


def newer(server, what, *undo):
    subprocess.run([TOOL, os.path.join(server.store, "jetstream"), what, *undo], check=True, timeout=30,
                   stdout=subprocess.DEVNULL)


async def api(nc, subject, body=b""):
    m = await nc.request("$JS.API." + subject, body, timeout=5)
    return json.loads(m.data)


async def make(url, replicas, count=30):
    nc = await nats.connect(url)
    js = nc.jetstream()
    await js.add_stream(name="S", subjects=["s"], num_replicas=replicas)
    for i in range(count):
        await js.publish("s", b"%d" % i)
    await nc.close()


async def messages(url):
    """How many the stream has, once it has a leader."""
    async def asked():
        nc = await nats.connect(url)
        try:
            answer = await api(nc, "STREAM.INFO.S")
            return answer.get("state")
        except (nats.errors.Error, asyncio.TimeoutError):
            return None
        finally:
            await nc.close()
    state = await eventually_async(asked, what="the stream being led")
    return state["messages"]


def problem(server):
    answer = server.get("/healthz", expect=503)
    return answer["error"]


@pytest.mark.parametrize("what", ["state", "row", "hard", "entry"])
async def test_the_only_replica_stops_and_keeps_everything(tmp_path, what):
    s = Server(tmp_path, jetstream=True).start()
    await make(s.url, 1)
    s.stop()
    newer(s, what)
    for restart in (s.stop, s.kill):
        s.start()
        eventually(lambda: "is offline" in problem(s), what="the health check telling")
        assert "not understood" in problem(s) and "'$G > S'" in problem(s)
        nc = await nats.connect(s.url)
        for request in ("STREAM.INFO.S", "STREAM.PURGE.S", "CONSUMER.INFO.S.c"):
            answer = await api(nc, request)
            assert answer["error"]["err_code"] == 10194, answer
        with pytest.raises(nats.errors.NoRespondersError):
            await nc.request("s", b"", timeout=5)
        await nc.jetstream().add_stream(name="T", subjects=["t"])  # others go on
        await nc.jetstream().publish("t", b"")
        await nc.jetstream().delete_stream("T")
        await nc.close()
        restart()
    assert "damaged" not in s.text()
    newer(s, what, "undo")
    s.start()
    assert await messages(s.url) == 30
    s.stop()


async def test_it_can_be_deleted(tmp_path):
    s = Server(tmp_path, jetstream=True).start()
    await make(s.url, 1)
    s.stop()
    newer(s, "state")
    s.start()
    eventually(lambda: "is offline" in problem(s), what="the health check telling")
    nc = await nats.connect(s.url)
    assert (await api(nc, "STREAM.DELETE.S"))["success"]
    assert (await api(nc, "STREAM.INFO.S"))["error"]["err_code"] == 10059
    eventually(s.healthy, what="health")
    await nc.close()
    await make(s.url, 1, 3)
    assert await messages(s.url) == 3
    s.stop()


@pytest.mark.parametrize("what", ["state", "hard"])
async def test_a_replica_of_three_waits_and_the_others_go_on(cluster, what):
    await make(cluster[0].url, 3)
    cluster.stop()
    newer(cluster[0], what)
    for s in cluster.servers:
        s.start(wait=False)
    eventually(lambda: "is offline" in problem(cluster[0]), what="the health check telling")
    for s in cluster.servers[1:]:
        eventually(s.healthy, 15, "health")
    assert await messages(cluster[0].url) == 30
    cluster.stop()
    newer(cluster[0], what, "undo")
    cluster.start()
    state = eventually(lambda: cluster.replicas_agree("S"), what="replicas that agree")
    assert state["messages"] == 30
    assert "takes no part until" not in cluster[0].text()  # it came with all it had


async def test_three_replicas_wait(cluster):
    """Once all of them deleted their logs."""
    await make(cluster[0].url, 3)
    cluster.stop()
    for s in cluster.servers:
        newer(s, "state")
        s.start(wait=False)
    for s in cluster.servers:
        eventually(lambda: "is offline" in problem(s), what="the health check telling")
    nc = await nats.connect(cluster[0].url)
    assert (await api(nc, "STREAM.INFO.S"))["error"]["err_code"] == 10194
    await nc.close()
    cluster.kill()
    for s in cluster.servers:
        newer(s, "state", "undo")
    cluster.start()
    assert await messages(cluster[0].url) == 30


@pytest.mark.parametrize("what", ["meta", "voters"])
async def test_a_meta_group_that_is_not_understood_stops_on_that_server(tmp_path, what):
    s = Server(tmp_path, jetstream=True).start()
    await make(s.url, 1)
    s.stop()
    newer(s, what)
    s.start()
    eventually(lambda: "not understood" in problem(s), what="the health check telling")
    s.stop()
    newer(s, what, "undo")
    s.start()
    assert await messages(s.url) == 30
    s.stop()


async def test_redeliveries_that_are_due_at_a_time_that_wrapped(tmp_path):
    """As 0.3 wrote them for a wait without end."""
    s = Server(tmp_path, jetstream=True).start()
    await make(s.url, 1)
    nc = await nats.connect(s.url)
    await api(nc, "CONSUMER.DURABLE.CREATE.S.c", json.dumps({"stream_name": "S", "config": {
        "durable_name": "c", "ack_policy": "explicit", "ack_wait": 2**63 - 1}}).encode())
    sub = await nc.jetstream().pull_subscribe_bind("c", "S")
    assert (await sub.fetch(1, timeout=5))[0].data == b"0"
    await nc.close()
    s.stop()
    newer(s, "due")
    s.start()
    assert await messages(s.url) == 30
    nc = await nats.connect(s.url)
    info = await nc.jetstream().consumer_info("S", "c")
    assert (info.num_ack_pending, info.num_redelivered, info.num_pending) == (1, 0, 29)
    await nc.close()
    s.stop()
