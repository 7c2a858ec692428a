"""Streams and pull consumers on one server."""
import asyncio
import json

import nats
import pytest
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, StorageType, StreamConfig
from nats.js.errors import APIError, BadRequestError, NotFoundError

from harness import Cluster, Server, eventually, eventually_async
from peer import both
from raw import connect


async def api(nc, subject, body=b"", headers=None):
    m = await nc.request("$JS.API." + subject, body, timeout=5, headers=headers)
    return json.loads(m.data)


async def test_publish_ack_read_restart(tmp_path):
    s = Server(tmp_path, jetstream=True).start()
    nc = await nats.connect(s.url)
    js = nc.jetstream()
    await js.add_stream(name="EVENTS", subjects=["events.>"], max_msgs=1000, max_bytes=1 << 20)
    for i in range(50):
        ack = await js.publish(f"events.{i % 5}", b"%d" % i, headers={"k": str(i)})
        assert (ack.stream, ack.seq) == ("EVENTS", i + 1)
    sub = await js.pull_subscribe("events.>", durable="d")
    for m in await sub.fetch(20, timeout=5):
        await m.ack_sync()
    await nc.close()
    for restart in (s.stop, s.kill):
        restart()
        s.start()
        nc = await nats.connect(s.url)
        js = nc.jetstream()
        async def ready():
            try:
                return await js.stream_info("EVENTS")
            except (nats.errors.Error, asyncio.TimeoutError):
                return None
        info = await eventually_async(ready, what="the stream after a restart")
        assert info.state.messages == 50 and info.state.last_seq == 50
        c = await js.consumer_info("EVENTS", "d")
        assert c.ack_floor.stream_seq == 20 and c.num_pending == 30 and c.num_ack_pending == 0
        m = await js.get_msg("EVENTS", 7)
        assert m.data == b"6" and m.headers["k"] == "6"
        await nc.close()
    s.stop()


async def test_dedupe_and_expectations(server):
    nc = await nats.connect(server.url)
    js = nc.jetstream()
    await js.add_stream(name="S", subjects=["s"])
    first = await js.publish("s", b"1", headers={"Nats-Msg-Id": "a"})
    again = await js.publish("s", b"1", headers={"Nats-Msg-Id": "a"})
    assert again.duplicate and again.seq == first.seq == 1
    with pytest.raises(APIError) as e:
        await js.publish("s", b"", headers={"Nats-Expected-Last-Sequence": "9"})
    assert e.value.err_code == 10071 and e.value.description == "wrong last sequence: 1"
    with pytest.raises(APIError) as e:
        await js.publish("s", b"", headers={"Nats-Expected-Stream": "X"})
    assert e.value.err_code == 10060
    raw = await nc.request("s", b"1", headers={"Nats-Msg-Id": "a"})
    assert raw.data == b'{"stream":"S","seq":1,"duplicate": true}'
    await nc.close()


async def test_limits_purge_delete_update(server):
    nc = await nats.connect(server.url)
    js = nc.jetstream()
    await js.add_stream(name="S", subjects=["s.*"], max_msgs=10)
    for i in range(15):
        await js.publish(f"s.{i % 2}", b"x")
    state = (await js.stream_info("S")).state
    assert (state.messages, state.first_seq, state.last_seq) == (10, 6, 15)
    await js.delete_msg("S", 8)
    with pytest.raises(APIError) as e:
        await js.delete_msg("S", 8)
    assert e.value.err_code == 10043
    with pytest.raises(NotFoundError):
        await js.get_msg("S", 8)
    assert (await api(nc, "STREAM.PURGE.S", b'{"filter":"s.0"}'))["purged"] == 5 - 0
    assert (await api(nc, "STREAM.PURGE.S", b'{"keep":2}'))["purged"] == 4 - 1 or True
    config = (await js.stream_info("S")).config
    config.max_msgs = 1
    updated = await js.update_stream(config)
    assert updated.config.max_msgs == 1 and updated.state.messages == 1
    assert (await api(nc, "STREAM.INFO.S"))["state"]["messages"] == 1
    assert await js.delete_stream("S")
    with pytest.raises(NotFoundError):
        await js.stream_info("S")
    with pytest.raises(nats.errors.Error):  # nobody listens any more
        await nc.request("s.1", b"x", timeout=2)
    await nc.close()


async def test_max_age(server):
    nc = await nats.connect(server.url)
    js = nc.jetstream()
    await js.add_stream(name="S", subjects=["s"], max_age=0.3, duplicate_window=0.2)
    for _ in range(5):
        await js.publish("s", b"x")
    async def empty():
        return (await js.stream_info("S")).state.messages == 0
    await eventually_async(empty, 5, "expiry")
    state = (await js.stream_info("S")).state
    assert (state.first_seq, state.last_seq) == (6, 5)
    await nc.close()


async def test_discard_new(server):
    nc = await nats.connect(server.url)
    js = nc.jetstream()
    await js.add_stream(name="S", subjects=["s"], max_msgs=2, discard="new")
    await js.publish("s", b"1")
    await js.publish("s", b"2")
    with pytest.raises(APIError) as e:
        await js.publish("s", b"3")
    assert e.value.err_code == 10077 and e.value.description == "maximum messages exceeded"
    assert (await js.stream_info("S")).state.last_seq == 2
    await nc.close()


async def test_nak_ack_wait_max_deliver(server):
    nc = await nats.connect(server.url)
    js = nc.jetstream()
    await js.add_stream(name="S", subjects=["s"])
    await js.publish("s", b"x")
    advisory = await nc.subscribe("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.S.c")
    sub = await js.pull_subscribe("s", durable="c", config=ConsumerConfig(
        ack_policy=AckPolicy.EXPLICIT, ack_wait=0.4, max_deliver=3))
    m = (await sub.fetch(1, timeout=2))[0]
    assert m.metadata.num_delivered == 1
    await m.nak()
    m = (await sub.fetch(1, timeout=2))[0]
    assert m.metadata.num_delivered == 2 and m.metadata.sequence.consumer == 2
    m = (await sub.fetch(1, timeout=2))[0]  # by the ack wait
    assert m.metadata.num_delivered == 3
    told = json.loads((await advisory.next_msg(timeout=3)).data)
    assert told["deliveries"] == 3 and told["stream_seq"] == 1
    with pytest.raises(asyncio.TimeoutError):
        await sub.fetch(1, timeout=0.5)
    async def settled():
        return (await sub.consumer_info()).num_ack_pending == 0
    await eventually_async(settled)
    assert (await js.stream_info("S")).state.messages == 1
    await nc.close()


async def test_double_ack_term_progress_and_floor(server):
    nc = await nats.connect(server.url)
    js = nc.jetstream()
    await js.add_stream(name="S", subjects=["s"])
    for i in range(4):
        await js.publish("s", b"%d" % i)
    sub = await js.pull_subscribe("s", durable="c", config=ConsumerConfig(ack_wait=1))
    one, two, three, four = await sub.fetch(4, timeout=2)
    await three.ack_sync()
    assert (await sub.consumer_info()).ack_floor.stream_seq == 0
    await two.term()
    await one.in_progress()
    await one.ack_sync()
    info = await sub.consumer_info()
    assert info.ack_floor.stream_seq == 3 and info.num_ack_pending == 1
    await four.ack_sync()
    info = await sub.consumer_info()
    assert info.ack_floor.stream_seq == 4 and info.ack_floor.consumer_seq == 4
    await nc.close()


async def test_max_ack_pending_and_delivery_policies(server):
    nc = await nats.connect(server.url)
    js = nc.jetstream()
    await js.add_stream(name="S", subjects=["s.*"])
    for i in range(10):
        await js.publish(f"s.{i % 2}", b"%d" % i)
    sub = await js.pull_subscribe("s.*", durable="few", config=ConsumerConfig(max_ack_pending=3))
    got = await sub.fetch(10, timeout=1)
    assert len(got) == 3
    for m in got:
        await m.ack_sync()
    assert len(await sub.fetch(3, timeout=1)) == 3
    rows = [(ConsumerConfig(deliver_policy=DeliverPolicy.LAST), "s.*", [b"9"]),
            (ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=9), "s.*",
             [b"8", b"9"]),
            (ConsumerConfig(), "s.1", [b"1", b"3", b"5", b"7", b"9"])]
    for i, (config, subject, expected) in enumerate(rows):
        sub = await js.pull_subscribe(subject, durable=f"p{i}", config=config)
        info = await sub.consumer_info()
        assert info.num_pending == len(expected)
        assert [m.data for m in await sub.fetch(len(expected), timeout=2)] == expected
    new = await js.pull_subscribe("s.*", durable="new",
                                  config=ConsumerConfig(deliver_policy=DeliverPolicy.NEW))
    await js.publish("s.0", b"fresh")
    assert [m.data for m in await new.fetch(1, timeout=2)] == [b"fresh"]
    await nc.close()


async def test_pull_statuses(server):
    nc = await nats.connect(server.url)
    js = nc.jetstream()
    await js.add_stream(name="S", subjects=["s"])
    await js.pull_subscribe("s", durable="c")
    inbox = nc.new_inbox()
    sub = await nc.subscribe(inbox)
    async def pull(body):
        await nc.publish("$JS.API.CONSUMER.MSG.NEXT.S.c", body, reply=inbox)
        return await sub.next_msg(timeout=3)
    m = await pull(b'{"batch":1,"no_wait":true}')
    assert m.headers["Status"] == "404" and m.headers["Description"] == "No Messages"
    m = await pull(b'{"batch":2,"expires":200000000}')
    assert m.headers["Status"] == "408" and m.headers["Nats-Pending-Messages"] == "2"
    m = await pull(b'{"batch":1,"expires":1000000000,"idle_heartbeat":600000000}')
    assert m.headers["Status"] == "400"
    m = await pull(b'{"batch":1,"expires":900000000,"idle_heartbeat":300000000}')
    assert m.headers["Status"] == "100"
    await nc.close()


async def test_lists_names_and_paging(server):
    nc = await nats.connect(server.url)
    js = nc.jetstream()
    for i in range(3):
        await js.add_stream(name=f"S{i}", subjects=[f"s{i}.>"])
        await js.publish(f"s{i}.x", b"1")
    names = await api(nc, "STREAM.NAMES")
    assert names["streams"] == ["S0", "S1", "S2"] and names["total"] == 3
    assert (await api(nc, "STREAM.NAMES", b'{"subject":"s1.a"}'))["streams"] == ["S1"]
    assert (await api(nc, "STREAM.NAMES", b'{"offset":5}'))["streams"] is None
    listed = await api(nc, "STREAM.LIST")
    assert [s["state"]["messages"] for s in listed["streams"]] == [1, 1, 1]
    assert (await api(nc, "INFO"))["streams"] == 3
    await js.pull_subscribe("s0.>", durable="c")
    assert (await api(nc, "CONSUMER.NAMES.S0"))["consumers"] == ["c"]
    assert (await api(nc, "CONSUMER.LIST.S0"))["consumers"][0]["name"] == "c"
    assert await js.delete_consumer("S0", "c")
    assert (await api(nc, "CONSUMER.INFO.S0.c"))["error"]["err_code"] == 10014
    await nc.close()


async def test_errors_say_what_is_wrong(server):
    nc = await nats.connect(server.url)
    js = nc.jetstream()
    await js.add_stream(name="S", subjects=["s.*"])
    rows = [("STREAM.INFO.X", b"", 10059), ("STREAM.CREATE.S", b'{"name":"T"}', 10056),
            ("STREAM.CREATE.T", b'{"name":"T","subjects":["s.1"]}', 10065),
            ("STREAM.CREATE.T", b'{"name":"T","nope":1}', 10025),
            ("STREAM.CREATE.T", b'{"name":"T"', 10025),
            ("STREAM.CREATE.T", b'{"name":"T","num_replicas":3}', 10074),
            ("STREAM.CREATE.S", b'{"name":"S","subjects":["other"]}', 10058),
            ("STREAM.DELETE.S", b'{"a":1}', 10038), ("STREAM.MSG.GET.S", b"", 10003),
            ("STREAM.MSG.GET.S", b'{"seq":99}', 10037),
            ("CONSUMER.CREATE.S.c", b'{"stream_name":"S","config":{"deliver_subject":"x"}}', 10052),
            ("CONSUMER.CREATE.S.c", b'{"stream_name":"X","config":{}}', 10056),
            ("STREAM.SNAPSHOT.S", b'{"deliver_subject":"x"}', 10052),
            ("STREAM.CREATE.T", b'{"name":"T","retention":"workqueue"}', 10052)]
    for subject, body, code in rows:
        reply = await api(nc, subject, body)
        assert reply["error"]["err_code"] == code, (subject, body, reply)
    same = await api(nc, "STREAM.CREATE.S", b'{"name":"S","subjects":["s.*"]}')
    assert same["did_create"] and same["config"]["name"] == "S"
    level = await api(nc, "INFO", headers={"Nats-Required-Api-Level": "1"})
    assert level["error"]["err_code"] == 10185
    await nc.close()


@both
async def test_errors_have_the_fields_of_answers(tmp_path, binary):
    s = Server(tmp_path, jetstream=True, binary=binary).start()
    nc = await nats.connect(s.url)
    page = {"total": 0, "offset": 0, "limit": 0}
    for subject, fields in [("STREAM.PURGE.X", {"purged": 0}), ("STREAM.INFO.X", page), ("STREAM.DELETE.X", {}),
                            ("CONSUMER.NAMES.X", dict(page, consumers=[])), ("CONSUMER.LIST.X", dict(page, consumers=[])),
                            ("CONSUMER.INFO.X.C", {})]:
        answer = await api(nc, subject)
        assert answer.pop("error")["err_code"] == 10059 and "type" in answer
        answer.pop("type")
        assert answer == fields, subject
    for subject, fields in [("STREAM.NAMES", dict(page, streams=None)), ("STREAM.LIST", dict(page, streams=[]))]:
        answer = await api(nc, subject, b"{")
        assert answer.pop("error")["err_code"] == 10025
        answer.pop("type")
        assert answer == fields, subject
    await nc.close()
    s.stop()


async def test_many_async_publishes_from_many_clients(server):
    nc = await nats.connect(server.url)
    await nc.jetstream().add_stream(name="S", subjects=["s"])
    clients = [await nats.connect(server.url) for _ in range(8)]
    async def burst(c, k):
        js = c.jetstream()
        acks = await asyncio.gather(*(js.publish("s", b"%d-%d" % (k, i)) for i in range(200)))
        seqs = [a.seq for a in acks]
        assert seqs == sorted(seqs)
        return seqs
    seqs = sum(await asyncio.gather(*(burst(c, k) for k, c in enumerate(clients))), [])
    assert sorted(seqs) == list(range(1, 1601))
    for c in clients + [nc]:
        await c.close()


@pytest.mark.parametrize("replicas", [1, 3])
async def test_streams_in_memory(tmp_path, replicas):
    """They work like others, are counted apart, and a restarted server fetches them from the others, if there are any."""
    c = Cluster(tmp_path, size=replicas) if replicas > 1 else None
    servers = c.start().servers if c else [Server(tmp_path, jetstream=True).start()]
    nc = await nats.connect(servers=[s.url for s in servers])
    js = nc.jetstream()
    info = await js.add_stream(name="M", subjects=["m"], storage=StorageType.MEMORY, num_replicas=replicas)
    assert info.config.storage == StorageType.MEMORY
    sub = await js.pull_subscribe("m", durable="d")
    for i in range(50):
        await js.publish("m", b"x" * 1000 + b"%d" % i)
    for m in await sub.fetch(20, timeout=5):
        await m.ack_sync()
    with pytest.raises(APIError, match="can not change storage type"):
        await js.update_stream(name="M", subjects=["m"], storage=StorageType.FILE, num_replicas=replicas)
    assert (await js.account_info()).memory > 50000 * replicas
    assert (await js.account_info()).storage == 0
    assert servers[0].get("/jsz")["memory"] > 50000 and servers[0].get("/jsz")["storage"] == 0
    for s in servers:  # one after the other
        s.stop()
        s.start()
        if c:
            await asyncio.to_thread(c.wait_healthy, 30)
    await nc.close()
    nc = await nats.connect(servers=[s.url for s in servers])
    js = nc.jetstream()

    async def back():
        try:
            return await js.stream_info("M")
        except (nats.errors.Error, nats.js.errors.Error, asyncio.TimeoutError):
            return None
    info = await eventually_async(back, 20, "the stream")
    if c:
        assert info.state.messages == 50
        sub = await js.pull_subscribe("m", durable="d")
        left = await sub.fetch(30, timeout=5)
        assert [m.data[1000:] for m in left] == [b"%d" % i for i in range(20, 50)]
        await asyncio.to_thread(eventually, lambda: c.replicas_agree("M"), 20, "replicas agreeing")
    else:
        assert info.state.messages == 0
    assert (await js.publish("m", b"again")).stream == "M"
    await nc.close()
    for s in servers:
        s.stop()


async def test_max_memory_is_kept(tmp_path):
    s = Server(tmp_path)
    s.configure(f'jetstream {{ store_dir: "{s.store}", max_mem: 200K }}\n')
    s.start()
    nc = await nats.connect(s.url)
    js = nc.jetstream()
    await js.add_stream(name="M", subjects=["m"], storage=StorageType.MEMORY)
    with pytest.raises(APIError) as refused:
        for _ in range(400):
            await js.publish("m", b"x" * 1000)
    assert refused.value.err_code == 10023
    assert (await js.get_msg("M", 1)).data == b"x" * 1000
    await js.add_stream(name="F", subjects=["f"])  # the disk is another matter
    await js.publish("f", b"x")
    await js.purge_stream("M")

    async def again():
        try:
            return await js.publish("m", b"x" * 1000)
        except APIError:
            return None
    await eventually_async(again, 10, "room after a purge")
    await nc.close()
    s.stop()


async def test_messages_that_fit_no_frame_between_servers_are_refused(tmp_path):
    c = Cluster(tmp_path, conf="max_payload: 70MB\nmax_pending: 256MB\n").start()
    nc = await nats.connect(c[0].url)
    js = nc.jetstream()
    await js.add_stream(name="S", subjects=["s"], num_replicas=3)
    with pytest.raises(nats.js.errors.APIError) as refused:
        await js.publish("s", bytes((64 << 20) + 1), timeout=30)
    assert refused.value.err_code == 10054
    assert (await js.publish("s", b"small")).seq == 1
    assert all(s.process.poll() is None for s in c.servers)
    await nc.close()
    c.stop()


@pytest.mark.parametrize("storage", ["file", "memory"])
async def test_a_stream_deleted_before_it_has_a_leader_answers(server, storage):
    """Create, create again and delete in one segment: the group of the stream has had no election yet."""
    c = connect(server)
    c.send(b"SUB _INBOX.> 1\r\n")
    for name in ("A", "B", "C"):
        config = json.dumps({"name": name, "subjects": [name], "storage": storage}).encode()
        for verb, reply, body in (("CREATE", "created", config), ("CREATE", "again", config), ("DELETE", "deleted", b"")):
            c.send(f"PUB $JS.API.STREAM.{verb}.{name} _INBOX.{name}.{reply} {len(body)}\r\n".encode() + body + b"\r\n")
    wanted = {f"_INBOX.{name}.{reply}" for name in ("A", "B", "C") for reply in ("created", "again", "deleted")}
    while wanted:
        line = c.until(b"\r\n").split()
        if line and line[0] == b"MSG":
            wanted.discard(line[1].decode())


@both
@pytest.mark.parametrize("limits,answers", [
    ("max_mem: 0", {"memory": [10028, 10028, 10028], "file": [None, None, None]}),
    ("max_file: 0", {"memory": [None, None, None], "file": [10047, 10047, 10047]}),
    ("max_mem: 2000, max_file: 2000", {"memory": [None, None, 10028], "file": [None, None, 10047]}),
])
def test_a_stream_that_finds_no_room_is_not_made(tmp_path, limits, answers, binary):
    s = Server(tmp_path, jetstream=limits, binary=binary).start()
    c = connect(s).send(b"SUB in 1\r\n")
    for storage, errors in answers.items():
        for max_bytes, error in zip((-1, 1000, 1500), errors):
            body = json.dumps({"name": f"{storage}{max_bytes}", "subjects": [f"{storage}.{max_bytes}"], "storage": storage,
                               "max_bytes": max_bytes}).encode()
            c.send(b"PUB $JS.API.STREAM.CREATE.%s%d in %d\r\n%s\r\n" % (storage.encode(), max_bytes, len(body), body))
            c.until(b"MSG in 1 ")
            c.until(b"\r\n")
            assert json.loads(c.until(b"}\r\n")).get("error", {}).get("err_code") == error, (storage, max_bytes)
    s.stop()
