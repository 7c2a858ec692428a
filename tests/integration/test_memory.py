"""What others can make a server hold, and that it is given back: neighbours that stand still, clients that do not read."""
import asyncio
import socket

import nats
import pytest

from harness import SLOW, Cluster, Server, eventually

MB = 1 << 20


def resident(server):
    with open(f"/proc/{server.process.pid}/status") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmRSS"))


def silent_subscriber(server, subject):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.settimeout(5)
    s.connect(("127.0.0.1", server.port))
    s.sendall(f"CONNECT {{}}\r\nSUB {subject} 1\r\nPING\r\n".encode())
    data = b""
    while b"PONG" not in data:
        data += s.recv(4096)
    return s


@pytest.mark.skipif(SLOW > 1, reason="a sanitizer keeps what is freed")
async def test_memory_of_slow_consumers_is_given_back(tmp_path):
    server = Server(tmp_path, conf="max_pending: 4MB\n").start()
    slow = [silent_subscriber(server, "x") for _ in range(50)]
    before = resident(server)
    nc = await nats.connect(server.url)
    peak = 0
    while server.text().count("Slow Consumer") < len(slow):
        for _ in range(64):
            await nc.publish("x", bytes(8192))
        await nc.flush()
        peak = max(peak, resident(server))
    await nc.close()
    assert peak > before + 80 * MB
    await asyncio.to_thread(eventually, lambda: resident(server) < before + 40 * MB, 10,
                            lambda: f"{resident(server)} bytes beside {before} before and {peak} at most")
    for s in slow:
        s.close()
    server.stop()


async def test_a_route_to_a_server_that_stands_still_is_bounded(tmp_path):
    cluster = Cluster(tmp_path, 2, conf="max_pending: 8MB\n", jetstream=False)
    for s in cluster.servers:
        s.start()
    here, there = cluster.servers
    subscriber = await nats.connect(there.url)
    messages = await subscriber.subscribe("x")
    nc = await nats.connect(here.url)

    async def reaches():
        await nc.publish("x", b"")
        await nc.flush()
        try:
            return await messages.next_msg(timeout=0.1)
        except nats.errors.TimeoutError:
            return None
    while await reaches() is None:
        pass
    before = resident(here)
    said = len(here.text())
    there.pause()
    while "Slow: more than 8388608 bytes wait" not in here.text():
        for _ in range(16):
            await nc.publish("x", bytes(65536))
        await nc.flush()
    for _ in range(800):  # 50 MB more
        await nc.publish("x", bytes(65536))
    await nc.flush()
    assert SLOW > 1 or resident(here) < before + 40 * MB
    there.go_on()
    while messages.pending_msgs:
        await messages.next_msg()
    while await reaches() is None:  # the same route goes on
        pass
    assert "Router connection closed" not in here.text()[said:]
    await nc.close()
    await subscriber.close()
    cluster.stop()


async def test_what_waits_for_a_stopped_follower_is_bounded(tmp_path):
    cluster = Cluster(tmp_path, 3).start()
    nc = await nats.connect(cluster[0].url)
    streams = range(4)
    for i in streams:
        await nc.jetstream().add_stream(name=f"S{i}", subjects=[f"s{i}"], num_replicas=3)
    leaders = [await asyncio.to_thread(eventually, lambda: cluster.leader(f"S{i}"), 10, "a leader") for i in streams]
    # So one of the other two leads two streams at least: more than what may be in flight for one group is needed.
    stopped = min(cluster.servers, key=leaders.count)
    others = [s for s in cluster.servers if s is not stopped]
    await nc.close()
    nc = await nats.connect(others[0].url)
    stopped.pause()
    js = nc.jetstream()
    done = asyncio.Event()

    async def publish(i):
        while not done.is_set():
            try:
                await js.publish(f"s{i}", bytes(256 * 1024), timeout=2 * SLOW)
            except (nats.errors.Error, nats.js.errors.Error, asyncio.TimeoutError):
                pass
    tasks = [asyncio.create_task(publish(n % 4)) for n in range(32)]

    async def dropping():
        return any("Slow: more than 33554432 bytes wait" in s.text() for s in others)
    deadline = asyncio.get_running_loop().time() + 40 * SLOW
    while not await dropping():
        assert asyncio.get_running_loop().time() < deadline, "no limit was reached"
        await asyncio.sleep(0.05)  # the poll interval of this wait
    done.set()
    await asyncio.gather(*tasks)
    stopped.go_on()
    for i in streams:
        await asyncio.to_thread(eventually, lambda: cluster.replicas_agree(f"S{i}"), 30, "replicas agreeing")
    await nc.close()
    cluster.stop()
