"""Each reply of the JetStream API, and INFO, has the members of nats-server's, alone and in a cluster."""
import asyncio
import json
import os
import re

import nats
import pytest

from harness import PEER, ROOT, Cluster, Server, eventually, eventually_async
from peer import both

CONSUMER = {"stream_name": "S", "config": {"durable_name": "c", "ack_policy": "explicit"}}
CALLS = [
    ("STREAM.CREATE.S", {"name": "S", "subjects": ["s"], "num_replicas": "REPLICAS"}),
    ("STREAM.UPDATE.S", {"name": "S", "subjects": ["s"], "num_replicas": "REPLICAS", "description": "d"}),
    ("STREAM.CREATE.ONE", {"name": "ONE"}), ("STREAM.INFO.ONE", None), ("STREAM.DELETE.ONE", None),
    ("STREAM.INFO.S", None), ("STREAM.NAMES", None), ("STREAM.LIST", None),
    ("CONSUMER.DURABLE.CREATE.S.c", CONSUMER),
    ("CONSUMER.CREATE.S.d", {"stream_name": "S", "action": "create",
                             "config": {"name": "d", "durable_name": "d", "ack_policy": "explicit"}}),
    ("CONSUMER.INFO.S.c", None), ("CONSUMER.NAMES.S", None), ("CONSUMER.LIST.S", None),
    ("STREAM.MSG.DELETE.S", {"seq": 1}), ("STREAM.MSG.DELETE.S", {"seq": 99}),
    ("STREAM.MSG.GET.S", {"seq": 2}), ("STREAM.MSG.GET.S", {"seq": 99}),
    ("STREAM.INFO.S", {"subjects_filter": ">", "deleted_details": True}), ("STREAM.PURGE.S", None),
    ("STREAM.INFO.NO", None), ("STREAM.CREATE.X", {"name": "Y"}), ("STREAM.UPDATE.NO", {"name": "NO"}),
    ("STREAM.DELETE.NO", None), ("STREAM.PURGE.NO", None), ("STREAM.MSG.GET.NO", {"seq": 1}),
    ("STREAM.MSG.DELETE.NO", {"seq": 1}), ("CONSUMER.INFO.S.no", None), ("CONSUMER.DELETE.S.no", None),
    ("CONSUMER.NAMES.NO", None), ("CONSUMER.LIST.NO", None),
    ("CONSUMER.CREATE.S.e", {"stream_name": "S", "config": {"name": "e", "durable_name": "f"}}),
    ("INFO", None), ("CONSUMER.DELETE.S.c", None), ("STREAM.DELETE.S", None), ("INFO", None)]
PASSING = {"lag", "offline", "last_active"}  # there at one moment, and not at the next
OURS, THEIRS = {"INFO.trireme"}, {"INFO.xkey"}


def members(value, path):
    """Paths of all members; of an error all that it says."""
    if isinstance(value, dict):
        found = {f"{path}.{k}" for k in value if k not in PASSING}
        for k, v in value.items():
            found |= {f"{path}.error {v}"} if k == "error" else members(v, f"{path}.{k}")
        return found
    return set().union(*[members(v, path + "[]") for v in value]) if isinstance(value, list) else set()


async def acknowledged(nc, subject):
    """In a cluster the server asked may not have heard of the stream's subjects yet."""
    acks = []

    async def published():
        try:
            acks.append(json.loads((await nc.request(subject, b"x", headers={"a": "b"}, timeout=2)).data))
        except (nats.errors.NoRespondersError, nats.errors.TimeoutError):
            pass
        return acks
    await eventually_async(published, 20, "an acknowledgement")
    return acks[0]


async def members_of_replies(url, replicas):
    nc = await nats.connect(url)
    found = [members(nc._server_info, "INFO")]
    for subject, body in CALLS:
        text = "" if body is None else json.dumps(body).replace('"REPLICAS"', str(replicas))
        reply = json.loads((await nc.request(f"$JS.API.{subject}", text.encode(), timeout=10)).data)
        found.append(members(reply, f"{subject} {text}"))
        if subject == "CONSUMER.LIST.S":
            for _ in range(2):
                found.append(members(await acknowledged(nc, "s"), "PubAck"))
    await nc.close()
    return found


def start(folder, size, binary, conf=""):
    os.mkdir(folder)
    if size == 1:
        return [Server(folder, conf=conf, jetstream=True, binary=binary).start()]
    servers = Cluster(folder, conf=conf, binaries=[binary] * size).start().servers
    for s in servers:
        eventually(lambda: s.get("/jsz")["meta_cluster"].get("leader"), 20, "a meta leader")
    return servers


@pytest.mark.skipif(PEER is None, reason="nats-server is not installed: nothing to compare with")
@pytest.mark.parametrize("size", [1, 3])
def test_replies_have_the_same_members(tmp_path, size):
    found = []
    for binary in (None, PEER):
        servers = start(tmp_path / (binary and "theirs" or "ours"), size, binary)
        found.append(asyncio.run(members_of_replies(servers[0].url, size)))
        for s in servers:
            s.stop()
    for ours, theirs in zip(*found):
        assert ours - OURS == theirs - THEIRS, (sorted(ours - theirs), sorted(theirs - ours))


WITHOUT = """accounts {
  A { jetstream: enabled, users: [ { user: a, password: a } ] }
  N { users: [ { user: n, password: n } ] }
}
"""
WITH = WITHOUT.replace("N {", "N { jetstream: enabled,")


async def told(nc, subject, body=b""):
    return json.loads((await nc.request(f"$JS.API.{subject}", body, timeout=10)).data)


@both
@pytest.mark.parametrize("size", [1, 3])
async def test_an_account_without_jetstream_is_told(tmp_path, size, binary):
    servers = await asyncio.to_thread(start, tmp_path / "s", size, binary, WITHOUT)
    nc = await nats.connect(servers[-1].url, user="n", password="n")
    more = [("STREAM.DELETE.S", "a body")] + ([] if binary else [("STREAM.SNAPSHOT.S", None), ("CONSUMER.PAUSE.S.c", None)])
    for subject, body in CALLS + more:
        reply = await told(nc, subject, b"" if body is None else json.dumps(body).encode())
        assert reply["error"] == {"code": 503, "err_code": 10039, "description": "JetStream not enabled for account"}
        assert reply["type"].startswith("io.nats.jetstream.api.v1.")
    for subject in ("$JS.API.CONSUMER.MSG.NEXT.S.c", "$JS.API.DIRECT.GET.S"):
        with pytest.raises(nats.errors.NoRespondersError):
            await nc.request(subject, b"", timeout=10)
    await nc.close()
    for s in servers:
        s.stop()


async def test_an_account_gets_and_loses_jetstream_by_a_reload(tmp_path):
    (s,) = await asyncio.to_thread(start, tmp_path / "s", 1, None, WITHOUT)
    nc = await nats.connect(s.url, user="n", password="n")
    assert (await told(nc, "INFO"))["error"]["err_code"] == 10039
    for conf, enabled in ((WITH, True), (WITHOUT, False)):
        await asyncio.to_thread(s.reload, conf)

        async def changed():
            return ("error" not in await told(nc, "INFO")) == enabled
        await eventually_async(changed)
    await nc.close()
    s.stop()


@pytest.mark.parametrize("size,binary", [(1, None), (3, None)] + ([(1, PEER)] if PEER else []))
async def test_the_requests_of_an_account_are_counted_when_they_are_answered(tmp_path, size, binary):
    servers = await asyncio.to_thread(start, tmp_path / "s", size, binary, WITH)
    a = await nats.connect(servers[0].url, user="a", password="a")
    n = await nats.connect(servers[-1].url, user="n", password="n")
    assert (await told(a, "INFO"))["api"] | {"level": 0} == {"level": 0, "total": 0, "errors": 0}
    await told(a, "STREAM.CREATE.S", json.dumps({"name": "S", "num_replicas": size}).encode())
    await told(a, "STREAM.INFO.NO")
    await told(a, "STREAM.INFO.S")
    assert (await told(a, "INFO"))["api"] | {"level": 0} == {"level": 0, "total": 4, "errors": 1}
    assert (await told(n, "INFO"))["api"]["total"] == 0
    await a.close()
    await n.close()
    for s in servers:
        s.stop()


def refused_by_the_tables():
    """Members, words and requests that the sources know and refuse; what has no place in a struct asks for too much."""
    names = set()
    for source in ("stream_config.c", "consumer_config.c"):
        with open(os.path.join(ROOT, "jetstream/state", source)) as f:
            text = f.read()
        tables = re.findall(r"struct field (?:stream|consumer|request|placement)_rows\[\] = \{(.*?)\{0\}\};", text, re.S)
        rows = [row for table in tables for row in re.split(r"(?=\{\.name = )", table)]
        for row in rows:
            name = re.match(r'\{\.name = "(\w+)"', row)
            if name and (not re.search(r"\b[SCT]\(|FIELD_AT", row) or "frozen_unsupported" in row):
                names.add(name[1])
        names |= set(re.findall(r'\{"(\w+)", -?\d+, true\}', text))
    with open(os.path.join(ROOT, "jetstream/api.c")) as f:
        missing = re.search(r"missing\[\] = \{(.*?)\};", f.read(), re.S)
    return names | set(re.findall(r'"([A-Z_.]+)"', missing[1]))


def test_what_is_refused_is_among_the_limits():
    with open(os.path.join(ROOT, "README.md")) as f:
        limits = f.read().partition("## Limits")[2]
    names = refused_by_the_tables()
    assert {"sealed", "discard_new_per_subject", "first_seq", "tags", "num_replicas", "sample_freq", "inactive_threshold", "mem_storage",
            "original", "workqueue", "last_per_subject", "STREAM.SNAPSHOT", "ACCOUNT.PURGE"} <= names
    missing = [n for n in sorted(names) if not re.search(rf"`(\w+: )?{re.escape(n)}(: \w+)?`", limits)]
    assert not missing, missing
