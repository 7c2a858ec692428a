"""Programs on the cluster port that belong to nobody: they do not vote, lead nobody, and end no server."""
import json

import os
import socket

import nats
import pytest

import fake_peer
from fake_peer import FakePeer, message
from harness import Cluster, Server, eventually, eventually_async
from ports import free_port
from raw import connect


def port_of(server):
    return server.get("/varz")["cluster"]["cluster_port"]


def meta(server):
    return server.get("/jsz").get("meta_cluster") or {}


def leader_of(cluster):
    names = {meta(s).get("leader") for s in cluster.servers if s.process.poll() is None}
    return next((s for s in cluster.servers if s.name in names), None) if len(names) == 1 else None


def waiting(cluster):
    leader = leader_of(cluster)
    return leader and meta(leader).get("waiting", [])


async def can_create(js, name):
    try:
        await js.add_stream(name=name, subjects=[name], num_replicas=3)
        return True
    except (nats.errors.Error, nats.js.errors.Error):
        return False


@pytest.fixture
def cluster(tmp_path):
    c = Cluster(tmp_path).start()
    yield c
    c.kill()


async def test_who_only_acknowledges_does_not_vote(cluster):
    """Four of them, and then a server is lost: the majority is still that of the three."""
    lead = eventually(lambda: leader_of(cluster))
    assert "asks nobody for credentials" in lead.text()
    fakes = [FakePeer(port_of(s), f"fake-{i}-{s.name}") for i in range(4) for s in cluster.servers]
    eventually(lambda: len(meta(leader_of(cluster)).get("waiting", [])) >= 4, what="strangers waiting")
    lead = leader_of(cluster)
    assert all(name.startswith("fake-") and f"{name} waits as a learner" in lead.text() for name in meta(lead)["waiting"])
    assert all(meta(s)["quorum_needed"] == 2 for s in cluster.servers)
    nc = await nats.connect(servers=cluster.urls())
    js = nc.jetstream()
    await js.add_stream(name="S", subjects=["s"], num_replicas=3)  # of the three, for the others host nothing
    assert all(cluster.stream(s, "S") for s in cluster.servers)
    lead.kill()
    await eventually_async(lambda: can_publish(js), 15, "a majority of the three")
    for f in fakes:
        f.close()
    await nc.close()


async def can_publish(js):
    try:
        return await js.publish("s", b"x", timeout=1)
    except (nats.errors.Error, nats.js.errors.Error, TimeoutError):
        return None


async def test_higher_terms_and_absurd_entries_of_strangers_move_nothing(cluster):
    lead = eventually(lambda: leader_of(cluster))
    before = lead.text().count("new JetStream cluster metadata leader")
    fakes = [FakePeer(port_of(s), f"fake-{s.name}") for s in cluster.servers]
    at_leader = fakes[cluster.servers.index(lead)]
    eventually(lambda: at_leader.term > 0, what="the leader speaking to its learner")
    term = at_leader.term
    for f in fakes:
        for kind in range(1, 15):
            f.send(message(kind, term + 1000, index=50, index_term=term + 1000, flags=1))
        f.send(message(fake_peer.APPEND, term + 1000, 1, 1, 3, [(2, term + 1000, b"x"), (3, term + 1000, b"y")]))
        f.send(message(fake_peer.APPEND, term, at_leader.index, at_leader.index_term, 0, [(at_leader.index + 1, term, b"x")]))
        f.send(message(fake_peer.APPEND, term, 2**61, term, 2**61, [(2**61 + 1, term, b"x")]))
    nc = await nats.connect(servers=cluster.urls())
    assert await can_create(nc.jetstream(), "S")
    assert leader_of(cluster) is lead
    assert lead.text().count("new JetStream cluster metadata leader") == before
    index = at_leader.index
    assert await can_create(nc.jetstream(), "T")
    eventually(lambda: at_leader.index > index and at_leader.term == term, what="an APPEND of the same term")
    for f in fakes:
        f.close()
    await nc.close()


@pytest.mark.parametrize("what", ["a second leader", "another committed entry", "numbers beyond", "no message"])
def test_a_bad_member_loses_its_connection(tmp_path, what):
    """It has the credentials, so it is heeded; what cannot be ends its connection, and nothing else."""
    c = Cluster(tmp_path)
    for s in c.servers:
        with open(s.conf) as f:
            text = f.read()
        with open(s.conf, "w") as f:
            f.write(text.replace("cluster { name: C1,", "cluster { name: C1, authorization { user: u, password: p },")
                    .replace("nats-route://", "nats-route://u:p@"))
    c.start()
    lead = eventually(lambda: leader_of(c))
    bad = FakePeer(port_of(lead), "bad", acknowledges=False, user="u", **{"pass": "p"})
    eventually(lambda: bad.term > 0, what="the leader speaking to it")
    t = bad.term
    bad.send({"a second leader": message(fake_peer.APPEND, t, bad.index, bad.index_term, 0, [(bad.index + 1, t, b"x")]),
              "another committed entry": message(fake_peer.APPEND, t + 1, 0, 0, 1, [(1, t + 1, b"x")]),
              "numbers beyond": message(fake_peer.APPEND, t, 2**63, t, 2**63, [(2**63 + 1, t, b"x")]),
              "no message": b"\x01\xff\xff"}[what])
    eventually(lambda: bad.closed, what="its connection closing")
    assert 'Peer connection to "bad": its messages break the rules of Raft' in lead.text()
    for s in c.servers:
        eventually(s.healthy, 10, f"{s.name} healthy")
    c.kill()


async def test_a_new_server_waits_until_the_routes_name_it(cluster):
    """Scaling by configuration: three, then four, with strangers there who would take the place."""
    fakes = [FakePeer(port_of(s), f"fake-{s.name}") for s in cluster.servers]
    port = free_port()
    urls = [*(f"127.0.0.1:{port_of(s)}" for s in cluster.servers), f"127.0.0.1:{port}"]
    routes = "routes: [ " + ", ".join(f'"nats-route://{u}"' for u in urls) + " ]"
    late = Server(cluster.folder, "nats-4", f'cluster {{ name: C1, listen: "127.0.0.1:{port}", {routes} }}\n', jetstream=True)
    late.start()
    eventually(lambda: "nats-4" in meta(leader_of(cluster)).get("waiting", []), 15, "the fourth waiting")
    for s, url in zip(cluster.servers, urls):
        s.reload(f'cluster {{ name: C1, listen: "{url}", {routes} }}\n')
    cluster.servers.append(late)
    eventually(lambda: all(meta(s).get("quorum_needed") == 3 for s in cluster.servers), 15, "four voters")
    assert "nats-4" not in meta(leader_of(cluster)).get("waiting", [])
    for f in fakes:
        f.close()


async def test_an_operator_admits_a_server_that_waits(tmp_path):
    """By a request of the system account, to whoever leads; nobody else may, and nobody but the one who waits comes in."""
    users = "accounts { $SYS { users: [ { user: admin, password: p } ] } }\n"
    c = Cluster(tmp_path, conf=users).start()
    port = free_port()
    urls = ", ".join(f'"nats-route://127.0.0.1:{p}"' for p in [*map(port_of, c.servers), port])
    late = Server(c.folder, "nats-4", users + f'cluster {{ name: C1, listen: "127.0.0.1:{port}", routes: [ {urls} ] }}\n',
                  jetstream=True).start()
    eventually(lambda: waiting(c) == ["nats-4"], 15, "the fourth waiting")
    fake = FakePeer(port_of(leader_of(c)), "fake", acknowledges=False)
    eventually(lambda: "fake" in (waiting(c) or []), 15, "a stranger waiting")
    follower = next(s for s in c.servers if s is not leader_of(c))

    async def admit(nc, body):
        reply = json.loads((await nc.request("$JS.API.SERVER.ADMIT", body.encode(), timeout=10)).data)
        assert reply["type"] == "io.nats.jetstream.api.v1.meta_server_admit_response"
        return reply.get("error", {}).get("err_code", reply.get("success"))

    user = await nats.connect(follower.url)
    admin = await nats.connect(follower.url, user="admin", password="p")
    assert await admit(user, '{"peer":"nats-4"}') == 10003
    assert await admit(admin, '{"peer":"nats-5"}') == 10044
    assert await admit(admin, "{") == 10025
    assert await admit(admin, "{}") == 10003
    assert meta(leader_of(c))["quorum_needed"] == 2
    assert await admit(admin, '{"peer":"nats-4"}') is True
    assert await admit(admin, '{"peer":"nats-4"}') is True  # it votes already
    for s in (*c.servers, late):
        eventually(lambda: meta(s)["quorum_needed"] == 3, 10, f"four voters, says {s.name}")
    assert waiting(c) == ["fake"]
    assert "the system account admits nats-4 to the voters" in leader_of(c).text()
    js = user.jetstream()
    for name in ("A", "B", "C", "D"):
        await js.add_stream(name=name, subjects=[name])
    assert all(any(c.stream(s, name) for name in "ABCD") for s in (*c.servers, late))  # it hosts, too
    late.kill()
    late.start()
    eventually(lambda: late.healthy() and meta(late)["quorum_needed"] == 3, 15, "a voter after a restart, too")
    fake.close()
    await user.close()
    await admin.close()
    late.kill()
    c.kill()


def test_who_says_nothing_takes_nobodys_place(tmp_path):
    """Of too many silent connections to the cluster port the oldest goes, and a client finds its place."""
    port = free_port()
    s = Server(tmp_path, "n1", f'cluster {{ name: C1, listen: "127.0.0.1:{port}", authorization {{ user: u, password: p, timeout: 60 }} }}\n')
    s.start()
    silent = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(300)]
    for c in silent[:100]:
        while c.recv(65536):
            pass
    assert len(os.listdir(f"/proc/{s.process.pid}/fd")) < 250
    connect(s).send(b"PING\r\n").until(b"PONG\r\n")
    for c in silent:
        c.close()
    s.stop()


@pytest.mark.parametrize("name", ["x" * 60000, "a b", "a\r\nb"])
def test_a_name_that_is_none_is_refused(tmp_path, name):
    port, other = free_port(), free_port()
    s = Server(tmp_path, "n1", f'cluster {{ name: C1, listen: "127.0.0.1:{port}", routes: [ "nats://127.0.0.1:{other}" ] }}\n',
               jetstream=True).start()
    with pytest.raises((AssertionError, ConnectionError)):  # closed, perhaps with some of it unread
        FakePeer(port, name)
    FakePeer(port, "named").close()
    s.kill()


def test_many_names_take_nobodys_place(tmp_path):
    """More of them than a cluster may have nodes, before the others are there: it forms all the same."""
    c = Cluster(tmp_path)
    first = c.servers[0].start()
    with pytest.raises(AssertionError, match="refused"):
        for i in range(65):
            FakePeer(port_of(first), f"fake-{i}").close()
    for s in c.servers[1:]:
        s.start()
    for s in c.servers:
        eventually(lambda: meta(s).get("leader"), 20, f"{s.name} knowing a leader")
    c.kill()
