"""Pull requests and what stands around them: order, bytes, imports, odd publishes."""
import json

from asker import Asker
from harness import Server
from peer import both

NEXT = "$JS.API.CONSUMER.MSG.NEXT.S.c"


def prepare(a, **more):
    assert "error" not in a.api("STREAM.CREATE.S", name="S", subjects=["s.>"])
    config = {"durable_name": "c", "ack_policy": "explicit", **more}
    answer = a.api("CONSUMER.DURABLE.CREATE.S.c", stream_name="S", config=config)
    assert "error" not in answer, answer
    return answer


def status(message):
    return message[1].split("\r\n")[0]


def test_a_message_that_is_given_back_comes_before_new_ones(tmp_path):
    s = Server(tmp_path, jetstream=True).start()
    a = Asker(s)
    prepare(a)
    for i in range(50):
        assert json.loads(a.request("s.x", f"{i}"))["seq"] == i + 1
    for i in range(20):
        a.send(NEXT, '{"batch":1}', reply=a.inbox + ".n")
        line, body = a.message()
        assert int(body) == i
        a.c.send(b"PUB %s 4\r\n-NAK\r\nPUB $JS.API.CONSUMER.INFO.S.c %s.i 0\r\n\r\n"
                 b"PUB %s %s.n 11\r\n{\"batch\":1}\r\n" % (line.split()[3].encode(), a.inbox.encode(),
                                                        NEXT.encode(), a.inbox.encode()))
        got = [a.message() for _ in range(2)]
        again = next(m for m in got if m[0].startswith("MSG s.x"))
        assert int(again[1]) == i, "a new message before the one that was given back"
        a.send(again[0].split()[3], "+ACK", reply=a.inbox + ".ok")
        a.message()
    s.stop()


@both
def test_a_publish_without_reply_is_seen_by_who_asks_after_it(tmp_path, binary):
    s = Server(tmp_path, jetstream=True, binary=binary).start()
    a, b = Asker(s), Asker(s)
    prepare(a)
    for i in range(20):
        a.send("s.x", "one")
        a.sync()
        assert b.api("STREAM.INFO.S")["state"]["messages"] == i + 1
        assert b.api("STREAM.MSG.GET.S", seq=i + 1).get("message"), i
    s.stop()


@both
def test_max_bytes_counts_what_a_client_counts(tmp_path, binary):
    s = Server(tmp_path, jetstream=True, binary=binary).start()
    a = Asker(s)
    prepare(a, ack_wait=60_000_000_000)
    for i in range(6):
        a.request("s.x", "x" * 100)
    a.send(NEXT, '{"batch":2,"no_wait":true}', reply=a.inbox + ".n")
    sizes = [len("s.x") + len(line.split()[3]) + 100 for line, _ in (a.message(), a.message())]
    size = sizes[1]  # the counters have one digit from here on
    for more, messages in ((0, 1), (size - 1, 1), (size, 2)):
        # What fits to the byte is the end; one byte less is not enough for the next one.
        a.send(NEXT, json.dumps({"batch": 5, "max_bytes": size + more, "no_wait": True}), reply=a.inbox + ".n")
        got = [a.message() for _ in range(messages)]
        assert all(line.startswith("MSG s.x") for line, _ in got)
        if more == size - 1:
            assert status(a.message()) == "NATS/1.0 409 Message Size Exceeds MaxBytes"
        for line, _ in got:
            a.send(line.split()[3], "+ACK", reply=a.inbox + ".ok")
            assert a.message()[1] == ""
    s.stop()


@both
def test_a_start_time_in_an_empty_stream_is_its_beginning(tmp_path, binary):
    s = Server(tmp_path, jetstream=True, binary=binary).start()
    info = prepare(Asker(s), deliver_policy="by_start_time", opt_start_time="2024-01-01T00:00:00Z")
    assert info["delivered"]["stream_seq"] == 0 and info["ack_floor"]["stream_seq"] == 0
    s.stop()


IMPORTS = """
accounts {
  A { jetstream: enabled, users: [{user: a, password: p}]
      exports: [{service: "$JS.API.>", response_type: stream}, {service: "$JS.ACK.>"}] }
  B { users: [{user: b, password: p}]
      imports: [{service: {account: A, subject: "$JS.API.>"}}, {service: {account: A, subject: "$JS.ACK.>"}}] }
}
"""


@both
def test_pulls_through_an_import(tmp_path, binary):
    s = Server(tmp_path, jetstream=True, conf=IMPORTS, binary=binary).start()
    a, b = Asker(s, "a"), Asker(s, "b")
    prepare(b)
    for text in ("one", "two"):
        a.request("s.1", text)
    b.send(NEXT, '{"batch":5,"expires":1000000000,"idle_heartbeat":100000000}', reply=b.inbox + ".n")
    for text in ("one", "two"):
        line, body = b.message()
        assert line.startswith("MSG s.1 1 $JS.ACK.S.c.") and body == text
    assert status(b.message()) == "NATS/1.0 100 Idle Heartbeat"
    assert status(b.message()) == "NATS/1.0 100 Idle Heartbeat"
    a.request("s.1", "three")  # it goes on behind heartbeats
    m = b.message()
    while m[1].startswith("NATS/1.0 100"):
        m = b.message()
    assert m[0].startswith("MSG s.1 1 $JS.ACK.S.c.") and m[1] == "three"
    s.stop()


def test_who_has_gone_gets_nothing_through_an_import_either(tmp_path):
    s = Server(tmp_path, jetstream=True, conf=IMPORTS).start()
    a, b, other = Asker(s, "a"), Asker(s, "b"), Asker(s, "b")
    prepare(b)
    b.send(NEXT, '{"batch":5}', reply=b.inbox + ".n")
    b.sync()
    b.c.send(b"UNSUB 1\r\n")
    b.sync()
    other.send(NEXT, '{"batch":1}', reply=other.inbox + ".n")
    other.sync()
    a.request("s.1", "one")
    assert other.message()[1] == "one"
    s.stop()


@both
def test_odd_publishes(tmp_path, binary):
    """What a fast-ingest client sends is refused; what is only to be traced goes nowhere."""
    s = Server(tmp_path, jetstream=True, binary=binary).start()
    a = Asker(s)
    prepare(a)
    a.c.send(b"SUB fast.> 2\r\nSUB s.> 3\r\n")
    a.send("s.x", "one", reply="fast.id.10.fail.1.0.$FI")
    answers = [a.message(), a.message()]
    refused = next(json.loads(body) for line, body in answers if "fast." in line.split()[1])
    assert refused == {"error": {"code": 400, "err_code": 10205, "description": "batch publish is disabled"},
                       "stream": "S", "seq": 0}
    for only in ("true", "ON", "1"):
        a.send("s.x", "no", f"NATS/1.0\r\nNats-Trace-Dest: trace.to\r\nNats-Trace-Only: {only}\r\n\r\n")
    a.send("s.x", "yes", "NATS/1.0\r\nNats-Trace-Dest: trace.to\r\nNats-Trace-Only: no\r\n\r\n")
    assert a.message()[1].endswith("yes")
    a.send("s.x", "yes", "NATS/1.0\r\nNats-Trace-Only: true\r\n\r\n")  # nowhere to be traced to
    assert a.message()[1].endswith("yes")
    assert a.api("STREAM.INFO.S")["state"]["messages"] == 2
    s.stop()


@both
def test_a_request_that_ends_tells_what_it_asked_for(tmp_path, binary):
    s = Server(tmp_path, jetstream=True, binary=binary).start()
    a = Asker(s)
    prepare(a)
    for body, messages, size in (('{"expires":50000000}', 0, 0), ('{"expires":50000000,"batch":0,"max_bytes":9}', 0, 9),
                                 ('{"expires":50000000,"batch":-1}', -1, 0), ('{"expires":50000000,"batch":5}', 5, 0),
                                 ('{"expires":-5}', 0, 0)):
        a.send(NEXT, body, reply=a.inbox + ".n")
        assert a.message()[1] == ("NATS/1.0 408 Request Timeout\r\n"
                                  f"Nats-Pending-Messages: {messages}\r\nNats-Pending-Bytes: {size}\r\n\r\n"), body
    s.stop()


@both
def test_names_that_differ_are_refused_before_anything_else(tmp_path, binary):
    s = Server(tmp_path, jetstream=True, binary=binary).start()
    a = Asker(s)
    prepare(a)
    push = {"deliver_subject": "x", "ack_policy": "explicit"}
    for subject, code, body in (
            ("CONSUMER.DURABLE.CREATE.S.q", 10017, {"stream_name": "S", "config": {"durable_name": "z", **push}}),
            ("CONSUMER.DURABLE.CREATE.S.q", 10056, {"stream_name": "T", "config": {"durable_name": "q", **push}}),
            ("CONSUMER.CREATE.S.q.f", 10131,
             {"stream_name": "S", "config": {"name": "q", "filter_subject": "g", "ack_policy": "all"}}),
            ("STREAM.CREATE.A", 10056, {"name": "B", "retention": "interest"})):
        assert a.api(subject, **body)["error"]["err_code"] == code, subject
    s.stop()
