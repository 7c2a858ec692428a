"""The monitoring endpoints: true values, filters, paging; nats-server's field names beside ours."""
import json
import os
import shutil
import socket
import urllib.error
import urllib.request

import pytest

from certs import Certificates
from harness import PEER, Load, Server, eventually
from ports import free_port
from raw import Raw, connect

CONF = """accounts {
  A { users: [ {user: a, password: a} ], exports: [ {service: "svc", accounts: [B]}, {stream: "st.>"} ],
      mappings: { "old.*": "new.$1" } }
  B { users: [ {user: b, password: b} ], imports: [ {service: {account: A, subject: svc}, to: mine} ] }
}
"""


@pytest.fixture
def pair(tmp_path):
    s = Server(tmp_path, conf=CONF).start()
    eventually(lambda: s.get("/connz?state=closed")["total"] == 1)  # the harness's own look
    a = connect(s, b'{"verbose":false,"user":"a","pass":"a","name":"one"}')
    b = connect(s, b'{"verbose":false,"user":"b","pass":"b"}')
    a.send(b"SUB x 1\r\nSUB y.* q 2\r\nUNSUB 2 5\r\nPUB x 3\r\nabc\r\nPING\r\n").until(b"PONG\r\n")
    yield s, a, b
    s.stop()


def bad(server, path):
    with pytest.raises(urllib.error.HTTPError) as e:
        urllib.request.urlopen(f"http://127.0.0.1:{server.http}{path}", timeout=5)
    assert e.value.code == 400
    return e.value.read().decode()


def test_connz_filters_sorts_and_pages(pair):
    s, a, b = pair
    both = s.get("/connz?auth=1&sort=msgs_from")["connections"]
    assert [c["authorized_user"] for c in both] == ["a", "b"]
    assert [c["account"] for c in both] == ["A", "B"]
    assert "authorized_user" not in s.get("/connz")["connections"][0]
    assert [c["in_msgs"] for c in s.get("/connz?acc=A")["connections"]] == [1]
    assert s.get("/connz?user=b&auth=1")["total"] == 1
    assert s.get("/connz?acc=NOPE")["connections"] == []
    page = s.get("/connz?limit=1&offset=1")
    assert (page["num_connections"], page["total"], page["limit"]) == (1, 2, 1)
    for extreme in (9223372036854775807, 9223372036854775806, -9223372036854775808):  # GHSA-q59r
        assert s.get(f"/connz?offset={extreme}&limit={extreme}")["total"] == 2
        assert s.get(f"/subsz?subs=1&offset={extreme}&limit={extreme}")["total"] == 2
    assert bad(s, "/connz?sort=bogus") == "invalid sorting option: bogus"
    assert bad(s, "/connz?sort=stop") == "sort by stop only valid on closed connections"
    assert bad(s, "/connz?state=zzz") == "Error decoding state for zzz"


def test_connz_pages_are_parts_of_one_order(tmp_path):
    """Whatever it is sorted by: the pages put together are the whole list, over all loops, the closed ones included."""
    s = Server(tmp_path, conf="loops: 2\n").start()
    clients = [connect(s) for _ in range(90)]
    for k, c in enumerate(clients):
        subs = b"".join(b"SUB a.%d %d\r\n" % (k, i) for i in range(k % 4))
        c.send(subs + b"PUB x 1\r\n.\r\n" * (k % 7) + b"PING\r\n").until(b"PONG\r\n")
    for c in clients[::3]:
        c.s.close()
    eventually(lambda: s.get("/connz")["total"] == 60 and s.get("/connz?state=all")["total"] == 91)  # and the harness's
    order = {"cid": lambda c: c["cid"], "start": lambda c: c["cid"], "subs": lambda c: -c["subscriptions"],
             "msgs_from": lambda c: -c["in_msgs"], "bytes_from": lambda c: -c["in_bytes"],
             "msgs_to": lambda c: -c["out_msgs"], "pending": lambda c: -c["pending_bytes"],
             "reason": lambda c: c["reason"], "stop": lambda c: "", "uptime": lambda c: "", "last": lambda c: "",
             "rtt": lambda c: ""}
    for sort, key in order.items():
        state = "closed" if sort in ("reason", "stop") else "all"
        whole = s.get(f"/connz?state={state}&sort={sort}")
        listed = [c["cid"] for c in whole["connections"]]
        assert len(set(listed)) == len(listed) == (31 if state == "closed" else 91)
        assert whole["total"] == whole["num_connections"] == len(listed)
        assert [key(c) for c in whole["connections"]] == sorted(key(c) for c in whole["connections"]), sort
        pages = [s.get(f"/connz?state={state}&sort={sort}&limit=40&offset={at}") for at in range(0, 121, 40)]
        assert [c["cid"] for p in pages for c in p["connections"]] == listed, sort
        assert [p["num_connections"] for p in pages[-2:]] == [max(0, len(listed) - 80), 0]
    cid = s.get("/connz?sort=subs")["connections"][0]["cid"]
    one = s.get(f"/connz?cid={cid}&state=all&subs=1")
    assert (one["num_connections"], one["total"], one["limit"], one["connections"][0]["cid"]) == (1, 1, 1, cid)
    assert len(one["connections"][0]["subscriptions_list"]) == one["connections"][0]["subscriptions"] == 3
    s.stop()


JSZ = """accounts { A { jetstream: enabled, users: [{user: a, password: a}] }, NONE { users: [{user: n, password: n}] }
  B { jetstream: enabled, users: [{user: b, password: b}] } }
"""


def js_ask(c, requests):
    """Sends all of them, and returns how each was answered."""
    c.send(b"SUB r 1\r\n" + b"".join(b"PUB $JS.API.%s r %d\r\n%s\r\n" % (subject.encode(), len(body), body)
                                     for subject, body in ((s, json.dumps(b).encode()) for s, b in requests)))
    return [json.loads(c.until(b"\r\n") and c.until(b"\r\n")) for _ in requests]


def details(server, query):
    return [(a["name"], [(x["name"], [k["name"] for k in x.get("consumer_detail", [])])
                         for x in a.get("stream_detail", [])])
            for a in server.get("/jsz" + query).get("account_details", [])]


@pytest.mark.skipif(PEER is None, reason="nats-server is not installed: nothing to compare with")
def test_jsz_pages_accounts_as_nats_server_does(tmp_path):
    """Total and sums are of all, whatever is listed; offset and limit are of accounts, by name."""
    seen = []
    for name, binary in (("ours", None), ("theirs", PEER)):
        s = Server(tmp_path, name, conf=JSZ, jetstream=True, binary=binary).start()
        for account, streams in (("a", 3), ("b", 2)):
            c = connect(s, b'{"verbose":false,"user":"%s","pass":"%s"}' % ((account.encode(),) * 2))
            made = js_ask(c, [(f"STREAM.CREATE.{account}{i}", {"name": f"{account}{i}", "subjects": [f"s{i}"]})
                              for i in range(streams)])
            made += js_ask(c, [(f"CONSUMER.DURABLE.CREATE.{account}0.{d}",
                                {"stream_name": f"{account}0", "config": {"durable_name": d, "ack_policy": "explicit"}})
                               for d in "ZYX"])
            assert not [m for m in made if "error" in m]
        answers = []
        for query in ("", "?limit=1", "?accounts=1&offset=0&limit=1&acc=NOPE", "?accounts=1&offset=1",
                      "?accounts=1&offset=9", "?streams=1&offset=1&limit=1", "?consumers=1&offset=1", "?acc=A",
                      "?acc=NOPE", "?acc=NONE&streams=1", "?acc=A&streams=1&offset=5&limit=1", "?consumers=1&acc=B",
                      "?limit=-1", "?acc="):
            o = s.get("/jsz" + query)
            listed = None if "accounts=1&offset=0" in query else sorted(
                (a, sorted((x, sorted(k)) for x, k in streams)) for a, streams in details(s, query))
            answers.append((query, o["accounts"], o["streams"], o["consumers"], o["total"], listed,
                            "account_details" in o, list(o)[-1]))
        assert bad(s, "/jsz?limit=x").startswith("Error decoding int for 'limit'")
        for config in ("", "&config=1"):
            streams = s.get(f"/jsz?consumers=1&acc=A{config}")["account_details"][0]["stream_detail"]
            first = next(x for x in streams if x["name"] == "a0")
            answers.append((sorted(set(first) - {"trireme_content_hash"}), sorted(first["consumer_detail"][0])))
        seen.append(answers)
        s.stop()
    assert seen[0] == seen[1]


def test_jsz_lists_while_consumers_and_streams_come_and_go(tmp_path):
    """Many consumers, in the order of their names; each answer is whole JSON, with nobody in it twice."""
    s = Server(tmp_path, conf="loops: 2\n", jetstream=True).start()
    c = connect(s)

    def consumer(stream, k):
        return (f"CONSUMER.DURABLE.CREATE.{stream}.D{k}", {"stream_name": stream, "config": {
            "durable_name": f"D{k}", "ack_policy": "explicit"}})
    made = js_ask(c, [(f"STREAM.CREATE.{n}", {"name": n, "subjects": [n], "storage": "memory"}) for n in "KLMN"])
    for stream in "KLMN":
        made += js_ask(c, [consumer(stream, k) for k in range(400)])
    assert not [m for m in made if "error" in m]
    names = sorted(f"D{k}" for k in range(400))
    assert sorted(details(s, "?consumers=1")[0][1]) == [(n, names) for n in "KLMN"]
    assert [len(x) for x in details(s, "?streams=1")[0][1]] == [2] * 4

    other = connect(s)

    def churn():
        gone = js_ask(other, [(f"CONSUMER.DELETE.K.D{k}", {}) for k in range(2, 400, 5)] + [("STREAM.DELETE.L", {})])
        back = js_ask(other, [("STREAM.CREATE.L", {"name": "L", "subjects": ["L"], "storage": "memory"})])
        back += js_ask(other, [consumer("K", k) for k in range(2, 400, 5)] + [consumer("L", k) for k in range(100)])
        assert not [m for m in gone + back if "error" in m]
    with Load(churn) as load:
        while load.rounds[0] < 4 and load.error is None:
            streams = dict(details(s, "?consumers=1&config=1")[0][1])
            assert streams["M"] == streams["N"] == names
            for listed in streams.values():
                assert listed == sorted(set(listed))
            assert s.get("/varz")["jetstream"]["stats"]["accounts"] == 1
    assert sorted(details(s, "?consumers=1")[0][1]) == \
        [("K", names), ("L", sorted(f"D{k}" for k in range(100))), ("M", names), ("N", names)]
    s.stop()


def test_connz_remembers_closed_clients_and_why(pair):
    s, a, b = pair
    a.s.close()
    refused = Raw(s)
    refused.info()
    refused.send(b'CONNECT {"user":"a","pass":"no"}\r\n').rest()
    eventually(lambda: s.get("/connz?state=closed")["total"] == 3)
    closed = s.get("/connz?state=closed&auth=1&sort=reason")["connections"]
    assert [c["reason"] for c in closed] == ["Authentication Failure", "Client Closed", "Client Closed"]
    one = s.get("/connz?state=closed&auth=1&acc=A")["connections"][0]
    assert (one["name"], one["authorized_user"], one["in_msgs"], one["out_msgs"]) == ("one", "a", 1, 1)
    assert one["stop"] >= one["start"]
    assert s.get("/connz?state=all")["total"] == 4 and s.get("/connz")["total"] == 1


def test_closed_clients_are_kept_in_bounds(tmp_path):
    s = Server(tmp_path, conf="max_closed_clients: 4\nloops: 1\n").start()
    for _ in range(12):
        connect(s).s.close()
    eventually(lambda: s.get("/varz")["connections"] == 0 and s.get("/varz")["total_connections"] >= 12)
    cids = [c["cid"] for c in s.get("/connz?state=closed")["connections"]]
    assert len(cids) == 5 and min(cids) > 7  # the last ones
    s.stop()


def test_subsz_counts_and_lists(pair):
    s, a, b = pair
    counts = s.get("/subsz")
    assert counts["total"] == 0 and "subscriptions_list" not in counts
    assert counts["num_inserts"] - counts["num_removes"] == counts["num_subscriptions"]
    assert counts["num_matches"] >= 1 and 0 <= counts["cache_hit_rate"] <= 1
    listed = s.get("/subsz?subs=1&acc=A")["subscriptions_list"]
    assert sorted((x["subject"], x["sid"], x.get("qgroup"), x["msgs"], x.get("max")) for x in listed) \
        == [("x", "1", None, 1, None), ("y.*", "2", "q", 0, 5)]
    assert s.get("/subsz?subs=1&test=y.z")["total"] == 1
    assert bad(s, "/subsz?subs=1&test=y.*").startswith("invalid test subject, must be valid publish")


def test_accountz_shows_what_is_configured(pair):
    s, a, b = pair
    assert set(s.get("/accountz")["accounts"]) == {"$G", "$SYS", "A", "B"}
    detail = s.get("/accountz?acc=A")["account_detail"]
    assert detail["client_connections"] == 1
    assert detail["mappings"] == {"old.*": [{"subject": "new.$1", "weight": 100}]}
    assert detail["exports"] == [
        {"subject": "svc", "type": "service", "response_type": "Singleton", "approved_accounts": ["B"]},
        {"subject": "st.>", "type": "stream"}]
    assert s.get("/accountz?acc=B")["account_detail"]["imports"][0]["local_subject"] == "mine"
    assert bad(s, "/accountz?acc=NOPE") == "Account NOPE does not exist"


def test_accountz_lists_all_there_is(tmp_path):
    """Hundreds of accounts; and sections of a configuration that reloads replace while they are written."""
    many = [f"M{i}" for i in range(300)]

    def conf(count):
        exports = ", ".join(f'{{service: "svc.{i}", response_type: stream}}' for i in range(count))
        imports = ", ".join(f'{{service: {{account: X, subject: "svc.{i}"}}, to: "my.{i}"}}' for i in range(count))
        mappings = ", ".join(f'"old.{i}": "new.{i}"' for i in range(count))
        return "accounts {\n" + "".join(f"{m} {{}}\n" for m in many) + f"X {{ exports: [{exports}] }}\n" \
            f"Y {{ mappings: {{ {mappings} }}, imports: [{imports}] }}\nNONE {{}}\n}}\n"
    s = Server(tmp_path, conf=conf(400)).start()
    o = s.get("/accountz")
    assert list(o) == ["server_id", "now", "system_account", "accounts"]
    assert sorted(o["accounts"]) == sorted(["$G", "$SYS", "X", "Y", "NONE"] + many)
    x, y = (s.get(f"/accountz?acc={name}")["account_detail"] for name in "XY")
    assert [e["subject"] for e in x["exports"]] == [f"svc.{i}" for i in range(400)]
    assert [i["to"] for i in y["imports"]] == [f"my.{i}" for i in range(400)]
    assert y["mappings"] == {f"old.{i}": [{"subject": f"new.{i}", "weight": 100}] for i in range(400)}
    assert {"exports", "imports", "mappings"} & set(s.get("/accountz?acc=NONE")["account_detail"]) == set()

    asked = 0

    def ask():
        nonlocal asked
        for name, section in (("X", "exports"), ("Y", "imports"), ("Y", "mappings")):
            assert len(s.get(f"/accountz?acc={name}")["account_detail"].get(section, [])) in range(401)
        asked += 1
    with Load(ask, ask):
        for count in (3, 400, 0, 400, 7):
            before = asked
            assert "Reloaded" in s.reload(conf(count))
            eventually(lambda: asked > before, what="an answer")
    assert len(s.get("/accountz?acc=X")["account_detail"]["exports"]) == 7
    s.stop()


def test_routez_lists_the_interest_of_who_comes_and_goes(tmp_path):
    """Each answer is whole JSON, also when a route ends while its interest is being written."""
    port = free_port()
    one = Server(tmp_path, "one", conf=f'cluster {{ name: C, listen: "127.0.0.1:{port}" }}\n').start()
    two = Server(tmp_path, "two", conf=f'cluster {{ name: C, listen: "127.0.0.1:{free_port()}", '
                 f'routes: ["nats://127.0.0.1:{port}"] }}\n').start()
    for _ in range(2):
        eventually(lambda: one.get("/routez")["num_routes"] == 4, what="the routes of a pool")
        c = connect(two)
        c.send(b"".join(b"SUB foo.%d q %d\r\n" % (i, i) for i in range(20000)) + b"PING\r\n").until(b"PONG\r\n")
        eventually(lambda: sum(r["subscriptions"] for r in one.get("/routez")["routes"]) == 20000, what="the interest")
        listed = one.get("/routez?subs=1")["routes"]
        assert sorted(x for r in listed for x in r["subscriptions_list"]) == sorted(f"foo.{i}" for i in range(20000))
        detail = one.get("/routez?subs=detail")["routes"]
        for r in detail:
            assert {(x["qgroup"], x["cid"]) for x in r["subscriptions_list_detail"]} <= {("q", r["rid"])}
        assert sum(len(r["subscriptions_list_detail"]) for r in detail) == 20000
        with Load(lambda: one.get("/routez?subs=detail"), lambda: one.get("/routez?subs=1")) as load:
            eventually(lambda: min(load.rounds) > 0 or load.error, what="answers")
            two.kill()
            eventually(lambda: one.get("/routez")["num_routes"] == 0, what="the end of the routes")
        two.start()
    two.stop()
    one.stop()


def shape(value):
    """Field names and types, without the values."""
    if isinstance(value, dict):
        return {k: shape(v) for k, v in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return "number" if isinstance(value, (int, float)) and not isinstance(value, bool) \
        else type(value).__name__


@pytest.mark.skipif(PEER is None, reason="nats-server is not installed: nothing to compare with")
@pytest.mark.parametrize("path", ["/connz?auth=1", "/connz?subs=1", "/connz?state=closed&acc=A", "/routez",
                                  "/accountz", "/healthz", "/subsz"])
def test_fields_are_those_of_nats_server(tmp_path, path):
    shapes = []
    for name, binary in (("ours", None), ("theirs", PEER)):
        s = Server(tmp_path, name, conf=CONF, binary=binary).start()
        clients = []
        for _ in range(2):
            c = connect(s, b'{"verbose":false,"user":"a","pass":"a","name":"n","lang":"l","version":"1"}')
            c.send(b"SUB x 1\r\nPUB x 0\r\n\r\nPING\r\n").until(b"PONG\r\n")
            clients.append(c)
        c.s.close()
        eventually(lambda: s.get("/connz?state=closed&acc=A")["total"] == 1)
        shapes.append(shape(s.get(path)))
        s.stop()
    ours, theirs = shapes
    assert ours == theirs


def test_a_base_path_goes_before_everything(tmp_path):
    s = Server(tmp_path, conf="http_base_path: nats/\n").start()
    assert s.get("/nats/varz")["port"] == s.port
    assert s.get("/nats/healthz")["status"] == "ok"
    for path in ("/varz", "/nats/", "/natsvarz", "/"):
        with pytest.raises(urllib.error.HTTPError) as e:
            urllib.request.urlopen(f"http://127.0.0.1:{s.http}{path}", timeout=5)
        assert e.value.code == 404, path
    s.stop()


VARZ = """server_tags: ["Region:EU", "ssd"]
server_metadata { rack: "7" }
max_subscriptions: 10
authorization { user: a, password: b, timeout: 3 }
"""
VARZ_OURS = {"server_id", "server_name", "version", "go", "port", "http_port", "start", "now", "uptime", "mem", "cpu",
             "subscriptions", "config_load_time", "config_digest", "feature_flags", "disk_io_wait_stats",
             "gomaxprocs", "git_commit", "http_req_stats"}


@pytest.mark.skipif(PEER is None, reason="nats-server is not installed: nothing to compare with")
def test_varz_says_what_nats_server_says(tmp_path):
    certs = Certificates()
    conf = VARZ + f'tls {{ cert_file: "{certs.server[0]}", key_file: "{certs.server[1]}", timeout: 3 }}\n'
    seen = []
    for name, binary in (("ours", None), ("theirs", PEER)):
        s = Server(tmp_path, name, conf=conf, binary=binary).start()
        eventually(lambda: s.get("/varz")["connections"] == 0)
        seen.append({k: v for k, v in s.get("/varz").items() if k not in VARZ_OURS})
        s.stop()
    assert seen[0] == seen[1]
    assert seen[0]["tags"] == ["region:eu", "ssd"] and seen[0]["metadata"] == {"rack": "7"}
    shutil.rmtree(certs.folder)


def spoken(server, request):
    """Everything that comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", server.http), timeout=5) as c:
        c.sendall(request)
        c.shutdown(socket.SHUT_WR)
        out = b""
        while chunk := c.recv(65536):
            out += chunk
    return out


def test_a_path_cannot_write_headers(core_server):
    out = spoken(core_server, b"GET //%0d%0aSet-Cookie:%20a=b%0d%0a%0d%0abody%5C HTTP/1.0\r\n\r\n")
    head, _, body = out.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 307 ") and b"\nSet-Cookie" not in head and body == b""
    assert b"\r\nLocation: /%0D%0ASet-Cookie:%20a=b%0D%0A%0D%0Abody%5C\r\n" in head


@pytest.mark.parametrize("head,answers", [
    (b"Content-Length: 36", 2),           # the body is not a request, what follows is one
    (b"content-length:36", 2),
    (b"Content-Length: 36\r\nContent-Length: 35", 1),
    (b"Content-Length: 0\r\nContent-Length: 36", 1),
    (b"Content-Length : 36", 1),          # some take this for a length, and some do not
    (b"Content-Length: x", 1),
    (b"Content-Length: -1", 1),
    (b"Transfer-Encoding: chunked", 1),   # its end is not looked for
    (b"Content-Length: 70000", 1),
])
def test_a_body_is_not_a_request(core_server, head, answers):
    smuggled = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n  "[:36].ljust(36)
    out = spoken(core_server, b"GET / HTTP/1.1\r\n" + head + b"\r\n\r\n" + smuggled +
                 b"GET /nowhere HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert out.count(b"HTTP/1.1 ") == answers and b'"status"' not in out
    assert (b"404 page not found" in out) == (answers == 2)


def ask_and_stay(server):
    """A connection that has had an answer."""
    s = socket.create_connection(("127.0.0.1", server.http), timeout=10)
    s.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
    assert s.recv(4096).startswith(b"HTTP/1.1 200 OK")
    return s


def test_who_stays_takes_nobodys_place(core_server):
    """More connections than there may be: the one that has been idle longest goes, and each new one is answered."""
    idle = []
    for _ in range(300):
        idle.append(ask_and_stay(core_server))
    assert idle[0].recv(4096) == b"" and idle[100].recv(4096) == b"", "closed for those that came later"
    assert core_server.get("/healthz") == {"status": "ok"}
    idle[-1].sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
    assert idle[-1].recv(4096).startswith(b"HTTP/1.1 200 OK"), "the last ones are there"
    assert sum(len(os.readlink(f"/proc/{core_server.process.pid}/fd/{fd}").partition("socket:")[1]) > 0
               for fd in os.listdir(f"/proc/{core_server.process.pid}/fd")) < 200
    for s in idle:
        s.close()


def test_names_cannot_break_json_or_metrics(tmp_path):
    name = 'a"b&<'
    s = Server(tmp_path, jetstream=True).start()
    c = connect(s)
    c.send(b"SUB in.* 1\r\n")

    def ask(subject, body, inbox):
        c.send(b"PUB %s in.%s %d\r\n%s\r\n" % (subject, inbox, len(body), body))
        c.until(b"MSG in.%s " % inbox)
        c.until(b"\r\n")
        return json.loads(c.until(b"}\r\n"))
    made = ask(b"$JS.API.STREAM.CREATE." + name.encode(), json.dumps({"name": name, "subjects": ["s"]}).encode(), b"1")
    assert made["config"]["name"] == name
    assert ask(b"s", b"x", b"2") == {"stream": name, "seq": 1}
    with urllib.request.urlopen(f"http://127.0.0.1:{s.http}/metrics") as r:
        text = r.read().decode()
    assert 'jetstream_stream_messages{account="$G",stream="a\\"b&<",leader="1"} 1\n' in text
    s.stop()


def test_bytes_that_are_no_text_do_not_break_json(core_server):
    c = connect(core_server)
    c.send(b"SUB a.\xff\xfe.b 1\r\nPING\r\n").until(b"PONG\r\n")
    assert ["a.\ufffd\ufffd.b"] in [k.get("subscriptions_list") for k in core_server.get("/connz?subs=1")["connections"]]
