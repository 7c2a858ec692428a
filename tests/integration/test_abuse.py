"""What a client, a stranger or a neighbour may say without bringing a server down, or getting what is not theirs.

Most of it is about memory: run with AddressSanitizer and ThreadSanitizer these tests see more."""
import os
import select
import shutil
import socket
import ssl
import threading
import time

import pytest

from certs import Certificates
from harness import SLOW, Cluster, Server, eventually
from peer import both
from raw import Raw, connect


class Load:
    """Runs functions again and again, each in a thread, until the block ends; what one of them raises fails the test."""

    def __init__(self, *tasks):
        self.stopped, self.error, self.rounds = threading.Event(), None, [0] * len(tasks)
        self.threads = [threading.Thread(target=self._run, args=(i, t)) for i, t in enumerate(tasks)]

    def _run(self, i, task):
        try:
            while not self.stopped.is_set():
                task()
                self.rounds[i] += 1
        except Exception as e:
            self.error = e

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *failure):
        self.stopped.set()
        for t in self.threads:
            t.join(30)
        if failure[0] is None and self.error is not None:
            raise self.error


def alive(*servers):
    for s in servers:
        assert s.process.poll() is None, f"{s.name} ended with {s.process.poll()}: {s.tail()}"
        connect(s).s.close()


def test_a_queue_group_that_changes_while_it_is_drawn_from(tmp_path):
    """Routes change the weight of a group while every loop of the other server draws members by it."""
    c = Cluster(tmp_path, 2, conf="loops: 4\n", jetstream=False)
    for s in c.servers:
        s.start(wait=False)
    for s in c.servers:
        eventually(s.accepts)
    eventually(lambda: all(s.get("/varz")["remotes"] == 1 for s in c.servers))
    members = [connect(c[1]) for _ in range(2)]
    publishers = [connect(c[0]) for _ in range(3)]
    many = b"".join(b"SUB work.* workers %d\r\n" % i for i in range(200))
    few = b"".join(b"UNSUB %d\r\n" % i for i in range(200))

    def change(member):
        def run():
            member.send(many + b"PING\r\n").until(b"PONG\r\n")
            member.send(few + b"PING\r\n").until(b"PONG\r\n")
        return run

    def publish(publisher):
        return lambda: publisher.send(b"PUB work.a 1\r\nx\r\n" * 500 + b"PING\r\n").until(b"PONG\r\n")
    with Load(*[change(m) for m in members], *[publish(p) for p in publishers]) as load:
        load.stopped.wait(1.5)
    alive(*c.servers)
    assert min(load.rounds) > 0
    c.stop()


def neighbour(port, name="stranger", cluster="C1"):
    """A route to that cluster port, without gossip or pools, as far as messages and interest need one."""
    class At:
        pass
    at = At()
    at.port = port
    r = Raw(at)
    r.until(b"\r\n")
    r.send(b'CONNECT {"verbose":false,"pedantic":false,"name":"%s","cluster":"%s"}\r\n' % (name.encode(), cluster.encode()))
    r.send(b'INFO {"server_id":"%s","server_name":"%s","version":"2.15.2","proto":1,"headers":true,"cluster":"%s"}\r\nPING\r\n'
           % (name.encode().ljust(56, b"X"), name.encode(), cluster.encode()))
    r.until(b"PONG\r\n")
    return r


def test_weights_of_a_route_that_sum_to_more_than_32_bits(tmp_path):
    from ports import free_port
    port = free_port()
    s = Server(tmp_path, conf=f'cluster {{ name: C1, listen: "127.0.0.1:{port}" }}\n').start()
    r = neighbour(port)
    lines = [b"foo.bar", b"foo.*", b"*.bar", b"foo.>", b"*.*"]
    weights = [999999999] * 4 + [2 ** 32 - 4 * 999999999]
    for subject, weight in zip(lines, weights):
        r.send(b"RS+ $G %s q %d\r\n" % (subject, weight))
    r.send(b"PING\r\n").until(b"PONG\r\n")
    c = connect(s)
    c.send(b"PUB foo.bar 5\r\nhello\r\nPING\r\n").until(b"PONG\r\n")
    assert b"RMSG $G foo.bar | q 5\r\n" in r.until(b"hello\r\n")
    alive(s)
    s.stop()
