"""Free ports for servers. As a program: prints so many of them (ports.py COUNT)."""
import os
import random
import socket
import sys

_taken = set()


def _below_ephemeral():
    """Where no outgoing connection gets its local port: between two servers' starts it could take a
    port that was free when it was chosen."""
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range") as f:
            first = int(f.read().split()[0])
    except OSError:
        first = 32768
    return range(10240, first) if first > 12288 else range(1024, 10240)


def _ours():
    """The part of it that belongs to this process of a test run: others draw ports at the same time (pytest-xdist)."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    return _below_ephemeral()[worker::workers]


def free_port():
    """A port of loopback that nobody listens on, and that this process was not given before."""
    for _ in range(10000):
        port = random.choice(_ours())
        if port in _taken:
            continue
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
        _taken.add(port)
        return port
    raise RuntimeError("no free port")


if __name__ == "__main__":
    print(*[free_port() for _ in range(int(sys.argv[1]))])
