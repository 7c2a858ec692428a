"""Three servers: the walk-through that users start from, fail-over, a nats-server as neighbour."""
import asyncio
import json
import socket

import nats
import pytest
from nats.js.api import ConsumerConfig

from harness import PEER, Cluster, Server, eventually, eventually_async, free_port

USERS = """
authorization {
  users = [
    { user: im_service, password: service },
    { user: im_readonly, password: readonly,
      permissions: { publish: "_INBOX.>", subscribe: ">" } } ]
}
"""


async def test_walk_through(tmp_path):
    c = Cluster(tmp_path, conf=USERS)
    c.start()
    errors = []
    async def on_error(e):
        errors.append(str(e))
    service = await nats.connect(c[0].url, user="im_service", password="service")
    reader = await nats.connect(c[1].url, user="im_readonly", password="readonly",
                                error_cb=on_error, reconnect_time_wait=0.1)
    # publish on one node, subscribe on another
    sub = await reader.subscribe("greet.*")
    await reader.flush()
    async def crosses():
        await service.publish("greet.joe", b"hello")
        try:
            return await sub.next_msg(timeout=0.5)
        except nats.errors.TimeoutError:
            return None
    assert (await eventually_async(crosses)).data == b"hello"
    # the reader may not publish
    await reader.publish("greet.joe", b"no")
    async def refused():
        return any('permissions violation for publish to "greet.joe"' in e.lower() for e in errors)
    await eventually_async(refused, what="the permissions violation")
    # request and reply across nodes
    other = await nats.connect(c[2].url, user="im_service", password="service")
    async def answer(m):
        await m.respond(b"pong " + m.data)
    await other.subscribe("ping", queue="workers", cb=answer)
    await other.flush()
    async def pong():
        try:
            return await service.request("ping", b"1", timeout=1)
        except nats.errors.NoRespondersError:
            return None
    assert (await eventually_async(pong)).data == b"pong 1"
    # a stream with limits, written with acks, read by a pull consumer that acks
    js = service.jetstream()
    info = await js.add_stream(name="EVENTS", subjects=["events.>"], max_msgs=100,
                               max_bytes=1 << 20, num_replicas=3)
    assert len(info.cluster.replicas) == 2
    for i in range(10):
        assert (await js.publish("events.n", b"%d" % i)).seq == i + 1
    pull = await other.jetstream().pull_subscribe("events.>", durable="worker")
    for i, m in enumerate(await pull.fetch(10, timeout=5)):
        assert m.data == b"%d" % i and m.subject == "events.n"
        await m.ack_sync()
    # a node is killed: its client finds another one, the stream goes on
    assert len(reader.discovered_servers) >= 2
    c[1].kill()
    async def moved():
        return reader.is_connected and not reader.connected_url.netloc.endswith(str(c[1].port))
    await eventually_async(moved, what="the client's fail-over")
    async def goes_on():
        try:
            return await js.publish("events.n", b"after", timeout=1)
        except (nats.errors.Error, nats.js.errors.Error):
            return None
    assert (await eventually_async(goes_on)).seq >= 11
    for n in (service, reader, other):
        await n.close()
    c.kill()


async def test_queue_groups_span_nodes_and_deliver_once(cluster):
    members = [await nats.connect(s.url) for s in cluster.servers]
    counts = [0, 0, 0]
    for i, nc in enumerate(members):
        async def work(m, i=i):
            counts[i] += 1
            await m.respond(b"%d" % i)
        await nc.subscribe("work", queue="q", cb=work)
        await nc.flush()
    client = await nats.connect(cluster[0].url)
    async def all_three():
        await asyncio.gather(*(client.request("work", b"", timeout=2) for _ in range(20)))
        return all(counts)
    await eventually_async(all_three, what="every node's member being chosen")
    before = sum(counts)
    await asyncio.gather(*(client.request("work", b"", timeout=2) for _ in range(300)))
    assert sum(counts) == before + 300
    for nc in members + [client]:
        await nc.close()


async def test_monitoring_tells_the_truth(cluster):
    nc = await nats.connect(cluster[0].url, name="watcher")
    js = nc.jetstream()
    await js.add_stream(name="S", subjects=["s"], num_replicas=3)
    for _ in range(25):
        await js.publish("s", b"x" * 10)
    eventually(lambda: cluster.replicas_agree("S"), what="replicas agreeing")
    varz = cluster[0].get("/varz")
    assert varz["server_name"] == "nats-1" and varz["connections"] == 1 and varz["remotes"] == 2
    assert varz["cluster"]["name"] == "C1" and varz["jetstream"]["meta"]["cluster_size"] == 3
    assert varz["in_client_msgs"] >= 25
    conn = cluster[0].get("/connz?subs=1")["connections"][0]
    assert conn["name"] == "watcher" and conn["in_msgs"] >= 25 and conn["subscriptions_list"]
    routes = cluster[0].get("/routez")
    assert {r["remote_name"] for r in routes["routes"]} == {"nats-2", "nats-3"}
    jsz = cluster[1].get("/jsz?streams=1")
    assert jsz["streams"] == 1 and jsz["messages"] == 25
    assert cluster[2].get("/healthz") == {"status": "ok"}
    import urllib.request
    text = urllib.request.urlopen(f"http://127.0.0.1:{cluster[0].http}/metrics").read().decode()
    assert 'jetstream_stream_messages{account="$G",stream="S"' in text
    assert "nats_routes 2" in text
    with urllib.request.urlopen(f"http://127.0.0.1:{cluster[0].http}//varz") as r:
        assert json.loads(r.read())["server_name"] == "nats-1"
    await nc.close()


async def test_orderly_restart_of_each_node(cluster):
    nc = await nats.connect(servers=cluster.urls(), reconnect_time_wait=0.1,
                            max_reconnect_attempts=-1)
    js = nc.jetstream()
    await js.add_stream(name="S", subjects=["s"], num_replicas=3)
    published = 0
    for s in cluster.servers:
        for _ in range(20):
            async def put():
                try:
                    return await js.publish("s", b"x", timeout=1)
                except (nats.errors.Error, nats.js.errors.Error):
                    return None
            await eventually_async(put)
            published += 1
        s.stop()
        s.start()
        cluster.wait_healthy()
    state = eventually(lambda: cluster.replicas_agree("S"), 20, "replicas agreeing")
    assert state["messages"] >= published
    await nc.close()


@pytest.mark.skipif(PEER is None, reason="nats-server is not installed: no mixed mesh")
async def test_a_nats_server_is_a_good_neighbour(tmp_path):
    c = Cluster(tmp_path, jetstream=False, binaries=[None, PEER, None])
    for s in c.servers:
        s.start()
    a, b, d = [await nats.connect(s.url) for s in c.servers]
    for receiver, sender in ((a, b), (b, a), (b, d), (d, a)):
        sub = await receiver.subscribe("x.*")
        await receiver.flush()
        async def crosses():
            await sender.publish("x.1", b"payload" * 1000, headers={"h": "v"})
            try:
                return await sub.next_msg(timeout=0.5)
            except nats.errors.TimeoutError:
                return None
        m = await eventually_async(crosses, 15)
        assert m.data == b"payload" * 1000 and m.headers["h"] == "v"
        await sub.unsubscribe()
    async def answer(m):
        await m.respond(b"from nats-server")
    await b.subscribe("svc", queue="q", cb=answer)
    await b.flush()
    async def reply():
        try:
            return await a.request("svc", b"", timeout=1)
        except nats.errors.NoRespondersError:
            return None
    assert (await eventually_async(reply)).data == b"from nats-server"
    with pytest.raises(nats.errors.NoRespondersError):
        await b.request("nobody", b"", timeout=2)
    for n in (a, b, d):
        await n.close()
    c.kill()


async def test_a_server_that_comes_later_becomes_a_member(cluster):
    """It learns, then votes, gets streams, keeps its place over restarts, and counts when another is lost."""
    nc = await nats.connect(servers=cluster.urls())
    js = nc.jetstream()
    await js.add_stream(name="S", subjects=["s"], num_replicas=3)
    for i in range(100):
        await js.publish("s", b"%d" % i)
    urls = [f'127.0.0.1:{s.get("/varz")["cluster"]["cluster_port"]}' for s in cluster.servers] + [f"127.0.0.1:{free_port()}"]
    conf = "cluster { name: C1, listen: \"%s\", routes: [ " + ", ".join(f'"nats-route://{u}"' for u in urls) + " ] }\n"
    for s, url in zip(cluster.servers, urls):
        s.reload(conf % url)
    late = Server(cluster.folder, "nats-4", conf % urls[3], jetstream=True).start()
    cluster.servers.append(late)

    def settled(size):
        return lambda: all((s.get("/jsz").get("meta_cluster") or {}).get("cluster_size") == size and
                           s.get("/jsz")["meta_cluster"]["quorum_needed"] == size // 2 + 1
                           for s in cluster.servers if s.process.poll() is None)
    eventually(settled(4), 20, "four servers in everybody's meta group")
    assert "nats-4 has caught up and votes" in "".join(s.text() for s in cluster.servers)
    for i in range(4):  # the emptiest server is chosen
        await js.add_stream(name=f"R{i}", subjects=[f"r{i}"], num_replicas=1)
    assert any(cluster.stream(late, f"R{i}") for i in range(4))
    late.kill()
    late.start()
    cluster.wait_healthy()
    eventually(settled(4), 20, "the same after a restart")
    cluster[0].kill()
    await eventually_async(lambda: can_create(js), 20, "a majority of four without one")
    cluster[0].start()
    cluster.wait_healthy()
    eventually(settled(4), 20, "all four again")
    await nc.close()


async def can_create(js):
    try:
        await js.add_stream(name="LATER", subjects=["later"], num_replicas=3)
        return True
    except (nats.errors.Error, nats.js.errors.Error):
        return False


def test_a_bcrypt_password_of_the_cluster(tmp_path):
    """Routes give the password, peer connections the hash that all have in their files."""
    c = Cluster(tmp_path)
    for s in c.servers:
        with open(s.conf) as f:
            text = f.read()
        text = text.replace("nats-route://", "nats-route://r:secret@").replace(
            "cluster {", 'cluster { authorization { user: r, '
            'password: "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW" },')
        with open(s.conf, "w") as f:
            f.write(text)
    c.start()
    port = int(c[0].get("/varz")["cluster"]["cluster_port"])
    for password, end in (("wrong", b"-ERR 'Authorization Violation'"), ("secret", b"PONG")):
        with socket.create_connection(("127.0.0.1", port), timeout=5) as s:
            # what comes behind CONNECT in the same packet waits for the verdict
            s.sendall(b'CONNECT {"user":"r","pass":"%s","cluster":"C1"}\r\nPING\r\nPING\r\n' % password.encode())
            data = b""
            while end not in data:
                more = s.recv(65536)
                assert more, data
                data += more
    c.stop()
