"""The route mesh: pools, pinned accounts, compression, TLS, permissions, names; among Trireme nodes and with real
nats-servers as neighbours."""
import asyncio
import json
import random
import shutil
import socket

import nats
import pytest

from certs import Certificates
from harness import BINARY, PEER, Cluster, Server, eventually, eventually_async, free_port
from peer import both
from raw import Raw

peer = pytest.mark.skipif(PEER is None, reason="nats-server is not installed: nothing to be neighbours with")
MESHES = [pytest.param((None, None), id="trireme-trireme"),
          pytest.param((None, PEER), id="trireme-nats-server", marks=peer),
          pytest.param((PEER, None), id="nats-server-trireme", marks=peer)]
ACCOUNTS = """accounts { A { users: [ {user: a, password: a} ] }, B { users: [ {user: b, password: b} ] } }
no_auth_user: a
"""


class Mesh(Cluster):
    """Servers that know each other by routes; `cluster` is text for the cluster{} blocks, one or one for each."""

    def __init__(self, folder, binaries, cluster="", conf="", seeds=None):
        self.folder = str(folder)
        self.routes = [free_port() for _ in binaries]
        self.servers = []
        for i, binary in enumerate(binaries):
            extra = cluster if isinstance(cluster, str) else cluster[i]
            known = self.routes if seeds is None else [self.routes[k] for k in seeds[i]]
            urls = ", ".join(f'"nats-route://127.0.0.1:{p}"' for p in known)
            name = "" if "name:" in extra else "name: C1, "
            block = f'cluster {{ {name}listen: "127.0.0.1:{self.routes[i]}", routes: [ {urls} ]\n{extra} }}\n'
            self.servers.append(Server(folder, f"n{i + 1}", conf + block, binary=binary))

    def start(self):
        for s in self.servers:
            s.start(wait=False)
        for s in self.servers:
            eventually(s.accepts)
        return self

    def whole(self, connections=None):
        """Everybody is routed with everybody (each by so many connections)."""
        n = len(self.servers)
        for s in self.servers:
            eventually(lambda: s.get("/varz")["remotes"] == n - 1 and
                       (connections is None or s.get("/varz")["routes"] == connections * (n - 1)), 20,
                       lambda: f"{s.name} being routed with all others: {[(x['remote_name'], x.get('account'), x['did_solicit']) for x in s.get('/routez')['routes']]}")
        return self


async def crosses(mesh, users=(("a", "a"), ("b", "b")), subject="x.y"):
    """In every account a message goes from each node to each other, once, with headers, and only there."""
    for user, password in users:
        clients = [await nats.connect(s.url, user=user, password=password) for s in mesh.servers]
        got = [[] for _ in clients]
        for i, nc in enumerate(clients):
            async def take(m, i=i):
                got[i].append((m.data, dict(m.headers or {})))
            await nc.subscribe("x.>", cb=take)
            await nc.flush()
        for k, nc in enumerate(clients):
            async def reached(k=k, nc=nc):
                for g in got:
                    g.clear()
                await nc.publish(subject, b"probe%d" % k)
                await nc.flush()
                await asyncio.sleep(0.05)  # the poll interval of eventually_async's wait
                return all(any(d == b"probe%d" % k for d, _ in g) for g in got)
            await eventually_async(reached, what=f"{user}'s interest on all nodes")
            for g in got:
                g.clear()
            payload = bytes(random.randbytes(300_000))
            await nc.publish(subject, payload, headers={"K": "v"})
            await nc.publish(subject, b"end")

            async def ended():
                return all(g and g[-1][0] == b"end" for g in got)
            await eventually_async(ended)
            for g in got:
                assert g == [(payload, {"K": "v"}), (b"end", {})]
        for nc in clients:
            await nc.close()


@pytest.mark.parametrize("binaries", MESHES)
@pytest.mark.parametrize("cluster,connections", [
    ("", 4),                        # three in the pool, and the system account's
    ("pool_size: 1", 2), ("pool_size: 5", 6), ("pool_size: -1", 1),
    ("accounts: [A]", 5),
    (["pool_size: 2", "pool_size: 4"], 5),
    (["pool_size: -1", ""], 1)], ids=str)
async def test_pools_and_pinned_accounts(tmp_path, binaries, cluster, connections):
    m = Mesh(tmp_path, binaries, cluster, ACCOUNTS).start()
    m.whole(connections if "pool_size: -1" not in str(cluster) else None)
    await crosses(m)
    if "accounts" in str(cluster):
        for s in m.servers:
            assert {r.get("account", "") for r in s.get("/routez")["routes"]} == {"", "A", "$SYS"}
    m.stop()


@pytest.mark.parametrize("binaries", MESHES)
@pytest.mark.parametrize("ours,theirs,result", [
    ("s2_fast", "accept", "s2_fast"), ("accept", "s2_better", "s2_better"), ("accept", "accept", "off"),
    ("off", "s2_fast", "off"), ("s2_best", "s2_fast", None), ("s2_auto", "accept", None), ("accept", "s2_auto", None)])
async def test_compression(tmp_path, binaries, ours, theirs, result):
    m = Mesh(tmp_path, binaries, [f"compression: {ours}", f"compression: {theirs}"], ACCOUNTS).start().whole(4)
    await crosses(m)
    if result is not None:
        for s in m.servers:
            assert {r["compression"] for r in s.get("/routez")["routes"]} == {result}
    m.stop()


@pytest.fixture(scope="module")
def certs():
    c = Certificates()
    c.node = c.ca.issue("node", "/CN=node", "DNS:localhost,IP:127.0.0.1", "serverAuth,clientAuth")
    c.foreign = c.other_ca.issue("foreign", "/CN=f", "DNS:localhost,IP:127.0.0.1", "serverAuth,clientAuth")
    c.elsewhere = c.ca.issue("elsewhere", "/CN=e", "DNS:elsewhere,IP:127.0.0.9", "serverAuth,clientAuth")
    yield c
    shutil.rmtree(c.folder)


def tls(certs, pair, more=""):
    return f'tls {{ cert_file: "{pair[0]}", key_file: "{pair[1]}", ca_file: "{certs.ca.pem}"\n{more} }}'


@pytest.mark.parametrize("binaries", MESHES)
@pytest.mark.parametrize("more", ["", "compression: s2_fast"])
async def test_routes_over_tls(tmp_path, binaries, certs, more):
    m = Mesh(tmp_path, binaries, tls(certs, certs.node) + "\n" + more, ACCOUNTS).start().whole(4)
    await crosses(m)
    m.stop()


@pytest.mark.parametrize("binaries", MESHES)
def test_a_route_with_the_wrong_certificate_is_refused(tmp_path, binaries, certs):
    m = Mesh(tmp_path, binaries, [tls(certs, certs.node), tls(certs, certs.foreign)]).start()
    for s in m.servers:
        eventually(lambda: "TLS route handshake error" in s.text(), what="an error about the certificate")
        assert s.get("/varz")["remotes"] == 0
    m.stop()


def test_a_dialled_server_has_to_be_who_it_should_be(tmp_path, certs):
    m = Mesh(tmp_path, (None, None), [tls(certs, certs.node), tls(certs, certs.elsewhere)], seeds=[[1], []]).start()
    eventually(lambda: "certificate is not valid for 127.0.0.1" in m[0].text())
    assert m[0].get("/varz")["remotes"] == 0
    m.stop()


def test_certificates_of_unknown_hosts_are_refused_when_asked_for(tmp_path, certs):
    known = "verify_cert_and_check_known_urls: true"
    m = Mesh(tmp_path, (None, None), [tls(certs, certs.node, known), tls(certs, certs.elsewhere, "insecure: true")],
             seeds=[[0], [0]]).start()
    eventually(lambda: "the certificate is not of a configured route" in m[0].text())
    assert m[0].get("/varz")["remotes"] == 0
    m.stop()


def test_plain_bytes_on_a_tls_cluster_port(tmp_path, certs):
    m = Mesh(tmp_path, (None,), tls(certs, certs.node)).start()
    with pytest.raises((AssertionError, ConnectionResetError)):
        c = Raw(type("Port", (), {"port": m.routes[0]}))
        c.send(b'CONNECT {"name":"x"}\r\n').until(b"INFO")
    eventually(lambda: "TLS route handshake error" in m[0].text())
    m.stop()


@pytest.mark.parametrize("binaries", MESHES)
async def test_what_is_not_imported_or_exported_stays(tmp_path, binaries):
    conf = ACCOUNTS.replace("no_auth_user: a\n", "")
    m = Mesh(tmp_path, binaries, ['permissions { import: { allow: ["open.>", "x.>"] }, export: { deny: "secret.>" } }', ""],
             conf).start().whole(4)
    one, two = [await nats.connect(s.url, user="a", password="a") for s in m.servers]
    got = {"one": [], "two": []}
    for name, nc in (("one", one), ("two", two)):
        async def take(m, name=name):
            got[name].append(m.subject)
        for subject in ("open.a", "closed.a", "secret.a", "end"):
            await nc.subscribe(subject, cb=take)
        await nc.flush()
    await crosses(m, users=[("a", "a")])
    for subject in ("open.a", "closed.a", "secret.a", "end"):
        await one.publish(subject, b"1")
        await two.publish(subject, b"2")
    for nc in (one, two):
        await nc.flush()

    async def ended():
        return got["one"].count("end") == 1 and got["two"].count("end") == 2 and got["one"].count("open.a") == 2
    await eventually_async(ended)
    # n1 asks for open.* only, and lets nobody have secret.*
    assert sorted(got["one"]) == sorted(["open.a"] * 2 + ["closed.a", "secret.a", "end"])
    assert sorted(got["two"]) == sorted(["open.a"] * 2 + ["closed.a"] * 2 + ["secret.a"] + ["end"] * 2)
    for nc in (one, two):
        await nc.close()
    m.stop()


@pytest.mark.parametrize("binaries", MESHES)
def test_route_credentials(tmp_path, binaries):
    auth = 'authorization { user: r, password: "$2a$04$Gl5vWhRdOVYNnR.cSTgeF.OxuBNCFb7yLQ6hAt1nJkS6KDHvEqfHC" }'
    ports = [free_port(), free_port()]
    servers = []
    for i, (binary, password) in enumerate(zip(binaries, ("s3cret", "s3cret"))):
        servers.append(Server(tmp_path, f"n{i}", f'''cluster {{ name: C1, listen: "127.0.0.1:{ports[i]}"
          authorization {{ user: r, password: s3cret }}, routes: [ "nats://r:{password}@127.0.0.1:{ports[1 - i]}" ] }}\n''',
                              binary=binary).start())
    for s in servers:
        eventually(lambda: s.get("/varz")["remotes"] == 1)
    for s, port in zip(servers, ports):
        for text in (b'CONNECT {"name":"x","cluster":"C1","user":"r","pass":"no"}\r\n', b'INFO {"server_id":"x"}\r\n'):
            c = Raw(type("Port", (), {"port": port}))
            assert b"-ERR 'Authorization Violation'" in c.send(text).rest()
        s.stop()


@pytest.mark.parametrize("binary", [None, pytest.param(PEER, marks=peer)], ids=["trireme", "nats-server"])
@pytest.mark.parametrize("said,answer", [
    (b'CONNECT {"lang":"go","name":"x"}\r\n', b"attempted to connect to route port"),
    (b'CONNECT {"name":"x","cluster":"C2"}\r\n', b'Rejecting connection, cluster name "C2" does not match "C1"'),
    (b'CONNECT {"name":"x","gateway":"G"}\r\n', b'Rejecting connection from gateway "G" on the Route port'),
    (b'CONNECT {"name":"x","cluster":"C1"}\r\nINFO {"server_id":"X1","server_name":"x1","cluster":"C1","headers":true,'
     b'"proto":1,"route_pool_size":3,"route_pool_idx":7}\r\n', b"Invalid route pool index: 7 - pool size is 3"),
    (b'CONNECT {"name":"x","cluster":"C1"}\r\nINFO {"server_id":"X1","server_name":"x1","cluster":"C1","headers":true,'
     b'"proto":1,"compression":"lzma"}\r\n', b'unsupported route compression mode "lzma"'),
    (b'CONNECT {"name":"x","cluster":"C1"}\r\nINFO {"server_id":"X1","server_name":"x1","cluster":"C1","headers":true,'
     b'"proto":1,"route_account":"$SYS"}\r\n',
     b'Not possible to have a dedicated route for account "$SYS" between those servers'),
    (b'CONNECT {"name":"x","cluster":"C1"}\r\nINFO {"server_id":"X1","server_name":"x1","cluster":"C1","headers":true,'
     b'"proto":1,"route_pool_size":3,"route_account":"Z"}\r\n', b'Unable to lookup account "Z": account missing'),
    (b'CONNECT {"name":"x","cluster":"C1"}\r\nINFO {"server_id":"X1","server_name":"x1","cluster":"C1","headers":true,'
     b'"proto":1,"route_pool_size":3,"route_account":"$G"}\r\n', b'No route for account "$G"')], ids=range(8))
def test_refusals_on_the_route_port(tmp_path, binary, said, answer):
    m = Mesh(tmp_path, (binary,)).start()
    c = Raw(type("Port", (), {"port": m.routes[0]}))
    assert b"-ERR '" + answer in c.send(said).rest()
    m.stop()


async def agreed(servers):
    """The cluster's name as a set, when all have the same; else None. From INFO: nats-server's /varz keeps the name
    that the server had when it was asked first."""
    seen = set()
    for s in servers:
        with socket.create_connection(("127.0.0.1", s.port), timeout=5) as c:
            line = c.makefile().readline()
        seen.add(json.loads(line[len("INFO "):])["cluster"])
    return seen if len(seen) == 1 else None


@pytest.mark.parametrize("binaries", MESHES)
async def test_made_up_cluster_names_are_settled(tmp_path, binaries):
    routes = [free_port(), free_port()]
    for names in (("", "name: fixed,"), ("", "")):
        servers = [Server(tmp_path, f"n{i}", f'cluster {{ {names[i]} listen: "127.0.0.1:{routes[i]}", '
                          f'routes: [ "nats://127.0.0.1:{routes[1 - i]}" ] }}\n', binary=b).start()
                   for i, b in enumerate(binaries)]
        for s in servers:
            eventually(lambda: s.get("/varz")["remotes"] == 1, 20)
        seen = await eventually_async(lambda: agreed(servers), 20, "one name for the cluster")
        assert names[1] == "" or seen == {"fixed"}
        for s in servers:
            s.stop()
        routes = [free_port(), free_port()]


@pytest.mark.parametrize("binaries", [
    pytest.param((None,) * 3, id="three"), pytest.param((None,) * 7, id="seven"), pytest.param((None, None, None, PEER, PEER), id="mixed", marks=peer)])
async def test_one_seed_is_enough(tmp_path, binaries):
    m = Mesh(tmp_path, binaries, conf=ACCOUNTS, seeds=[[0]] * len(binaries)).start().whole(4)
    await crosses(m)
    *others, last = m.servers
    last.kill()
    for s in others:
        eventually(lambda: s.get("/varz")["remotes"] == len(others) - 1)
    last.start()
    m.whole(4)
    await crosses(m, users=[("b", "b")])
    m.stop()


@pytest.mark.parametrize("binaries", MESHES)
async def test_a_node_that_moves_is_found(tmp_path, binaries):
    m = Mesh(tmp_path, (*binaries, None), conf=ACCOUNTS, seeds=[[0], [0], [0]]).start().whole(4)
    m[2].kill()
    moved = free_port()
    text = open(m[2].conf).read().replace(f"127.0.0.1:{m.routes[2]}", f"127.0.0.1:{moved}")
    with open(m[2].conf, "w") as f:
        f.write(text)
    m[2].start()
    m.whole(4)
    await crosses(m)
    m.stop()


async def test_streams_are_replicated_over_secured_routes(tmp_path, certs):
    """Consensus has connections of its own on the cluster port: they use its TLS and its credentials, too."""
    secret = 'authorization { user: route, password: s3cret }'
    c = Cluster(tmp_path)
    for s in c.servers:
        text = open(s.conf).read()
        block = text[text.index("cluster {"):].replace("nats-route://", "nats-route://route:s3cret@")
        s.configure(block.rstrip()[:-1] + f"\n{tls(certs, certs.node)}\n{secret}\ncompression: s2_fast }}\n")
    c.start()
    nc = await nats.connect(c[0].url)
    js = nc.jetstream()
    await js.add_stream(name="S", subjects=["s"], num_replicas=3)
    for i in range(50):
        assert (await js.publish("s", b"%d" % i)).seq == i + 1
    eventually(lambda: (c.replicas_agree("S") or {}).get("messages") == 50)
    await nc.close()
    c.stop()


async def test_what_the_other_side_never_dials_is_dialled(tmp_path):
    """A nats-server that was told of us, but not of our connection for the system account, dials only the first."""
    m = Mesh(tmp_path, (None,)).start()
    said, whole = {}, asyncio.Event()
    me = {"server_id": "X1", "server_name": "x1", "cluster": "C1", "headers": True, "proto": 3, "host": "127.0.0.1",
          "compression": "off", "route_pool_size": 3}

    async def accept(reader, writer):
        writer.write(b"INFO %s \r\n" % json.dumps(me).encode())
        while line := await reader.readline():
            if line.startswith(b"INFO "):
                info = json.loads(line[5:])
                said[(info.get("route_pool_idx", 0), info.get("route_account"))] = info
                if len(said) == 3:
                    whole.set()
            elif line.startswith(b"PING"):
                writer.write(b"PONG\r\n")
        writer.close()
    listener = await asyncio.start_server(accept, "127.0.0.1", 0)
    me["port"] = listener.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", m.routes[0])
    writer.write(b'CONNECT {"name":"X1","cluster":"C1"}\r\nINFO %s\r\n' % json.dumps(me).encode())
    await asyncio.wait_for(whole.wait(), 10)
    assert set(said) == {(1, None), (2, None), (0, "$SYS")}
    assert m[0].get("/varz")["routes"] == 4
    writer.close()
    listener.close()
    m.stop()


@pytest.mark.parametrize("binaries", MESHES)
async def test_a_lost_connection_of_the_pool_comes_back(tmp_path, binaries):
    m = Mesh(tmp_path, binaries, conf=ACCOUNTS).start().whole(4)
    one = next(s for s in m.servers if s.binary != PEER)
    before = {r["rid"] for r in one.get("/routez")["routes"]}
    pinned = [r for r in one.get("/routez")["routes"] if "account" not in r]
    # a connection is cut by garbage from the other side's place: its socket is shut from outside
    import subprocess
    r = random.choice(pinned)
    port = r["port"]
    subprocess.run(["ss", "-K", "sport", "=", f":{port}"], capture_output=True)
    subprocess.run(["ss", "-K", "dport", "=", f":{port}"], capture_output=True)
    gone = lambda: r["rid"] not in {x["rid"] for x in one.get("/routez")["routes"]}
    try:
        eventually(gone, 2)
    except AssertionError:
        m.stop()
        pytest.skip("this kernel does not let connections be cut from outside (ss -K)")
    m.whole(4)
    await crosses(m)
    m.stop()


def test_a_reload_changes_the_mesh(tmp_path):
    m = Mesh(tmp_path, (None, None, None), seeds=[[1], [], []]).start()
    eventually(lambda: m[0].get("/varz")["remotes"] == 1)
    block = 'cluster {{ name: C1, listen: "127.0.0.1:{}", routes: [ {} ] }}\n'
    said = m[0].reload(block.format(m.routes[0], f'"nats://127.0.0.1:{m.routes[2]}"'))
    assert "Reloaded: cluster routes" in said
    eventually(lambda: {r["remote_name"] for r in m[0].get("/routez")["routes"]} == {"n3"})
    assert m[1].get("/routez")["trireme_lost_routes"][-1]["remote_name"] == "n1"
    m.stop()


@pytest.mark.parametrize("other", [None, pytest.param(PEER, marks=peer)])
async def test_a_reload_changes_pool_and_pinned_accounts(tmp_path, other):
    m = Mesh(tmp_path, (None, other), conf=ACCOUNTS).start().whole(4)
    urls = ", ".join(f'"nats-route://127.0.0.1:{p}"' for p in m.routes)
    for more, connections in (("pool_size: 5", 6), ("pool_size: 5, accounts: [A]", 7), ("accounts: [B]", 5), ("", 4)):
        for s, port in zip(m.servers, m.routes):
            said = await asyncio.to_thread(s.reload, ACCOUNTS + f'cluster {{ name: C1, listen: "127.0.0.1:{port}", '
                                                                f'routes: [ {urls} ], {more} }}\n')
            assert "Failed to reload" not in said
        await asyncio.to_thread(m.whole, connections)
        await crosses(m)
    m.stop()


@peer
async def test_nats_servers_are_replaced_one_by_one_under_load(tmp_path):
    """The way to come here from a running cluster: README, Moving from nats-server."""
    m = Mesh(tmp_path, (PEER,) * 3).start().whole(4)
    urls = [s.url for s in m.servers]
    options = dict(servers=urls, max_reconnect_attempts=-1, reconnect_time_wait=0.05)
    services = [await nats.connect(**options) for _ in range(3)]
    for nc in services:
        async def answer(msg, nc=nc):
            await msg.respond(b"did " + msg.data)
        await nc.subscribe("work", queue="workers", cb=answer)
        await nc.flush()
    outages, asking = [], True
    client = await nats.connect(**options)
    answered = 0

    async def ask():
        nonlocal answered
        while asking:
            failed = 0
            while True:
                try:
                    m = await client.request("work", b"%d" % answered, timeout=1, headers={"n": str(answered)})
                    assert m.data == b"did %d" % answered
                    break
                except (nats.errors.NoRespondersError, nats.errors.TimeoutError, nats.errors.ConnectionClosedError):
                    failed += 1
                    assert failed < 20
            if failed:
                outages.append(failed)
            answered += 1
            await asyncio.sleep(0.002)  # the rate of the load
    load = asyncio.ensure_future(ask())
    for s in m.servers:
        had = answered
        await eventually_async(lambda: asyncio.sleep(0, answered > had + 20))
        await asyncio.to_thread(s.stop)
        s.binary = BINARY
        await asyncio.to_thread(s.start)
        for other in m.servers:
            await asyncio.to_thread(eventually, lambda: other.get("/varz")["remotes"] == 2, 20)
        had = answered
        await eventually_async(lambda: asyncio.sleep(0, answered > had + 20), what="requests going on")
    asking = False
    await load
    assert answered > 100 and len(outages) <= 9, outages  # each replacement costs each of a request's ends one at most
    for s in m.servers:
        assert "trireme" in json.dumps(s.get("/varz")["go"])
    for nc in services + [client]:
        await nc.close()
    m.stop()


async def test_a_message_crosses_a_route_once_for_all_its_subscribers(tmp_path):
    m = Mesh(tmp_path, (None, None, None), conf=ACCOUNTS).start().whole(4)
    clients = [await nats.connect(s.url, user="a", password="a") for s in m.servers for _ in range(3)]
    subs = [await nc.subscribe(subject) for nc in clients for subject in ("f.x", "f.*")]
    for nc in clients:
        await nc.flush()
    def sent(name):
        return sum(r["out_msgs"] for r in m[0].get("/routez")["routes"] if r["remote_name"] == name)
    for name in ("n2", "n3"):
        eventually(lambda: any(r["remote_name"] == name and r["subscriptions"] == 2
                               for r in m[0].get("/routez")["routes"]))
    before = [sent("n2"), sent("n3")]
    for _ in range(100):
        await clients[0].publish("f.x", b"1")
    await clients[0].flush()
    for sub in subs:
        for _ in range(100):
            await sub.next_msg(timeout=5)
    assert [sent("n2"), sent("n3")] == [b + 100 for b in before]
    for nc in clients:
        await nc.close()
    m.stop()


@peer
async def test_routez_has_the_fields_of_nats_server(tmp_path):
    shapes = []
    for name, binary in (("ours", None), ("theirs", PEER)):
        folder = tmp_path / name
        folder.mkdir()
        m = Mesh(folder, (binary, binary), "accounts: [A]", ACCOUNTS).start().whole(5)
        nc = await nats.connect(m[1].url, user="a", password="a")
        await nc.subscribe("x", queue="q")
        await nc.subscribe("y")
        await nc.flush()
        plain, detail = "/routez?subs=1", "/routez?subs=detail"
        eventually(lambda: any(r.get("account") == "A" and r["subscriptions"] == 2 for r in m[0].get(plain)["routes"]))
        eventually(lambda: all(r.get("rtt") for r in m[0].get(plain)["routes"]))
        one = next(r for r in m[0].get(plain)["routes"] if r.get("account") == "A")
        two = next(r for r in m[0].get(detail)["routes"] if r.get("account") == "A")
        assert sorted(one["subscriptions_list"]) == ["x", "y"]
        shapes.append((sorted(set(m[0].get(plain)) - {"trireme_lost_routes"}), sorted(one), sorted(two),
                       [sorted(x) for x in sorted(two["subscriptions_list_detail"], key=lambda x: x["subject"])]))
        await nc.close()
        m.stop()
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("user,password,login", [
    ("r@x", "p@/w:%", "r%40x:p%40%2Fw%3A%25"),  # as the Helm chart writes them
    ("r", "p@w", "r:p@w"),                      # the last '@' ends the login
])
@both
def test_logins_in_route_urls_are_read_as_go_reads_them(tmp_path, user, password, login, binary):
    port = free_port()
    block = f'authorization {{ user: "{user}", password: "{password}" }}'
    one = Server(tmp_path, "one", conf=f'cluster {{ name: C, listen: "127.0.0.1:{port}", {block} }}\n').start()
    two = Server(tmp_path, "two", binary=binary, conf=f'cluster {{ name: C, listen: "127.0.0.1:{free_port()}", {block}\n'
                 f'routes: ["nats-route://{login}@127.0.0.1:{port}"] }}\n').start()
    eventually(lambda: two.get("/routez")["num_routes"] > 0, what="a route")
    assert one.get("/routez")["routes"][0]["remote_name"] == "two"
    if binary is None:
        reloaded = two.reload(open(two.conf).read()[len(two.base):].replace("nats-route", "nats"))
        assert "cluster routes = [nats://127.0.0.1" in reloaded and password not in reloaded and login not in two.text()
    two.stop()
    one.stop()


@both
def test_another_password_in_a_route_url_counts_after_a_reload(tmp_path, binary):
    port, own = free_port(), free_port()
    one = Server(tmp_path, "one", conf=f'cluster {{ name: C, listen: "127.0.0.1:{port}", '
                 'authorization { user: u, password: right } }\n').start()

    def conf(password):
        return (f'cluster {{ name: C, listen: "127.0.0.1:{own}", authorization {{ user: u, password: right }}\n'
                f'routes: ["nats-route://u:{password}@127.0.0.1:{port}"] }}\n')
    two = Server(tmp_path, "two", binary=binary, conf=conf("wrong")).start()
    eventually(lambda: "Authorization Violation" in one.text() or "authentication error" in one.text(), what="a refusal")
    two.reload(conf("right"))
    eventually(lambda: two.get("/routez")["num_routes"] > 0, 15, what="a route")
    two.stop()
    one.stop()


@both
@pytest.mark.parametrize("user,good", [("CN=node,O=T", True), ("node.example", True), ("CN=other,O=T", False), (None, False)])
def test_a_certificate_says_who_a_neighbour_is(tmp_path, user, good, binary):
    """verify_and_map: the certificate names the user of authorization{}, and no password is asked for."""
    certs = Certificates()
    node = certs.ca.issue("node", "/O=T/CN=node", "DNS:node.example,IP:127.0.0.1", "serverAuth,clientAuth")
    port = free_port()
    tls = f'tls {{ cert_file: "{node[0]}", key_file: "{node[1]}", ca_file: "{certs.ca.pem}", verify_and_map: true }}'
    login = f'authorization {{ user: "{user}", password: secret }}' if user else ""
    one = Server(tmp_path, "one", binary=binary,
                 conf=f'cluster {{ name: C, listen: "127.0.0.1:{port}", {tls}\n{login} }}\n').start()
    two = Server(tmp_path, "two", conf=f'cluster {{ name: C, listen: "127.0.0.1:{free_port()}", {tls}\n'
                 f'routes: ["nats-route://127.0.0.1:{port}"] }}\n').start()
    if good:
        eventually(lambda: two.get("/routez")["num_routes"] > 0, what="a route")
    else:
        eventually(lambda: "Authorization Violation" in one.text() or "authentication error" in one.text(), what="a refusal")
        assert one.get("/routez")["num_routes"] == 0
    two.stop()
    one.stop()
    shutil.rmtree(certs.folder)
