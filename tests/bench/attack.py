#!/usr/bin/env python3
"""Legitimate clients while a server is attacked, Trireme beside nats-server, one after the other on the same machine.

    tests/bench/attack [ATTACK…]       the attacks are the functions below that have @attack

Per attack and server: p99 of request and reply between two clients that were there before (load.c), p99 of new log-ins
from another address than the attackers' and how many failed, and the largest resident memory. The attackers are Python
threads in a process of their own: what they can do is bounded by this machine, the same for both."""
import json
import multiprocessing
import os
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "integration"))
from certs import Certificates  # noqa: E402
from harness import PEER, Server  # noqa: E402

LOAD = os.path.join(HERE, "..", "..", "build", "bin", "bench_load")
REQUESTS = 4000
SETTLE = 0.7  # seconds of attack before the measurement begins
HASH = "$2a$11$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui"  # of nothing that is said here
USERS = ('no_auth_user: app\nauthorization { users: [ { user: app, password: "a" }, { user: legit, password: "right" }, '
         f'{{ user: slow, password: "{HASH}" }} ] }}\n')
attacks = {}


def attack(f):
    attacks[f.__name__] = f
    return f


def connect(port, source="127.0.0.2", timeout=3):
    return socket.create_connection(("127.0.0.1", port), timeout=timeout, source_address=(source, 0))


def say(user, password):
    return f'CONNECT {json.dumps({"user": user, "pass": password, "verbose": False})}\r\nPING\r\n'.encode()


def again_and_again(threads, visit):
    """Runs visit() in threads for ever; the process is ended from outside."""
    def run():
        while True:
            try:
                visit()
            except OSError:
                pass
    for _ in range(threads):
        threading.Thread(target=run, daemon=True).start()
    threading.Event().wait()


def log_in_wrongly(s, user):
    def visit():
        with connect(s["port"]) as c:
            c.recv(4096)
            c.sendall(say(user, "wrong"))
            while b"-ERR" not in (data := c.recv(4096)) and data:
                pass
    return visit


@attack
def nothing(s):
    threading.Event().wait()


@attack
def bcrypt_flood(s):
    again_and_again(20, log_in_wrongly(s, "slow"))


@attack
def wrong_passwords(s):
    again_and_again(100, log_in_wrongly(s, "legit"))


@attack
def tls_handshakes(s):
    context = ssl.create_default_context(cafile=s["ca"])

    def visit():
        with connect(s["port"]) as c:
            c.recv(4096)
            with context.wrap_socket(c, server_hostname="localhost"):
                pass
    again_and_again(20, visit)


@attack
def silent_connections(s):
    held = [connect(s["port"]) for _ in range(500)]
    again_and_again(1, lambda: (connect(s["port"]).close(), time.sleep(0.001), len(held)))


def reader(c):
    def run():
        try:
            while c.recv(1 << 16):
                pass
        except OSError:
            pass
    threading.Thread(target=run, daemon=True).start()


@attack
def subscribe_storm(s):
    def visit():
        with connect(s["port"], timeout=30) as c:
            reader(c)
            c.sendall(b"CONNECT {\"verbose\":false}\r\n")
            batch = b"".join(b"SUB storm.%d.* %d\r\n" % (i, i) for i in range(500))
            batch += b"".join(b"UNSUB %d\r\n" % i for i in range(500))
            while True:
                c.sendall(batch)
    again_and_again(4, visit)


@attack
def slow_consumers(s):
    def slow():
        c = socket.socket()
        c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        c.bind(("127.0.0.2", 0))
        c.connect(("127.0.0.1", s["port"]))
        c.sendall(b"CONNECT {}\r\nSUB flow 1\r\n")
        return c
    held = [slow() for _ in range(30)]

    def visit():
        with connect(s["port"], timeout=30) as c:
            reader(c)
            c.sendall(b"CONNECT {\"verbose\":false}\r\n")
            message = b"PUB flow 8192\r\n" + bytes(8192) + b"\r\n"
            while held:
                c.sendall(message)
    again_and_again(1, visit)


def http(s, batch):
    def visit():
        with connect(s["http"], timeout=10) as c:
            reader(c)
            while True:
                c.sendall(batch)
    return visit


@attack
def pipelined_http(s):
    again_and_again(4, http(s, b"GET /varz HTTP/1.1\r\nHost: x\r\n\r\n" * 200))


@attack
def scraping(s):
    many = connect(s["port"], timeout=30)
    reader(many)
    many.sendall(b"CONNECT {\"verbose\":false}\r\n" + b"".join(b"SUB many.%d %d\r\n" % (i, i) for i in range(20000)))
    again_and_again(4, http(s, b"GET /connz?subs=1&limit=1024 HTTP/1.1\r\nHost: x\r\n\r\n"
                               b"GET /subsz?subs=1&limit=20000 HTTP/1.1\r\nHost: x\r\n\r\n"))


@attack
def early_publishes(s):
    """Large messages of clients that have not said who they are."""
    def visit():
        with connect(s["port"]) as c:
            c.recv(4096)
            c.sendall(b"PUB x 1048576\r\n" + bytes(900_000))
            while c.recv(4096):
                pass
    again_and_again(50, visit)


# --- what is measured ---

def resident(pid):
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS")) / 1024


class Logins:
    """New clients, one after the other, until told to stop: how long until PONG."""

    def __init__(self, s, secure):
        self.s, self.times, self.failed = s, [], 0
        self.context = ssl.create_default_context(cafile=s["ca"]) if secure else None
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def visit(self):
        with connect(self.s["port"], "127.0.0.9") as c:
            c.recv(4096)
            if self.context:
                c = self.context.wrap_socket(c, server_hostname="localhost")
            c.sendall(say("legit", "right"))
            data = b""
            while b"PONG" not in data:
                if not (more := c.recv(4096)) or b"-ERR" in data:
                    raise OSError("refused")
                data += more

    def run(self):
        while not self.over.is_set():
            begun = time.monotonic()
            try:
                self.visit()
                self.times.append(time.monotonic() - begun)
            except OSError:
                self.failed += 1
            time.sleep(0.01)

    def end(self):
        self.over.set()
        self.thread.join()
        p99 = statistics.quantiles(self.times, n=100)[98] * 1000 if len(self.times) > 1 else float("nan")
        return p99, self.failed, len(self.times) + self.failed


def measure(name, binary, certs):
    folder = tempfile.mkdtemp()
    cert, key = certs.server
    conf = USERS + f'tls {{ cert_file: "{cert}", key_file: "{key}" }}\nallow_non_tls: true\n'
    server = Server(folder, conf=conf, binary=binary).start()
    s = {"port": server.port, "http": server.http, "ca": certs.ca.pem}
    attacker = multiprocessing.Process(target=attacks[name], args=(s,), daemon=True)
    attacker.start()
    time.sleep(SETTLE)
    logins = Logins(s, secure=name == "tls_handshakes")
    load = subprocess.Popen([LOAD, "request", server.url, str(REQUESTS), "16"], stdout=subprocess.PIPE, text=True)
    peak, deadline = 0, time.monotonic() + 6
    while load.poll() is None and time.monotonic() < deadline:
        peak = max(peak, resident(server.process.pid))
        time.sleep(0.02)
    load.kill()
    out = load.stdout.read().split()
    load.wait()
    while time.monotonic() < deadline - 4:  # enough log-ins
        time.sleep(0.05)
    p99, failed, tried = logins.end()
    attacker.kill()
    attacker.join()
    server.kill()
    shutil.rmtree(folder, ignore_errors=True)
    request = f"{float(out[2]) / 1000:.2f} ms" if len(out) > 2 else "not in 6 s"
    return request, f"{p99:.1f} ms" + (f", {failed} of {tried} failed" if failed else ""), f"{peak:.0f} MB"


def main():
    if PEER is None or not os.path.exists(LOAD):
        sys.exit("nats-server and build/bin/bench_load are needed")
    names = sys.argv[1:] or list(attacks)
    certs = Certificates()
    print("| attack | request p99 | nats-server | log-in p99 | nats-server | memory | nats-server |\n|---|---|---|---|---|---|---|")
    for name in names:
        ours, peer = measure(name, None, certs), measure(name, PEER, certs)
        cells = [cell for pair in zip(ours, peer) for cell in pair]
        print(f"| {name.replace('_', ' ')} | " + " | ".join(cells) + " |", flush=True)
    shutil.rmtree(certs.folder)


if __name__ == "__main__":
    main()
