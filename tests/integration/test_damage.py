"""Records that a disk has lost under a running store: found by the scrub or by whoever reads them, fetched from other
replicas; without any, reported with the messages that are lost, and everything else is served."""
import glob
import os
import re

import nats
import pytest
from nats.js.api import StreamConfig

from harness import Cluster, Server, eventually

SCRUB = "scrub_interval: 1s, scrub_rate: 64MB"  # keeps no test waiting
MESSAGES = 400


def to_be_rebuilt(server, stage="damaged"):
    """As a store leaves it that has found a damaged file: the next start rebuilds it."""
    with open(os.path.join(server.store, "jetstream.damaged"), "w") as f:
        f.write(stage + "\n")


def body(i):
    return b"payload-%06d-" % i + b"x" * 500


async def publish(url, replicas):
    nc = await nats.connect(url)
    js = nc.jetstream()
    await js.add_stream(StreamConfig(name="S", subjects=["s.>"], num_replicas=replicas))
    for i in range(MESSAGES):
        await js.publish(f"s.{i % 7}", body(i))
    await nc.close()


def flip(server, needle, family=b"log"):
    """One bit of each file of that column family that has it: the blocks around it cannot be read any more."""
    done = 0
    for path in glob.glob(os.path.join(server.store, "jetstream", "*.sst")):
        with open(path, "r+b") as f:
            content = f.read()
            at = content.find(needle)
            if at >= 0 and b"name" + family in content:  # a property of the file
                f.seek(at)
                f.write(bytes([content[at] ^ 4]))
                done += 1
    assert done > 0, f"no file has {needle}"


def into_files(server):
    """What lies in the log of RocksDB goes to its files at the next start."""
    server.stop()
    server.start()
    eventually(server.healthy, 15, "healthy")
    server.stop()


def lose_states(server):
    """Those of the meta group and of the stream lie in one block."""
    for family in (b"state", b"copies"):
        flip(server, b'"stream":"S"', family)


def make_leader(cluster, server):
    """Kills whoever else leads the stream until chance lets it lead."""
    for _ in range(30):
        leader = eventually(lambda: cluster.leader("S"), 20, "a leader")
        if leader is server:
            return
        leader.kill()
        eventually(lambda: cluster.leader("S") not in (None, leader), 20, "another leader")
        leader.start()
        eventually(leader.healthy, 20, "healthy again")
    raise AssertionError(f"{server.name} never leads")


async def read_all(url):
    nc = await nats.connect(url)
    js = nc.jetstream()
    sub = await js.pull_subscribe("s.>", durable="D")
    seen = []
    while True:
        try:
            for m in await sub.fetch(100, timeout=1):
                seen.append(bytes(m.data))
                await m.ack()
        except nats.errors.TimeoutError:
            await nc.close()
            return seen


@pytest.mark.asyncio
async def test_scrub_finds_damage_and_other_replicas_repair_it(tmp_path):
    cluster = Cluster(tmp_path, jetstream=SCRUB).start()
    await publish(cluster[0].url, 3)
    victim = cluster[1]
    into_files(victim)
    flip(victim, b"payload-000123-")
    victim.start()
    eventually(lambda: "messages 1" in victim.text() and "is damaged" in victim.text(), 20, "the damage found")
    eventually(lambda: "its damaged records are repaired" in victim.text(), 20, "the damage repaired")
    before = victim.text().count("is damaged")
    make_leader(cluster, victim)
    assert await read_all(victim.url) == [body(i) for i in range(MESSAGES)]
    eventually(lambda: cluster.replicas_agree("S"), 15, "replicas that agree")
    assert victim.text().count("is damaged") == before
    # RocksDB would stumble over the file when it merges it with others: a start rebuilds the store.
    victim.stop()
    for path in glob.glob(os.path.join(victim.store, "jetstream.old-*")):
        raise AssertionError(f"{path} before a start with damage")
    victim.start()
    assert "was rebuilt from what could be read of it" in victim.text()
    assert glob.glob(os.path.join(victim.store, "jetstream.old-*"))
    cluster.wait_healthy()
    eventually(lambda: cluster.replicas_agree("S"), 15, "replicas that agree")
    cluster.stop()


@pytest.mark.asyncio
async def test_rebuilt_store_fetches_what_it_has_lost(tmp_path):
    """Rebuilt before anything was repaired, with damage in several files' worth of places."""
    cluster = Cluster(tmp_path).start()
    await publish(cluster[0].url, 3)
    victim = cluster[2]
    into_files(victim)
    for i in (7, 200, 399):
        flip(victim, b"payload-%06d-" % i)
    to_be_rebuilt(victim)
    victim.start()
    assert "was rebuilt from what could be read of it" in victim.text()
    eventually(lambda: "its damaged records are repaired" in victim.text(), 20, "the damage repaired")
    cluster.wait_healthy()
    eventually(lambda: cluster.replicas_agree("S"), 15, "replicas that agree")
    make_leader(cluster, victim)  # the content hash is part of the state; here the records are looked at
    assert await read_all(victim.url) == [body(i) for i in range(MESSAGES)]
    cluster.stop()


@pytest.mark.asyncio
async def test_a_block_that_spans_groups_takes_no_more_than_itself(tmp_path):
    """The meta group's log and the beginning of the stream's are lost together; what follows is not."""
    s = Server(tmp_path, jetstream=SCRUB).start()
    await publish(s.url, 1)
    into_files(s)
    flip(s, b'"op":"create"')
    to_be_rebuilt(s)
    s.start()
    lost = s.text().count("it is lost")
    assert 0 < lost < 50
    assert await read_all(s.url) == [body(i) for i in range(lost, MESSAGES)]
    s.stop()


@pytest.mark.asyncio
async def test_states_that_are_lost_come_from_the_others(tmp_path):
    """Those of the meta group and of the stream lie in one block: the replica has nothing to begin with."""
    cluster = Cluster(tmp_path).start()
    await publish(cluster[0].url, 3)
    victim = cluster[1]
    into_files(victim)
    lose_states(victim)
    to_be_rebuilt(victim)
    victim.start()
    cluster.wait_healthy(30)
    eventually(lambda: cluster.replicas_agree("S"), 30, "replicas that agree")
    make_leader(cluster, victim)
    assert await read_all(victim.url) == [body(i) for i in range(MESSAGES)]
    cluster.stop()


async def publish_past_checkpoints(url, limit):
    """The log lets go of what limits have removed; 150 more messages, of which some are deleted."""
    nc = await nats.connect(url)
    js = nc.jetstream()
    await js.update_stream(StreamConfig(name="S", subjects=["s.>"], max_msgs=limit))
    for i in range(150):
        await js.publish("s.more", b"%06d" % i + b"x" * 100_000)
    for seq in (520, 530, 531):
        await js.delete_msg("S", seq)
    await js.pull_subscribe("s.>", durable="C")
    await nc.close()


async def state_of(url):
    nc = await nats.connect(url)
    js = nc.jetstream()
    info = await js.stream_info("S")
    consumers = [(c.name, c.num_pending) for c in await js.consumers_info("S")]
    await nc.close()
    return info.state, info.config, consumers


@pytest.mark.asyncio
@pytest.mark.parametrize("rebuilt", [False, True], ids=["damaged", "rebuilt"])
async def test_one_copy_of_the_states_is_enough(tmp_path, rebuilt):
    s = Server(tmp_path, jetstream=True).start()
    await publish(s.url, 1)
    await publish_past_checkpoints(s.url, 50)
    before = await state_of(s.url)
    into_files(s)
    flip(s, b'"stream":"S"', b"state")
    if rebuilt:
        to_be_rebuilt(s)
    s.start()
    eventually(s.healthy, 20, "healthy")
    assert await state_of(s.url) == before
    assert s.text().count("its copy is used") >= 1
    s.stop()


@pytest.mark.asyncio
@pytest.mark.parametrize("limit", [None, 50], ids=["whole log", "cut log"])
@pytest.mark.parametrize("rebuilt", [False, True], ids=["damaged", "rebuilt"])
async def test_a_state_that_is_lost_without_others_is_made_anew(tmp_path, limit, rebuilt):
    """The whole log says it all again; one that limits have cut says which messages there are."""
    s = Server(tmp_path, jetstream=True).start()
    await publish(s.url, 1)
    if limit is not None:
        await publish_past_checkpoints(s.url, limit)
    into_files(s)
    lose_states(s)
    if rebuilt:
        to_be_rebuilt(s)
    s.start()
    eventually(s.healthy, 20, "healthy")
    if limit is None:
        assert await read_all(s.url) == [body(i) for i in range(MESSAGES)]
        s.stop()
        return
    assert "its state is damaged, and made anew from its messages" in s.text()
    assert not re.search("messages .* are lost", s.text())
    state, config, _ = await state_of(s.url)
    assert (config.max_msgs, state.last_seq) == (limit, 550)
    seen = {int(m[:6]) + 401 for m in await read_all(s.url)}
    assert seen >= set(range(501, 551)) - {520, 530, 531}
    again = re.search("messages ([0-9]+) to ([0-9]+) are there, even if some of them had been deleted", s.text())
    if again is None:  # its head could be read
        assert min(seen) == 501
    else:
        assert int(again[1]) <= min(seen) and int(again[2]) == 550
    # It is a stream like any other again, and stays what it is.
    nc = await nats.connect(s.url)
    assert (await nc.jetstream().publish("s.more", b"000150")).seq == 551
    await nc.close()
    before = await state_of(s.url)
    s.kill()
    s.start()
    eventually(s.healthy, 20, "healthy")
    assert await state_of(s.url) == before
    s.stop()


@pytest.mark.asyncio
async def test_rebuild_that_was_interrupted_goes_on(tmp_path):
    s = Server(tmp_path, jetstream=True).start()
    await publish(s.url, 1)
    into_files(s)
    store = os.path.join(s.store, "jetstream")
    marker = store + ".damaged"
    to_be_rebuilt(s)
    os.mkdir(store + ".rebuilt")  # it began, and left a part of a copy
    s.start()
    s.stop()
    assert not os.path.exists(marker) and not os.path.exists(store + ".rebuilt")
    os.rename(store, store + ".rebuilt")  # the copy was whole, and the old one already away
    to_be_rebuilt(s, "rebuilt")
    s.start()
    assert await read_all(s.url) == [body(i) for i in range(MESSAGES)]
    s.stop()
    assert not os.path.exists(marker)


@pytest.mark.asyncio
async def test_without_another_replica_the_rest_is_served(tmp_path):
    s = Server(tmp_path, jetstream=SCRUB).start()
    await publish(s.url, 1)
    into_files(s)
    flip(s, b"payload-000123-")
    s.start()
    # The records beside it in its block are lost, too, each with its own line.
    found = "stream '$G > S', messages 124 to 124: there is no other replica, it is lost"
    eventually(lambda: found in s.text(), 20, "the damage found")
    nc = await nats.connect(s.url)
    js = nc.jetstream()
    with pytest.raises(nats.js.errors.APIError) as e:
        await js.get_msg("S", 124)
    assert e.value.err_code == 10077 and "damaged" in e.value.description
    assert (await js.get_msg("S", 1)).data == body(0)
    await nc.close()
    seen = await read_all(s.url)
    lost = s.text().count("it is lost")
    assert len(seen) == MESSAGES - lost and body(123) not in seen and lost < 50
    assert seen == [b for b in (body(i) for i in range(MESSAGES)) if b in set(seen)]
    s.stop()


@pytest.mark.asyncio
@pytest.mark.parametrize("rebuilt", [False, True], ids=["damaged", "rebuilt"])
async def test_a_hole_in_the_log_takes_no_more_than_itself(tmp_path, rebuilt):
    """In what no checkpoint stands for yet: what is behind it is not forgotten."""
    s = Server(tmp_path, jetstream=True).start()
    await publish(s.url, 1)
    nc = await nats.connect(s.url)
    await nc.jetstream().delete_msg("S", 390)
    await nc.jetstream().pull_subscribe("s.>", durable="C")
    await nc.close()
    for _ in range(2):  # to RocksDB's files, without a checkpoint
        s.kill()
        s.start()
    s.kill()
    flip(s, b"payload-000199-")
    if rebuilt:
        to_be_rebuilt(s)
    s.start()
    eventually(s.healthy, 20, "healthy")
    lost = re.search("messages ([0-9]+) to ([0-9]+) are lost, unless they had been deleted", s.text())
    first, last = int(lost[1]), int(lost[2])
    assert first <= 200 <= last < first + 100
    assert "even if some of them" not in s.text()
    left = [i for i in range(1, MESSAGES + 1) if not first <= i <= last and i != 390]
    state, _, consumers = await state_of(s.url)
    assert (state.messages, state.last_seq, consumers) == (len(left), MESSAGES, [("C", len(left))])
    s.kill()
    s.start()
    eventually(s.healthy, 20, "healthy")
    assert (await state_of(s.url))[0] == state
    assert await read_all(s.url) == [body(i - 1) for i in left]
    s.stop()
