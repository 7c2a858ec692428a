"""How the meta group comes to be: of whom, from names with several addresses, and never of one server alone."""
import os
import shutil
import subprocess

import nats
import pytest

from harness import BINARY, PEER, Server, eventually
from ports import free_port


def private_hosts():
    return os.geteuid() == 0 and shutil.which("unshare") and subprocess.run(
        ["unshare", "-m", "true"], capture_output=True).returncode == 0


needs_hosts = pytest.mark.skipif(not private_hosts(), reason="needs root and mount namespaces")
LOGIN = "authorization { user: u, password: p }"


class Named(Server):
    """A server at 127.0.0.`i`, with an /etc/hosts of its own, that names all by one name."""

    def __init__(self, folder, i, port, jetstream=True, login=LOGIN):
        self.hosts = os.path.join(folder, f"hosts-{i}")
        script = os.path.join(folder, f"run-{i}")
        with open(script, "w") as f:
            f.write(f"""#!/bin/sh
exec unshare -m sh -c 'mount --bind "{self.hosts}" /etc/hosts && exec "$0" "$@"' "{BINARY}" "$@"
""")
        os.chmod(script, 0o755)
        self.name_has(i)
        super().__init__(folder, f"nats-{i}", binary=script, jetstream=jetstream, conf=f'''
            cluster {{ name: C1, listen: "127.0.0.{i}:{port}", {login}, routes: [ "nats://u:p@nats.test:{port}" ] }}''')

    def name_has(self, *addresses):
        with open(self.hosts, "w") as f:
            f.write("".join(f"127.0.0.{i} nats.test\n" for i in addresses))


def meta_size(server):
    return (server.get("/jsz").get("meta_cluster") or {}).get("cluster_size")


def end(servers):
    for s in servers:
        if s.process is not None:
            s.kill()


@needs_hosts
async def test_one_name_for_all_servers(tmp_path):
    """As compose and Kubernetes have it. Each finds its own address behind it, too."""
    port = free_port()
    servers = [Named(tmp_path, i, port) for i in (2, 3, 4)]
    for s in servers:
        s.name_has(2, 3, 4)
        s.start(wait=False)
    for s in servers:
        eventually(s.healthy, 20, f"{s.name} healthy")
        assert meta_size(s) == 3
    late = Named(tmp_path, 5, port)
    for s in [*servers, late]:  # while they run
        s.name_has(2, 3, 4, 5)
    servers.append(late.start())
    for s in servers:
        eventually(lambda: meta_size(s) == 4 and s.healthy(), 20, f"four servers, says {s.name}")
    nc = await nats.connect(late.url)
    await nc.jetstream().add_stream(name="S", subjects=["s"], num_replicas=3)
    await nc.close()
    end(servers)


@needs_hosts
def test_names_that_are_complete_only_later(tmp_path):
    """Who is seen by the name differs at first, and one server is seen by nobody: there is one group in the end, and
    none of one."""
    port = free_port()
    a, b, c = servers = [Named(tmp_path, i, port) for i in (2, 3, 4)]
    a.start()
    eventually(lambda: "meta group is not formed yet" in a.text(), 15, "a alone waiting")
    assert not a.healthy() and meta_size(a) == 0
    b.name_has(2, 3)
    b.start()
    c.start()  # alone, as it sees it
    for s in (a, b):
        eventually(s.healthy, 20, f"{s.name} healthy")
    assert not c.healthy()
    c.name_has(2, 3, 4)
    for s in servers:
        eventually(lambda: s.healthy() and meta_size(s) == 3, 20, f"{s.name} in one group of three")
    assert len({s.get("/jsz")["meta_cluster"]["leader"] for s in servers}) == 1
    end(servers)


@pytest.mark.parametrize("other", ["trireme", "nats-server"])
def test_servers_without_jetstream_do_not_hold_it_up(tmp_path, other):
    if other == "nats-server" and PEER is None:
        pytest.skip("no nats-server")
    ports = [free_port() for _ in range(3)]
    urls = ", ".join(f'"nats://127.0.0.1:{p}"' for p in ports)
    servers = [Server(tmp_path, f"n{i}", jetstream=i < 2, binary=PEER if i == 2 and other == "nats-server" else None,
                      conf=f'cluster {{ name: C1, listen: "127.0.0.1:{ports[i]}", routes: [ {urls} ] }}\n')
               for i in range(3)]
    for s in servers[:2]:
        s.start()
    eventually(lambda: "1 have not been reached" in servers[0].text(), 15, "waiting for the third")
    assert not servers[0].healthy()  # who belongs to it is known before it forms
    servers[2].start()
    for s in servers[:2]:
        eventually(s.healthy, 15, f"{s.name} healthy")
        assert meta_size(s) == 2
    end(servers)


def test_a_minority_of_those_named_forms_nothing(tmp_path):
    """As for nats-server, which finds no majority of them."""
    ports = [free_port() for _ in range(3)]
    urls = ", ".join(f'"nats://127.0.0.1:{p}"' for p in ports)
    servers = [Server(tmp_path, f"n{i}", jetstream=i < 1,
                      conf=f'cluster {{ name: C1, listen: "127.0.0.1:{ports[i]}", routes: [ {urls} ] }}\n').start()
               for i in range(3)]
    eventually(lambda: "3 servers that the routes name 0 have not been reached, 1 take part" in servers[0].text(), 15)
    assert not servers[0].healthy() and meta_size(servers[0]) == 0
    end(servers)


def test_a_cluster_without_routes_has_no_jetstream(tmp_path):
    s = Server(tmp_path, jetstream=True, conf='cluster { name: C1, listen: "127.0.0.1:-1" }')
    s.start(wait=False)
    assert s.process.wait(10) == 1
    assert "Can't start JetStream: JetStream cluster requires configured routes" in s.text()


def test_two_meta_groups_of_one_cluster_do_not_mix(tmp_path):
    """Two pairs that were configured apart come together: each goes on with its own group, and says so, until one of
    them begins anew in the other's."""
    ports = [free_port() for _ in range(4)]

    def conf(i, of):
        urls = ", ".join(f'"nats://u:p@127.0.0.1:{ports[k]}"' for k in of)
        return f'cluster {{ name: C1, listen: "127.0.0.1:{ports[i]}", {LOGIN}, routes: [ {urls} ] }}\n'

    def group(server):
        return (server.get("/jsz").get("meta_cluster") or {}).get("trireme_group_id")

    pairs = [(0, 1), (2, 3)]
    servers = [Server(tmp_path, f"n{i}", jetstream=True, conf=conf(i, pairs[i // 2])).start() for i in range(4)]
    for s in servers:
        eventually(s.healthy, 20, f"{s.name} healthy")
    ids = [group(s) for s in servers]
    assert ids[0] == ids[1] and ids[2] == ids[3] and ids[0] != ids[2] and None not in ids

    def apart(i):
        others = {f"n{k}" for k in range(4) if k // 2 != i // 2}
        health = servers[i].get("/healthz")
        return set(health.get("other_meta_group_peers", [])) == others and meta_size(servers[i]) == 2

    for i, s in enumerate(servers):  # those that run learn of each other
        s.reload(conf(i, range(4)))
    for i, s in enumerate(servers):
        eventually(lambda: apart(i), 15, f"{s.name} sees the others apart")
        assert "belongs to another JetStream meta group" in s.text()
    servers[0].kill()  # and who starts with what it has
    servers[0].start()
    for i, s in enumerate(servers):
        eventually(lambda: s.healthy() and apart(i), 15, f"{s.name} sees the others apart again")
        assert group(s) == ids[i]
    for s in servers[2:]:
        s.kill()
    for s in servers[2:]:
        shutil.rmtree(s.store)
        s.start()
    for s in servers:
        eventually(lambda: s.healthy() and meta_size(s) == 4, 20, f"{s.name} in one group of four")
        assert group(s) == ids[0] and "other_meta_group_peers" not in s.get("/healthz")
    end(servers)
