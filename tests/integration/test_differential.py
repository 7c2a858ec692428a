"""Random scripts of the client protocol, good and bad, to nats-server and to us: the same answers.

    ./tests/run integration -k differential        TRIREME_DIFF_SCRIPTS=5000 for more of them
"""
import os
import random
import re
import socket

import pytest

from harness import PEER, Server
from raw import Raw

SUBJECTS = ["foo", "foo.bar", "foo.*", "foo.>", ">", "*", "a..b", ".a", "a.", "foo*", "a.>.b", "x" * 20,
            "_GR_.x", "$GR.x", "_R_.x", "$JS.ACK.x", "$NRG.x", "_INBOX.1", "foo.bar.baz", "FOO"]
CONNECTS = ['{"verbose":true}', '{"pedantic":true,"verbose":true,"headers":true}',
            '{"verbose":false,"echo":false}', '{"VERBOSE":false,"Headers":true}',
            '{"verbose":false,"headers":true,"no_responders":true}', '{}', 'null']
BAD_CONNECTS = ['{bad', '{"verbose":"x"}', '{"protocol":3}', '{"no_responders":true,"headers":false}',
                '{"account":"x"}', '[]', '1', '"x"']
BAD_ARGS = ["SUB", "SUB a", "SUB a b c d", "PUB", "PUB a", "PUB a b c d", "UNSUB", "UNSUB 1 2 3", "PUB a -1",
            "PUB a +1", "PUB a 1e3", "PUB a 1234567890", "HPUB a 3 2", "HPUB a 1", "PUB a 2\r\nxxx", "SUB  "]
BAD_VERBS = ["NOPE", "", " PING", "MSG a 1 0", "RMSG x", "INFO {}", "-ERR 'x'", "PINGX", "PI", "+OK"]


def operation(r):
    subject, sid, blank = r.choice(SUBJECTS), r.randrange(6), r.choice([" ", " ", "  ", "\t"])
    end = r.choice(["\r\n"] * 9 + ["\n"])

    def verb(v):
        return r.choice([v, v, v.lower(), v.title()])
    kind = r.random()
    if kind < .25:
        return f"{verb('SUB')}{blank}{subject}{r.choice(['', '', '', ' q', ' _sys_'])} {sid}{end}"
    if kind < .55:
        reply = r.choice(["", "", " rep", " _R_.y", " $JS.ACK.z", " _INBOX.2"])
        n = r.choice([0, 1, 5, 11])
        return f"{verb('PUB')}{blank}{subject}{reply} {r.choice(['', '', '', '000'])}{n}{end}{'x' * n}\r\n"
    if kind < .65:
        headers = "NATS/1.0\r\nA: b\r\n\r\n"
        return f"HPUB {subject} {len(headers)} {len(headers) + 2}\r\n{headers}yy\r\n"
    if kind < .8:
        return f"{verb('UNSUB')}{blank}{sid}{r.choice(['', ' 1', ' 2', ' 3', ' abc', ' -1', ' 0'])}{end}"
    if kind < .88:
        return r.choice([f"{verb('PING')}{r.choice(['', ' x'])}{end}", "PONG\r\n"])
    if kind < .93:
        return f"CONNECT{r.choice([' ', ''])}{r.choice(CONNECTS)}\r\n"
    if kind < .95:
        return f"CONNECT {r.choice(BAD_CONNECTS)}\r\n"
    return r.choice(BAD_ARGS if kind < .98 else BAD_VERBS) + "\r\n"


def script(seed):
    r = random.Random(seed)
    first = r.choice(['CONNECT {"verbose":false}\r\n', f"CONNECT {r.choice(CONNECTS)}\r\n", ""])
    return (first + "".join(operation(r) for _ in range(r.randrange(2, 16)))).encode()


def answers(server, data):
    c = Raw(server)
    c.info()
    try:
        c.send(data + b"PING the end\r\n")
        c.s.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # closed by the server already: what it said counts
    return frames(re.sub(rb"INFO \{[^\n]*\n", b"", c.rest()))


def frames(data):
    """What was said, one by one; copies of one message to several subscriptions come in no fixed order."""
    out, copies = [], []
    while data:
        line, _, data = data.partition(b"\r\n")
        if line.startswith((b"MSG ", b"HMSG ")):
            size = int(line.split(b" ")[-1])
            copies.append(line + data[:size])
            data = data[size + 2:]
            continue
        out, copies = out + sorted(copies) + [line], []
    return out + sorted(copies)


@pytest.mark.skipif(PEER is None, reason="nats-server is not installed: nothing to compare with")
def test_random_scripts_get_the_same_answers(tmp_path):
    ours = Server(tmp_path, "ours", conf="max_payload: 1000\n").start()
    theirs = Server(tmp_path, "theirs", conf="max_payload: 1000\n", binary=PEER).start()
    for seed in range(1, int(os.environ.get("TRIREME_DIFF_SCRIPTS", "400")) + 1):
        data = script(seed)
        expected = [answers(theirs, data)]
        got = answers(ours, data)
        while got not in expected and len(expected) < 4:
            expected.append(answers(theirs, data))  # a queue member may be drawn otherwise
        assert got in expected, f"seed {seed}: {data}"
    ours.stop()
    theirs.stop()
