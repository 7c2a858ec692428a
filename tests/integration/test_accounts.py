"""Accounts, what they exchange, and mappings; the same on nats-server where it is installed."""
import collections
import subprocess

from harness import BINARY, Cluster, Server, eventually
from peer import both
from raw import Raw, connect


def login(server, user):
    return connect(server, b'{"verbose":false,"pedantic":false,"headers":true,"no_responders":true,'
                           b'"user":"%s","pass":"%s"}' % (user, user))


def sync(c):
    return c.send(b"PING\r\n").until(b"PONG\r\n")


def accounts(a, b, c=""):
    return ("accounts {\n A { users: [ {user: a, password: a} ], %s }\n"
            " B { users: [ {user: b, password: b} ], %s }\n"
            " C { users: [ {user: c, password: c} ], %s } }\n") % (a, b, c)


@both
def test_accounts_are_worlds_of_their_own(tmp_path, binary):
    s = Server(tmp_path, conf=accounts("", ""), binary=binary).start()
    a, b = login(s, b"a"), login(s, b"b")
    b.send(b"SUB > 1\r\n")
    sync(b)
    a.send(b"PUB x 1\r\n1\r\n")
    sync(a)
    assert b"MSG" not in sync(b)
    s.stop()


STREAMS = accounts('exports: [ {stream: "st.>"}, {stream: "pair.*.*"}, {stream: "sec", accounts: [C]} ]',
                   'imports: [ {stream: {account: A, subject: "st.>"}, prefix: "from.a"},'
                   ' {stream: {account: A, subject: "pair.*.*"}, to: "swap.$2.$1"} ]')


@both
def test_a_stream_import_is_seen_under_local_subjects(tmp_path, binary):
    s = Server(tmp_path, conf=STREAMS, binary=binary).start()
    a, b = login(s, b"a"), login(s, b"b")
    b.send(b"SUB from.a.st.x 1\r\nSUB from.> 2\r\nSUB from.*.st.* q 3\r\nSUB swap.*.b 4\r\n"
           b"SUB sec 5\r\nSUB st.x 6\r\n")
    sync(b)
    a.send(b"PUB st.x rep 2\r\nhi\r\nPUB pair.b.c 1\r\n1\r\nPUB pair.c.b 1\r\n2\r\nPUB sec 1\r\n3\r\n")
    sync(a)
    out = sync(b)
    assert b"MSG from.a.st.x 1 rep 2\r\nhi\r\n" in out
    assert b"MSG from.a.st.x 2 rep 2\r\nhi\r\n" in out
    assert b"MSG from.a.st.x 3 rep 2\r\nhi\r\n" in out
    assert b"MSG swap.c.b 4 1\r\n1\r\n" in out
    assert out.count(b"MSG") == 4
    b.send(b"UNSUB 1\r\nUNSUB 2\r\nUNSUB 3\r\n")
    sync(b)
    a.send(b"PUB st.x 0\r\n\r\n")
    sync(a)
    assert b"MSG" not in sync(b)
    s.stop()


def test_unsub_max_counts_imported_messages(tmp_path):
    """nats-server 2.15.2 lets all five through: the limit does not reach what the import added."""
    s = Server(tmp_path, conf=STREAMS).start()
    a, b = login(s, b"a"), login(s, b"b")
    b.send(b"SUB from.a.st.* 1\r\nUNSUB 1 2\r\n")
    sync(b)
    a.send(b"PUB st.x 0\r\n\r\n" * 5)
    sync(a)
    assert sync(b).count(b"MSG from.a.st.x") == 2
    s.stop()


SERVICES = accounts('exports: [ {service: "svc.*"}, {service: "many", response_type: stream},'
                    ' {service: "chunks", response_type: chunked}, {service: "of.*", account_token_position: 2} ]',
                    'imports: [ {service: {account: A, subject: "svc.add"}, to: "my.add"},'
                    ' {service: {account: A, subject: "many"}}, {service: {account: A, subject: "chunks"}},'
                    ' {service: {account: A, subject: "of.B"}, to: "mine"} ]')


def request(requester, responder, subject, there):
    """Publishes a request; returns the reply subject that the responder sees."""
    requester.send(b"PUB %s inbox.1 2\r\nhi\r\n" % subject)
    head = responder.until(b"hi\r\n")
    line = head.split(b"HMSG ")[1].split(b"\r\n")[0].split(b" ")
    assert line[0] == there
    assert b'Nats-Request-Info: {"acc":"B"' in head
    return line[2]


@both
def test_a_service_import_reaches_the_service_and_the_answer_comes_back(tmp_path, binary):
    s = Server(tmp_path, conf=SERVICES, binary=binary).start()
    a, b = login(s, b"a"), login(s, b"b")
    b.send(b"SUB inbox.* 1\r\n")
    sync(b)
    b.send(b"PUB my.add inbox.1 0\r\n\r\n")  # nobody serves yet
    subject = b"my.add"
    n = 32 + len(subject)
    assert b"HMSG inbox.1 1 %d %d\r\nNATS/1.0 503\r\nNats-Subject: my.add\r\n" % (n, n) in sync(b)
    a.send(b"SUB svc.* 1\r\nSUB many 2\r\nSUB chunks 3\r\nSUB of.* 4\r\n")
    sync(a)
    reply = request(b, a, b"my.add", b"svc.add")
    assert reply.startswith(b"_R_.")
    a.send(b"PUB %s 1\r\n1\r\nPUB %s 1\r\n2\r\n" % (reply, reply))
    sync(a)
    out = sync(b)
    assert b"MSG inbox.1 1 1\r\n1\r\n" in out and out.count(b"MSG") == 1  # one answer only
    reply = request(b, a, b"many", b"many")
    a.send(b"PUB %s 1\r\n1\r\nPUB %s 0\r\n\r\nPUB %s 1\r\n3\r\n" % (reply, reply, reply))
    sync(a)
    assert sync(b).count(b"MSG inbox.1") == 2  # the empty one ends it
    reply = request(b, a, b"chunks", b"chunks")
    a.send(b"PUB %s 1\r\n1\r\nPUB %s 0\r\n\r\nPUB %s 1\r\n3\r\n" % (reply, reply, reply))
    sync(a)
    assert sync(b).count(b"MSG inbox.1") == 2
    request(b, a, b"mine", b"of.B")
    s.stop()


def test_nobody_can_pretend_to_be_another_account(tmp_path):
    """CVE-2026-33246: the header is the server's, in whatever case, folded or repeated."""
    s = Server(tmp_path, conf=SERVICES).start()
    a, b = login(s, b"a"), login(s, b"b")
    a.send(b"SUB svc.* 1\r\n")
    sync(a)
    headers = (b"NATS/1.0\r\nnats-request-INFO: {\"acc\":\"X\"}\r\n folded: 1\r\nKeep: 1\r\n"
               b"Nats-Request-Info : y\r\nNats-Request-Info: z\r\n\r\n")
    b.send(b"HPUB my.add inbox.1 %d %d\r\n%shi\r\n" % (len(headers), len(headers) + 2, headers))
    out = a.until(b"hi\r\n")
    assert out.lower().count(b"nats-request-info") == 1 and b'{"acc":"B"' in out
    assert b"Keep: 1\r\n" in out and b"folded" not in out and b'"X"' not in out
    s.stop()


def test_a_reply_subject_that_is_itself_imported_does_not_go_in_circles(tmp_path):
    s = Server(tmp_path, conf=SERVICES).start()
    a, b = login(s, b"a"), login(s, b"b")
    a.send(b"SUB svc.* 1\r\n")
    sync(a)
    b.send(b"PUB my.add my.add 2\r\nhi\r\n")
    reply = a.until(b"hi\r\n").split(b" ")[3]
    a.send(b"PUB %s 2\r\nhi\r\n" % reply * 3)
    sync(a)
    sync(b)
    s.stop()


def test_imports_work_between_nodes(tmp_path):
    cluster = Cluster(tmp_path, size=2, conf=SERVICES.replace(
        "exports: [", 'exports: [ {stream: "st.>"},').replace(
        "imports: [", 'imports: [ {stream: {account: A, subject: "st.>"}, prefix: p},'),
        jetstream=False)
    for s in cluster.servers:
        s.start()
    from harness import eventually
    for s in cluster.servers:
        eventually(lambda: s.get("/routez")["num_routes"] > 0, what="the route")
    a, b = login(cluster[0], b"a"), login(cluster[1], b"b")
    a.send(b"SUB svc.* 1\r\n")
    b.send(b"SUB inbox.* 1\r\nSUB p.> 2\r\n")
    sync(a)
    sync(b)

    def arrives():
        a.send(b"PUB st.x 0\r\n\r\n")
        sync(a)
        return b"MSG p.st.x 2" in sync(b)
    eventually(arrives, what="the imported stream")

    def served():
        b.send(b"PUB my.add inbox.1 2\r\nhi\r\n")
        return b"503" not in sync(b)
    eventually(served, what="the service's interest")
    reply = a.until(b"hi\r\n").split(b"HMSG ")[1].split(b" ")[2]
    a.send(b"PUB %s 2\r\nyo\r\n" % reply)
    b.until(b"MSG inbox.1 1 2\r\nyo\r\n")
    cluster.stop()


def test_reload_changes_imports_of_connected_clients(tmp_path):
    exports = 'exports: [ {stream: "st.>"}, {service: "svc"} ]'
    with_imports = accounts(exports, 'imports: [ {stream: {account: A, subject: "st.>"}, prefix: p},'
                                     ' {service: {account: A, subject: "svc"}} ]')
    s = Server(tmp_path, conf=accounts(exports, "")).start()
    a, b = login(s, b"a"), login(s, b"b")
    a.send(b"SUB svc 1\r\n")
    b.send(b"SUB p.> 1\r\n")
    sync(a)
    sync(b)

    def arrived():
        a.send(b"PUB st.x 0\r\n\r\n")
        b.send(b"PUB svc 2\r\nhi\r\n")
        from_b = sync(a)
        out = sync(b)
        from_b += sync(a)
        return b"MSG p.st.x 1" in out, b"HMSG svc 1" in from_b
    assert arrived() == (False, False)
    s.reload(with_imports)
    assert arrived() == (True, True)
    s.reload(accounts(exports, ""))
    assert arrived() == (False, False)
    s.stop()


@both
def test_account_limits(tmp_path, binary):
    s = Server(tmp_path, binary=binary, conf=accounts(
        "limits { max_connections: 1, max_subscriptions: 2, max_payload: 10 }", "")).start()
    a = Raw(s)
    a.info()
    a.send(b'CONNECT {"verbose":false,"protocol":1,"user":"a","pass":"a"}\r\nPING\r\n').until(b"PONG\r\n")
    assert a.info()["max_payload"] == 10
    a.send(b"SUB x 1\r\nSUB y 2\r\nSUB z 3\r\n")
    assert b"-ERR 'maximum subscriptions exceeded'" in sync(a)
    second = Raw(s)
    second.info()
    out = second.send(b'CONNECT {"user":"a","pass":"a"}\r\nPING\r\n').rest()
    assert b"-ERR 'maximum account active connections exceeded'" in out
    assert b"-ERR 'Maximum Payload Violation'" in a.send(b"PUB x 11\r\n").rest()
    s.stop()


MAPPINGS = """mappings {
  "one.*": "two.$1"
  "half": [ {destination: left, weight: 50%}, {destination: right, weight: 50%} ]
  "some": [ {destination: other, weight: 20%} ]
  "drop": [ {destination: drop, weight: 0%} ]
  "part.*": "{{partition(3,1)}}.$1"
}\n"""


@both
def test_mappings_rewrite_what_clients_publish(tmp_path, binary):
    s = Server(tmp_path, conf=MAPPINGS, binary=binary).start()
    c = connect(s)
    c.send(b"SUB > 1\r\n")
    c.send(b"PUB one.a 1\r\nx\r\nPUB part.abc 0\r\n\r\n" + b"PUB half 0\r\n\r\n" * 400 +
           b"PUB some 0\r\n\r\n" * 400 + b"PUB drop 0\r\n\r\n" * 50)
    seen = collections.Counter(line.split(b" ")[1] for line in sync(c).split(b"\r\n")
                               if line.startswith(b"MSG"))
    assert seen[b"two.a"] == 1 and seen[b"2.abc"] == 1
    assert seen[b"left"] + seen[b"right"] == 400 and 140 < seen[b"left"] < 260
    assert seen[b"some"] + seen[b"other"] == 400 and 40 < seen[b"other"] < 130
    assert b"drop" not in seen and b"half" not in seen and b"one.a" not in seen
    s.stop()


def test_mappings_for_a_cluster_count_only_there_and_reload(tmp_path):
    mapping = 'mappings { "x": [ {destination: there, weight: 100, cluster: %s} ] }\n'
    cluster = 'cluster { name: C1, listen: "127.0.0.1:-1" }\n'
    s = Server(tmp_path, conf=cluster + mapping % "C2").start()
    c = connect(s)
    c.send(b"SUB > 1\r\nPUB x 0\r\n\r\n")
    assert b"MSG x 1" in sync(c)
    s.reload(cluster + mapping % "C1")
    c.send(b"PUB x 0\r\n\r\n")
    assert b"MSG there 1" in sync(c)
    s.stop()


def quiet(client):
    """All that came for a client until it had its PONG."""
    return client.send(b"PING\r\n").until(b"PONG\r\n")


USERS = "users: [ {user: %s, password: %s} ]"


@both
def test_a_subject_that_two_accounts_serve_reaches_both(tmp_path, binary):
    s = Server(tmp_path, binary=binary, conf=f"""accounts {{
      A {{ {USERS % ("a", "a")}, exports: [ {{service: svc}} ] }}
      B {{ {USERS % ("b", "b")}, exports: [ {{service: svc}} ] }}
      C {{ {USERS % ("c", "c")}, imports: [ {{service: {{account: A, subject: svc}}, to: x}}
                                            {{service: {{account: B, subject: svc}}, to: x}} ] }} }}\n""").start()
    servers = [login(s, b"a"), login(s, b"b")]
    for each in servers:
        each.send(b"SUB svc 1\r\nPING\r\n").until(b"PONG\r\n")
    c = login(s, b"c").send(b"SUB in 1\r\nPUB x in 1\r\nq\r\n")
    for each, name in zip(servers, (b"A", b"B")):
        reply = each.until(b"\r\n").split()[3]
        each.send(b"PUB %s 1\r\n%s\r\n" % (reply, name))
        c.until(b"MSG in 1 1\r\n%s\r\n" % name)
    s.stop()
    for twice in ("svc", "other"):  # from one account it is a mistake
        path = tmp_path / "twice.conf"
        path.write_text(f"""accounts {{ A {{ exports: [ {{service: svc}}, {{service: other}} ] }}
          C {{ imports: [ {{service: {{account: A, subject: svc}}, to: x}}
                          {{service: {{account: A, subject: {twice}}}, to: x}} ] }} }}\n""")
        done = subprocess.run([binary or BINARY, "-c", str(path), "-t"], capture_output=True, text=True, timeout=20)
        assert done.returncode == 1 and 'Duplicate service import subject "x"' in done.stderr


@both
def test_imports_that_lead_back_deliver_once(tmp_path, binary):
    s = Server(tmp_path, binary=binary, conf=f"""accounts {{
      A {{ {USERS % ("a", "a")}, exports: [ {{service: q}}, {{stream: q}} ] }}
      B {{ {USERS % ("b", "b")}, imports: [ {{service: {{account: A, subject: q}}}}, {{stream: {{account: A, subject: q}}}} ] }}
      }}\n""").start()
    a, b, member = login(s, b"a"), login(s, b"b"), login(s, b"b")
    for each, words in ((a, b"SUB q 1\r\n"), (b, b"SUB q 2\r\n"), (member, b"SUB q g 3\r\n")):
        each.send(words + b"PING\r\n").until(b"PONG\r\n")
    b.send(b"PUB q 1\r\nx\r\n")
    assert a.until(b"x\r\n").startswith(b"HMSG q 1 ")
    assert quiet(b) == b"MSG q 2 1\r\nx\r\nPONG\r\n"
    assert quiet(member) == b"MSG q 3 1\r\nx\r\nPONG\r\n" and quiet(a) == b"PONG\r\n"
    a.send(b"PUB q 1\r\ny\r\n")  # what A says itself comes by the stream
    assert b.until(b"y\r\n") == b"MSG q 2 1\r\ny\r\n" and member.until(b"y\r\n") == b"MSG q 3 1\r\ny\r\n"
    s.stop()


@both
def test_a_lowered_limit_of_connections_closes_what_is_too_much(tmp_path, binary):
    def conf(limit):
        return (f'accounts {{ A {{ {USERS % ("a", "a")}, limits {{ max_connections: {limit} }} }}\n'
                f'B {{ {USERS % ("b", "b")} }} }}\n')
    s = Server(tmp_path, binary=binary, conf=conf(6)).start()
    clients = [login(s, b"a") for _ in range(5)]
    other = login(s, b"b")
    assert "Reloaded server configuration" in s.reload(conf(2))
    eventually(lambda: sum(c["account"] == "A" for c in s.get("/connz?auth=1")["connections"]) == 2)
    gone = 0
    for c in clients:
        try:
            quiet(c)
        except (AssertionError, OSError):
            assert b"maximum account active connections exceeded" in c.data
            gone += 1
    assert gone == 3 and quiet(other) == b"PONG\r\n"
    s.stop()
