"""Every option that nats-server knows: accepted, with one note where it has no effect yet; and what the missing ones that
guard a door do instead: the door stays shut."""
import asyncio
import base64
import glob
import hashlib
import json
import os
import re
import shutil
import ssl
import subprocess
import time
import urllib.request

import nats
import nkeys
import pytest

from certs import Certificates
from harness import BINARY, PEER, ROOT, Server, eventually, free_port
from peer import both
from test_tls import Secure

GOOD = r"""
listen: "127.0.0.1:-1"
host: "127.0.0.1"
net: "127.0.0.1"
port: -1
client_advertise: "a.example:4222"
server_name: n1
server_tags: [a, b]
server_metadata: {a: b}
feature_flags: {js_ack_fc_v2: false}
proxy_protocol: true
proxies: {trusted: [{key: "<UKEY>"}]}
max_connections: 10
max_conn: 10
max_control_line: 2048
max_payload: 1000
max_pending: 2000000
max_subscriptions: 10
max_subs: 10
max_sub_tokens: 10
max_subscription_tokens: 10
max_traced_msg_len: 10
max_closed_clients: 10
ping_interval: "1m"
ping_max: 3
write_deadline: "2s"
write_timeout: default
no_fast_producer_stall: true
lame_duck_duration: "40s"
lame_duck_grace_period: "5s"
disable_sublist_cache: true
no_sublist_cache: true
no_header_support: true
connect_error_reports: 10
reconnect_error_reports: 10
debug: true
trace: true
trace_verbose: true
trace_headers: true
logtime: true
logtime_utc: true
log_file: "/tmp/x.log"
logfile: "/tmp/x.log"
log_size_limit: 1000
logfile_size_limit: 1000
log_max_num: 3
logfile_max_num: 3
syslog: true
remote_syslog: "udp://127.0.0.1:514"
pid_file: "/tmp/x.pid"
pidfile: "/tmp/x.pid"
ports_file_dir: "/tmp"
prof_port: 0
prof_block_rate: 1
http: "127.0.0.1:-1"
http_port: -1
monitor_port: -1
http_base_path: "/nats"
authorization: {user: a, password: b}
authorization: {username: a, pass: b}
authorization: {token: b}
authorization: {timeout: 1, users: [{user: a, pass: b}]}
authorization: {users: [{user: a, pass: b}], default_permissions: {publish: x}}
authorization: {users: [{user: a, pass: b}], default_permission: {publish: x}}
authorization: {users: [{user: a, pass: b}], permissions: {publish: x}}
authorization: {users: [{user: a, pass: b}], auth_callout: {issuer: "<AKEY>", auth_users: [a]}}
authorization: {users: [{user: a, pass: b}], auth_hook: {issuer: "<AKEY>", users: [a], account: "$G"}}
authorization: {users: [{user: a, pass: b}], proxy_required: true}
authorization: {users: [{user: a, pass: b, proxy_required: true}]}
authorization: {users: [{username: a, password: b, permission: {pub: x, sub: y}}]}
authorization: {users: [{user: a, pass: b, authorization: {import: x, export: y}}]}
authorization: {users: [{user: a, pass: b, allowed_connection_types: [STANDARD, WEBSOCKET, LEAFNODE, LEAFNODE_WS, MQTT, MQTT_WS, IN_PROCESS]}]}
authorization: {users: [{user: a, pass: b, connection_types: STANDARD}]}
authorization: {users: [{user: a, pass: b, clients: [standard]}]}
authorization: {users: [{nkey: "<UKEY>"}]}
authorization: {users: [{user: a, pass: b, permissions: {publish: x, allow_responses: true}}]}
authorization: {users: [{user: a, pass: b, permissions: {publish: x, publish_allow_responses: {max: 2, expires: "1m"}}}]}
accounts: [A, B]
accounts: {A: {nkey: "<AKEY>", users: [{user: a, pass: b}]}}
accounts: {A: {users: [{user: a, pass: b}], default_permissions: {publish: x}}}
accounts: {A: {jetstream: enabled}}, jetstream: enabled
accounts: {A: {jetstream: {max_mem: 1M, max_file: 2M, max_streams: 2, max_consumers: 3, max_bytes_required: true, memory_max_stream_bytes: 1K, disk_max_stream_bytes: 1K, max_ack_pending: 3, cluster_traffic: owner}}}, jetstream: enabled
accounts: {A: {mappings: {a: b}}}
accounts: {A: {maps: {a: b}}}
accounts: {A: {limits: {max_connections: 1, max_subscriptions: 2, max_payload: 3, max_leafnodes: 4}}}
accounts: {A: {limits: {max_conn: 1, max_subs: 2, max_pay: 3, max_leafs: 4}}}
accounts: {A: {msg_trace: "t.d"}}
accounts: {A: {trace_dest: {dest: "t.d", sampling: "50%"}}}
accounts: {A: {exports: [{service: s, latency: "l.s"}]}}
accounts: {A: {exports: [{service: s, response: stream, threshold: "1s", allow_trace: true}]}}
accounts: {A: {exports: [{service: "s.*", account_token_position: 2}]}}
accounts: {A: {exports: [{stream: s, accounts: [B]}]}, B: {imports: [{stream: {account: A, subject: s}, prefix: p, allow_trace: true}]}}
accounts: {A: {exports: [{service: s}]}, B: {imports: [{service: {account: A, subject: s}, to: t, share: true}]}}
mappings: {a: b}
maps: {a: [{dest: b, weight: "50%"}, {destination: c, weight: 50, cluster: x}]}
accounts: {S: {}}, system_account: S
accounts: {S: {}}, system: S
no_system_account: true
no_system: true
no_sys_acc: true
authorization: {users: [{user: a, pass: b}]}, no_auth_user: a
trusted_keys: "<OKEY>"
trusted: ["<OKEY>"]
operator: "<OJWT>", resolver: MEM
operators: ["<OJWT>"], resolver: MEMORY
root: "<OJWT>", resolver: MEM
roots: "<OJWT>", resolver: MEM
root_operator: "<OJWT>", resolver: MEM
root_operators: "<OJWT>", resolver: MEM
account_resolver: MEM
accounts_resolver: MEM
resolver: MEM
resolver: {type: mem}
resolver_tls: {}
resolver_preload: {}
resolver_pinned_accounts: ["<AKEY>"]
default_js_domain: {"A": "hub"}
allow_non_tls: true
ocsp: true
ocsp: {mode: always, url: "http://127.0.0.1:1"}
ocsp_cache: true
ocsp_cache: {type: local, local_store: "/tmp/ocsp", preserve_revoked: false, save_interval: 300}
tls: {cert_file: "<CERT>", key_file: "<KEY>"}
tls: {cert_file: "<CERT>", key_file: "<KEY>", ca_file: "<CERT>", verify: true}
tls: {cert_file: "<CERT>", key_file: "<KEY>", ca_file: "<CERT>", verify_and_map: true}
tls: {cert_file: "<CERT>", key_file: "<KEY>", ca_file: "<CERT>", verify: true, ocsp_peer: true}
tls: {cert_file: "<CERT>", key_file: "<KEY>", ca_file: "<CERT>", verify: true, ocsp_peer: {verify: true, ca_timeout: 2, allowed_clockskew: 30, warn_only: true, unknown_is_good: true, allow_when_ca_unreachable: true, cache_ttl_when_next_update_unset: 3600}}
tls: {cert_file: "<CERT>", key_file: "<KEY>", ca_file: "<CERT>", verify: true, ocsp_peer: false}
tls: {cert_file: "<CERT>", key_file: "<KEY>", timeout: 3, min_version: "1.2", handshake_first: auto, connection_rate_limit: 5}
tls: {cert_file: "<CERT>", key_file: "<KEY>", handshake_first: "300ms", cipher_suites: ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"], curve_preferences: [CurveP256]}
tls: {cert_file: "<CERT>", key_file: "<KEY>", insecure: true, allow_insecure_cipher_suites: true}
tls: {certs: [{cert_file: "<CERT>", key_file: "<KEY>"}]}
tls: {cert_file: "<CERT>", key_file: "<KEY>", pinned_certs: ["7f83b1657ff1fc53b92dc18148a1d65dfc2d4b1fa3d677284addd200126d9069"]}
cluster: {name: c, listen: "127.0.0.1:-1"}
cluster: {name: c, host: "127.0.0.1", port: -1, routes: ["nats-route://127.0.0.1:1"]}
cluster: {name: c, port: -1, authorization: {user: a, pass: b, timeout: 1}}
cluster: {name: c, port: -1, permissions: {import: a, export: b}}
cluster: {name: c, port: -1, advertise: "a:1", no_advertise: true, connect_retries: 2, connect_backoff: true}
cluster: {name: c, port: -1, cluster_advertise: "a:1"}
cluster: {name: c, port: -1, pool_size: 2, compression: {mode: s2_auto, rtt_thresholds: ["10ms", "50ms"]}, ping_interval: "10s", ping_max: 3, write_deadline: "3s", write_timeout: close}
cluster: {name: c, port: -1, accounts: [A]}, accounts: [A]
gateway: {name: c, listen: "127.0.0.1:-1"}
leafnodes: {listen: "127.0.0.1:-1"}
leaf: {remotes: [{url: "nats-leaf://127.0.0.1:1"}]}
websocket: {port: -1, no_tls: true}
ws: {port: -1, no_tls: true}
mqtt: {port: -1}, server_name: m, jetstream: enabled
jetstream: true
jetstream: enabled
jetstream: enable
jetstream: disabled
jetstream: {enabled: true, store_dir: "<STORE>", max_mem: 1M, max_file: 1M}
jetstream: {enable: true, store: "<STORE>", max_mem_store: 1M, max_file_store: 1M}
jetstream: {storedir: "<STORE>", max_memory_store: "1M"}
jetstream: {domain: hub}
jetstream: {strict: true, sync_interval: "1s", unique_tag: az, max_outstanding_catchup: 1M, max_buffered_size: 1M, max_buffered_msgs: 10, request_queue_limit: 10, info_queue_limit: 10}
jetstream: {sync: always, cipher: aes, key: k, prev_key: p}
jetstream: {ek: k, prev_ek: p, cipher: chacha}
jetstream: {encryption_key: k, prev_encryption_key: p}
jetstream: {limits: {max_ack_pending: 1, max_ha_assets: 1, max_request_batch: 1, default_max_consumers: 5, duplicate_window: "1m", batch: {max_inflight_per_stream: 1, max_inflight_total: 2, max_msgs: 3, timeout: "1s"}}}
jetstream: {meta_compact: 10, meta_compact_size: 1M, meta_compact_sync: true, max_concurrent_io: 100}
jetstream: {extension_hint: no_extend}
store_dir: "<STORE>"
storedir: "<STORE>"
""".strip().splitlines()
BAD = r"""
lame_duck_duration: "20s"
lame_duck_grace_period: "-1s"
max_sub_tokens: 0
jetstream: {cipher: rot13}
tls: {cert_store: WindowsLocalMachine, cert_match_by: Subject, cert_match: x}
nonsense: 1
jetstream: {nonsense: 1}
cluster: {nonsense: 1}
authorization: {nonsense: 1}
authorization: {auth_callout: {auth_users: [a]}}
authorization: {user: a, password: }
authorization: {token: }
authorization: {token: t, password: p}
server_name: "a b"
cluster: {name: "a b", port: -1}
jetstream: maybe
jetstream: "on"
jetstream: {store_dir: "<STORE>", storedir: "<STORE>"}
store_dir: "<STORE>", jetstream: {store_dir: "<STORE>"}
accounts: {A: {jetstream: {nonsense: 1}}}
listen: "127.0.0.1:x"
""".strip().splitlines()


def key_pair(prefix):
    return nkeys.from_seed(nkeys.encode_seed(os.urandom(32), prefix))


def operator_jwt(pair):
    def coded(x):
        return base64.urlsafe_b64encode(x).rstrip(b"=").decode()
    public = pair.public_key.decode()
    claims = {"iat": int(time.time()), "iss": public, "name": "OP", "sub": public, "nats": {"type": "operator", "version": 2}}
    claims["jti"] = base64.b32encode(hashlib.sha256(json.dumps(claims).encode()).digest()).decode().rstrip("=")
    text = coded(b'{"typ":"JWT","alg":"ed25519-nkey"}') + "." + coded(json.dumps(claims).encode())
    return text + "." + coded(pair.sign(text.encode()))


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """What the names in capitals stand for."""
    folder = tmp_path_factory.mktemp("options")
    certs = Certificates()
    operator = key_pair(nkeys.PREFIX_BYTE_OPERATOR)
    yield {"UKEY": key_pair(nkeys.PREFIX_BYTE_USER).public_key.decode(),
           "AKEY": key_pair(nkeys.PREFIX_BYTE_ACCOUNT).public_key.decode(), "OKEY": operator.public_key.decode(),
           "OJWT": operator_jwt(operator), "CERT": certs.server[0], "KEY": certs.server[1], "STORE": str(folder / "store")}
    shutil.rmtree(certs.folder)


def verdict(binary, folder, words, text):
    """(exit status, what it said) of -t for this file."""
    for name, word in words.items():
        text = text.replace(f"<{name}>", word)
    conf = folder / "it.conf"
    conf.write_text(text + "\n")
    run = subprocess.run([binary, "-c", conf, "-t"], capture_output=True, text=True, timeout=20)
    return run.returncode, run.stdout + run.stderr


@pytest.mark.parametrize("text", GOOD)
def test_a_known_option_is_accepted(tmp_path, words, text):
    status, said = verdict(BINARY, tmp_path, words, text)
    assert status == 0 and "is valid" in said, said
    assert len(re.findall("has no effect", said)) == len(set(re.findall(r":(\d+:\d+): option", said)))
    if PEER is not None:
        assert verdict(PEER, tmp_path, words, text)[0] == 0


@pytest.mark.parametrize("text", BAD)
def test_a_wrong_option_is_refused_with_its_place(tmp_path, words, text):
    status, said = verdict(BINARY, tmp_path, words, text)
    assert status == 1 and re.search(r"it.conf:1:\d+: ", said), said
    if PEER is not None and "cert_store" not in text:
        assert verdict(PEER, tmp_path, words, text)[0] == 1


@pytest.mark.parametrize("text", ['include "nothere.conf"', "authorization { user: , password: b }", 'listen: "1:x"'])
def test_the_words_are_nats_servers(tmp_path, words, text):
    if PEER is None:
        pytest.skip("nats-server is not installed: nothing to compare with")
    assert verdict(BINARY, tmp_path, words, text) == verdict(PEER, tmp_path, words, text)


async def logs_in(server, **credentials):
    try:
        await (await nats.connect(server.url, allow_reconnect=False, max_reconnect_attempts=0, **credentials)).close()
        return True
    except nats.errors.Error as e:
        assert "Authorization Violation" in str(e)
        return False


async def test_without_jwts_an_operator_lets_nobody_in(tmp_path, words):
    s = Server(tmp_path, conf=f'trusted_keys: "{words["OKEY"]}"\n').start()
    assert "JWTs are not read, and no client can log in" in s.text()
    assert not await logs_in(s)
    assert not await logs_in(s, user="a", password="b")
    s.stop()


@pytest.mark.parametrize("block,may", [
    ("users: [{user: a, pass: a}, {user: b, pass: b, proxy_required: true}]", "a"),
    ("users: [{user: a, pass: a}, {user: b, pass: b}], proxy_required: true", ""),
    ("user: a, pass: a, proxy_required: true", ""),
    ("users: [{user: a, pass: a}, {user: b, pass: b}], auth_callout: {issuer: <AKEY>, auth_users: [b]}", "b")])
async def test_who_needs_what_is_not_there_stays_outside(tmp_path, words, block, may):
    s = Server(tmp_path, conf="authorization {" + block.replace("<AKEY>", words["AKEY"]) + "}\n").start()
    for user in "ab":
        assert await logs_in(s, user=user, password=user) == (user in may)
    s.reload("authorization { users: [{user: a, pass: a}, {user: b, pass: b}] }\n")
    assert await logs_in(s, user="a", password="a") and await logs_in(s, user="b", password="b")
    s.stop()


async def test_a_reload_that_bars_a_user_ends_its_connections(tmp_path):
    s = Server(tmp_path, conf="authorization { users: [{user: a, pass: a}] }\n").start()
    closed = asyncio.Event()

    async def on_closed():
        closed.set()
    await nats.connect(s.url, user="a", password="a", allow_reconnect=False, closed_cb=on_closed)
    s.reload("authorization { users: [{user: a, pass: a}], proxy_required: true }\n")
    await asyncio.wait_for(closed.wait(), 10)
    s.stop()


@pytest.mark.parametrize("peer,connects", [("true", False), ("{verify: true}", False), ("{verify: true, warn_only: true}", True),
                                           ("{verify: false}", True), ("false", True)])
def test_certificates_that_should_be_checked_for_revocation(tmp_path, peer, connects):
    certs = Certificates()
    cert, key = certs.server
    s = Server(tmp_path, conf=f'tls {{ cert_file: "{cert}", key_file: "{key}", ca_file: "{certs.ca.pem}", verify: true, '
                              f'ocsp_peer: {peer} }}\n').start()
    if connects:
        Secure(s, certs, certs.bob).login()
    else:
        with pytest.raises((ConnectionError, ssl.SSLError, AssertionError)):
            Secure(s, certs, certs.bob).login()
        eventually(lambda: "TLS handshake error: ocsp_peer: whether the certificate is revoked" in s.text())
    s.stop()


@both
@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "}", "}\n", "{}", "{\n}\n"])
def test_a_file_that_says_nothing_is_not_valid_but_does(tmp_path, text, binary):
    path = tmp_path / "n.conf"
    path.write_text(text)
    done = subprocess.run([binary or BINARY, "-c", str(path), "-t"], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr) == (1, f"nats-server: {path}: config has no values or is empty\n\n")
    with open(tmp_path / "log", "w") as log:
        running = subprocess.Popen([binary or BINARY, "-c", str(path), "-a", "127.0.0.1", "-p", "-1"], stderr=log)
    eventually(lambda: "Server is ready" in (tmp_path / "log").read_text())
    running.terminate()
    assert running.wait(timeout=20) is not None


def known_without_effect():
    """Names of options that the sources know and do nothing with."""
    names = set()
    for source in glob.glob(os.path.join(ROOT, "core/config/*.c")):
        with open(source) as f:
            text = f.read()
        names |= set(re.findall(r'\{"(\w+)", NULL\},', text))
        for array in re.findall(r"not_yet\[\] = \{(.*?)NULL\}|unsupported_flags\[\] = \{(.*?)NULL\}", text, re.S):
            names |= set(re.findall(r'"(\w+)"', "".join(array)))
    return names


def test_what_has_no_effect_is_among_the_limits():
    with open(os.path.join(ROOT, "README.md")) as f:
        limits = f.read().partition("## Limits")[2]
    names = known_without_effect()
    names |= {"gateway", "leafnodes", "leaf"}
    assert {"websocket", "domain", "msg_trace", "profile"} <= names
    missing = [n for n in sorted(names) if not re.search(rf"`-{{0,2}}{n}`", limits)]
    assert not missing, missing


def test_monitoring_by_https_from_flags_alone(tmp_path):
    certs = Certificates()
    cert, key = certs.server
    s = Server(tmp_path, args=["-ms", str(free_port()), "-m", "0", "--tls", "--tlscert", cert, "--tlskey", key])
    https = s.args[1]
    s.start(wait=False)
    context = ssl.create_default_context(cafile=certs.ca.pem)
    url = f"https://localhost:{https}/varz"

    def answers():
        assert s.process.poll() is None, s.tail()
        with urllib.request.urlopen(url, context=context, timeout=5) as r:
            return json.load(r)["https_port"] == int(https)
    eventually(answers)
    s.stop()
    shutil.rmtree(certs.folder)


@both
def test_help_names_every_flag(binary):
    """Those of nats-server's help; without what is not there."""
    done = subprocess.run([binary or BINARY, "--help"], capture_output=True, text=True, timeout=20)
    named = set(re.findall(r"(?<![\w-])--?([a-zA-Z_]+)", done.stdout + done.stderr))
    wanted = """a addr net p port n name server_name P pid m http_port ms https_port c config t sl signal client_advertise
                ports_file_dir l log T logtime logtime_utc s syslog D debug V trace VV DV DVV log_size_limit max_traced_msg_len js
                jetstream sd store_dir user pass auth tls tlscert tlskey tlsverify tlscacert routes cluster cluster_name
                no_advertise cluster_advertise connect_retries cluster_listen h help v version"""
    assert not set(wanted.split()) - named


@both
@pytest.mark.parametrize("text,words", [
    ('authorization { users: [ {user: "", password: x} ] }', "User entry requires a user"),
    ('leafnodes { remotes: [ {url: "nats://u:s3cr3t%zz@h:1"} ] }', "error parsing leafnode url"),
    ('leafnodes { remotes: [ {urls: ["nats://h:1", "nats://u:s3cr3t<@h:1"]} ] }', "error parsing leafnode url"),
    ('leafnodes { listen: "x" }', 'could not parse address string "x"'),
    ('gateway { name: g, gateways: [ {name: x, url: "nats://u:s3cr3t%4@h:1"} ] }', "error parsing gateway url"),
    ('cluster { port: -1, routes: ["nats://u:s3cr3t/x@h:1"] }', "error parsing route url"),
    ('cluster { port: -1, routes: ["nats://u:s3cr3t%zz@h:1"] }', "error parsing route url"),
    ('listen: "h"', 'could not parse address string "h"'),
    ('accounts: {A: {jetstream: "on", users: [{user: a}]}}', "Expected 'enabled' or 'disabled' for string value, got 'on'"),
    *((f'accounts: {{A: {{exports: [{{{kind}: "{subject}", account_token_position: {at}}}]}}}}', f'Error adding {kind} export "{subject}"')
      for kind, subject, at in [("stream", "b.>", 2), ("service", "b.*", 300), ("service", "b.c", 2), ("stream", "b.*", 1)]),
    *((f"authorization {{ users: [ {{user: a, password: b, permissions: {{ {rule} }}}} ] }}", said) for rule, said in [
        ('publish: "a b"', 'subject "a b" is not a valid subject'),
        ('publish: { deny: ["a b"] }', 'subject "a b" is not a valid subject'),
        ('subscribe: "a b c"', 'subject "a b c" is not a valid subject'),
        ('subscribe: "a b..c"', 'queue "b..c" is not a valid queue')]),
])
def test_what_is_no_url_address_or_subject_is_refused(tmp_path, text, words, binary):
    path = tmp_path / "n.conf"
    path.write_text(text + "\n")
    done = subprocess.run([binary or BINARY, "-c", str(path), "-t"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and words in done.stderr, done.stderr
    assert binary or "s3cr3t" not in done.stderr
