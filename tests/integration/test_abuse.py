"""What a client, a stranger or a neighbour may say without bringing a server down, or getting what is not theirs.

Most of it is about memory: run with AddressSanitizer and ThreadSanitizer these tests see more."""
import asyncio
import json
import os
import select
import shutil
import socket
import ssl
import threading
import time

import nats
import pytest

from certs import Certificates
from harness import BINARY, SLOW, Cluster, Load, Server, eventually
from peer import both
from ports import free_port
from raw import Raw, connect


def alive(*servers):
    for s in servers:
        assert s.process.poll() is None, f"{s.name} ended with {s.process.poll()}: {s.tail()}"
        connect(s).s.close()


def test_a_queue_group_that_changes_while_it_is_drawn_from(tmp_path):
    """Routes change the weight of a group while every loop of the other server draws members by it."""
    c = Cluster(tmp_path, 2, conf="loops: 4\n", jetstream=False)
    for s in c.servers:
        s.start(wait=False)
    for s in c.servers:
        eventually(s.accepts)
    eventually(lambda: all(s.get("/varz")["remotes"] == 1 for s in c.servers))
    members = [connect(c[1]) for _ in range(2)]
    publishers = [connect(c[0]) for _ in range(3)]
    many = b"".join(b"SUB work.* workers %d\r\n" % i for i in range(200))
    few = b"".join(b"UNSUB %d\r\n" % i for i in range(200))

    def change(member):
        def run():
            member.send(many + b"PING\r\n").until(b"PONG\r\n")
            member.send(few + b"PING\r\n").until(b"PONG\r\n")
        return run

    def publish(publisher):
        return lambda: publisher.send(b"PUB work.a 1\r\nx\r\n" * 500 + b"PING\r\n").until(b"PONG\r\n")
    with Load(*[change(m) for m in members], *[publish(p) for p in publishers]) as load:
        load.stopped.wait(1.5)
    alive(*c.servers)
    assert min(load.rounds) > 0
    c.stop()


def neighbour(port, name="stranger", cluster="C1"):
    """A route to that cluster port, without gossip or pools, as far as messages and interest need one."""
    class At:
        pass
    at = At()
    at.port = port
    r = Raw(at)
    r.until(b"\r\n")
    r.send(b'CONNECT {"verbose":false,"pedantic":false,"name":"%s","cluster":"%s"}\r\n' % (name.encode(), cluster.encode()))
    r.send(b'INFO {"server_id":"%s","server_name":"%s","version":"2.15.2","proto":1,"headers":true,"cluster":"%s"}\r\nPING\r\n'
           % (name.encode().ljust(56, b"X"), name.encode(), cluster.encode()))
    r.until(b"PONG\r\n")
    return r


def test_weights_of_a_route_that_sum_to_more_than_32_bits(tmp_path):
    port = free_port()
    s = Server(tmp_path, conf=f'cluster {{ name: C1, listen: "127.0.0.1:{port}" }}\n').start()
    r = neighbour(port)
    lines = [b"foo.bar", b"foo.*", b"*.bar", b"foo.>", b"*.*"]
    weights = [999999999] * 4 + [2 ** 32 - 4 * 999999999]
    for subject, weight in zip(lines, weights):
        r.send(b"RS+ $G %s q %d\r\n" % (subject, weight))
    r.send(b"PING\r\n").until(b"PONG\r\n")
    c = connect(s)
    c.send(b"PUB foo.bar 5\r\nhello\r\nPING\r\n").until(b"PONG\r\n")
    assert b"RMSG $G foo.bar | q 5\r\n" in r.until(b"hello\r\n")
    alive(s)
    s.stop()


@pytest.fixture(scope="module")
def certs():
    c = Certificates()
    yield c
    shutil.rmtree(c.folder)


class Secure(Raw):
    def __init__(self, server, certs):
        super().__init__(server)
        self.until(b"\r\n")
        self.s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        self.s = ssl.create_default_context(cafile=certs.ca.pem).wrap_socket(self.s, server_hostname="localhost")
        self.s.settimeout(20 * SLOW)
        self.send(b'CONNECT {"verbose":false,"pedantic":false}\r\nPING\r\n').until(b"PONG\r\n")


def tls_server(folder, certs):
    cert, key = certs.server
    return Server(folder, conf=f'loops: 1\ntls {{ cert_file: "{cert}", key_file: "{key}" }}\n').start()


def test_a_secure_client_that_stalls_itself_and_goes(tmp_path, certs):
    """One read of it decodes to several batches, each of which fills its own outbox; then its writing fails. So it is on
    the list of stalled clients when it goes: once, or its memory is used after its end."""
    s = tls_server(tmp_path, certs)
    for _ in range(6):
        c = Secure(s, certs)
        line = b"PUB nobody 1000\r\n" + bytes(1000) + b"\r\n"
        for _ in range(8):  # lets the socket's buffer grow, so that a read may return all that a loop takes
            c.send(line * 1000)
        c.send(b"".join(b"SUB me %d\r\n" % i for i in range(30)) + b"PING\r\n").until(b"PONG\r\n")
        s.pause()
        c.s.settimeout(1)
        try:
            for _ in range(700):  # records of their own: small ones fill what a loop decodes at once
                c.send(line.replace(b"nobody", b"me"))
        except OSError:
            pass  # more than fits
        c.s.close()
        s.go_on()
        eventually(lambda: s.get("/connz")["num_connections"] == 0, what="the client's end")
    assert s.process.poll() is None, s.tail()
    s.stop()


def test_a_stalled_secure_client_loses_nothing(tmp_path, certs):
    """What has been read of it when it is paused waits, and comes in order."""
    s = tls_server(tmp_path, certs)
    c = Secure(s, certs)
    c.send(b"SUB me 1\r\nPING\r\n").until(b"PONG\r\n")
    sent = [b"%06d" % i + bytes(40000) for i in range(200)]
    threading.Thread(target=lambda: [c.send(b"PUB me 40006\r\n" + m + b"\r\n") for m in sent]).start()
    eventually(lambda: any(c.get("stalls", 0) > 0 for c in s.get("/connz")["connections"]), what="a stalled client")
    for m in sent:
        c.until(b"MSG me 1 40006\r\n")
        assert c.until(m) == m
    assert s.process.poll() is None, s.tail()
    s.stop()


TWO_ACCOUNTS = """accounts { A { users: [ {user: a, password: a} ] }
  B { users: [ {user: b, password: b}, {user: slow, password: "%s"} ] } }
no_auth_user: a
"""


def bcrypt_hash(password, cost):
    import ctypes
    import ctypes.util
    lib = ctypes.CDLL(ctypes.util.find_library("crypt") or "libcrypt.so.1")
    lib.crypt.restype = ctypes.c_char_p
    return lib.crypt(password.encode(), b"$2a$%02d$abcdefghijklmnopqrstuu" % cost).decode()


@both
@pytest.mark.parametrize("first", ["nobody", "a"])
def test_another_connect_takes_nothing_along(tmp_path, binary, first):
    """A client that has subscribed as one user and then connects as one of another account."""
    s = Server(tmp_path, conf=TWO_ACCOUNTS % "x", binary=binary).start()
    c = Raw(s)
    c.until(b"\r\n")
    if first == "a":
        c.send(b'CONNECT {"verbose":false,"user":"a","pass":"a"}\r\n')
    c.send(b"SUB secret 1\r\nSUB secret q 2\r\nPING\r\n").until(b"PONG\r\n")
    c.send(b'CONNECT {"verbose":false,"pedantic":false,"user":"b","pass":"b"}\r\nPING\r\n').until(b"PONG\r\n")
    c.send(b"SUB public 3\r\nPING\r\n").until(b"PONG\r\n")
    a = connect(s, b'{"verbose":false,"user":"a","pass":"a"}')
    b = connect(s, b'{"verbose":false,"user":"b","pass":"b"}')
    for other in (a, b):
        other.send(b"PUB secret 6\r\nsecret\r\nPUB public 6\r\npublic\r\nPING\r\n").until(b"PONG\r\n")
    got = c.send(b"PING\r\n").until(b"PONG\r\n")
    assert b"secret" not in got and got.count(b"public 3") == 1, got
    c.send(b"UNSUB 1\r\nUNSUB 3\r\nPING\r\n").until(b"PONG\r\n")
    c.s.close()
    assert s.process.poll() is None, s.tail()
    for other in (a, b):
        other.send(b"PUB secret 1\r\nx\r\nPING\r\n").until(b"PONG\r\n")
    s.stop()


def test_a_reload_while_the_secret_of_another_connect_is_compared(tmp_path):
    """Clients that were somebody, and whose next log-in is under way when the users are replaced."""
    conf = "loops: 1\n" + TWO_ACCOUNTS % bcrypt_hash("slow", 12)
    s = Server(tmp_path, conf=conf).start()
    clients = []
    for i in range(4):
        c = connect(s, b'{"verbose":false,"user":"a","pass":"a"}')
        c.send(b"SUB secret.> 1\r\nPING\r\n").until(b"PONG\r\n")
        clients.append(c)
    for c in clients:
        c.s.settimeout(20 * SLOW)
        c.send(b'CONNECT {"verbose":false,"user":"slow","pass":"slow"}\r\nPUB public 5\r\nhello\r\nPING\r\n')
    s.reload(conf.replace("user: a, password: a", "user: a, password: other") + "max_payload: 1000000\n")
    a = connect(s, b'{"verbose":false,"user":"a","pass":"other"}')
    a.send(b"PUB secret.x 6\r\nsecret\r\nPING\r\n").until(b"PONG\r\n")
    assert s.get("/connz?auth=1")["num_connections"] == len(clients) + 1
    for c in clients:
        assert b"secret" not in c.until(b"PONG\r\n")
    s.reload(conf)  # and now everybody is judged as who it is
    for c in clients:
        c.send(b"PING\r\n").until(b"PONG\r\n")
    assert s.get("/connz?auth=1&user=slow")["num_connections"] == len(clients)
    assert s.process.poll() is None, s.tail()
    s.stop()


def test_the_user_of_a_pending_login_goes_with_a_reload(tmp_path):
    conf = "loops: 1\naccounts { A { users: [ {user: a, password: a}, {user: slow, password: \"%s\"} ] } }\n"
    s = Server(tmp_path, conf=conf % bcrypt_hash("slow", 12)).start()
    c = connect(s, b'{"verbose":false,"user":"a","pass":"a"}')
    c.s.settimeout(20 * SLOW)
    c.send(b'CONNECT {"verbose":false,"user":"slow","pass":"slow"}\r\nPING\r\n')
    s.reload(conf % bcrypt_hash("other", 5))
    assert b"Authorization Violation" in c.rest()
    s.stop()


def answers(sock, count):
    """So many answers of HTTP with their bodies; returns how many bytes."""
    data, seen = b"", 0
    while count:
        chunk = sock.recv(1 << 20)
        assert chunk, f"closed, {count} answers to come"
        data += chunk
        while (at := data.find(b"\r\n\r\n")) >= 0:
            head = data[:at].decode()
            assert head.startswith("HTTP/1.1 "), head
            length = int(next(h for h in head.split("\r\n") if h.startswith("Content-Length")).split(":")[1])
            if len(data) < at + 4 + length:
                break
            data, seen, count = data[at + 4 + length:], seen + at + 4 + length, count - 1
    assert not data
    return seen


@pytest.mark.parametrize("request_line", ["GET /nothing", "HEAD /healthz", "GET /varz"])
def test_pipelined_requests_are_answered_one_after_the_other(core_server, request_line):
    request = f"{request_line} HTTP/1.1\r\n\r\n".encode()
    count = 400_000 // len(request) if "varz" not in request_line else 300
    if request_line.startswith("HEAD"):
        request, count = request.replace(b"HEAD", b"GET"), count // 4
    c = socket.create_connection(("127.0.0.1", core_server.http))
    c.settimeout(30 * SLOW)
    threading.Thread(target=c.sendall, args=(request * count,)).start()
    with Load(lambda: alive(core_server)):  # clients are served meanwhile
        answers(c, count)
    c.close()
    alive(core_server)


def test_answers_that_nobody_reads_cost_the_server_nothing(tmp_path):
    """One answer at a time is made; the rest of the requests wait in the kernel, on the client's side."""
    options = os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1"  # its memory is measured
    core_server = Server(tmp_path, env={"ASAN_OPTIONS": options}).start()
    c = socket.create_connection(("127.0.0.1", core_server.http))
    c.setblocking(False)
    request, sent = b"GET /varz HTTP/1.1\r\n\r\n" * 1000, 0
    before = core_server.get("/varz")["mem"]
    end = time.monotonic() + 1
    while time.monotonic() < end and select.select([], [c], [], 0.2)[1]:
        try:
            sent += c.send(request)
        except BlockingIOError:
            break
    assert sent > 200_000
    assert core_server.get("/varz")["mem"] < before + (30 << 20)
    c.close()
    alive(core_server)
    core_server.stop()


@both
def test_a_redirect_keeps_the_query(tmp_path, binary):
    s = Server(tmp_path, binary=binary).start()

    def ask(target):
        with socket.create_connection(("127.0.0.1", s.http)) as c:
            c.settimeout(10 * SLOW)
            c.sendall(b"GET " + target.encode() + b" HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            data = b""
            while chunk := c.recv(65536):
                data += chunk
        head = data.split(b"\r\n\r\n")[0].decode().split("\r\n")
        return head[0].split()[1], next((h[10:] for h in head if h.startswith("Location: ")), None)
    assert [ask(t) for t in ("//jsz?consumers=true", "/./varz?x=1&y=%20", "/a/../varz?b", "/../../jsz?q#f", "/varz//?a",
                             "/varz/..?x", "/..", "/varz/.", "//?", '//varz?<>"', "/varz/", "/varz", "/.?x")] == [
        ("307", "/jsz?consumers=true"), ("307", "/varz?x=1&y=%20"), ("307", "/varz?b"), ("307", "/jsz?q#f"),
        ("307", "/varz/?a"), ("307", "/?x"), ("307", "/"), ("307", "/varz"), ("307", "/"), ("307", '/varz?<>"'),
        ("404", None), ("200", None), ("307", "/?x")]
    s.stop()


async def test_silent_connections_leave_descriptors_for_the_store_and_the_neighbours(tmp_path):
    """256 descriptors, and more strangers who say nothing: they are refused in time, what matters goes on, nothing
    spins, and with the strangers gone everything is as before."""
    limited = tmp_path / "limited"
    limited.write_text(f'#!/bin/sh\nulimit -n 256\nexec {BINARY} "$@"\n')
    limited.chmod(0o700)
    cluster = Cluster(tmp_path, 2, binaries=[str(limited), BINARY]).start()
    s = cluster[0]
    route_port = s.get("/varz")["cluster"]["cluster_port"]
    assert "leaves 128 to clients" in s.text()
    nc = await nats.connect(s.url)
    js = nc.jetstream()
    await js.add_stream(name="S", subjects=["s"], num_replicas=2)
    strangers, refused = [], 0
    for port, count in ((s.port, 400), (route_port, 200), (s.http, 200)):
        for _ in range(count):
            c = socket.create_connection(("127.0.0.1", port), timeout=10 * SLOW)
            strangers.append(c)

    def said(c):
        try:
            c.setblocking(False)
            return c.recv(65536)
        except BlockingIOError:
            return b""
        except ConnectionResetError:
            return b"reset"
    eventually(lambda: s.get("/varz")["connections"] < 129, what="so many clients as there is room for")
    for c in strangers[:400]:
        refused += b"maximum connections exceeded" in said(c)
    assert 250 < refused < 400

    def cpu():
        fields = open(f"/proc/{s.process.pid}/stat").read().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    before, began = cpu(), time.monotonic()
    for i in range(200):  # the store syncs, and opens what it needs
        await js.publish("s", b"%d" % i, timeout=10 * SLOW)
    assert (await js.stream_info("S")).state.messages == 200
    assert s.healthy()
    while time.monotonic() < began + 0.5:
        await js.publish("s", b"x", timeout=10 * SLOW)
    quiet = time.monotonic()
    before = cpu()
    await asyncio.sleep(0.5)  # the length of a measurement
    assert cpu() - before < 0.7 * (time.monotonic() - quiet), "it spins"
    for c in strangers:
        c.close()
    eventually(lambda: s.get("/varz")["connections"] == 1, what="the strangers gone")
    alive(s)
    with socket.create_connection(("127.0.0.1", route_port), timeout=10 * SLOW) as c:
        assert c.recv(5) == b"INFO "
    await nc.close()
    cluster.stop()


@pytest.mark.parametrize("said", [b"PUB x 1000000\r\n", b"PUB x", b"HPUB x 12 1000000\r\n", b"SUB a", b"UNSUB 1\r\n",
                                  b"CONNECT " + b"x" * 20000])
def test_strangers_are_refused_by_their_first_line(tmp_path, said):
    """Nothing that is not a greeting is waited for; nor a greeting without an end."""
    s = Server(tmp_path, conf="max_control_line: 1MB\nauthorization { user: u, password: p, timeout: 60 }\n").start()
    c = Raw(s)
    c.until(b"\r\n")
    c.send(said + b" " * 10)
    assert b"Authorization Violation" in c.rest() or (b"maximum control line" in c.data and said[:1] == b"C")
    assert s.process.poll() is None, s.tail()
    s.stop()


@pytest.mark.parametrize("secret", ["", "authorization { user: u, password: p, timeout: 60 }"])
def test_strangers_on_the_route_port_hold_no_memory(tmp_path, secret):
    port = free_port()
    s = Server(tmp_path, conf=f'cluster {{ name: C1, listen: "127.0.0.1:{port}", {secret} }}\n').start()
    greeting = b"" if secret else b'CONNECT {"verbose":false,"name":"x","cluster":"C1"}\r\n'
    for said in (b"RMSG $G foo 250000000\r\n" + bytes(100000), b"HMSG $G foo 12 250000000\r\n", b"RS+ $G foo\r\n",
                 b"RMSG $G " + b"x" * 60000, b"INFO " + b"x" * 20000):
        c = socket.create_connection(("127.0.0.1", port), timeout=10 * SLOW)
        data = b""
        try:
            c.sendall(greeting + said)
            while chunk := c.recv(65536):
                data += chunk
        except ConnectionResetError:
            pass
        assert b"INFO " in data and (b"Authorization Violation" in data or said.startswith(b"INFO")), data
        c.close()
    assert s.get("/varz")["routes"] == 0
    assert s.process.poll() is None, s.tail()
    s.stop()


def test_large_answers_of_monitoring_come_whole_and_page_by_page(tmp_path):
    """Also to a slow reader whose request ends the connection; and walks go on when clients leave under them."""
    s = Server(tmp_path, conf="loops: 2\n").start()
    clients = [connect(s) for _ in range(6)]
    for k, c in enumerate(clients):
        c.send(b"".join(b"SUB foo.%d.%d %d\r\n" % (k, i, i) for i in range(10000)) + b"PING\r\n").until(b"PONG\r\n")

    def subsz(query, pause=0.0):
        with socket.create_connection(("127.0.0.1", s.http)) as c:
            c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            c.settimeout(20 * SLOW)
            c.sendall(b"GET /subsz?subs=1&%s HTTP/1.1\r\nConnection: close\r\n\r\n" % query.encode())
            time.sleep(pause)  # a reader that is busy with something else
            data = b""
            while chunk := c.recv(65536):
                data += chunk
        return json.loads(data.split(b"\r\n\r\n", 1)[1])
    whole = subsz("limit=1000000", pause=0.2)
    assert whole["total"] == whole["num_subscriptions"] == len(whole["subscriptions_list"]) == 60000
    pages = [subsz(f"limit=17000&offset={at}") for at in range(0, 60000, 17000)]
    listed = [x for p in pages for x in p["subscriptions_list"]]
    assert all(p["total"] == 60000 for p in pages) and listed == whole["subscriptions_list"]
    assert {x["subject"] for x in listed} == {f"foo.{k}.{i}" for k in range(6) for i in range(10000)}
    assert subsz("test=foo.3.77")["subscriptions_list"][0]["sid"] == "77"
    assert subsz("test=foo.3.77")["total"] == 1 and subsz("offset=60000")["total"] == 60000

    connz = s.get("/connz?subs=1&sort=subs&limit=7")["connections"]
    assert [len(c.get("subscriptions_list", [])) for c in connz] == [10000] * 6
    assert {x for c in connz for x in c["subscriptions_list"]} == {x["subject"] for x in listed}
    detail = s.get("/connz?subs=detail&limit=1&offset=1")["connections"]
    assert len(detail) == 1 and {d["cid"] for d in detail[0]["subscriptions_list_detail"]} == {detail[0]["cid"]}

    def churn():
        connect(s).send(b"SUB x.> 1\r\nPING\r\n").until(b"PONG\r\n")
    with Load(churn, churn):
        for c in clients[:4]:
            c.s.close()
            assert subsz("limit=1000000")["total"] > 0
            assert s.get("/connz?subs=detail&state=all")["total"] > 0
    alive(s)
    s.stop()
