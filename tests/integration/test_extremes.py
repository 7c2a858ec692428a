"""Numbers at the ends of their ranges, from clients: what a server makes of them, and what it is after kill -9."""
import asyncio
import json

import nats
import pytest

from harness import Cluster, Server, eventually_async
from peer import both

NEVER = 2**63 - 1  # ns
CENTURY = 100 * 365 * 24 * 3600 * 10**9


async def api(nc, subject, body=None):
    m = await nc.request("$JS.API." + subject, json.dumps(body).encode() if body is not None else b"", timeout=5)
    return json.loads(m.data)


async def made(nc, subject, body):
    answer = await api(nc, subject, body)
    assert "error" not in answer, answer
    return answer


async def consumer(nc, stream, name, **config):
    await made(nc, f"CONSUMER.DURABLE.CREATE.{stream}.{name}", {
        "stream_name": stream, "config": {"durable_name": name, "ack_policy": "explicit", **config}})


async def publish(nc, subject, count):
    for _ in range(count):
        answer = json.loads((await nc.request(subject, b"m", timeout=5)).data)
        assert "error" not in answer, answer
    return answer["seq"]


async def pull(nc, stream, name, body, timeout=2):
    """The message, or the status, that a pull request comes to; None: nothing."""
    inbox = nc.new_inbox()
    sub = await nc.subscribe(inbox)
    await nc.publish(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}", body, reply=inbox)
    try:
        return await sub.next_msg(timeout)
    except nats.errors.TimeoutError:
        return None
    finally:
        await sub.unsubscribe()


def status(message):
    return message and (message.headers or {}).get("Status")


async def state(url, stream):
    """Of a stream, once its leader answers."""
    async def asked():
        try:
            nc = await nats.connect(url, max_reconnect_attempts=0)
            try:
                return (await api(nc, f"STREAM.INFO.{stream}")).get("state")
            finally:
                await nc.close()
        except (nats.errors.Error, asyncio.TimeoutError, OSError):
            return None
    return await eventually_async(asked, what=f"{stream} being led")


WAITS = {"ack_wait": {"ack_wait": NEVER}, "a century": {"ack_wait": CENTURY}, "backoff": {"backoff": [NEVER, CENTURY]},
         "nak": {}}


async def deliver_and_wait(nc):
    """Consumers that wait for ever have one message each."""
    for i, config in enumerate(WAITS.values()):
        await consumer(nc, "S", f"c{i}", **config)
        message = await pull(nc, "S", f"c{i}", b"")
        assert message.data == b"m"
        if not config:
            await nc.publish(message.reply, b'-NAK {"delay": %d}' % NEVER)
    await nc.flush()


async def check_waiting(nc):
    for i, _ in enumerate(WAITS):
        info = await api(nc, f"CONSUMER.INFO.S.c{i}")
        assert info["num_ack_pending"] == 1 and info["num_redelivered"] == 0, info
        assert info["num_pending"] == 49, info


async def test_a_wait_without_end_survives_kill_9(tmp_path):
    """Once the state could not be read any more, was taken for damage, and all replicas deleted their logs."""
    cluster = Cluster(tmp_path).start()
    nc = await nats.connect(cluster[0].url)
    await made(nc, "STREAM.CREATE.S", {"name": "S", "subjects": ["s"], "num_replicas": 3})
    await publish(nc, "s", 50)
    await deliver_and_wait(nc)
    await check_waiting(nc)
    await nc.close()
    cluster.stop()  # all write a checkpoint
    cluster.start()
    cluster.kill()
    cluster.start()
    assert (await state(cluster[0].url, "S"))["messages"] == 50
    nc = await nats.connect(cluster[0].url)
    await check_waiting(nc)
    await nc.close()
    cluster.stop()


@both
async def test_ages_without_end(tmp_path, binary):
    """Once a timer wrapped: its loop stood still, and after kill -9 the server took no clients."""
    s = Server(tmp_path, jetstream=True, binary=binary).start()
    nc = await nats.connect(s.url)
    for name, config in {"A": {"max_age": NEVER}, "B": {"max_age": NEVER, "duplicate_window": NEVER},
                         "C": {"duplicate_window": NEVER}}.items():
        answer = await made(nc, f"STREAM.CREATE.{name}", {"name": name, "subjects": [name], **config})
        assert {k: answer["config"][k] for k in config} == config
        assert await publish(nc, name, 3) == 3
        again = [await nc.request(name, b"", headers={"Nats-Msg-Id": "1"}, timeout=5) for _ in range(2)]
        assert json.loads(again[1].data)["duplicate"]
    await nc.close()
    s.kill()
    s.start()
    for name in "ABC":
        assert (await state(s.url, name))["messages"] == 4
    s.stop()


@both
async def test_pulls_at_the_ends(tmp_path, binary):
    s = Server(tmp_path, jetstream=True, binary=binary).start()
    nc = await nats.connect(s.url)
    await made(nc, "STREAM.CREATE.S", {"name": "S", "subjects": ["s"]})
    await publish(nc, "s", 5)
    await consumer(nc, "S", "c", max_batch=10)
    for body in (b"18446744073709551615", b'{"batch": 1, "expires": %d}' % NEVER, b"0", b"-5"):
        assert (await pull(nc, "S", "c", body)).data == b"m", body
    for body in (b"9223372036854775807", b"11", b'{"batch": %d}' % NEVER):
        assert status(await pull(nc, "S", "c", body)) == "409", body
    refused = await pull(nc, "S", "c", b'{"batch": 1, "expires": -5}')
    assert refused.data == b"m" or status(refused) == "408"
    await nc.close()
    s.stop()


async def test_heartbeats_without_end(server):
    """Once all timers of the loop stopped."""
    nc = await nats.connect(server.url)
    await made(nc, "STREAM.CREATE.S", {"name": "S", "subjects": ["s"]})
    await consumer(nc, "S", "c")
    for body in ({"batch": 1, "idle_heartbeat": NEVER}, {"batch": 1, "expires": NEVER, "idle_heartbeat": NEVER}):
        assert status(await pull(nc, "S", "c", json.dumps(body).encode())) == "400"
    inbox = await nc.subscribe(nc.new_inbox())
    await nc.publish("$JS.API.CONSUMER.MSG.NEXT.S.c", reply=inbox.subject, payload=json.dumps(
        {"batch": 1, "expires": NEVER, "idle_heartbeat": NEVER // 2}).encode())
    assert status(await pull(nc, "S", "c", b'{"batch": 1, "expires": 100000000}')) == "408"  # timers go on
    await publish(nc, "s", 1)
    assert (await inbox.next_msg(5)).data == b"m"
    await nc.close()


async def test_sequences_end_where_sums_of_them_are_safe(tmp_path):
    """nats-server takes any 64 bits, and begins again at 0 behind the last one."""
    s = Server(tmp_path, jetstream=True).start()
    nc = await nats.connect(s.url)
    await made(nc, "STREAM.CREATE.S", {"name": "S", "subjects": ["s"]})
    await publish(nc, "s", 2)
    for seq in (2**62 + 1, NEVER, 2**64 - 1):
        answer = await api(nc, "STREAM.PURGE.S", {"seq": seq})
        assert answer["error"]["code"] == 400, answer
        answer = await api(nc, "STREAM.MSG.GET.S", {"seq": seq})
        assert answer["error"]["err_code"] in (10037, 10025), answer
        answer = await api(nc, "STREAM.MSG.DELETE.S", {"seq": seq})
        assert answer["error"]["err_code"] in (10057, 10025), answer
    assert (await api(nc, "STREAM.PURGE.S", {"keep": NEVER}))["purged"] == 0
    assert (await api(nc, "STREAM.PURGE.S", {"seq": 2**62}))["purged"] == 2
    await consumer(nc, "S", "c")
    await consumer(nc, "S", "late", deliver_policy="by_start_sequence", opt_start_seq=NEVER)
    assert await publish(nc, "s", 3) == 2**62 + 2
    assert (await pull(nc, "S", "c", b"")).data == b"m"
    await nc.close()
    for restart in (s.stop, s.kill):
        restart()
        s.start()
        found = await state(s.url, "S")
        assert (found["first_seq"], found["last_seq"], found["messages"]) == (2**62, 2**62 + 2, 3)
    s.stop()


@both
async def test_texts_that_escaping_makes_longer(tmp_path, binary):
    """Six times as long in the log as in the request: once that could not be read again, and the stream stopped for good."""
    s = Server(tmp_path, jetstream=True, binary=binary).start()
    nc = await nats.connect(s.url)
    subjects = [f"{'<' * 2000}.{i}" for i in range(250)]
    await made(nc, "STREAM.CREATE.S", {"name": "S", "subjects": subjects})
    await consumer(nc, "S", "c", filter_subjects=subjects)
    assert await publish(nc, subjects[7], 1) == 1
    await nc.close()
    s.stop()
    s.start()
    assert (await state(s.url, "S"))["messages"] == 1
    nc = await nats.connect(s.url)
    assert (await api(nc, "CONSUMER.INFO.S.c"))["config"]["filter_subjects"] == subjects
    await nc.close()
    s.stop()
