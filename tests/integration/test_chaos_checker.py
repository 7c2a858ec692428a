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
    ([{"t": 1, "op": "trouble", "what": "c1 ended by itself"}], "ended by itself")])
def test_a_violation_is_found(more, said):
    assert any(said in problem for problem in _module.check(GOOD + more))
