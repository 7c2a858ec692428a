#!/usr/bin/env python3
"""Trireme beside nats-server 2.15.2: one run, alternating, the same load generator (load.c).

    tests/bench/run [--rounds N] [--quick] [--only CASE]

Prints, per case, the median rate and the median server CPU per message of both, and their ratios; then memory.
Ours syncs every acknowledged write; nats-server runs with its defaults, which do not. Needs nats-server (on PATH
or ~/go/bin), a release build and a quiet machine: nothing else may build or test meanwhile."""
import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "integration"))
from certs import Certificates  # noqa: E402
from harness import PEER, Cluster, Server  # noqa: E402

LOAD = os.path.join(HERE, "..", "..", "build", "bin", "bench_load")
TICK = os.sysconf("SC_CLK_TCK")
BOTH = (("ours", None), ("peer", PEER))


def cpu(servers):
    total = 0
    for s in servers:
        with open(f"/proc/{s.process.pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def rss_kb(s):
    with open(f"/proc/{s.process.pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))


def load(*args):
    out = subprocess.run([LOAD, *map(str, args)], capture_output=True, text=True, timeout=300)
    if out.returncode != 0:
        sys.exit(f"load {args}: {out.stderr}")
    return [float(x) for x in out.stdout.split()]


def start(nodes, jetstream, binary, conf=""):
    folder = tempfile.mkdtemp()
    if nodes == 1:
        return [Server(folder, "n1", conf, jetstream, binary=binary).start()]
    servers = Cluster(folder, nodes, conf, jetstream=jetstream, binaries=[binary] * nodes).start().servers
    time.sleep(1.5)
    return servers


def end(servers):
    for s in servers:
        s.kill()
        shutil.rmtree(s.folder, ignore_errors=True)


def median(results):
    return [statistics.median(column) for column in zip(*results)]


class Bench:
    def __init__(self):
        p = argparse.ArgumentParser()
        p.add_argument("--rounds", type=int, default=3)
        p.add_argument("--quick", action="store_true", help="a tenth of the messages")
        p.add_argument("--only", help="cases whose name contains this, and nothing else")
        self.args = p.parse_args()

    def wanted(self, name):
        return not self.args.only or self.args.only in name

    def count(self, n):
        return n // 10 if self.args.quick else n

    def alternating(self, nodes, jetstream, conf, run):
        """{"ours": medians, "peer": medians} of what run(servers) returns."""
        results = {"ours": [], "peer": []}
        for _ in range(self.args.rounds):
            for who, binary in BOTH:
                servers = start(nodes, jetstream, binary, conf)
                results[who].append(run(servers))
                end(servers)
        return {who: median(r) for who, r in results.items()}

    def rates(self, name, nodes, jetstream, count, *args, conf="", far=False):
        """A line of rate and server CPU per message. args: what follows URL and COUNT."""
        if not self.wanted(name):
            return
        count = self.count(count)

        def run(servers):
            before = cpu(servers)
            out = load(args[0], servers[0].url, count, *args[1:], *([servers[-1].url] if far else []))
            return out[0], (cpu(servers) - before) / count * 1e6
        r = self.alternating(nodes, jetstream, conf, run)
        (ro, co), (rp, cp) = r["ours"], r["peer"]
        print(f"{name:36} {ro:10.0f} {rp:10.0f} {ro / rp:6.2f}   {co:8.3f} {cp:8.3f} {co / cp:6.2f}", flush=True)

    def requests(self, name, nodes, count, rate, far=False):
        if not self.wanted(name):
            return
        count = self.count(count)

        def run(servers):
            before = cpu(servers)
            out = load("request", servers[0].url, count, 16, rate, *([servers[-1].url] if far else []))
            return [*out, (cpu(servers) - before) / count * 1e6]
        r = self.alternating(nodes, False, "", run)
        for who in ("ours", "peer"):
            rq, p50, p99, streamed, us = r[who]
            print(f"{name}, {who}: {rq:.0f}/s, p50 {p50:.0f} µs, p99 {p99:.0f} µs, server CPU {us:.1f} µs"
                  + (f", stream {streamed:.0f}/s" if rate else ""), flush=True)

    def acknowledged(self, name, nodes, count, replicas, rate):
        """How long publishes to a stream wait when they come at a rate."""
        if not self.wanted(name):
            return
        r = self.alternating(nodes, True, "", lambda servers: load("js", servers[0].url, self.count(count), 128,
                                                                  replicas, rate))
        for who in ("ours", "peer"):
            done, p50, p99 = r[who]
            print(f"{name}, {who}: {done:.0f}/s, p50 {p50 / 1000:.2f} ms, p99 {p99 / 1000:.2f} ms", flush=True)

    def each(self, name, run, nodes=1, jetstream=False):
        """run(servers) prints about one server or cluster; first ours, then the peer."""
        if self.wanted(name):
            for who, binary in BOTH:
                servers = start(nodes, jetstream, binary)
                print(f"{name}, {who}: {run(servers)}", flush=True)
                end(servers)


def held(mode, count, unit, settle=10):
    """Memory per connection or subscription, and what is given back `settle` seconds after they are gone."""
    def run(servers):
        base = rss_kb(servers[0])
        p = subprocess.Popen([LOAD, mode, servers[0].url, str(count)], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, text=True)
        assert p.stdout.readline() == "ready\n"
        time.sleep(2)
        full = rss_kb(servers[0])
        p.stdin.write("\n")
        p.stdin.flush()
        assert p.stdout.readline() == "closed\n"
        time.sleep(settle)
        after = rss_kb(servers[0])
        p.stdin.write("\n")
        p.stdin.flush()
        p.wait()
        return (f"{(full - base) * 1024 / count:.0f} B per {unit}; RSS {base / 1024:.1f} → "
                f"{full / 1024:.1f} → {after / 1024:.1f} MB after closing")
    return run


def cycle(count):
    def run(servers):
        load("cycle", servers[0].url, 15_000)  # fills what is kept of closed ones
        before = rss_kb(servers[0])
        rate, = load("cycle", servers[0].url, count)
        time.sleep(2)
        return f"{rate:.0f} connections/s, RSS {before / 1024:.1f} → {rss_kb(servers[0]) / 1024:.1f} MB"
    return run


def spread(count):
    def run(servers):
        seconds, = load("spread", servers[0].url, count, *(s.url for s in servers[1:]))
        return f"{seconds:.2f} s"
    return run


def back_again(servers):
    """How long until a killed neighbour, started again at once, is routed with everybody."""
    servers[1].kill()
    begin = time.monotonic()
    servers[1].start()
    while any(s.get("/varz")["remotes"] < len(servers) - 1 for s in servers):
        assert time.monotonic() < begin + 60
        time.sleep(0.01)
    return f"{time.monotonic() - begin:.2f} s"


def churn(servers):
    published, churned = load("churn", servers[0].url, 5)
    return f"{published:.0f} publishes/s beside {churned:.0f} SUB + UNSUB pairs/s"


def idle_rss(servers):
    time.sleep(2)
    return f"{rss_kb(servers[0]) / 1024:.1f} MB"


def idle_streams(count):
    def run(servers):
        load("js-idle", servers[0].url, count)
        time.sleep(5)
        before = cpu(servers)
        time.sleep(10)
        return (f"{(cpu(servers) - before) * 10:.2f} % of a core over three nodes, "
                f"RSS {[round(rss_kb(s) / 1024) for s in servers]} MB")
    return run


def main():
    if PEER is None:
        sys.exit("nats-server is not installed: nothing to compare with")
    if not os.path.exists(LOAD):
        sys.exit("build/bin/bench_load is missing: build a release with libnats-dev installed")
    b = Bench()
    certs = Certificates()
    tls = f'tls {{ cert_file: "{certs.server[0]}", key_file: "{certs.server[1]}" }}\n'
    print(f"{'case':36} {'ours/s':>10} {'peer/s':>10} {'rate':>6}   {'ours µs':>8} {'peer µs':>8} {'CPU':>6}")
    b.rates("publish 16 B", 1, False, 20_000_000, "pub", 16)
    b.rates("publish 128 B", 1, False, 10_000_000, "pub", 128)
    b.rates("publish 1 KiB", 1, False, 3_000_000, "pub", 1024)
    b.rates("1:1 128 B", 1, False, 5_000_000, "fan", 128, 1)
    b.rates("1:4 128 B", 1, False, 2_000_000, "fan", 128, 4)
    b.rates("1:1 8 KiB", 1, False, 300_000, "fan", 8192, 1)
    b.rates("1:1 128 B over TLS", 1, False, 1_000_000, "tls", 128, certs.ca.pem, conf=tls)
    b.rates("across a route 128 B", 2, False, 2_000_000, "fan", 128, 1, far=True)
    b.rates("JetStream R1 async publish 128 B", 1, True, 500_000, "js", 128, 1)
    b.rates("JetStream R3 async publish 128 B", 3, True, 300_000, "js", 128, 3)
    b.acknowledged("JetStream R3 at 75,000/s, 128 B", 3, 750_000, 3, 75_000)
    b.requests("request/reply", 1, 20_000, 0)
    b.requests("request/reply beside 150,000 × 1 KiB/s", 1, 20_000, 150_000)
    b.requests("request/reply across a route", 2, 20_000, 0, far=True)
    b.each("100,000 subscriptions known on two others", spread(100_000), nodes=3)
    b.each("a killed neighbour is back", back_again, nodes=3)
    b.each("10,000 idle connections", held("hold", 10_000, "connection"))
    b.each("1 M subscriptions", held("subs", 1_000_000, "subscription"))
    b.each("50,000 connections opened and closed", cycle(50_000))
    b.each("subscription churn", churn)
    b.each("idle RSS without JetStream", idle_rss)
    b.each("idle RSS with JetStream", idle_rss, jetstream=True)
    b.each("200 idle R3 streams with a consumer each", idle_streams(200), nodes=3, jetstream=True)
    shutil.rmtree(certs.folder)


if __name__ == "__main__":
    main()
