"""What an operator does to a running server: reload, signals, lame duck mode, files it leaves."""
import asyncio
import json
import os
import signal
import subprocess

import nats
import pytest

from harness import BINARY, Cluster, Server, eventually, eventually_async
from peer import both
from raw import Raw, connect

TWO_USERS = """authorization { users = [
  { user: a, password: a, permissions: { subscribe: ["x", "y"] } }
  { user: b, password: b } ] }
"""


def login(user):
    return b'{"verbose":false,"protocol":1,"user":"%s","pass":"%s"}' % (user, user)


def test_reload_applies_users_permissions_and_limits_to_connected_clients(tmp_path):
    s = Server(tmp_path, conf=TWO_USERS).start()
    a, b = connect(s, login(b"a")), connect(s, login(b"b"))
    for c in (a, b):
        c.info()  # the second INFO
    a.send(b"SUB x 1\r\nSUB y 2\r\nPING\r\n").until(b"PONG\r\n")
    log = s.reload("""max_payload: 100
authorization { users = [ { user: a, password: a, permissions: { subscribe: "x" } } ] }\n""")
    assert "Reloaded: max_payload = 100" in log
    assert b"-ERR 'Authorization Violation'" in b.rest()  # b is gone from the file
    out = a.until(b'"max_payload":100')
    assert b"-ERR 'Permissions Violation for Subscription to \"y\" (sid \"2\")'\r\n" in out
    a.until(b"\r\n")
    a.send(b"PUB x 1\r\n1\r\nPUB y 1\r\n2\r\nPING\r\n")
    out = a.until(b"PONG\r\n")
    assert b"MSG x 1 1" in out and b"MSG y" not in out
    assert b"-ERR 'Maximum Payload Violation'" in a.send(b"PUB x 101\r\n").rest()
    s.stop()


@pytest.mark.parametrize("conf,reason", [
    ("max_pending: 1234567\n", "config reload not supported for MaxPending: old=67108864, new=1234567"),
    ("no_such_thing: 1\n", 'unknown field "no_such_thing"'),
    ("port: {\n", "Parse error"),
])
def test_a_reload_that_cannot_be_changes_nothing(tmp_path, conf, reason):
    s = Server(tmp_path).start()
    c = connect(s)
    log = s.reload("max_payload: 100\n" + conf)
    assert "Failed to reload server configuration: " in log and reason in log
    c.send(b"SUB x 1\r\nPUB x 101\r\n" + b"x" * 101 + b"\r\nPING\r\n")
    assert b"MSG x 1 101" in c.until(b"PONG\r\n")
    s.stop()


def test_flags_still_win_after_a_reload(tmp_path):
    s = Server(tmp_path, conf="debug: true\n", args=["-D=false"]).start()
    connect(s)
    s.reload("debug: true\nmax_payload: 1000\n")
    connect(s)
    assert "[DBG]" not in s.text()
    s.stop()


def test_reload_closes_clients_beyond_a_lower_max_connections(tmp_path):
    s = Server(tmp_path).start()
    clients = [connect(s) for _ in range(6)]
    s.reload("max_connections: 2\n")
    eventually(lambda: s.get("/varz")["connections"] == 2, what="two clients left")
    closed = sum(b"maximum connections exceeded" in c.rest() for c in clients if _is_closed(c))
    assert closed == 4
    s.stop()


def _is_closed(c):
    c.s.setblocking(False)
    try:
        c.data += c.s.recv(65536)
        return True
    except BlockingIOError:
        return False
    finally:
        c.s.settimeout(5)


def test_new_accounts_get_jetstream_by_a_reload(tmp_path):
    conf = "accounts { A { jetstream: enabled, users: [ {user: a, password: a} ] }%s }\n"
    s = Server(tmp_path, conf=conf % "", jetstream=True).start()
    s.reload(conf % ", B { jetstream: enabled, users: [ {user: b, password: b} ] }")

    async def use():
        nc = await nats.connect(s.url, user="b", password="b")
        js = nc.jetstream()
        await js.add_stream(name="S", subjects=["s"])
        await js.publish("s", b"1")
        assert (await js.stream_info("S")).state.messages == 1
        await nc.close()
    asyncio.run(use())
    s.stop()


@pytest.mark.parametrize("how", ["pid", "file"])
def test_signal_reaches_a_running_server(tmp_path, how):
    pid_file = str(tmp_path / "pid")
    s = Server(tmp_path, args=["-P", pid_file]).start()
    target = str(s.process.pid) if how == "pid" else pid_file
    done = subprocess.run([BINARY, "--signal", f"reload={target}"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    eventually(lambda: "Reloaded server configuration" in s.text(), what="the reload")
    assert subprocess.run([BINARY, "-sl", f"term={target}"]).returncode == 0
    assert s.process.wait(10) == 0


@pytest.mark.parametrize("text,error", [
    ("foo", 'nats-server: unknown signal "foo"\n'),
    ("reload=abc", "nats-server: invalid pid: abc\n"),
    ("reload=1=2", "nats-server: invalid signal parameters: [1=2]\n"),
    ("reload=99999999", 'nats-server: \nsignal "reload" 99999999: no such process\n'),
])
def test_signal_says_what_is_wrong(text, error):
    done = subprocess.run([BINARY, "--signal", text], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, error)


def test_ports_file_names_the_ports_while_the_server_runs(tmp_path):
    s = Server(tmp_path, args=["--ports_file_dir", str(tmp_path)]).start()
    path = tmp_path / f"{os.path.basename(BINARY)}_{s.process.pid}.ports"
    ports = json.loads(eventually(lambda: path.exists() and path.read_text()))
    assert ports == {"nats": [f"nats://127.0.0.1:{s.port}"],
                     "monitoring": [f"http://127.0.0.1:{s.http}"]}
    s.stop()
    assert not path.exists()


def test_lame_duck_without_clients_ends_at_once(tmp_path):
    s = Server(tmp_path, jetstream=True).start()
    s.process.send_signal(signal.SIGUSR2)
    assert s.process.wait(15) == 0
    assert "Entering lame duck mode, stop accepting new clients" in s.text()


def test_lame_duck_tells_clients_then_closes_them(tmp_path):
    s = Server(tmp_path, conf='lame_duck_grace_period: "1s"\nlame_duck_duration: "30s"\n').start()
    clients = [Raw(s) for _ in range(3)]
    for c in clients:
        c.info()
        c.send(b'CONNECT {"verbose":false,"protocol":1}\r\nPING\r\n').until(b"PONG\r\n")
        c.info()
    s.process.send_signal(signal.SIGUSR2)
    for c in clients:
        assert c.info()["ldm"] is True
    assert s.get("/healthz", expect=500)["error"].startswith("failed to be ready for connections")
    s.process.send_signal(signal.SIGTERM)  # has to wait in lame duck mode
    with pytest.raises(ConnectionRefusedError):
        Raw(s)
    for c in clients:
        assert c.rest().replace(b"PING\r\n", b"") == b""  # closed without an -ERR
    assert s.process.wait(15) == 0


def test_lame_duck_moves_clients_and_leaders_without_an_error(tmp_path):
    cluster = Cluster(tmp_path, conf='lame_duck_grace_period: "300ms"\nlame_duck_duration: "30s"\n')
    cluster.start()
    errors = []

    async def on_error(e):
        errors.append(e)

    async def walk():
        nc = await nats.connect(cluster[0].url, error_cb=on_error, reconnect_time_wait=0.05,
                                max_reconnect_attempts=-1)
        js = nc.jetstream()
        await js.add_stream(name="S", subjects=["s"], num_replicas=3)
        for _ in range(20):
            await js.publish("s", b"x")
        leaving = next(s for s in cluster.servers if s.port == nc.connected_url.port)
        leaving.process.send_signal(signal.SIGUSR2)

        async def moved():
            return nc.is_connected and nc.connected_url.port != leaving.port
        await eventually_async(moved, what="the client on another node")
        await js.publish("s", b"y", timeout=5)
        assert (await js.stream_info("S")).state.messages == 21
        await nc.close()
        return leaving
    leaving = asyncio.run(walk())
    assert leaving.process.wait(15) == 0
    assert not [e for e in errors if "Authorization" in str(e) or "ERR" in str(e)], errors
    cluster.kill()


def told_of_all(servers):
    """A client of the first of them that has heard of every other one's URL."""
    c = Raw(servers[0])
    info = c.info()
    c.send(b'CONNECT {"verbose":false,"protocol":1}\r\nPING\r\n').until(b"PONG\r\n")
    everybody = sorted(f"127.0.0.1:{s.port}" for s in servers)
    while sorted(info["connect_urls"]) != everybody:
        info = c.info()
    return c


def infos(data):
    return [json.loads(line[5:]) for line in data.split(b"\r\n") if line.startswith(b"INFO ")]


@both
async def test_clients_of_a_server_that_stops_know_where_to_go(tmp_path, binary):
    cluster = Cluster(tmp_path, jetstream=False, binaries=[binary] * 3).start()
    first, others = cluster[0], cluster.servers[1:]
    raw = await asyncio.to_thread(told_of_all, cluster.servers)
    nc = await nats.connect(first.url, max_reconnect_attempts=-1, reconnect_time_wait=0.05)

    async def knows_the_others():
        return {s.port for s in others} <= {u.port for u in nc.discovered_servers}
    await eventually_async(knows_the_others, what="the client knowing the others")
    first.process.send_signal(signal.SIGTERM)

    async def moved():
        return nc.is_connected and nc.connected_url.port in [s.port for s in others]
    await eventually_async(moved, what="the client on another node")
    await nc.close()
    for info in infos(raw.rest()):  # libraries forget what the last one does not name
        assert {f"127.0.0.1:{s.port}" for s in others} <= set(info["connect_urls"]), info
    assert await asyncio.to_thread(first.process.wait, 15) == 0
    cluster.stop()


def test_clients_do_not_forget_neighbours_while_routes_begin_anew(tmp_path):
    cluster = Cluster(tmp_path, jetstream=False).start()
    first, others = cluster[0], {f"127.0.0.1:{s.port}" for s in cluster.servers[1:]}
    raw = told_of_all(cluster.servers)
    conf = open(first.conf).read()[len(first.base):]
    before = first.get("/routez")["routes"]
    first.reload(conf.replace("routes:", 'permissions: { import: ">", export: ["a", "$SYS.>"] }, routes:'))

    def back():
        routes = first.get("/routez")["routes"]
        return len({r["remote_id"] for r in routes}) == 2 and not {r["rid"] for r in routes} & {r["rid"] for r in before}
    eventually(back, what="new routes to both neighbours")
    raw.send(b"PING\r\n")
    for info in infos(raw.until(b"PONG\r\n")):
        assert others <= set(info["connect_urls"]), info
    # who goes is forgotten, a little later than ever
    cluster[1].kill()
    while f'127.0.0.1:{cluster[1].port}"'.encode() in raw.until(b"\r\n"):
        pass
    cluster.kill()


@both
def test_the_last_info_in_lame_duck_mode_names_the_others(tmp_path, binary):
    duck = 'lame_duck_grace_period: "300ms"\nlame_duck_duration: "30s"\n'
    cluster = Cluster(tmp_path, conf=duck, jetstream=False, binaries=[binary] * 3).start()
    raw = told_of_all(cluster.servers)
    cluster[0].process.send_signal(signal.SIGUSR2)
    told = infos(raw.rest())
    assert told and told[-1]["ldm"] is True
    assert sorted(told[-1]["connect_urls"]) == sorted(f"127.0.0.1:{s.port}" for s in cluster.servers[1:])
    assert cluster[0].process.wait(15) == 0
    cluster.stop()
