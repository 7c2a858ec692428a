"""TLS on the client port, with real handshakes."""
import asyncio
import json
import shutil
import socket
import ssl
import subprocess

import nats
import pytest

from certs import Certificates, pin
from harness import BINARY, Server, eventually
from peer import both
from raw import Raw, connect


@pytest.fixture(scope="module")
def certs():
    c = Certificates()
    yield c
    shutil.rmtree(c.folder)


def block(certs, more="", server=None):
    cert, key = server or certs.server
    return f'tls {{ cert_file: "{cert}", key_file: "{key}", ca_file: "{certs.ca.pem}", {more} }}\n'


def client_context(certs, identity=None):
    context = ssl.create_default_context(cafile=certs.ca.pem)
    if identity:
        context.load_cert_chain(*identity)
    return context


class Secure(Raw):
    """A raw connection that does the handshake after INFO, or before it."""

    def __init__(self, server, certs, identity=None, first=False):
        super().__init__(server)
        if not first:
            self.first_info = self.info()
        self.s = client_context(certs, identity).wrap_socket(self.s, server_hostname="localhost")
        if first:
            self.first_info = self.info()

    def login(self, options=b'{"verbose":false,"pedantic":false}'):
        self.send(b"CONNECT " + options + b"\r\nPING\r\n").until(b"PONG\r\n")
        return self


@both
@pytest.mark.parametrize("key", ["server", "server_rsa"])
def test_messages_of_all_sizes_pass_between_secure_and_plain_loops(tmp_path, certs, key, binary):
    s = Server(tmp_path, conf=block(certs, server=getattr(certs, key)), binary=binary).start()

    async def use():
        context = client_context(certs)
        a = await nats.connect(f"tls://localhost:{s.port}", tls=context, tls_hostname="localhost")
        b = await nats.connect(f"tls://localhost:{s.port}", tls=context, tls_hostname="localhost")
        sub = await a.subscribe("x")
        await a.flush()
        sizes = [0, 1, 1000, 16383, 16384, 16385, 40000, 1048576] + list(range(0, 3000, 7))
        for n in sizes:
            await b.publish("x", b"z" * n)
        for i, n in enumerate(sizes):
            data = (await sub.next_msg(timeout=10)).data
            assert (i, len(data)) == (i, n) and data == b"z" * n, s.text()
        await a.close()
        await b.close()
    asyncio.run(use())
    s.stop()


def test_info_and_connz_speak_of_tls(tmp_path, certs):
    s = Server(tmp_path, conf=block(certs, "verify: true")).start()
    c = Secure(s, certs, certs.bob).login()
    assert c.first_info["tls_required"] is True and c.first_info["tls_verify"] is True
    shown = s.get("/connz")["connections"][0]
    assert shown["tls_version"] in ("1.2", "1.3")
    assert shown["tls_cipher_suite"].startswith("TLS_")
    s.stop()


def test_plain_bytes_on_a_tls_port_get_a_clear_error(tmp_path, certs):
    s = Server(tmp_path, conf=block(certs)).start()
    c = Raw(s)
    c.info()
    assert b"-ERR 'Secure Connection - TLS Required'" in c.send(b"CONNECT {}\r\nPING\r\n").rest()
    eventually(lambda: "TLS handshake error: tls: first record does not look like a TLS handshake"
               in s.text(), what="the reason in the log")
    s.stop()


def test_a_handshake_that_does_not_come_is_bounded(tmp_path, certs):
    s = Server(tmp_path, conf=block(certs, "timeout: 0.3")).start()
    silent = Raw(s)
    silent.info()
    half = Raw(s)
    half.info()
    half.send(b"\x16\x03\x01\x02\x00\x01")  # the beginning of a hello
    for c in (silent, half):
        c.rest()
    assert s.text().count("TLS handshake error: tls: timeout") == 2
    s.stop()


@pytest.mark.parametrize("who,reason", [
    (None, "tls: client didn't provide a certificate"),
    ("late", "x509: certificate has expired or is not yet valid"),
    ("stranger", "x509: certificate signed by unknown authority"),
])
def test_clients_without_a_good_certificate_are_refused(tmp_path, certs, who, reason):
    s = Server(tmp_path, conf=block(certs, "verify: true")).start()
    with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
        Secure(s, certs, who and getattr(certs, who)).login()
    eventually(lambda: reason in s.text(), what=reason)
    Secure(s, certs, certs.bob).login()
    s.stop()


@both
@pytest.mark.parametrize("user,who", [
    ("alice@example.org", "alice"),
    ("spiffe://x/alice", "alice"),
    ("CN=bob,O=T", "bob"),
    ("O=T,CN=bob", "bob"),  # the RDNs in another order
])
def test_the_certificate_says_who_a_client_is(tmp_path, certs, user, who, binary):
    s = Server(tmp_path, binary=binary, conf=block(certs, "verify_and_map: true") + f"""
        accounts {{ A {{ users: [ {{ user: "{user}" }} ] }} }}\n""").start()
    c = Secure(s, certs, getattr(certs, who)).login(b'{"verbose":false,"protocol":1}')
    assert c.info()["remote_account"] == "A"
    other = certs.bob if who == "alice" else certs.alice
    assert b"-ERR 'Authorization Violation'" in Secure(s, certs, other).send(
        b"CONNECT {}\r\nPING\r\n").rest()
    s.stop()


@both
@pytest.mark.parametrize("who", ["nul_san", "nul_cn"])
def test_a_name_with_a_nul_in_it_is_not_the_name_before_it(tmp_path, certs, who, binary):
    s = Server(tmp_path, binary=binary, conf=block(certs, "verify_and_map: true") + """
        authorization { users: [ { user: "admin" }, { user: "CN=admin" } ] }\n""").start()
    c = Secure(s, certs, getattr(certs, who))
    assert b"-ERR 'Authorization Violation'" in c.send(b"CONNECT {}\r\nPING\r\n").rest()
    s.stop()


@both
def test_a_certificate_and_a_password_are_two_factors(tmp_path, certs, binary):
    """The name in CONNECT does not matter, the certificate says who it is; the password does."""
    s = Server(tmp_path, binary=binary, conf=block(certs, "verify_and_map: true") + """
        authorization { users: [ { user: "CN=bob,O=T", password: b0b }, { user: eve, password: eve },
          { user: "alice@example.org", password: "$2a$04$TCbvjCvD3BCY8gIBFqa9sO4dDJHYVFe6u6yy3j0rEMWvmS3AFpcCC" } ] }
        """).start()

    def says(who, **words):
        return Secure(s, certs, who).send(b"CONNECT " + json.dumps(words).encode() + b"\r\nPING\r\n").rest()
    assert b"Authorization Violation" in says(certs.bob)
    assert b"Authorization Violation" in says(certs.bob, **{"pass": "eve", "user": "eve"})
    assert b"Authorization Violation" in says(certs.bob, **{"pass": "wrong", "user": "CN=bob,O=T"})
    assert b"Authorization Violation" in says(certs.alice, **{"pass": "wrong"})
    for words in (b'{"verbose":false,"pass":"b0b"}', b'{"verbose":false,"user":"eve","pass":"b0b"}'):
        Secure(s, certs, certs.bob).login(words)
    assert 'User "eve" found in connect proto, but user required from cert' in s.text()
    s.stop()


@both
def test_a_certificate_counts_where_there_are_users_to_be_named(tmp_path, certs, binary):
    s = Server(tmp_path, binary=binary, conf=block(certs, "verify_and_map: true") +
               "authorization { user: u, password: p }\n").start()
    Secure(s, certs, certs.bob).login(b'{"verbose":false,"user":"u","pass":"p"}')
    assert b"Authorization Violation" in Secure(s, certs, certs.bob).send(b"CONNECT {}\r\nPING\r\n").rest()
    s.stop()


def test_an_nkey_user_is_not_named_by_a_certificate(tmp_path, certs):
    key = "UAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3RLKK"
    named = certs.ca.issue("nkey", "/CN=x", f"DNS:{key}", "clientAuth")
    s = Server(tmp_path, conf=block(certs, "verify_and_map: true") +
               f"authorization {{ users: [ {{ nkey: {key} }}, {{ user: u }} ] }}\n").start()
    assert b"Authorization Violation" in Secure(s, certs, named).send(b"CONNECT {}\r\nPING\r\n").rest()
    s.stop()


@both
def test_a_missing_certificate_is_told(tmp_path, certs, binary):
    s = Server(tmp_path, binary=binary, conf=block(certs, "verify: true")).start()
    with pytest.raises(ssl.SSLError, match="ALERT_BAD_CERTIFICATE|ALERT_CERTIFICATE_REQUIRED|CERTIFICATE_REQUIRED"):
        c = Secure(s, certs)
        while c.s.recv(100):
            pass
    s.stop()


@both
def test_a_leaf_certificate_in_ca_file_is_trusted(tmp_path, certs, binary):
    trusted = tmp_path / "trusted.pem"
    trusted.write_text(open(certs.stranger[0]).read())
    s = Server(tmp_path, binary=binary,
               conf=block(certs, "verify: true").replace(certs.ca.pem, str(trusted))).start()
    Secure(s, certs, certs.stranger).login()
    with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
        Secure(s, certs, certs.bob).login()
    s.stop()


@both
@pytest.mark.parametrize("what,words", [
    ("cert_file", "4:3: error parsing X509 certificate/key pair: open /nowhere/file: no such file or directory"),
    ("key_file", "4:3: error parsing X509 certificate/key pair: open /nowhere/file: no such file or directory"),
    ("ca_file", "4:3: open /nowhere/file: no such file or directory"),
])
@pytest.mark.parametrize("where", ["  tls {\n", "  cluster { port: -1, tls {\n"])
def test_a_missing_file_is_named_with_its_place(tmp_path, certs, what, words, where, binary):
    path = tmp_path / "n.conf"
    files = dict(cert_file=certs.server[0], key_file=certs.server[1], ca_file=certs.ca.pem)
    files[what] = "/nowhere/file"
    inside = "\n".join(f'{k}: "{v}"' for k, v in files.items())
    path.write_text("port: -1\n\n\n" + where + inside + "\n}\n" * where.count("{"))
    for args in (["-t"], []):
        done = subprocess.run([binary or BINARY, "-c", str(path), *args], capture_output=True, text=True, timeout=20)
        place = words if "cluster" not in where else words.replace("4:3:", "4:23:")
        assert done.returncode == 1 and f"{path}:{place}" in done.stderr, done.stderr


@both
def test_only_pinned_certificates_get_in(tmp_path, certs, binary):
    pins = pin(certs.alice[0])
    s = Server(tmp_path, binary=binary,
               conf=block(certs, f'verify: true, pinned_certs: ["{pins}"]')).start()
    Secure(s, certs, certs.alice).login()
    with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
        Secure(s, certs, certs.bob).login()
    s.stop()


@both
def test_handshake_first(tmp_path, certs, binary):
    s = Server(tmp_path, conf=block(certs, "handshake_first: true"), binary=binary).start()
    c = Secure(s, certs, first=True).login()
    assert c.first_info["tls_required"] is True
    s.stop()


@both
def test_handshake_first_with_a_delay_takes_both_kinds(tmp_path, certs, binary):
    s = Server(tmp_path, conf=block(certs, 'handshake_first: "300ms"'), binary=binary).start()
    Secure(s, certs, first=True).login()
    Secure(s, certs, first=False).login()  # waits for INFO, which comes after the delay
    s.stop()


@both
def test_allow_non_tls_serves_plain_clients_as_well(tmp_path, certs, binary):
    s = Server(tmp_path, conf=block(certs) + "allow_non_tls: true\n", binary=binary).start()
    secure = Secure(s, certs).login()
    assert secure.first_info["tls_available"] is True and "tls_required" not in secure.first_info
    plain = connect(s)
    secure.send(b"SUB x 1\r\nPING\r\n").until(b"PONG\r\n")
    plain.send(b"PUB x 1\r\n1\r\n")
    secure.until(b"MSG x 1 1\r\n1\r\n")
    s.stop()


def test_old_versions_and_weak_suites_are_refused(tmp_path, certs):
    s = Server(tmp_path, conf=block(certs)).start()
    for limit in ("TLSv1_1", "CBC"):
        context = client_context(certs)
        if limit == "CBC":
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers("AES128-SHA:ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0")
        else:
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        c = Raw(s)
        c.info()
        with pytest.raises((ssl.SSLError, ConnectionError)):
            context.wrap_socket(c.s, server_hostname="localhost")
    s.stop()


def test_reload_brings_a_new_certificate_and_keeps_clients(tmp_path, certs):
    s = Server(tmp_path, conf=block(certs)).start()
    before = Secure(s, certs).login()
    log = s.reload(block(certs, server=certs.server_rsa))
    assert "Reloaded server configuration" in log
    after = Secure(s, certs).login()
    assert after.s.getpeercert()["subject"] == ((("commonName", "rsa"),),)
    before.send(b"SUB x 1\r\nPUB x 1\r\n1\r\n").until(b"MSG x 1 1\r\n1\r\n")
    bad = s.reload(block(certs, server=("/nowhere.pem", "/nowhere.key")))
    assert "Failed to reload" in bad and "/nowhere.pem" in bad
    Secure(s, certs).login()
    s.stop()


def test_more_connections_per_second_than_allowed_are_told_to_wait(tmp_path, certs):
    s = Server(tmp_path, conf=block(certs, "connection_rate_limit: 3")).start()
    refused = 0
    for _ in range(12):
        c = Raw(s)
        c.info()
        c.s.settimeout(0.2)
        try:
            refused += b"Connection throttling is active" in c.rest()
        except socket.timeout:
            pass
    assert refused >= 4
    s.stop()


def test_a_slow_secure_consumer_is_cut(tmp_path, certs):
    s = Server(tmp_path, conf=block(certs) + "allow_non_tls: true\nmax_pending: 2MB\n").start()
    slow = Secure(s, certs).login()
    slow.send(b"SUB big 1\r\nPING\r\n").until(b"PONG\r\n")
    pub = connect(s)
    message = b"PUB big 65536\r\n" + b"x" * 65536 + b"\r\n"
    for _ in range(400):
        pub.send(message)
    pub.send(b"PING\r\n").until(b"PONG\r\n")
    eventually(lambda: s.get("/varz")["slow_consumers"] == 1, what="the slow consumer cut")
    s.stop()


def test_check_of_the_configuration_loads_the_files(tmp_path, certs):
    conf = tmp_path / "x.conf"
    for text, well in ((block(certs), True), (block(certs, server=(certs.server[0], certs.alice[1])), False),
                       ('tls { cert_file: "/no" }\n', False), ("tls { no_such: 1 }\n", False)):
        conf.write_text(text)
        done = subprocess.run([BINARY, "-t", "-c", str(conf)], capture_output=True, text=True)
        assert (done.returncode == 0) == well, done.stderr


def test_https_monitoring_asks_nobody_for_a_certificate_and_follows_reloads(tmp_path, certs):
    s = Server(tmp_path)
    port = s.http
    s.base = s.base.replace("http:", "https:")

    def look():
        context = client_context(certs)
        with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
            with context.wrap_socket(plain, server_hostname="localhost") as secure:
                secure.sendall(b"GET /varz HTTP/1.0\r\n\r\n")
                answer = b""
                while chunk := secure.recv(65536):
                    answer += chunk
                assert b'"https_port": %d' % port in answer
                return secure.getpeercert()["subject"]
    s.configure(block(certs, "verify: true"))
    s.start()
    assert look() == ((("commonName", "server"),),)
    s.reload(block(certs, "verify: true", server=certs.server_rsa))
    assert look() == ((("commonName", "rsa"),),)
    s.stop()


def agreed(server, certs, curves):
    """The curve of the key exchange, when the client names these in this order."""
    out = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-tls1_2", "-curves", curves,
                          "-CAfile", certs.ca.pem, "-brief"], input=b"", capture_output=True, timeout=20)
    lines = (out.stdout + out.stderr).decode().splitlines()
    return next((line.partition(":")[2].split(",")[1 if "ECDH" in line else 0].strip() for line in lines
                 if "Temp Key" in line), lines)


@pytest.mark.parametrize("preferences,curve", [("", "X25519"), ('curve_preferences: ["CurveP384"]', "secp384r1")])
def test_the_cheapest_curve_or_the_configured_one_is_agreed_on(tmp_path, certs, preferences, curve):
    s = Server(tmp_path, conf=block(certs, f"handshake_first: true, {preferences}")).start()
    assert agreed(s, certs, "P-521:P-384:P-256:X25519") == curve
    s.stop()


@pytest.mark.parametrize("more,reused", [("", True), ("verify: true", False)])
def test_a_session_is_resumed_until_a_reload_unless_certificates_count(tmp_path, certs, more, reused):
    conf = block(certs, f"handshake_first: true, {more}")
    s = Server(tmp_path, conf=conf).start()
    context = client_context(certs, certs.bob)

    def best():
        raw = socket.create_connection(("127.0.0.1", s.port), timeout=5)
        with context.wrap_socket(raw, server_hostname="localhost") as c:
            return c.version()
    if best() == "TLSv1.3":
        s.stop()
        pytest.skip("tickets are for TLS 1.2, where the library has nothing newer")
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    def visit(session):
        raw = socket.create_connection(("127.0.0.1", s.port), timeout=5)
        with context.wrap_socket(raw, server_hostname="localhost", session=session) as c:
            assert c.recv(5) == b"INFO "
            return c.session_reused, c.session
    first, session = visit(None)
    again, _ = visit(session)
    assert (first, again) == (False, reused)
    s.reload(conf + "debug: false\n")
    assert visit(session)[0] is False  # the new context has keys of its own
    assert visit(None)[0] is False
    s.stop()
