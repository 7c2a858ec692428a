"""Meshes that are cut, killed and healed: interest is exact afterwards, and messages come as often as they should."""
import os
import random
import time

import pytest

import network
from harness import PEER, eventually
from hosts import HostServer
from raw import Raw

SEED = int(os.environ.get("TRIREME_SEED", "1"))
needs_network = pytest.mark.skipif(not network.available(), reason="needs root and network namespaces")
QUICK = "ping_interval: 1s, ping_max: 2"


class Node(HostServer):
    """A server on a host of its own."""

    def __init__(self, net, folder, i, count, cluster=QUICK, binary=None):
        self.net, self.i = net, i
        super().__init__(folder, f"n{i + 1}", binary=binary)
        urls = ", ".join(f'"nats-route://{net.address(k)}:6222"' for k in range(count))
        self.configure(f'cluster {{ name: C1, listen: "{net.address(i)}:6222", routes: [ {urls} ]\n{cluster} }}\n')

    def client(self, options=b'{"verbose":false,"pedantic":false}'):
        with self.net.on(self.i):
            c = Raw(self)
        c.until(b"\r\n")
        c.send(b"CONNECT " + options + b"\r\nPING\r\n").until(b"PONG\r\n")
        return c


class Mesh:
    def __init__(self, folder, count, **more):
        self.net = network.Network(count)
        try:
            self.nodes = [Node(self.net, folder, i, count, **more).start() for i in range(count)]
        except BaseException:
            self.net.remove()
            raise

    def __enter__(self):
        self.whole()
        return self

    def __exit__(self, *_):
        for n in self.nodes:
            n.kill()
        self.net.remove()

    def whole(self, timeout=20):
        alive = [n for n in self.nodes if n.process.poll() is None]
        for n in alive:
            eventually(lambda: n.get("/varz")["remotes"] == len(alive) - 1, timeout,
                       f"{n.name} being routed with {len(alive) - 1} others")

    def known(self, node):
        """What the node has learnt: {(server, subject, group)}"""
        found = set()
        for r in node.get("/routez?subs=detail")["routes"]:
            for s in r.get("subscriptions_list_detail") or []:
                if s.get("account") == "$G":
                    found.add((r["remote_name"], s["subject"], s.get("qgroup")))
        return found


@needs_network
def test_a_cut_is_noticed_and_healed(tmp_path):
    with Mesh(tmp_path, 3) as m:
        a, b, c = m.nodes
        sub = b.client().send(b"SUB only.b 1\r\nPING\r\n")
        sub.until(b"PONG\r\n")
        for n in (a, c):
            eventually(lambda: ("n2", "only.b", None) in m.known(n))
        m.net.cut_both(0, 1)
        eventually(lambda: a.get("/varz")["remotes"] == 1 and b.get("/varz")["remotes"] == 1, 15)
        assert not any(server == "n2" for server, _, _ in m.known(a))
        assert ("n2", "only.b", None) in m.known(c)  # that link stands
        assert "Stale Connection" in {x["reason"] for x in a.get("/routez")["trireme_lost_routes"]}
        m.net.heal(0, 1)
        m.whole()
        eventually(lambda: ("n2", "only.b", None) in m.known(a))
        a.client().send(b"PUB only.b 2\r\nhi\r\nPING\r\n").until(b"PONG\r\n")
        sub.until(b"MSG only.b 1 2\r\nhi\r\n")


@needs_network
def test_a_cut_in_one_direction(tmp_path):
    with Mesh(tmp_path, 2) as m:
        m.net.cut(0, 1)  # what the first says is lost; it goes on hearing
        for n in m.nodes:
            eventually(lambda: n.get("/varz")["remotes"] == 0, 20)
        m.net.heal(0, 1)
        m.whole()


@needs_network
@pytest.mark.parametrize("binary", [None, pytest.param(PEER, marks=pytest.mark.skipif(PEER is None, reason="no nats-server"))],
                         ids=["trireme", "nats-server"])
def test_a_dead_neighbour_holds_up_nobody(tmp_path, binary):
    with Mesh(tmp_path, 3) as m:
        if binary is not None:
            m.nodes[1].kill()
            m.nodes[1].binary = binary
            m.nodes[1].start()
            m.whole()
        a, b, c = m.nodes
        gone = b.client().send(b"SUB load 1\r\nPING\r\n")
        gone.until(b"PONG\r\n")
        reader = c.client().send(b"SUB load 1\r\nPING\r\n")
        reader.until(b"PONG\r\n")
        for name in ("n2", "n3"):
            eventually(lambda: (name, "load", None) in m.known(a))
        m.net.cut_both(0, 1)  # it is not told: what is sent there piles up
        writer = a.client()
        begin = time.monotonic()
        for i in range(200):
            writer.send(b"PUB load 50000\r\n" + b"x" * 50000 + b"\r\nPING\r\n").until(b"PONG\r\n")
            reader.until(b"MSG load 1 50000\r\n" + b"x" * 50000 + b"\r\n")
        assert time.monotonic() - begin < 10
        eventually(lambda: a.get("/varz")["remotes"] == 1, 20)
        m.net.heal(0, 1)
        m.whole()


class Model:
    """What every node has: subscriptions by (node, sid) → (subject, group), and the clients that hold them."""

    def __init__(self, mesh, rng):
        self.m, self.rng = mesh, rng
        self.clients, self.subs, self.next_sid = {}, {}, 1

    def client(self, i):
        if i not in self.clients:
            self.clients[i] = self.m.nodes[i].client()
        return self.clients[i]

    def talk(self, i, lines):
        """The node's client says this; what it hears meanwhile is kept."""
        c = self.client(i)
        c.send(lines + b"PING\r\n")
        c.seen = getattr(c, "seen", b"") + c.until(b"PONG\r\n")

    def alive(self):
        return [i for i, n in enumerate(self.m.nodes) if n.process.poll() is None]

    def subscribe(self):
        i = self.rng.choice(self.alive())
        subject = self.rng.choice(["a", "b", "a.b", "a.*", ">", "c.d"])
        group = self.rng.choice([None, None, "q", "r"])
        sid = self.next_sid
        self.next_sid += 1
        words = [subject] + ([group] if group else []) + [str(sid)]
        self.talk(i, b"SUB " + " ".join(words).encode() + b"\r\n")
        self.subs[i, sid] = (subject, group)

    def unsubscribe(self):
        if self.subs:
            i, sid = self.rng.choice(sorted(self.subs))
            self.talk(i, b"UNSUB %d\r\n" % sid)
            del self.subs[i, sid]

    def restart(self):
        i = self.rng.choice(self.alive())
        self.m.nodes[i].kill()
        self.clients.pop(i, None)
        self.subs = {k: v for k, v in self.subs.items() if k[0] != i}
        self.m.nodes[i].start()

    def partition(self):
        side = set(self.rng.sample(range(len(self.m.nodes)), 2))
        pairs = [(a, b) for a in side for b in range(len(self.m.nodes)) if b not in side]
        for a, b in pairs:
            self.m.net.cut_both(a, b)
        for _ in range(3):  # life goes on on both sides
            self.subscribe()
            self.unsubscribe()
        if self.rng.random() < 0.5:  # long enough to be noticed, or not
            for n in self.m.nodes:
                eventually(lambda: n.get("/varz")["remotes"] < len(self.m.nodes) - 1, 20)
        for a, b in pairs:
            self.m.net.heal(a, b)

    def truth(self, but):
        """Interest of all nodes but one, as that one should know it."""
        return {(f"n{i + 1}", subject, group) for (i, _), (subject, group) in self.subs.items() if i != but}

    def check(self):
        self.m.whole(40)
        for k in self.alive():
            eventually(lambda: self.m.known(self.m.nodes[k]) == self.truth(k), 20,
                       f"n{k + 1} knowing exactly what there is")
        for subject in ("a", "a.b", "c.d", "nobody"):
            self.deliveries(subject)

    def deliveries(self, subject):
        """From every node: each plain subscription gets the message once, of each group one member."""
        for k in self.alive():
            mark = b"m%d" % self.rng.randrange(10 ** 9)
            self.talk(k, b"PUB %s %d\r\n%s\r\n" % (subject.encode(), len(mark), mark))
            plain = sum(1 for s, g in self.subs.values() if g is None and matches(s, subject))
            groups = {g for s, g in self.subs.values() if g is not None and matches(s, subject)}
            eventually(lambda: self.count(mark) >= plain + len(groups), 10,
                       f"{plain} + {len(groups)} deliveries of {subject} from n{k + 1}")
            self.barrier(mark)
            assert self.count(mark) == plain + len(groups)

    def count(self, mark):
        total = 0
        for i in list(self.clients):
            self.talk(i, b"")
            total += self.clients[i].seen.count(b"\r\n" + mark + b"\r\n")
        return total

    def barrier(self, mark):
        """What was under way between the nodes has come: a message of its own to every node, behind it."""
        for k in self.alive():
            probe = self.m.nodes[k].client()
            probe.send(b"SUB barrier 1\r\nPING\r\n").until(b"PONG\r\n")
            for other in self.alive():
                eventually(lambda: other == k or (f"n{k + 1}", "barrier", None) in self.m.known(self.m.nodes[other]), 10)
                self.talk(other, b"PUB barrier 3\r\nend\r\n")
                probe.until(b"end")
            probe.s.close()
            for other in self.alive():
                eventually(lambda: (f"n{k + 1}", "barrier", None) not in self.m.known(self.m.nodes[other]), 10)


def matches(pattern, subject):
    p, s = pattern.split("."), subject.split(".")
    if p[-1] == ">":
        return len(s) >= len(p) and all(x in ("*", y) for x, y in zip(p[:-1], s))
    return len(p) == len(s) and all(x in ("*", y) for x, y in zip(p, s))


@needs_network
def test_churn(tmp_path):
    rng = random.Random(SEED)
    print("seed", SEED)
    with Mesh(tmp_path, 5) as m:
        model = Model(m, rng)
        for _ in range(int(os.environ.get("TRIREME_CHURN_ROUNDS", "3"))):
            for _ in range(12):
                rng.choice([model.subscribe] * 6 + [model.unsubscribe] * 3 + [model.restart])()
            rng.choice([model.partition, model.restart])()
            model.check()
