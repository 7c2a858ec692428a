"""Free ports for servers. As a program: prints so many of them (ports.py COUNT)."""
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


def free_port():
    """A port of loopback that nobody listens on, and that this process was not given before."""
    for _ in range(10000):
        port = random.choice(_below_ephemeral())
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
