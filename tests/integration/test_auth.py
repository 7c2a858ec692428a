"""Who may connect, and what they may do then. Where nats-server is installed, the same in both."""
import asyncio
import time

import nats
import nkeys
import pytest

from harness import Server
from peer import both
from raw import Raw, connect

SEED = nkeys.encode_seed(bytes(range(32)), nkeys.PREFIX_BYTE_USER)
PUBLIC = nkeys.from_seed(SEED).public_key.decode()


@both
def test_an_nkey_user_logs_in_by_signing_the_nonce(tmp_path, binary):
    s = Server(tmp_path, conf=f"authorization {{ users: [ {{ nkey: {PUBLIC} }} ] }}\n",
               binary=binary).start()
    seed = tmp_path / "user.nk"
    seed.write_bytes(SEED)

    async def use():
        nc = await nats.connect(s.url, nkeys_seed=str(seed))
        sub = await nc.subscribe("x")
        await nc.publish("x", b"1")
        assert (await sub.next_msg(timeout=5)).data == b"1"
        await nc.close()
    asyncio.run(use())
    c = Raw(s)
    assert len(c.info()["nonce"]) == 15
    c.send(b'CONNECT {"nkey":"%s","sig":"AAAA"}\r\nPING\r\n' % PUBLIC.encode())
    assert b"-ERR 'Authorization Violation'" in c.rest()
    s.stop()


@both
def test_connection_types_exclude_plain_clients(tmp_path, binary):
    s = Server(tmp_path, binary=binary, conf="""authorization { users: [
      { user: ws, password: x, allowed_connection_types: [WEBSOCKET] }
      { user: std, password: x, allowed_connection_types: "standard" } ] }\n""").start()
    connect(s, b'{"verbose":false,"user":"std","pass":"x"}')
    c = Raw(s)
    c.info()
    assert b"-ERR 'Authorization Violation'" in c.send(b'CONNECT {"user":"ws","pass":"x"}\r\n').rest()
    s.stop()


@both
def test_allow_responses_lets_a_service_answer_once(tmp_path, binary):
    s = Server(tmp_path, binary=binary, conf="""authorization { users: [
      { user: svc, password: x, permissions: { subscribe: "req", allow_responses: true } }
      { user: two, password: x, permissions: { subscribe: "req2", allow_responses: { max: 2 } } }
      { user: cli, password: x } ] }\n""").start()
    client = connect(s, b'{"verbose":false,"user":"cli","pass":"x"}')
    client.send(b"SUB inbox.* 1\r\nPING\r\n").until(b"PONG\r\n")
    for user, subject, answers in ((b"svc", b"req", 1), (b"two", b"req2", 2)):
        service = connect(s, b'{"verbose":false,"user":"%s","pass":"x"}' % user)
        service.send(b"SUB %s 1\r\nPING\r\n" % subject).until(b"PONG\r\n")
        client.send(b"PUB %s inbox.%s 1\r\nq\r\n" % (subject, user))
        service.until(b"q\r\n")
        service.send(b"PUB inbox.%s 1\r\na\r\n" % user * 3 + b"PUB other 1\r\na\r\nPING\r\n")
        out = service.until(b"PONG\r\n")
        denied = b"-ERR 'Permissions Violation for Publish to \"inbox.%s\"'" % user
        assert out.count(denied) == 3 - answers
        assert b"-ERR 'Permissions Violation for Publish to \"other\"'" in out
        got = client.send(b"PING\r\n").until(b"PONG\r\n")
        assert got.count(b"MSG inbox.%s" % user) == answers
    s.stop()


@both
def test_system_account_users_alone_do_not_close_the_door(tmp_path, binary):
    """CVE-2023-47090: with an authorization block as well, credentials are demanded."""
    system = "accounts { $SYS { users: [ {user: admin, password: x} ] } }\n"
    s = Server(tmp_path, "open", conf=system, binary=binary).start()
    connect(s)
    s.stop()
    s = Server(tmp_path, "closed", binary=binary,
               conf=system + "authorization { users: [ {user: a, password: b} ] }\n").start()
    c = Raw(s)
    assert c.info()["auth_required"] is True
    assert b"-ERR 'Authorization Violation'" in c.send(b"PING\r\n").rest()
    s.stop()


@both
@pytest.mark.parametrize("conf,info,varz,anonymous", [
    ("", True, True, True),
    ("authorization { timeout: 2 }", True, True, False),
    ("authorization { users: [] }", True, True, False),
    ("authorization { users: [ {user: u, password: p} ] }\nno_auth_user: u", False, True, True),
])
def test_who_is_let_in_without_credentials(tmp_path, conf, info, varz, anonymous, binary):
    """The whole table, row by row: tests/unit/door_test.c."""
    s = Server(tmp_path, binary=binary, conf="accounts { $SYS { users: [ {user: admin, password: x} ] } }\n" + conf).start()
    c = Raw(s)
    assert c.info().get("auth_required", False) is info
    assert s.get("/varz").get("auth_required", False) is varz
    c.send(b'CONNECT {"verbose":false}\r\nPING\r\n')
    assert c.until(b"\r\n") == b"PONG\r\n" if anonymous else b"Authorization Violation" in c.rest()
    s.stop()


@pytest.mark.parametrize("first", [b"PING\r\n", b"SUB x 1\r\n", b"PUB x 0\r\n\r\n", b"CONNECT {}\r\n"])
def test_no_operation_gets_in_without_credentials(tmp_path, first):
    """GHSA-38x3, GHSA-hmmp: one admission for every first operation."""
    s = Server(tmp_path, conf="authorization { user: a, password: b }\n").start()
    c = Raw(s)
    c.info()
    out = c.send(first + b"PING\r\n").rest()
    assert b"-ERR 'Authorization Violation'" in out and b"PONG" not in out
    s.stop()


def test_guessing_gets_slower(tmp_path):
    s = Server(tmp_path, conf="loops: 1\nauthorization { user: a, password: b }\n").start()

    def guess():
        c = Raw(s)
        c.info()
        begin = time.monotonic()
        assert b"-ERR 'Authorization Violation'" in c.send(b'CONNECT {"user":"a","pass":"x"}\r\n').rest()
        return time.monotonic() - begin
    times = [guess() for _ in range(16)]
    assert min(times[13:]) > 0.06  # 10 are free, then 20, 40, 80 … ms
    connect(s, b'{"verbose":false,"user":"a","pass":"b"}')  # who knows it does not wait
    s.stop()


def test_no_secret_is_ever_logged(tmp_path):
    s = Server(tmp_path, args=["-DV"], conf='authorization { users: [ {user: a, password: s3cr3t} ] }\n')
    s.start()
    for password in (b"s3cr3t", b"wr0ng"):
        c = Raw(s)
        c.info()
        c.send(b'CONNECT {"user":"a","PASS":"%s","auth_token":"t0ken","AUTH_token":"t0ken","Jwt":"t0ken","SIG":"t0ken",'
               b'"nkey":"t0ken","NKey":"t0ken","Password":"t0ken","seed":"t0ken","more":{"pass":"t0ken"}}\r\nPING\r\n' % password)
        c.until(b"PONG" if password == b"s3cr3t" else b"Violation")
    s.stop()
    for secret in ("s3cr3t", "wr0ng", "t0ken"):
        assert secret not in s.text()


@both
def test_a_second_connect_without_credentials_goes_on_with_the_first(tmp_path, binary):
    s = Server(tmp_path, binary=binary, conf="""authorization { users: [
      { user: a, password: a, permissions: { publish: "mine" } } ] }\n""").start()
    c = connect(s, b'{"verbose":false,"pedantic":false,"user":"a","pass":"a"}')
    c.send(b'CONNECT {"verbose":false,"name":"again"}\r\nSUB > 1\r\nPUB mine 1\r\nx\r\nPUB other 1\r\nx\r\nPING\r\n')
    out = c.until(b"PONG\r\n")
    assert b"MSG mine 1 1\r\nx" in out and b"MSG other" not in out
    assert b'Permissions Violation for Publish to "other"' in out
    refused = connect(s, b'{"verbose":false,"user":"a","pass":"a"}')
    assert b"Authorization Violation" in refused.send(b'CONNECT {"user":"a","pass":"b"}\r\n').rest()
    s.stop()
