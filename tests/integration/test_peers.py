"""Connections for consensus: they come again, whatever becomes of machines, addresses and old connections."""
import contextlib
import signal
import socket
import threading

import pytest

import network
from harness import Server, eventually
from hosts import HostServer
from ports import free_port

needs_network = pytest.mark.skipif(not network.available(), reason="needs root and network namespaces")


def missing(server):
    """Whom it names as missing; None: nobody."""
    return server.get("/healthz", expect=None).get("missing_peers")


class Host(HostServer):
    """A server with JetStream on host `i`; it names the first three."""

    def __init__(self, net, folder, name, i):
        self.net, self.i = net, i
        super().__init__(folder, name, jetstream=True)
        self.move(i)

    def move(self, i):
        self.i = i
        urls = ", ".join(f'"nats-route://u:p@{self.net.address(k)}:6222"' for k in range(3))
        self.configure(f'cluster {{ name: C1, listen: "{self.net.address(i)}:6222", routes: [ {urls} ]\n'
                       'authorization { user: u, password: p }\nping_interval: 1s, ping_max: 2 }\n')
        return self


@pytest.fixture
def net():
    n = network.Network(4)
    yield n
    n.remove()


@needs_network
@pytest.mark.parametrize("name", ["n2", "n4"])  # the smallest id, which dials, and the largest, which is dialled
def test_a_server_that_comes_back_elsewhere_is_connected_again(tmp_path, net, name):
    """The old machine went without a word, and the new incarnation is there before anybody has noticed."""
    others = ["n1", "n4" if name == "n2" else "n2"]
    a, b, x = servers = [Host(net, tmp_path, n, i) for i, n in enumerate([*others, name])]
    for s in servers:
        s.start(wait=False)
    for s in servers:
        eventually(lambda: s.healthy() and missing(s) is None, 20, f"{s.name} being healthy")
    net.cut_both(0, 2)
    net.cut_both(1, 2)
    x.kill()
    for s in (a, b):
        eventually(lambda: missing(s) == [name], what=f"{s.name} naming who is missing")
    x.move(3).start()
    for s in servers:
        eventually(lambda: missing(s) is None, 10, f"{s.name} missing nobody")
    for s in (a, b):  # the old incarnation's routes end long after
        eventually(lambda: s.get("/varz")["remotes"] == 2, 15, "the old routes ending")
        assert any(x["remote_name"] == name for x in s.get("/routez")["trireme_lost_routes"])
    for s in servers:
        assert missing(s) is None, s.name
    # The proof: the connections stand without another server, and come again.
    x.process.send_signal(signal.SIGSTOP)
    for s in (a, b):
        eventually(lambda: missing(s) == [name])
    x.process.send_signal(signal.SIGCONT)
    for s in servers:
        eventually(lambda: missing(s) is None, 10, f"{s.name} missing nobody after a pause")
    for s in servers:
        s.kill()


class Proxy:
    """Passes connections on; freeze() leaves those that there are open, and lets nothing through them any more."""

    def __init__(self, target):
        self.target = target
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.frozen = threading.Event()
        self.sockets = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self.target))
                except ConnectionRefusedError:  # not there yet
                    near.close()
                    continue
                self.sockets += [near, far]
                for a, b in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=(a, b, self.frozen), daemon=True).start()

    def _pass(self, a, b, frozen):
        with contextlib.suppress(OSError):
            while (data := a.recv(65536)) and not frozen.is_set():
                b.sendall(data)
            if not frozen.is_set():
                b.shutdown(socket.SHUT_WR)

    def freeze(self):
        self.frozen.set()
        self.frozen = threading.Event()

    def close(self):
        for s in [self.listener, *self.sockets]:
            s.close()


def test_a_dead_connection_that_nobody_ends_is_replaced(tmp_path):
    """To its two ends it is there, and silent."""
    ports = [free_port(), free_port()]
    proxy = Proxy(ports[1])
    servers = []
    for i, name in enumerate(["n2", "n4"]):  # the first has the smaller id, and dials
        # The second dials nobody: all connections go through the proxy.
        urls = [ports[0], proxy.port] if i == 0 else [ports[1]]
        routes = ", ".join(f'"nats-route://u:p@127.0.0.1:{p}"' for p in urls)
        servers.append(Server(tmp_path, name, jetstream=True, conf=f'''
            cluster {{ name: C1, listen: "127.0.0.1:{ports[i]}", routes: [ {routes} ]
                       authorization {{ user: u, password: p }} }}''').start(wait=False))
    for s in servers:
        eventually(lambda: missing(s) is None and s.healthy(), 20, f"{s.name} being healthy")
    assert proxy.sockets
    proxy.freeze()
    for s in servers:
        eventually(lambda: missing(s), what=f"{s.name} missing the other")
    for s in servers:
        eventually(lambda: missing(s) is None and s.healthy(), 15, f"{s.name} missing nobody")
    assert "is stuck, and replaced" in servers[0].text()
    for s in servers:
        s.kill()
    proxy.close()
