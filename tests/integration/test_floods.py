"""Logging in stays quick while others flood the server: each kind of work has its queue, each address its share."""
import json
import os
import socket
import threading
import time

from harness import SLOW, Server, eventually

SLOW_HASH = "$2a$11$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui"  # of nothing that is said here: 100 ms
BCRYPT = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"  # "secret"


def cpu_seconds(server):
    with open(f"/proc/{server.process.pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Flood:
    """Threads that connect from one address, say one thing, and end the connection as told; counts the refusals."""

    def __init__(self, server, say, threads, source="127.0.0.2", stay=True):
        self.server, self.say, self.source, self.stay = server, say, source, stay
        self.refused = self.sent = 0
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.open = set()
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(threads)]

    def visit(self):
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=3,
                                      source_address=(self.source, 0)) as s:
            with self.lock:
                self.open = {x for x in self.open if x.fileno() >= 0} | {s}
            s.recv(4096)
            s.sendall(self.say)
            with self.lock:
                self.sent += 1
            while self.stay and (data := s.recv(4096)):
                if b"Authorization Violation" in data:
                    with self.lock:
                        self.refused += 1
                    return

    def run(self):
        while not self.over.is_set():
            try:
                self.visit()
            except OSError:
                pass

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        with self.lock:
            for s in self.open:
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # it has ended by itself
        for t in self.threads:
            t.join()


def connect_line(user, password):
    return f"CONNECT {json.dumps({'user': user, 'pass': password, 'verbose': False})}\r\nPING\r\n".encode()


def log_in(server, user, password, source):
    """Seconds until PONG; None when refused."""
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10, source_address=(source, 0)) as s:
        s.recv(4096)
        s.sendall(connect_line(user, password))
        data = b""
        while b"PONG" not in data and b"-ERR" not in data:
            chunk = s.recv(4096)
            if not chunk:
                return None
            data += chunk
    return time.monotonic() - begun if b"PONG" in data else None


def test_guesses_are_counted_by_address_not_by_connection(tmp_path):
    users = 'authorization { users: [ { user: alice, password: "a-secret" }, { user: bob, password: "b-secret" } ] }\n'
    s = Server(tmp_path, conf=users).start()
    assert log_in(s, "bob", "b-secret", "127.0.0.2") is not None
    with Flood(s, connect_line("alice", "wrong"), 60) as flood:
        eventually(lambda: flood.refused >= 10, what="the free guesses")
        begun, before = time.monotonic(), flood.refused
        for _ in range(5):
            # who has logged in from that address before still does, and whoever comes from elsewhere
            assert log_in(s, "bob", "b-secret", "127.0.0.2") is not None
            assert log_in(s, "alice", "a-secret", "127.0.0.3") is not None
        eventually(lambda: flood.refused - before >= 7, what="more guesses, slowly")
        assert time.monotonic() - begun > 0.8, "seven more guesses came at once"
    s.stop()


def test_a_flood_of_slow_passwords_neither_delays_others_nor_outlives_itself(tmp_path):
    users = (f'authorization {{ users: [ {{ user: alice, password: "{SLOW_HASH}" }}, '
             f'{{ user: bob, password: "{BCRYPT}" }} ] }}\n')
    s = Server(tmp_path, conf=users).start()
    # from many addresses, so that the limit of each does not end it; gone as soon as they have asked
    floods = [Flood(s, connect_line("alice", "wrong"), 1, f"127.0.1.{i}", stay=False) for i in range(8)]
    for f in floods:
        f.__enter__()
    eventually(lambda: sum(f.sent for f in floods) > 200, what="a flood")
    took = log_in(s, "bob", "secret", "127.0.0.1")
    assert took is not None and took < 2 * SLOW, took
    for f in floods:
        f.__exit__()
    took = log_in(s, "bob", "secret", "127.0.0.1")
    assert took is not None and took < 2 * SLOW, took
    before = cpu_seconds(s)
    eventually(lambda: s.get("/connz")["num_connections"] == 0, what="an end of the connections")
    assert cpu_seconds(s) - before < 1 * SLOW, "comparisons went on for connections that had gone"
    s.stop()
