"""Requests that come while others are under way: what was checked when one was asked is not what is there when it is
done, and who publishes meanwhile is answered all the same."""
import asyncio
import json

import nats
import pytest

from harness import SLOW, Cluster, Server, eventually, eventually_async
from peer import both


@pytest.fixture(params=[1, 3], ids=["R1", "R3"])
def place(request, tmp_path):
    """A server, or a cluster, and the replicas of its streams."""
    if request.param == 1:
        s = Server(tmp_path, jetstream=True).start()
        yield s, 1
        s.stop()
    else:
        c = Cluster(tmp_path)
        c.start()
        yield c, 3
        c.kill()


def urls(place):
    return place.urls() if isinstance(place, Cluster) else [place.url]


async def api(nc, subject, body=None, timeout=10):
    m = await nc.request("$JS.API." + subject, b"" if body is None else json.dumps(body).encode(), timeout=timeout)
    return json.loads(m.data)


async def at_once(clients, requests):
    """Each in one write, so that they are as close together as can be."""
    return await asyncio.gather(*[api(clients[i % len(clients)], *r) for i, r in enumerate(requests)])


class Publisher:
    """Publishes as fast as it is told to, and keeps every answer."""

    def __init__(self, nc):
        self.nc, self.sent, self.answers = nc, 0, {}

    async def start(self):
        async def on_answer(m):
            self.answers[int(m.subject.rsplit(".", 1)[1])] = m
        self.inbox = self.nc.new_inbox()
        await self.nc.subscribe(self.inbox + ".*", cb=on_answer)
        return self

    async def publish(self, subject, count):
        for _ in range(count):
            await self.nc.publish(subject, b"%d" % self.sent, reply=f"{self.inbox}.{self.sent}")
            self.sent += 1
        await self.nc.flush()

    async def answered_but(self, most):
        """Until no more than so many wait for their answers."""
        async def done():
            return self.sent - len(self.answers) <= most
        await eventually_async(done, what=f"an answer to all publishes but {most}")

    async def all_answered(self):
        await self.answered_but(0)

    def acked(self):
        """Sequences by what was published."""
        acks = {i: json.loads(m.data) for i, m in self.answers.items() if not (m.headers or {}).get("Status")}
        return {i: a["seq"] for i, a in acks.items() if "error" not in a}


async def stored(nc, stream, seq):
    answer = await api(nc, f"STREAM.MSG.GET.{stream}", {"seq": seq})
    return "error" not in answer


async def test_a_purge_beyond_the_end_under_publishes(place):
    where, replicas = place
    nc = await nats.connect(urls(where)[0])
    config = {"name": "S", "subjects": ["s.>"], "num_replicas": replicas}
    assert "error" not in await api(nc, "STREAM.CREATE.S", config)
    p = await Publisher(nc).start()
    async def purge():
        other = await nats.connect(urls(where)[-1])
        for round in range(1, 16):
            assert (await api(other, "STREAM.PURGE.S", {"seq": 100_000 * round}))["success"]
        await other.close()
    purging = asyncio.create_task(purge())
    while not purging.done():
        await p.publish("s.x", 50)
        await p.answered_but(1000)  # the requests must have their turn, too, however slow the build is
    await purging
    await p.publish("s.x", 2)
    await p.all_answered()
    acked = p.acked()
    assert len(acked) == p.sent and len(set(acked.values())) == p.sent
    state = (await api(nc, "STREAM.INFO.S"))["state"]
    assert state["last_seq"] == max(acked.values()) > 1_500_000
    assert "error" in await api(nc, "STREAM.PURGE.S", {"seq": 2**63 - 1})
    if replicas == 3:
        eventually(lambda: where.replicas_agree("S"), what="the replicas' agreement")
    else:
        where.kill()
        where.start()
        nc = await nats.connect(where.url)
        async def there():
            try:
                return (await api(nc, "STREAM.INFO.S", timeout=1))["state"] == state
            except (nats.errors.Error, asyncio.TimeoutError):
                return False
        await eventually_async(there, what="the stream after a restart")
    await nc.close()


async def test_updates_leave_publishes_alone(place):
    where, replicas = place
    clients = [await nats.connect(u) for u in urls(where)]
    nc = clients[0]
    config = {"name": "S", "subjects": ["s.x", "old"], "num_replicas": replicas}
    assert "error" not in await api(nc, "STREAM.CREATE.S", config)
    publishers = [await Publisher(c).start() for c in clients]
    updated = await nc.subscribe("updated")
    for round in range(10):
        config["subjects"] = ["s.x", f"s.y.{round}"] if round % 2 else ["s.*"]
        config["max_msgs"] = 1_000_000 + round
        await asyncio.gather(*[p.publish("s.x", 200) for p in publishers])
        await nc.publish("$JS.API.STREAM.UPDATE.S", json.dumps(config).encode(), reply="updated")
        await asyncio.gather(*[p.publish("s.x", 200) for p in publishers])
        assert "error" not in json.loads((await updated.next_msg(10)).data)
    for p in publishers:
        await p.all_answered()
        assert len(p.acked()) == p.sent
    state = (await api(nc, "STREAM.INFO.S"))["state"]
    assert state["messages"] == sum(p.sent for p in publishers)
    for c in clients:
        await c.close()


async def test_publishes_under_way_when_the_leader_ends_are_answered(cluster):
    nc = await nats.connect(cluster.urls()[0])
    assert "error" not in await api(nc, "STREAM.CREATE.S", {"name": "S", "subjects": ["s"], "num_replicas": 3})
    leader = eventually(lambda: cluster.leader("S"), what="a leader")
    other = next(n for n in cluster.servers if n.name != leader.name)
    await nc.close()
    nc = await nats.connect(other.url)
    p = await Publisher(nc).start()
    stopping = asyncio.get_running_loop().run_in_executor(None, leader.stop)
    for _ in range(100):
        await p.publish("s", 50)
        await asyncio.sleep(0)
    await stopping
    # what crosses the news on the route that nobody is there any more is lost on it, as between servers of any kind
    async def all_but_a_few():
        return len(p.answers) > p.sent - 150 * SLOW
    await eventually_async(all_but_a_few, what="answers to the publishes")
    async def leads():
        await p.publish("s", 1)
        await asyncio.sleep(0.02)
        return (p.sent - 1) in p.acked()
    await eventually_async(leads, what="the next leader")
    for i, seq in p.acked().items():
        if i % 97 == 0:
            assert await stored(nc, "S", seq)
    await nc.close()


@both
async def test_overlapping_creates_at_once(tmp_path, binary):
    s = Server(tmp_path, jetstream=True, binary=binary).start()
    clients = [await nats.connect(s.url) for _ in range(4)]
    for round in range(5):
        answers = await at_once(clients, [
            (f"STREAM.CREATE.S{round}_{i}", {"name": f"S{round}_{i}", "subjects": [f"r{round}.>" if i % 2 else f"r{round}.a"]})
            for i in range(8)])
        errors = [a["error"]["err_code"] for a in answers if "error" in a]
        # nats-server creates more than one now and then: it looks, and then it makes the stream
        assert errors == [10065] * len(errors)
        if binary is None:
            assert len(errors) == 7
            ack = json.loads((await clients[0].request(f"r{round}.a", b"", timeout=5)).data)
            assert ack["seq"] == 1
    for c in clients:
        await c.close()
    s.stop()


async def test_overlapping_creates_and_changes_at_once_in_a_cluster(cluster):
    clients = [await nats.connect(u) for u in cluster.urls()]
    for round in range(4):
        answers = await at_once(clients, [
            (f"STREAM.CREATE.S{round}_{i}", {"name": f"S{round}_{i}", "subjects": [f"r{round}.>" if i % 2 else f"r{round}.a"],
                                             "num_replicas": 3}) for i in range(6)])
        errors = [a["error"]["err_code"] for a in answers if "error" in a]
        assert errors == [10065] * 5
    # two updates into the same subject, a delete, a create: whichever comes first, each is answered
    for i in range(2):
        assert "error" not in await api(clients[0], f"STREAM.CREATE.U{i}", {"name": f"U{i}", "subjects": [f"u{i}"]})
    answers = await at_once(clients, [
        (f"STREAM.UPDATE.U{i}", {"name": f"U{i}", "subjects": [f"u{i}", "both"]}) for i in range(2)])
    assert sorted("error" in a for a in answers) == [False, True]
    answers = await at_once(clients, [
        ("STREAM.DELETE.U0",), ("STREAM.DELETE.U0",),
        ("STREAM.UPDATE.U0", {"name": "U0", "subjects": ["u0"], "max_msgs": 5}),
        ("STREAM.CREATE.U0", {"name": "U0", "subjects": ["u0"], "max_msgs": 6})])
    assert all(a.get("error", {"err_code": 0})["err_code"] in (0, 10058, 10059, 10065) for a in answers)
    for c in clients:
        await c.close()


async def test_switches_for_good_and_limits_of_consumers_hold_at_once(place):
    where, replicas = place
    clients = [await nats.connect(u) for u in urls(where)]
    nc = clients[0]
    base = {"name": "S", "subjects": ["s"], "num_replicas": replicas, "max_consumers": 1}
    assert "error" not in await api(nc, "STREAM.CREATE.S", base)
    answers = await at_once(clients, [
        (f"CONSUMER.DURABLE.CREATE.S.c{i}", {"stream_name": "S", "config": {"durable_name": f"c{i}", "ack_policy": "explicit"}})
        for i in range(6)])
    assert sorted(a.get("error", {"err_code": 0})["err_code"] for a in answers) == [0] + [10026] * 5
    assert (await api(nc, "STREAM.INFO.S"))["state"]["consumer_count"] == 1
    for _ in range(5):
        answers = await at_once([nc], [("STREAM.UPDATE.S", dict(base, deny_delete=True)),
                                       ("STREAM.UPDATE.S", dict(base, max_msgs=7)),
                                       ("STREAM.UPDATE.S", dict(base, max_msgs=8))])
        assert (await api(nc, "STREAM.INFO.S"))["config"]["deny_delete"]
        await nc.request("s", b"")
    assert (await api(nc, "STREAM.MSG.DELETE.S", {"seq": 1}))["error"]["err_code"] == 10057
    for c in clients:
        await c.close()


async def test_creates_and_deletes_of_one_consumer_at_once(server):
    """The second of two different creates of a name is an error, not a change of the first."""
    clients = [await nats.connect(server.url) for _ in range(3)]
    nc = clients[0]
    assert "error" not in await api(nc, "STREAM.CREATE.S", {"name": "S", "subjects": ["s"]})
    for round in range(5):
        answers = await at_once(clients, [
            (f"CONSUMER.CREATE.S.c{round}", {"stream_name": "S", "action": "create",
                                             "config": {"durable_name": f"c{round}", "max_batch": 1 + i}}) for i in range(6)])
        assert sorted(a.get("error", {"err_code": 0})["err_code"] for a in answers) == [0] + [10148] * 5
        kept = next(a for a in answers if "error" not in a)["config"]["max_batch"]
        assert (await api(nc, f"CONSUMER.INFO.S.c{round}"))["config"]["max_batch"] == kept
        answers = await at_once(clients, [(f"CONSUMER.DELETE.S.c{round}",) for _ in range(4)])
        assert sorted(a.get("error", {"err_code": 0})["err_code"] for a in answers) == [0] + [10014] * 3
    for c in clients:
        await c.close()
