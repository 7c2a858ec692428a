"""Which addresses a server listens on, and how it shows those that come in. The same in nats-server."""
import json
import socket
import subprocess
import urllib.request

import pytest

from harness import BINARY, eventually
from peer import both
from ports import free_port


def has_v6():
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(("::1", 0))
            return True
    except OSError:
        return False


V4, V6 = "127.0.0.1", "::1"
BOTH = [V4, V6] if has_v6() else [V4]


class Listener:
    """A server with the configuration's own words for where it listens."""

    def __init__(self, folder, conf, binary, args=()):
        self.port, self.http, self.cluster = free_port(), free_port(), free_port()
        path = folder / "n.conf"
        path.write_text(f'server_name: n\n{conf}\nhttp: ":{self.http}"\n'
                        f'cluster {{ name: C, listen: ":{self.cluster}" }}\n'.replace("PORT", str(self.port)))
        self.log = folder / "n.log"
        with open(self.log, "w") as log:
            words = [a.replace("PORT", str(self.port)) for a in args]
            self.process = subprocess.Popen([binary or BINARY, "-c", str(path), *words], stderr=log)
        eventually(lambda: "Server is ready" in self.log.read_text(), what=lambda: self.log.read_text())

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=20)


def reached(port):
    """What INFO says to a client of each address that takes connections."""
    out = {}
    for address in BOTH:
        try:
            with socket.create_connection((address, port), timeout=5) as s:
                out[address] = json.loads(s.makefile("rb").readline()[5:])
        except ConnectionRefusedError:
            pass
    return out


@both
@pytest.mark.parametrize("conf,args,addresses,shown", [
    ('listen: ":PORT"', [], BOTH, "0.0.0.0"),
    ('host: "", port: PORT', [], BOTH, "0.0.0.0"),
    ("port: PORT", [], BOTH, "0.0.0.0"),
    ("listen: PORT", [], BOTH, "0.0.0.0"),
    ("port: PORT", ["-a", ""], BOTH, "0.0.0.0"),
    ('listen: "0.0.0.0:PORT"', [], BOTH, "0.0.0.0"),
    ('listen: "[::]:PORT"', [], BOTH, "::"),
    ('listen: "localhost:PORT"', [], [V4], "localhost"),
    ('listen: "127.0.0.1:PORT"', [], [V4], "127.0.0.1"),
])
def test_where_it_listens(tmp_path, conf, args, addresses, shown, binary):
    if shown == "::" and V6 not in BOTH:
        pytest.skip("no IPv6 here")
    s = Listener(tmp_path, conf, binary, args)
    got = reached(s.port)
    assert [a for a in BOTH if a in got] == addresses
    for address, info in got.items():
        assert info["client_ip"] == address and info["host"] == shown
    with urllib.request.urlopen(f"http://127.0.0.1:{s.http}/varz", timeout=5) as r:  # follows the client port's host
        varz = json.load(r)
    assert (varz["host"], varz["http_host"], varz["cluster"]["addr"]) == (shown, shown, "0.0.0.0")
    for address in BOTH:
        socket.create_connection((address, s.cluster), timeout=5).close()
    s.stop()


def test_an_ipv4_client_is_shown_as_such(tmp_path):
    s = Listener(tmp_path, "port: PORT", None, ["-D"])
    clients = [socket.create_connection((a, s.port), timeout=5) for a in BOTH]
    with urllib.request.urlopen(f"http://127.0.0.1:{s.http}/connz", timeout=5) as r:
        assert sorted(c["ip"] for c in json.load(r)["connections"]) == sorted(BOTH)
    for c in clients:
        shown = ("[::1]" if c.family == socket.AF_INET6 else V4) + f":{c.getsockname()[1]} - cid:"
        eventually(lambda shown=shown: shown in s.log.read_text(), what=shown)
        c.close()
    s.stop()


@pytest.mark.parametrize("conf,args", [
    ("port: 65536", []), ('listen: "127.0.0.1:65536"', []), ("listen: 65536", []), ("http_port: 70000", []), ("http: 70000", []),
    ('http: ":70000"', []), ("https_port: 70000", []), ("cluster { port: 70000 }", []), ("port: -2", []),
    ('cluster { listen: "127.0.0.1:70000" }', []), ('cluster { port: -1, routes: ["nats://a:70000"] }', []),
    ("client_advertise: \"a:70000\"", []), ("cluster { port: -1, cluster_advertise: \"a:70000\" }", []),
    ("", ["-p", "70000"]), ("", ["-m", "70000"]), ("", ["-p", "4294971518"]),
    ("", ["--cluster", "nats://127.0.0.1:70000"]), ("", ["--cluster", "nats://127.0.0.1:-1", "--routes", "nats://a:70000"]),
])
def test_ports_that_are_none_are_refused(tmp_path, conf, args):
    path = tmp_path / "n.conf"
    path.write_text(conf + "\n")
    done = subprocess.run([BINARY, "-c", str(path), "-t", *args], capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and "is valid" not in done.stdout + done.stderr, done.stderr
