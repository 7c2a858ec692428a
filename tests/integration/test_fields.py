"""What requests say in JSON, right and wrong, is read as nats-server reads it, to the words of its errors.

    TRIREME_DIFF_FIELDS=20000 for more of the random ones
"""
import json
import os
import random
import re

import pytest

from asker import Asker
from harness import PEER, Server
from peer import both

STREAM = ["name", "description", "subjects", "retention", "max_consumers", "max_msgs", "max_bytes", "max_age",
          "max_msgs_per_subject", "max_msg_size", "discard", "storage", "num_replicas", "no_ack", "duplicate_window",
          "placement", "mirror", "sources", "compression", "first_seq", "subject_transform", "republish",
          "allow_direct", "mirror_direct", "discard_new_per_subject", "sealed", "deny_delete", "deny_purge",
          "allow_rollup_hdrs", "consumer_limits", "allow_msg_ttl", "subject_delete_marker_ttl", "allow_msg_counter",
          "allow_atomic", "allow_msg_schedules", "persist_mode", "allow_batched", "metadata", "pedantic", "nonsense"]
CONSUMER = ["durable_name", "name", "description", "deliver_policy", "opt_start_seq", "opt_start_time", "ack_policy",
            "ack_wait", "max_deliver", "backoff", "filter_subject", "filter_subjects", "replay_policy",
            "rate_limit_bps", "sample_freq", "max_waiting", "max_ack_pending", "flow_control", "headers_only",
            "max_batch", "max_expires", "max_bytes", "deliver_subject", "deliver_group", "idle_heartbeat",
            "inactive_threshold", "num_replicas", "mem_storage", "direct", "sourcing", "metadata", "pause_until",
            "priority_groups", "priority_policy", "priority_timeout", "nonsense"]
REQUESTS = {
    "STREAM.CREATE.NEW": STREAM, "STREAM.UPDATE.S": STREAM, "STREAM.NAMES": ["offset", "subject", "nonsense"],
    "STREAM.LIST": ["offset", "subject"], "STREAM.INFO.S": ["offset", "deleted_details", "subjects_filter", "limit"],
    "STREAM.PURGE.S": ["seq", "filter", "keep", "nonsense"],
    "STREAM.MSG.GET.S": ["seq", "last_by_subj", "next_by_subj", "batch", "max_bytes", "start_time", "multi_last",
                         "up_to_seq", "up_to_time", "no_hdr", "nonsense"],
    "STREAM.MSG.DELETE.S": ["seq", "no_erase", "nonsense"],
    "STREAM.UPDATE.NO": STREAM, "STREAM.PURGE.NO": ["seq", "keep"], "STREAM.MSG.GET.NO": ["seq", "last_by_subj"],
    "STREAM.MSG.DELETE.NO": ["seq"], "CONSUMER.CREATE.NO.x": ["stream_name", "config", "action", "pedantic"],
    "CONSUMER.NAMES.S": ["offset", "nonsense"], "CONSUMER.LIST.S": ["offset", "nonsense"],
    "CONSUMER.CREATE.S.x": ["stream_name", "config", "action", "pedantic", "nonsense"],
    "CONSUMER.MSG.NEXT.S.c": ["expires", "batch", "max_bytes", "no_wait", "idle_heartbeat", "group", "min_pending",
                              "min_ack_pending", "id", "priority", "nonsense"]}
# As text: JSON of every type, right for some member or for none, and some that is no JSON.
VALUES = ['null', 'true', 'false', '0', '1', '-1', '3', '3.0', '1e3', '2147483648', '9223372036854775807',
          '9223372036854775808', '18446744073709551615', '18446744073709551616', '1.5', '-0', '""', '"1"', '"1s"', '"x"',
          '"limits"', '"Limits"', '"OLD"', '"new"', '"all"', '"explicit"', '"none"', '"by_start_time"', '"create"',
          '"2024-01-01T00:00:00Z"', '"2024-02-30T00:00:00Z"', '"2024-01-01"', '"2024-01-01T01:00:00+25:00"',
          '"0001-01-01T00:00:00Z"', '[]', '["a"]', '[1]', '[null,"b"]', '[[]]', '{}', '{"a":"b"}', '{"a":1}',
          '{"cluster":1}', '{"cluster":"","tags":3}', '{"max_ack_pending":"x"}', '{"inactive_threshold":1.5}',
          '{"name":1}', '[{"name":1}]', '[{"external":{"api":1}}]', '{"src":1}', '{"opt_start_time":"x"}',
          '{"ack_wait":"1s"}', '{"backoff":["x"]}', '"\\u00e9\\n"', '"\\ud800"', 'tru', '01', '1.', '-', '"\\x"', '"\t"',
          "'x'", '[1,]', '{"a"}', '{"a":1,}', '[1 2]', '"é"']


def member(r, names):
    name = r.choice(names)
    name = r.choice([name] * 8 + [name.upper(), name.title(), name.replace("s", "ſ"), name.replace("e", "\\u0065")])
    return f'"{name}"{r.choice([":", ":", " : "])}{r.choice(VALUES)}'


def request(r):
    verb = r.choice(list(REQUESTS))
    members = [member(r, REQUESTS[verb]) for _ in range(r.choice([0, 1, 1, 1, 2, 3]))]
    if verb.startswith("STREAM.CREATE") and r.random() < .7:
        members.append('"name":"NEW"')
    if verb.startswith("STREAM.UPDATE") and r.random() < .7:
        members.append(f'"name":"{verb.split(".")[2]}"')
    if verb.startswith("CONSUMER.CREATE"):
        members = members[:1]
        inner = [member(r, CONSUMER) for _ in range(r.choice([0, 1, 1, 2]))] + ['"durable_name":"x"']
        members += [f'"stream_name":"{verb.split(".")[2]}"', '"config":{' + ",".join(inner) + "}"]
    r.shuffle(members)
    if verb.startswith("CONSUMER.MSG.NEXT"):  # must not wait
        members = [m for m in members if not re.search("(?i)[xſ]pir|92233720368", m)]
        return verb, "{" + ",".join(members + r.choice([['"no_wait":true'], ['"expires":"1s"']])) + "}"
    body = "{" + r.choice([",", ", ", ",\n"]).join(members) + "}"
    if "PURGE" in verb or "MSG.DELETE" in verb:  # sequences end earlier here
        body = re.sub("(92233|184467)\\d+", "4611686018427387904", body)
    odd = r.random()
    if odd < .03:
        body = r.choice(VALUES)
    elif odd < .06:
        body += r.choice([" ", "x", "{}", ' {"nonsense":1}', "]", ",", " null", "\n\n"])
    elif odd < .08:
        body = body[:r.randrange(len(body))]
    return verb, body


def prepare(server):
    a = Asker(server)
    a.ask("STREAM.CREATE.S", '{"name":"S","subjects":["s.>"]}')
    a.ask("CONSUMER.DURABLE.CREATE.S.c", '{"stream_name":"S","config":{"durable_name":"c","ack_policy":"explicit"}}')
    return a


def outcome(verb, answer):
    """The error, or that there is none."""
    if not answer.startswith("{"):
        return answer if " 400 " in answer else "served"
    error = json.loads(answer).get("error")
    return "served" if error is None else (error["err_code"], error["description"])


def restore(asker, verb):
    """What was made or changed is as before."""
    if verb == "STREAM.CREATE.NEW":
        asker.ask("STREAM.DELETE.NEW")
    elif verb == "CONSUMER.CREATE.S.x":
        asker.ask("CONSUMER.DELETE.S.x")
    elif verb == "STREAM.UPDATE.S":
        asker.ask("STREAM.DELETE.S")
        asker.ask("STREAM.CREATE.S", '{"name":"S","subjects":["s.>"]}')
        asker.ask("CONSUMER.DURABLE.CREATE.S.c",
                  '{"stream_name":"S","config":{"durable_name":"c","ack_policy":"explicit"}}')


@pytest.mark.skipif(PEER is None, reason="nats-server is not installed: nothing to compare with")
def test_random_requests_are_read_as_the_peer_reads_them(tmp_path):
    ours = Server(tmp_path, "ours", jetstream=True).start()
    theirs = Server(tmp_path, "theirs", jetstream=True, binary=PEER).start()
    a, b = prepare(ours), prepare(theirs)
    r = random.Random(int(os.environ.get("TRIREME_DIFF_SEED", "1")))
    for i in range(int(os.environ.get("TRIREME_DIFF_FIELDS", "400"))):
        verb, body = request(r)
        got, expected = outcome(verb, a.ask(verb, body)), outcome(verb, b.ask(verb, body))
        if got == "served":
            restore(a, verb)
        if expected == "served":
            restore(b, verb)
        if "not supported in this version yet" in got[1] and (expected == "served" or expected[0] != 10025):
            continue  # said so, and the peer had nothing against the form
        assert got == expected, f"request {i}: {verb} {body}"
    ours.stop()
    theirs.stop()


@both
def test_who_deletes_a_stream_is_answered_once(tmp_path, binary):
    s = Server(tmp_path, jetstream=True, binary=binary).start()
    a = Asker(s)
    requests = [("STREAM.CREATE.S", '{"name":"S"}'), ("STREAM.DELETE.S", ""), ("INFO", ""), ("INFO", "")] * 3
    for number, (verb, body) in enumerate(requests):
        a.send("$JS.API." + verb, body, reply=f"{a.inbox}.{number}")
        line, _ = a.message()
        assert line.split()[1] == f"{a.inbox}.{number}"
    s.stop()


@both
def test_a_consumer_may_name_the_replicas_of_its_stream_and_a_start_in_any_year(tmp_path, binary):
    s = Server(tmp_path, jetstream=True, binary=binary).start()
    a = Asker(s)
    a.api("STREAM.CREATE.S", name="S", placement={"cluster": "x"})
    told = {}
    for i, time in enumerate(["0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "2024-01-01T02:00:00.5+01:30"]):
        config = {"durable_name": f"c{i}", "deliver_policy": "by_start_time", "opt_start_time": time, "num_replicas": i % 2}
        told[f"c{i}"] = a.api(f"CONSUMER.CREATE.S.c{i}", stream_name="S", config=config)["config"]
        assert told[f"c{i}"] | config == told[f"c{i}"]
    s.kill()  # what was said is what was stored
    s.start()
    a = Asker(s)
    assert a.api("STREAM.INFO.S")["config"]["placement"] == {"cluster": "x"}
    for name, config in told.items():
        assert a.api(f"CONSUMER.INFO.S.{name}")["config"] == config
    assert a.api("STREAM.UPDATE.S", name="S")["config"].get("placement") is None
    s.stop()
