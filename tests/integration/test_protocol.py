"""The client protocol, byte by byte; and the same bytes against nats-server where it is installed."""
import re

import pytest

from harness import PEER, Server, eventually
from peer import both
from raw import Raw, connect


def test_publish_reaches_plain_and_queue_subscribers_once(core_server):
    c = connect(core_server)
    c.send(b"SUB foo.* 1\r\nSUB foo.bar q 2\r\nSUB foo.* q 3\r\nPUB foo.bar 000000002\r\nhi\r\nPING\r\n")
    out = c.until(b"PONG\r\n")
    assert out.count(b"MSG foo.bar") == 2  # one plain, one of the merged queue group
    assert b"MSG foo.bar 1 000000002\r\nhi\r\n" in out  # the size is echoed verbatim


def test_headers_and_clients_without_them(core_server):
    with_headers = connect(core_server, b'{"verbose":false,"pedantic":false,"headers":true}')
    without = connect(core_server)
    for c in (with_headers, without):
        c.send(b"SUB h 1\r\nPING\r\n").until(b"PONG\r\n")
    with_headers.send(b"HPUB h 12 14\r\nNATS/1.0\r\n\r\nhi\r\nPING\r\n")
    assert b"HMSG h 1 12 14\r\nNATS/1.0\r\n\r\nhi\r\n" in with_headers.until(b"PONG\r\n")
    assert b"MSG h 1 2\r\nhi\r\n" in without.until(b"hi\r\n")


def test_no_responders_is_as_long_as_it_says(core_server):
    """A NUL in a subject is no end of it."""
    c = connect(core_server, b'{"verbose":false,"pedantic":false,"headers":true,"no_responders":true}')
    c.send(b"SUB r.* 1\r\nPUB no\0body r.a\0b 1\r\nx\r\nPING\r\n")
    assert c.until(b"PONG\r\n") == (b"HMSG r.a\0b 1 39 39\r\nNATS/1.0 503\r\nNats-Subject: no\0body\r\n\r\n\r\nPONG\r\n")


def test_no_responders(core_server):
    c = connect(core_server,
                b'{"verbose":false,"pedantic":false,"headers":true,"no_responders":true}')
    c.send(b"SUB inbox.* 7\r\nPUB nobody inbox.1 0\r\n\r\nPING\r\n")
    n = 32 + len("nobody")
    expected = (b"HMSG inbox.1 7 %d %d\r\nNATS/1.0 503\r\nNats-Subject: nobody\r\n\r\n\r\n" % (n, n))
    assert expected in c.until(b"PONG\r\n")


def test_unsub_max_counts_deliveries(core_server):
    c = connect(core_server)
    c.send(b"SUB a 1\r\nUNSUB 1 2\r\n" + b"PUB a 1\r\nx\r\n" * 5 + b"PING\r\n")
    assert c.until(b"PONG\r\n").count(b"MSG a 1") == 2


def test_auto_unsubscribed_sid_can_be_used_again(core_server):
    c = connect(core_server)
    c.send(b"SUB a 1\r\nUNSUB 1 1\r\nPUB a 1\r\nx\r\nPING\r\n").until(b"PONG\r\n")
    c.send(b"PING\r\n").until(b"PONG\r\n")
    c.send(b"SUB b 1\r\nPUB b 1\r\ny\r\nPING\r\n")
    assert b"MSG b 1 1\r\ny" in c.until(b"PONG\r\n")


def test_echo_off(core_server):
    c = connect(core_server, b'{"verbose":false,"pedantic":false,"echo":false}')
    c.send(b"SUB a 1\r\nPUB a 1\r\nx\r\nPING\r\n")
    assert b"MSG" not in c.until(b"PONG\r\n")


def test_second_info_names_the_account_once(core_server):
    c = Raw(core_server)
    c.until(b"\r\n")
    c.send(b'CONNECT {"verbose":false,"protocol":1}\r\nPING\r\n').until(b"PONG\r\n")
    info = c.until(b"\r\n")
    assert b'"connect_info":true' in info and b'"remote_account":"$G"' in info
    c.send(b"PING\r\n")
    assert c.until(b"PONG\r\n") == b"PONG\r\n"


@pytest.mark.parametrize("data,error", [
    (b"NOPE\r\n", b"-ERR 'Unknown Protocol Operation'"),
    (b"PUB foo 2000000\r\n", b"-ERR 'Maximum Payload Violation'"),
    (b"SUB " + b"a" * 5000 + b" 1\r\n", b"-ERR 'maximum control line exceeded'"),
    (b'CONNECT {"protocol":9}\r\n', b"-ERR 'invalid client protocol'"),
    (b'CONNECT {"no_responders":true}\r\n', b"-ERR 'no responders requires headers support'"),
    (b'CONNECT {"account":"x"}\r\n', b"-ERR 'Authorization Violation'"),
    (b"PUB foo -1\r\n", b""), (b"CONNECT {bad\r\n", b""),
    (b"PUB foo 2\r\nhixx", b"-ERR 'Unknown Protocol Operation'"),
])
def test_errors_that_close(core_server, data, error):
    c = Raw(core_server)
    c.until(b"\r\n")
    c.send(data)
    out = c.rest()
    assert out.startswith(error) if error else b"-ERR" not in out


def test_violations_that_stay_open(core_server):
    c = connect(core_server)
    c.send(b"SUB a..b 1\r\nSUB x _sys_ 2\r\nPUB $GR.x 0\r\n\r\nPUB a $JS.ACK.x 0\r\n\r\nPING\r\n")
    out = c.until(b"PONG\r\n")
    assert b"-ERR 'Invalid Subject'" in out
    assert b"-ERR 'Permissions Violation for Subscription to \"x\" using queue \"_sys_\"'" in out
    assert b"-ERR 'Permissions Violation for Publish to \"$GR.x\"'" in out
    assert b"-ERR 'Permissions Violation for Publish with Reply of \"$JS.ACK.x\"'" in out


def test_slow_consumer_is_cut_and_others_are_not(tmp_path):
    s = Server(tmp_path, conf="max_pending: 2MB\n").start()
    slow, fast, pub = connect(s), connect(s), connect(s)
    slow.send(b"SUB big 1\r\nPING\r\n").until(b"PONG\r\n")
    fast.send(b"SUB small 1\r\nPING\r\n").until(b"PONG\r\n")
    message = b"PUB big 65536\r\n" + b"x" * 65536 + b"\r\n"
    for _ in range(400):
        pub.send(message)
    pub.send(b"PUB small 1\r\nx\r\nPING\r\n").until(b"PONG\r\n")
    assert b"MSG small 1 1" in fast.until(b"x\r\n")
    assert s.get("/varz")["slow_consumers"] == 1
    s.stop()


def test_authentication_timeout(tmp_path):
    s = Server(tmp_path, conf="authorization { user: a, password: b, timeout: 0.3 }\n").start()
    c = Raw(s)
    assert b'"auth_required":true' in c.until(b"\r\n")
    assert b"-ERR 'Authentication Timeout'" in c.rest()
    c = Raw(s)
    c.until(b"\r\n")
    assert b"-ERR 'Authorization Violation'" in c.send(b"PING\r\n").rest()
    s.stop()


def test_bcrypt_password(tmp_path):
    hashed = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"  # "secret"
    s = Server(tmp_path, conf=f'authorization {{ users: [ {{user: a, password: "{hashed}"}} ] }}\n')
    s.start()
    ok = connect(s, b'{"verbose":false,"user":"a","pass":"secret"}')
    ok.send(b"SUB x 1\r\nPUB x 1\r\ny\r\nPING\r\n")
    assert b"MSG x 1 1" in ok.until(b"PONG\r\n")
    c = Raw(s)
    c.until(b"\r\n")
    c.send(b'CONNECT {"user":"a","pass":"wrong"}\r\nPING\r\n')
    assert b"-ERR 'Authorization Violation'" in c.rest()
    s.stop()


@both
def test_limits_on_tokens_and_servers_without_headers(tmp_path, binary):
    s = Server(tmp_path, conf="max_sub_tokens: 3\nno_header_support: true\n", binary=binary).start()
    c = Raw(s)
    assert c.info()["headers"] is False
    c.send(b'CONNECT {"verbose":false,"headers":true}\r\nSUB a.b.c 1\r\nSUB a.b.c.d 2\r\nPING\r\n')
    out = c.until(b"PONG\r\n")
    assert out == (b"-ERR 'Permissions Violation for Subscription to \"a.b.c.d\", too many tokens'\r\n"
                   b"PONG\r\n")
    assert c.send(b"HPUB x 12 14\r\nNATS/1.0\r\n\r\nhi\r\nPING\r\n").rest() == b""
    s.stop()


SCRIPTS = [
    b'CONNECT {"verbose":true}\r\nSUB foo 1\r\nPUB foo 2\r\nhi\r\nUNSUB 1\r\nPUB foo 1\r\nx\r\nPING\r\n',
    b'CONNECT {"verbose":true,"pedantic":true}\r\nPUB foo.* 0\r\n\r\nSUB a..b 1\r\nSUB > 2\r\nPUB a.*.b 0\r\n\r\nPING\r\n',
    b'CONNECT {"verbose":false}\r\nsub foo q 1\r\nSuB  bar\t 2\npub foo 2\r\nhi\r\nPUB bar rep 3\r\nabc\r\nPING x\r\n',
    b'CONNECT {"verbose":false,"headers":true}\r\nSUB h 1\r\nHPUB h 12 14\r\nNATS/1.0\r\n\r\nhi\r\nHPUB h 0 2\r\nhi\r\nHPUB h 3 5\r\nabcde\r\nPING\r\n',
    b'CONNECT {"verbose":false}\r\nSUB a 1\r\nSUB b 1\r\nPUB a 1\r\nx\r\nPUB b 1\r\ny\r\nUNSUB 99\r\nUNSUB 1 abc\r\nPUB a 1\r\nz\r\nPING\r\n',
    b'CONNECT {"verbose":false}\r\nSUB * 1\r\nSUB a.> 2\r\nPUB a 0\r\n\r\nPUB a.b.c 0\r\n\r\nPUB .a 0\r\n\r\nPING\r\n',
    b'CONNECT {"verbose":false}\r\nPUB _R_.x 0\r\n\r\nPUB _GR_.x 0\r\n\r\nPUB x _R_.y 0\r\n\r\nPUB _GR_. 0\r\n\r\nPING\r\n',
    b'SUB foo 1\r\nPUB foo 2\r\nhi\r\nPING\r\n',
    b'CONNECT {}\r\nCONNECT {"verbose":false}\r\nSUB a 1\r\nCONNECT {"verbose":false}\r\nPUB a 1\r\nx\r\nPING\r\n',
]


@pytest.mark.skipif(PEER is None, reason="nats-server is not installed: nothing to compare with")
def test_same_bytes_same_answers_as_nats_server(tmp_path):
    ours = Server(tmp_path, "ours").start()
    theirs = Server(tmp_path, "theirs", binary=PEER).start()
    for script in SCRIPTS:
        answers = []
        for s in (ours, theirs):
            c = Raw(s)
            c.until(b"\r\n")
            out = c.send(script).until(b"PONG\r\n")
            answers.append(re.sub(rb"INFO \{[^\n]*\n", b"", out))
        assert answers[0] == answers[1], script
    ours.stop()
    theirs.stop()


def test_without_stalling_who_falls_behind_loses_messages_and_nobody_waits(tmp_path):
    s = Server(tmp_path, conf="no_fast_producer_stall: true\nmax_pending: 4MB\n").start()
    reader = connect(s)
    reader.send(b"SUB load 1\r\nPING\r\n").until(b"PONG\r\n")
    writer = connect(s)
    message = b"PUB load 65536\r\n" + b"x" * 65536 + b"\r\n"
    for _ in range(400):  # 26 MB that nobody reads
        writer.send(message)
    writer.send(b"PING\r\n").until(b"PONG\r\n")
    assert s.get("/varz")["stalled_clients"] == 0
    connz = s.get("/connz?sort=bytes_to")["connections"]
    assert len(connz) == 2 and connz[0]["out_msgs"] < 400  # still there, with fewer messages
    s.stop()


@both
def test_a_proxy_says_whom_it_speaks_for(tmp_path, binary):
    s = Server(tmp_path, conf="proxy_protocol: true\n", binary=binary)
    s.start(wait=False)
    eventually(lambda: "Server is ready" in s.text())
    v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc0\0\x02\x02\x13\x88\x10\x7e"
    for header, host, port in ((b"PROXY TCP4 192.0.2.9 192.0.2.2 5000 4222\r\n", "192.0.2.9", 5000),
                               (v2, "192.0.2.7", 5000), (b"PROXY UNKNOWN\r\n", "127.0.0.1", None)):
        c = Raw(s)
        c.send(header[:5])
        c.send(header[5:])
        assert c.info().get("client_ip", host) == host
        c.send(b'CONNECT {"verbose":false}\r\nPING\r\n').until(b"PONG\r\n")
        conn = s.get("/connz")["connections"][0]
        assert conn["ip"] == host and (port is None or conn["port"] == port)
        c.s.close()
        eventually(lambda: s.get("/connz")["total"] == 0)
    bad = Raw(s).send(b"PROXY TCP4 nonsense\r\nCONNECT {}\r\nPING\r\n")
    assert b"PONG" not in bad.rest()  # closed
    s.stop()
