"""The log: lines that people's tools grep, rotation, traces without secrets."""
import json
import os
import re
import signal

import pytest

from harness import PEER, Server, eventually
from raw import Raw, connect

LINE = re.compile(r"^\[\d+\] \d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{6} \[(INF|WRN|ERR|DBG|TRC)\] .*$")


def test_every_line_has_the_form_of_nats_server(tmp_path):
    s = Server(tmp_path, args=["-DV"], jetstream=True).start()
    connect(s).send(b"SUB x 1\r\nPUB x 1\r\n\x01\r\nNOPE\r\n").rest()
    s.stop()
    for line in s.text().rstrip("\n").split("\n"):
        assert LINE.match(line), line


def test_no_name_from_outside_forges_a_line(tmp_path):
    forged = "x\r\n[1] 2026/01/01 00:00:00.000000 [INF] forged\x1b[2J\u009b2J"
    s = Server(tmp_path, args=["-DV"], conf="authorization { user: a, password: b }\n").start()
    for user, name in (("a", forged), (forged, "n")):
        c = Raw(s)
        c.info()
        c.send(b"CONNECT " + json.dumps({"user": user, "pass": "b", "name": name, "lang": name, "verbose": False}).encode() +
               b"\r\nPING\r\nSUB a..b 1\r\nPUB \x1b[2J 0\r\n\r\nNOPE\r\n").rest()
    s.stop()
    lines = s.text().rstrip("\n").split("\n")
    assert sum("forged" in line for line in lines) >= 3
    for line in lines:
        assert LINE.match(line) and not re.search("[\x00-\x1f\x7f-\x9f]", line), line
        assert "[INF] forged" not in line or "\\n" in line


def traced(folder, name, binary):
    s = Server(folder, name, binary=binary, args=["-V"], conf="""loops: 1
max_traced_msg_len: 10
accounts { A { users: [{user: a, password: s3cr3t}] } }\n""".replace("loops: 1\n", "" if binary else "loops: 1\n"))
    s.start()
    c = Raw(s)
    c.info()
    c.send(b'CONNECT {"verbose":true,"user":"a","pass":"s3cr3t","name":"nm","lang":"py","version":"1.0",'
           b'"headers":true,"auth_token":"t0ken","sig":"x"}\r\nPING\r\n').until(b"PONG\r\n")
    c.send(b'SUB foo q 1\r\nUNSUB 1 2\r\nPUB foo rep 5\r\nhello\r\nHPUB foo 12 14\r\nNATS/1.0\r\n\r\nhi'
           b'\r\nPUB foo 0\r\n\r\nSUB a..b 2\r\nPING\r\n').until(b"PONG\r\n")
    eventually(lambda: s.text().count("->> [PONG]") == 2)
    s.stop()
    lines = [re.sub(r"^.*cid:\d+ - ", "", line) for line in s.text().split("\n") if "[TRC]" in line
             and " cid:" in line]
    return [line for line in lines if "DELSUB" not in line and "CONNECT" not in line], s.text()


@pytest.mark.skipif(PEER is None, reason="nats-server is not installed: nothing to compare with")
def test_traces_are_those_of_nats_server(tmp_path):
    ours, text = traced(tmp_path, "ours", None)
    theirs, _ = traced(tmp_path, "theirs", PEER)
    assert ours == theirs
    for secret in ("s3cr3t", "t0ken"):
        assert secret not in text


def test_a_file_that_grows_is_put_aside_and_old_ones_go(tmp_path):
    log = tmp_path / "server.log"
    s = Server(tmp_path, args=["-D"],
               conf=f'log_file: "{log}"\nlog_size_limit: 4096\nlog_max_num: 3\n').start()
    for _ in range(120):
        connect(s).s.close()
    eventually(lambda: s.get("/varz")["connections"] == 0)
    backups = sorted(p.name for p in tmp_path.iterdir() if p.name.startswith("server.log."))
    assert len(backups) == 2
    assert all(re.fullmatch(r"server\.log(\.\d+){7}", b) for b in backups)
    assert all(4096 < (tmp_path / b).stat().st_size < 5000 for b in backups)
    assert f'Rotated log, backup saved as "{log}.' in log.read_text()
    s.stop()


def test_the_log_is_opened_again_after_others_have_moved_it(tmp_path):
    log = tmp_path / "server.log"
    s = Server(tmp_path, conf=f'log_file: "{log}"\n').start()
    os.rename(log, tmp_path / "moved.log")
    s.process.send_signal(signal.SIGUSR1)
    eventually(lambda: log.exists() and "File log re-opened" in log.read_text())
    s.stop()
