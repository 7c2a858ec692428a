"""Order and filters: which messages of a stream a consumer gets, when there are many others, and
when its filter is changed meanwhile."""
import asyncio
import json

import nats
from nats.js.api import ConsumerConfig, StreamConfig

from harness import Cluster, eventually_async


async def api(nc, subject, **body):
    m = await nc.request("$JS.API." + subject, json.dumps(body).encode(), timeout=10)
    answer = json.loads(m.data)
    assert "error" not in answer, answer
    return answer


async def fill(nc, js, stream, messages):
    """Without waiting for each: (subject, body) …, all stored when it returns."""
    before = (await js.stream_info(stream)).state.last_seq
    count = 0
    for subject, body in messages:
        await nc.publish(subject, body)
        count += 1
    async def stored():
        return (await js.stream_info(stream)).state.last_seq == before + count
    await eventually_async(stored, what="all messages in the stream", timeout=30)


async def test_a_stream_has_a_publishers_messages_in_their_order(server):
    nc = await nats.connect(server.url)
    js = nc.jetstream()
    await js.add_stream(StreamConfig(name="S", subjects=["a", "b.*", "c.>"]))
    subjects = ["a", "b.1", "c.d.e", "b.2"]
    await fill(nc, js, "S", [(subjects[i % 4], b"%d" % i) for i in range(2000)])
    await js.add_consumer("S", ConsumerConfig(durable_name="C", ack_policy="none"))
    sub = await js.pull_subscribe("", durable="C", stream="S")
    got = []
    while len(got) < 2000:
        got += await sub.fetch(500, timeout=5)
    assert [(m.subject, int(m.data)) for m in got] == [(subjects[i % 4], i) for i in range(2000)]
    await nc.close()


async def test_the_few_that_match_among_many_that_do_not(server):
    """More than is looked at in one turn lies between them."""
    nc = await nats.connect(server.url)
    js = nc.jetstream()
    await js.add_stream(StreamConfig(name="S", subjects=["s.*"]))
    many = [("s.many", b"x" * 1000)] * 12000
    await fill(nc, js, "S", [("s.rare", b"1")] + many + [("s.rare", b"2"), ("s.other", b"3")] + many)
    await fill(nc, js, "S", [("s.rare", b"4")])
    last = 1 + 12000 + 2 + 12000 + 1

    async def consumer(name, filter, **more):
        info = await js.add_consumer(
            "S", ConsumerConfig(durable_name=name, ack_policy="none", filter_subject=filter, **more))
        sub = await js.pull_subscribe("", durable=name, stream="S")
        got = await sub.fetch(info.num_pending, timeout=10)
        assert (await js.consumer_info("S", name)).num_pending == 0
        return [m.data for m in got]

    assert await consumer("A", "s.rare") == [b"1", b"2", b"4"]
    middle = {"deliver_policy": "by_start_sequence", "opt_start_seq": 5000}
    assert await consumer("B", "*.rare", **middle) == [b"2", b"4"]
    assert await consumer("C", "s.other", **middle) == [b"3"]
    m = await api(nc, "STREAM.MSG.GET.S", seq=2, next_by_subj="s.rare")
    assert m["message"]["seq"] == 12002
    m = await api(nc, "STREAM.MSG.GET.S", seq=12003, next_by_subj="*.rare")
    assert m["message"]["seq"] == last
    # One waits for what is not there yet; the others do not hold it up.
    sub = await js.pull_subscribe("", durable="A", stream="S")
    waiting = asyncio.create_task(sub.fetch(1, timeout=20))
    await fill(nc, js, "S", many + [("s.rare", b"5")])
    assert [m.data for m in await waiting] == [b"5"]
    await nc.close()


async def test_a_new_filter_sees_what_the_old_one_passed_over(server):
    nc = await nats.connect(server.url)
    js = nc.jetstream()
    await js.add_stream(StreamConfig(name="S", subjects=["a", "b"]))
    await js.add_consumer("S", ConsumerConfig(durable_name="C", filter_subject="a"))
    inbox = nc.new_inbox()
    sub = await nc.subscribe(inbox)
    await nc.publish("$JS.API.CONSUMER.MSG.NEXT.S.C", b'{"batch":2}', reply=inbox)
    await fill(nc, js, "S", [("a", b"1"), ("b", b"2"), ("b", b"3"), ("a", b"4")])
    assert [(await sub.next_msg(timeout=5)).data for _ in range(2)] == [b"1", b"4"]
    await fill(nc, js, "S", [("b", b"5"), ("b", b"6"), ("b", b"7")])
    await nc.publish("$JS.API.CONSUMER.MSG.NEXT.S.C", b'{"batch":1}', reply=inbox)
    await nc.flush()  # it has looked for an "a", and found none
    await js.add_consumer("S", ConsumerConfig(durable_name="C", filter_subject="b"))
    assert (await sub.next_msg(timeout=5)).data == b"5"
    assert (await js.consumer_info("S", "C")).num_pending == 2
    await nc.close()


async def test_a_filter_changes_while_messages_come(server):
    """What was chosen under the old filter counts under the old one."""
    nc = await nats.connect(server.url)
    js = nc.jetstream()
    publisher = await nats.connect(server.url)
    await js.add_stream(StreamConfig(name="S", subjects=["a", "b"]))
    config = {"durable_name": "C", "ack_policy": "none", "deliver_policy": "all"}

    async def filter_is(subject):
        await api(nc, "CONSUMER.DURABLE.CREATE.S.C", stream_name="S",
                  config=config | {"filter_subject": subject})

    async def publish():
        for i in range(300):
            await publisher.publish("ab"[i % 2], b"")
            if i % 10 == 9:
                await publisher.flush()

    await filter_is("a")
    inbox = nc.new_inbox()
    ended = await nc.subscribe(inbox)
    for i in range(30):
        wanted = "ba"[i % 2]
        await nc.publish("$JS.API.CONSUMER.MSG.NEXT.S.C", b'{"batch":37,"expires":30000000}',
                         reply=inbox)
        await asyncio.gather(publish(), filter_is(wanted))
        for _ in range(37):
            m = await ended.next_msg(timeout=5)
            if m.headers and m.headers.get("Status") == "408":
                break
        last = 300 * (i + 1)
        async def stored():
            return (await js.stream_info("S")).state.last_seq == last
        await eventually_async(stored, what="all messages in the stream")
        info = await api(nc, "CONSUMER.INFO.S.C")
        rest = range(info["delivered"]["stream_seq"] + 1, last + 1)
        assert info["num_pending"] == sum(1 for seq in rest if seq % 2 == "ba".index(wanted))
    await api(nc, "STREAM.PURGE.S", keep=1)  # every replica would stop here when it had miscounted
    assert (await js.stream_info("S")).state.messages == 1
    await publisher.close()
    await nc.close()


async def test_large_purges_and_lowered_limits_come_in_parts(tmp_path):
    c = Cluster(tmp_path).start()
    nc = await nats.connect(c.servers[0].url)
    js = nc.jetstream()
    await js.add_stream(StreamConfig(name="S", subjects=["s.*"], num_replicas=3))
    await fill(nc, js, "S", [("s.%d" % (i % 10), b"") for i in range(100_000)])
    assert (await api(nc, "STREAM.PURGE.S", filter="s.3"))["purged"] == 10_000
    assert (await api(nc, "STREAM.PURGE.S", filter="s.3"))["purged"] == 0
    assert (await api(nc, "STREAM.PURGE.S", filter="s.4", keep=7))["purged"] == 9_993
    assert (await api(nc, "STREAM.PURGE.S", filter="*.5", seq=50_001))["purged"] == 5_000
    assert (await api(nc, "STREAM.PURGE.S", seq=50_001))["purged"] == 35_000
    state = (await js.stream_info("S")).state
    assert (state.messages, state.first_seq, state.last_seq) == (40_007, 50_001, 100_000)
    await js.update_stream(StreamConfig(name="S", subjects=["s.*"], num_replicas=3, max_msgs=5))
    async def trimmed():
        return (await js.stream_info("S")).state.messages == 5
    await eventually_async(trimmed, what="five messages left", timeout=20)
    await nc.close()
    c.kill()  # all replicas did the same: each can lead
    c.start()
    nc = await nats.connect(c.servers[1].url)
    async def same():
        try:
            state = (await nc.jetstream().stream_info("S")).state
        except (nats.errors.Error, asyncio.TimeoutError):
            return False
        return (state.messages, state.last_seq) == (5, 100_000)
    await eventually_async(same, what="the stream after a restart", timeout=30)
    await nc.close()
    c.stop()


async def test_consumers_change_and_take_each_others_names(server):
    """All in one packet, so that each request is on its way before the one before has been applied."""
    nc = await nats.connect(server.url)
    js = nc.jetstream()
    await js.add_stream(StreamConfig(name="S", subjects=["a", "b"]))
    await fill(nc, js, "S", [("ab"[i % 2], b"%d" % i) for i in range(40)])
    answers = await nc.subscribe(inbox := nc.new_inbox())
    got = await nc.subscribe(delivered := nc.new_inbox())

    def request(subject, reply=inbox, **body):
        return nc.publish("$JS.API.CONSUMER." + subject, json.dumps(body).encode(), reply=reply)

    for i in range(50):
        for filter in "ab", None, "ba", None, "b":
            if filter is None:
                await request("DELETE.S.C")
            for f in filter or "":
                config = {"durable_name": "C", "ack_policy": "none", "filter_subject": f}
                await request("DURABLE.CREATE.S.C", stream_name="S", config=config)
                await request("MSG.NEXT.S.C", delivered, batch=3, expires=5_000_000_000)
        for _ in range(7):
            await answers.next_msg(timeout=5)
        wanted = [b"%d" % n for n in range(1, 40, 2)]
        info = await js.consumer_info("S", "C")
        assert info.config.filter_subject == "b"
        last = info.delivered.stream_seq
        assert info.num_pending == sum(1 for n in wanted if int(n) + 1 > last)
        await js.delete_consumer("S", "C")
    await api(nc, "STREAM.PURGE.S")
    assert (await js.stream_info("S")).state.messages == 0
    await nc.close()
