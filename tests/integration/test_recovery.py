"""Forced recovery: a majority is gone for good, and an operator says with which servers to go on."""
import glob
import os
import shutil
import subprocess

import nats
import pytest

from harness import BINARY, Cluster, eventually, eventually_async


async def connect(server):
    return await nats.connect(server.url, max_reconnect_attempts=-1, reconnect_time_wait=0.05)


async def publish(server, values):
    nc = await connect(server)
    for v in values:
        async def stored():
            try:
                return await nc.jetstream().publish("s", v.encode(), timeout=5, headers={"Nats-Msg-Id": v})
            except nats.js.errors.NoStreamResponseError:  # it has just been elected
                return None
        await eventually_async(stored, 10, f"{v} stored")
    await nc.close()


async def contents(server):
    nc = await connect(server)
    js = nc.jetstream()
    state = (await js.stream_info("S")).state
    out = [(await js.get_msg("S", seq)).data.decode() for seq in range(state.first_seq, state.last_seq + 1)]
    await nc.close()
    return out


def lose(server):
    server.kill()
    for path in glob.glob(server.store + "*"):
        shutil.rmtree(path)


@pytest.mark.asyncio
async def test_one_server_of_three_goes_on_and_the_others_come_back_empty(tmp_path):
    cluster = Cluster(tmp_path).start()
    nc = await connect(cluster[0])
    await nc.jetstream().add_stream(name="S", subjects=["s"], num_replicas=3)
    await nc.close()
    await publish(cluster[0], [f"before {i}" for i in range(50)])
    eventually(lambda: cluster.replicas_agree("S"), 20, "replicas that agree")
    left, *gone = cluster.servers
    for s in gone:
        lose(s)
    eventually(lambda: not left.healthy(), 20, "no quorum")
    left.stop()
    left.args = ["--force_recovery", left.name]
    left.start()
    eventually(lambda: cluster.leader("S") is left, 20, "a leader")
    assert "FORCED RECOVERY" in left.text()
    await publish(left, ["after"])
    expected = [f"before {i}" for i in range(50)] + ["after"]
    assert await contents(left) == expected
    left.stop()  # from now on the log says so
    left.args = []
    left.start()
    eventually(lambda: cluster.leader("S") is left, 20, "a leader")
    for s in gone:
        s.start()
    cluster.wait_healthy(30)
    eventually(lambda: left.text().count("'$G > S'") >= 2 and cluster.replicas_agree("S"), 30, "replicas again")
    eventually(lambda: left.text().count("JetStream stream '$G > S': nats-2 has caught up and votes") == 1 and
               left.text().count("JetStream stream '$G > S': nats-3 has caught up and votes") == 1, 20, "voters again")
    left.kill()  # any two of them are a quorum again
    eventually(lambda: cluster.leader("S") in gone, 20, "another leader")
    await publish(gone[0], ["last"])
    assert await contents(gone[1]) == expected + ["last"]
    for s in gone:
        s.stop()


@pytest.mark.asyncio
async def test_two_survivors_of_five_agree(tmp_path):
    cluster = Cluster(tmp_path, size=5).start()
    nc = await connect(cluster[0])
    await nc.jetstream().add_stream(name="S", subjects=["s"], num_replicas=5)
    await nc.close()
    await publish(cluster[0], [f"{i}" for i in range(20)])
    eventually(lambda: cluster.replicas_agree("S"), 20, "replicas that agree")
    for s in cluster.servers[2:]:
        lose(s)
    survivors = cluster.servers[:2]
    for s in survivors:
        s.stop()
        s.args = ["--force_recovery", "nats-1, nats-2"]
    for s in survivors:
        s.start()
    eventually(lambda: cluster.leader("S") in survivors, 20, "a leader")
    await publish(survivors[0], ["20"])
    for s in survivors:
        assert await contents(s) == [f"{i}" for i in range(21)]
    cluster.leader("S").kill()  # both are needed: nothing is decided by one of them
    other = next(s for s in survivors if s.process.poll() is None)
    eventually(lambda: cluster.leader("S") is None, 20, "no leader")
    nc = await connect(other)
    with pytest.raises((nats.errors.TimeoutError, nats.js.errors.NoStreamResponseError)):
        await nc.jetstream().publish("s", b"never", timeout=1)
    await nc.close()
    other.kill()


def test_it_must_name_the_server_itself(tmp_path):
    conf = os.path.join(tmp_path, "c.conf")
    with open(conf, "w") as f:
        f.write("server_name: a\njetstream: true\n")
    r = subprocess.run([BINARY, "-c", conf, "--force_recovery", "b"], capture_output=True, text=True, timeout=10)
    assert r.returncode != 0 and "this one among them" in r.stderr
