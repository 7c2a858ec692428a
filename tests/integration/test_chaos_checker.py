"""The checker of tests/chaos finds each kind of violation, and nothing in a history without one."""
import importlib.machinery
import importlib.util
import os

import pytest

from harness import ROOT

_loader = importlib.machinery.SourceFileLoader("chaos_check", os.path.join(ROOT, "tests", "chaos", "check"))
_module = importlib.util.module_from_spec(importlib.util.spec_from_loader("chaos_check", _loader))
_loader.exec_module(_module)


def publish(t, value, seq, sent=None, id=None, duplicate=False):
    return {"t": t, "op": "publish", "stream": "S", "value": value, "id": id, "from": sent or t - 1, "tries": 1, "result": "ok",
            "seq": seq, "duplicate": duplicate}


def content(seq, value):
    return {"t": 99, "op": "content", "stream": "S", "seq": seq, "value": value}


def delivered(t, seq, value):
    return {"t": t, "op": "deliver", "stream": "S", "consumer": "c", "seq": seq, "value": value, "sent": t}


def made(t, at, step, answer):
    return {"t": t, "op": "made", "stream": "M", "at": at, "step": step, "answer": answer, "sent": t}


GOOD = [publish(10, "a", 1, id="a"), publish(20, "b", 2), delivered(30, 1, "a"),
        {"t": 31, "op": "acked", "stream": "S", "consumer": "c", "seq": 1}, content(1, "a"), content(2, "b"),
        {"t": 40, "op": "killed", "node": "c0", "stream": "S", "took": 0.4, "bound": 15},
        {"t": 98, "op": "replicas", "stream": "S", "hashes": ["x", "x", "x"], "of": 3}]


def test_nothing_is_found_where_nothing_is():
    assert _module.check(GOOD) == []


@pytest.mark.parametrize("more, said", [
    ([publish(25, "c", 3)], "c was acknowledged at 3"),
    ([content(3, "z")], "never published"),
    ([publish(25, "a", 3, id="a"), content(3, "a")], "in spite of its id"),
    ([delivered(26, 2, "z")], "was b and z"),
    ([publish(25, "c", 2), content(2, "c")], "acknowledged at 2"),
    ([publish(50, "c", 0, sent=45), content(0, "c")], "was sent after 2"),
    ([delivered(60, 1, "a")], "after its confirmed acknowledgement"),
    ([{"t": 1, "op": "last", "stream": "S", "server": "any", "seq": 5}, {"t": 2, "op": "last", "stream": "S", "server": "any", "seq": 4}],
     "went back"),
    ([{"t": 1, "op": "killed", "node": "c0", "stream": "S", "took": None, "bound": 15}], "within 15 s"),
    ([{"t": 1, "op": "replicas", "stream": "S", "hashes": ["x", "y", "x"], "of": 3}], "replicas differ"),
    ([made(1, 4, "STREAM.PURGE.M", {"purged": 2})], "STREAM.PURGE.M was answered"),
    ([made(1, 3, "publish", [2])], "publish was answered"),
    ([made(1, 9, "STREAM.DELETE.M", {"error": {"err_code": 10059}})], "10059"),
    ([made(1, 10, "STREAM.INFO.M", {"state": {}})], "though it was deleted"),
    ([{"t": 5, "op": "amnesia", "streams": ["S"]}, publish(50, "c", 3)], "c was acknowledged at 3"),
    ([{"t": 1, "op": "trouble", "what": "c1 ended by itself"}], "ended by itself")])
def test_a_violation_is_found(more, said):
    assert any(said in problem for problem in _module.check(GOOD + more))


def test_what_memory_has_forgotten_is_not_missed():
    assert _module.check(GOOD + [publish(15, "c", 3), {"t": 17, "op": "amnesia", "streams": ["S"]}]) == []


def test_a_stream_that_was_made_and_deleted_as_it_was_told_is_right():
    gone = {"error": {"err_code": 10059}}
    state = {"state": {"messages": 0, "last_seq": 2, "consumer_count": 0}}
    assert _module.check(GOOD + [made(1, 0, "STREAM.CREATE.M", {}), made(2, 3, "publish", [1, 2]), made(3, 4, "STREAM.PURGE.M", {"purged": 2}),
                                 made(4, 8, "STREAM.INFO.M", state), made(5, 9, "STREAM.DELETE.M", {}), made(6, 10, "STREAM.INFO.M", gone)]) == []
