"""Hosts of our own: network namespaces on one bridge, with links that can be cut, also one way. Needs root and `ip`."""
import contextlib
import ctypes
import itertools
import os
import shutil
import subprocess

_numbers = itertools.count()
_libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000


def ip(*args):
    done = subprocess.run(["ip", *args], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {args}: {done.stderr}"


def available():
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    name = f"trt{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode != 0:
        return False
    usable = subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], capture_output=True).returncode == 0
    ip("netns", "del", name)
    return usable


class Network:
    """`count` hosts, 10.231.0.1 and up, each with a loopback of its own, where its clients are."""

    def __init__(self, count):
        self.prefix = f"tr{os.getpid() % 10000}x{next(_numbers)}"
        self.hub = self.prefix + "h"
        self.hosts = [f"{self.prefix}n{i}" for i in range(count)]
        self.made = []
        try:
            self._make()
        except BaseException:
            self.remove()
            raise

    def _make(self):
        self._add(self.hub)
        ip("-n", self.hub, "link", "add", "name", "bridge0", "type", "bridge")
        ip("-n", self.hub, "link", "set", "dev", "bridge0", "up")
        for i, host in enumerate(self.hosts):
            self._add(host)
            ip("-n", self.hub, "link", "add", "name", f"p{i}", "type", "veth", "peer", "name", "eth0", "netns", host)
            ip("-n", self.hub, "link", "set", "dev", f"p{i}", "master", "bridge0", "up")
            ip("-n", host, "link", "set", "lo", "up")
            ip("-n", host, "addr", "add", self.address(i) + "/24", "dev", "eth0")
            ip("-n", host, "link", "set", "eth0", "up")

    def _add(self, name):
        ip("netns", "add", name)
        self.made.append(name)

    def address(self, i):
        return f"10.231.0.{i + 1}"

    def cut(self, a, b):
        """What a sends to b is lost from now on, without a word."""
        ip("-n", self.hosts[a], "neigh", "replace", self.address(b), "lladdr", "02:00:00:00:00:fe", "nud", "permanent",
           "dev", "eth0")

    def cut_both(self, a, b):
        self.cut(a, b)
        self.cut(b, a)

    def heal(self, a, b):
        for x, y in ((a, b), (b, a)):
            subprocess.run(["ip", "-n", self.hosts[x], "neigh", "del", self.address(y), "dev", "eth0"], capture_output=True)

    @contextlib.contextmanager
    def on(self, i):
        """Sockets that this thread makes inside belong to host i."""
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self.hosts[i]}", os.O_RDONLY)
        try:
            assert _libc.setns(there, CLONE_NEWNET) == 0
            yield
        finally:
            assert _libc.setns(here, CLONE_NEWNET) == 0
            os.close(here)
            os.close(there)

    def remove(self):
        for name in self.made:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
        self.made = []
