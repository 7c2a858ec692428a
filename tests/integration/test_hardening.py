"""What others on the same machine can see of a server: its files, its memory."""
import json
import os
import re
import resource
import signal
import socket
import stat

import nats
import pytest

from harness import SLOW, Server, eventually

RIGHT, WRONG = "gr8-unlikely-Wq7", "no-such-Kz3-word"
BCRYPT = "$2b$04$abcdefghijklmnopqrstuuNsDlDWkCR0OpnxGnx8domS2V6hvFwFW"  # RIGHT


def modes(folder):
    """Of everything below it, and itself: path → mode."""
    paths = [folder] + [os.path.join(at, name) for at, folders, files in os.walk(folder) for name in folders + files]
    return {p: stat.S_IMODE(os.lstat(p).st_mode) for p in paths}


def too_open(folder):
    return {p: oct(m) for p, m in modes(folder).items() if m & 0o077}


async def test_the_store_is_its_users_alone_and_what_others_read_is_not(tmp_path):
    pid_file = tmp_path / "server.pid"
    log_file = tmp_path / "server.log"
    conf = f'pid_file: "{pid_file}"\nlog_file: "{log_file}"\n'
    s = Server(tmp_path, conf=conf, jetstream=True)
    before = os.umask(0o022)
    try:
        s.start()
    finally:
        os.umask(before)
    nc = await nats.connect(s.url)
    await nc.jetstream().add_stream(name="S", subjects=["s"])
    await nc.jetstream().publish("s", b"x")
    await nc.close()
    assert too_open(s.store) == {}
    assert [stat.S_IMODE(os.stat(f).st_mode) for f in (pid_file, log_file)] == [0o644, 0o640]
    s.stop()
    # a store of an older version, or from a backup, and a log that somebody was given
    for path in modes(os.path.join(s.store, "jetstream")):
        os.chmod(path, 0o755 if os.path.isdir(path) else 0o644)
    os.chmod(log_file, 0o664)
    s.start()
    assert too_open(os.path.join(s.store, "jetstream")) == {}
    assert stat.S_IMODE(os.stat(log_file).st_mode) == 0o664
    nc = await nats.connect(s.url)
    assert (await nc.jetstream().get_msg("S", 1)).data == b"x"
    await nc.close()
    s.stop()


def dumps_core(server):
    server.start()
    resource.prlimit(server.process.pid, resource.RLIMIT_CORE, (1 << 30, 1 << 30))
    os.kill(server.process.pid, signal.SIGABRT)
    _, status = os.waitpid(server.process.pid, 0)
    server.process.returncode = -signal.SIGABRT
    return os.WCOREDUMP(status)


@pytest.mark.skipif(SLOW > 1, reason="a sanitizer looks for leaks as a debugger would")
def test_no_core_is_dumped_unless_it_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    asked = Server(tmp_path, "asked", env={"TRIREME_CORE_DUMPS": "1"})
    if hard == 0 or not dumps_core(asked):
        pytest.skip("no core is dumped here, whoever asks")
    assert not dumps_core(Server(tmp_path, "n1"))


def memory_has(pid, needle):
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb") as memory:
        for line in maps:
            found = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
            if found and "[v" not in line:
                start, end = (int(x, 16) for x in found.groups())
                memory.seek(start)
                try:
                    if needle in memory.read(end - start):
                        return line
                except OSError:
                    pass
    return None


@pytest.mark.skipif(SLOW > 1, reason="a sanitizer maps terabytes")
@pytest.mark.parametrize("password,answer", [(RIGHT, b"PONG"), (WRONG, b"-ERR")],
                         ids=["right", "wrong"])
def test_a_password_is_not_left_in_memory(tmp_path, password, answer):
    s = Server(tmp_path, conf=f'authorization {{ users: [ {{ user: bob, password: "{BCRYPT}" }} ] }}\n').start()
    with socket.create_connection(("127.0.0.1", s.port), timeout=5) as c:
        c.recv(4096)
        line = json.dumps({"user": "bob", "pass": password, "name": "a-name-that-stays"})
        c.sendall(f"CONNECT {line}\r\nPING\r\n".encode())
        data = b""
        while answer not in data:
            data += c.recv(4096)
        try:
            if answer == b"PONG":
                assert memory_has(s.process.pid, b"a-name-that-stays"), "the search finds nothing"
        except PermissionError:
            pytest.skip("memory of another process cannot be read here")
        eventually(lambda: memory_has(s.process.pid, password.encode()) is None, what="no copy of the password")
    s.stop()
