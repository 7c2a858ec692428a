"""Real servers on free ports, and the few things every test needs to say about them."""
import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.request

from ports import free_port

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BINARY = os.environ.get("TRIREME_BIN", os.path.join(ROOT, "build", "bin", "trireme"))
PEER = os.environ.get("NATS_SERVER_BIN") or shutil.which("nats-server") or next(
    (p for p in [os.path.expanduser("~/go/bin/nats-server")] if os.path.exists(p)), None)
SLOW = float(os.environ.get("TRIREME_TEST_SLOWNESS", "1"))  # sanitizer builds: 4

_started = []


def end_leftovers():
    """Ends every server that a test, broken off in the middle, has left."""
    while _started:
        process = _started.pop()
        if process.poll() is None:
            process.kill()
            process.wait()


def eventually(check, timeout=10.0, what="the condition"):
    """Waits until check() is true; returns what it returned. `what` (a text, or a function that gives one) is said
    when it does not come."""
    deadline = time.monotonic() + timeout * SLOW
    while True:
        try:
            result = check()
        except (OSError, ValueError):
            result = None
        if result:
            return result
        assert time.monotonic() < deadline, f"{what() if callable(what) else what} did not come true within {timeout} s"
        time.sleep(0.02)  # the poll interval of this wait, bounded by the deadline


async def eventually_async(check, timeout=10.0, what="the condition"):
    deadline = time.monotonic() + timeout * SLOW
    while True:
        result = await check()
        if result:
            return result
        assert time.monotonic() < deadline, f"{what} did not come true within {timeout} s"
        await asyncio.sleep(0.02)


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


class Server:
    """One server process. `conf` is the text of its configuration file; `jetstream` True, or more options for its block."""

    def __init__(self, folder, name="n1", conf="", jetstream=False, binary=None, port=None,
                 http=None, args=(), env=None):
        self.name = name
        self.folder = str(folder)
        self.binary = binary or BINARY
        self.port = port or free_port()
        self.http = http or free_port()
        self.log = os.path.join(self.folder, name + ".log")
        self.conf = os.path.join(self.folder, name + ".conf")
        self.store = os.path.join(self.folder, name + "-data")
        self.args = list(args)
        self.env = dict(os.environ, **(env or {}))
        self.process = None
        text = f'server_name: {name}\nlisten: "127.0.0.1:{self.port}"\nhttp: "127.0.0.1:{self.http}"\n'
        if jetstream:
            more = f", {jetstream}" if isinstance(jetstream, str) else ""
            text += f'jetstream {{ store_dir: "{self.store}"{more} }}\n'
        self.base = text
        self.configure(conf)

    def configure(self, conf):
        """Writes the configuration file; a running server sees it at its next reload."""
        with open(self.conf, "w") as f:
            f.write(self.base + conf)

    def reload(self, conf):
        """Writes the file and reloads; returns what the server logged about it."""
        before = len(self.text())
        self.configure(conf)
        self.process.send_signal(signal.SIGHUP)
        eventually(lambda: "Reloaded server configuration" in self.text()[before:] or
                   "Failed to reload" in self.text()[before:], what="an answer to the reload")
        return self.text()[before:]

    @property
    def url(self):
        return f"nats://127.0.0.1:{self.port}"

    def start(self, wait=True):
        out = open(self.log, "ab")
        self.process = subprocess.Popen([self.binary, "-c", self.conf, *self.args], stdout=out,
                                        stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=self.env)
        out.close()
        _started.append(self.process)
        if wait:
            eventually(self.accepts, 10, f"{self.name} accepting clients")
        return self

    def accepts(self):
        assert self.process.poll() is None, f"{self.name} ended: {self.tail()}"
        with socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True

    def text(self):
        """The whole log."""
        with open(self.log, errors="replace") as f:
            return f.read()

    def tail(self):
        return self.text()[-3000:]

    def kill(self):
        """kill -9"""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def pause(self):
        """SIGSTOP, and until every thread stands still: one that runs goes on until the signal is taken."""
        self.process.send_signal(signal.SIGSTOP)
        tasks = f"/proc/{self.process.pid}/task"
        eventually(lambda: all(open(f"{tasks}/{t}/stat").read().rpartition(") ")[2][0] == "T" for t in os.listdir(tasks)),
                   what=f"{self.name} standing still")

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def stop(self):
        """Orderly; asserts a clean exit, and that the server had not ended by itself."""
        if self.process and self.process.poll() not in (None, 0, -signal.SIGKILL):
            raise AssertionError(f"{self.name} ended by itself: {self.tail()}")
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            code = self.process.wait(timeout=20 * SLOW)
            assert code == 0, f"{self.name} exited with {code}: {self.tail()}"

    def get(self, path, expect=200):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=5) as r:
                body, status = r.read(), r.status
        except urllib.error.HTTPError as e:
            body, status = e.read(), e.code
        if expect is not None:
            assert status == expect, f"{path}: {status} {body[:500]}"
        return json.loads(body)

    def healthy(self):
        return self.get("/healthz", expect=None).get("status") == "ok"


class Cluster:
    """`size` servers that know each other by their configured routes. Names nats-1, nats-2, …"""

    def __init__(self, folder, size=3, conf="", jetstream=True, binaries=None):
        self.folder = str(folder)
        routes = [free_port() for _ in range(size)]
        urls = ", ".join(f'"nats-route://127.0.0.1:{p}"' for p in routes)
        self.servers = []
        for i in range(size):
            block = (f'cluster {{ name: C1, listen: "127.0.0.1:{routes[i]}", routes: [ {urls} ] }}\n')
            binary = binaries[i] if binaries else None
            self.servers.append(Server(folder, f"nats-{i + 1}", conf + block, jetstream,
                                       binary=binary))

    def __getitem__(self, i):
        return self.servers[i]

    def start(self):
        for s in self.servers:
            s.start(wait=False)
        for s in self.servers:
            eventually(s.accepts, 10, f"{s.name} accepting clients")
        self.wait_healthy()
        return self

    def wait_healthy(self, timeout=15):
        for s in self.servers:
            eventually(s.healthy, timeout, f"{s.name} healthy")

    def urls(self):
        return [s.url for s in self.servers]

    def stop(self):
        for s in self.servers:
            s.stop()

    def kill(self):
        for s in self.servers:
            s.kill()

    def stream(self, server, stream):
        """This server's replica, as /jsz shows it; None while it has none."""
        details = server.get("/jsz?consumers=1").get("account_details") or []
        for account in details:
            for s in account.get("stream_detail") or []:
                if s["name"] == stream:
                    return s
        return None

    def leader(self, stream):
        for s in self.servers:
            if s.process.poll() is None:
                detail = self.stream(s, stream)
                if detail and detail["cluster"].get("leader") == s.name:
                    return s
        return None

    def replicas_agree(self, stream):
        """All replicas have the same content; returns the state, or None."""
        seen = []
        for s in self.servers:
            detail = self.stream(s, stream)
            if detail is None:
                return None
            seen.append((detail["trireme_content_hash"], json.dumps(detail["state"], sort_keys=True)))
        return json.loads(seen[0][1]) if all(x == seen[0] for x in seen) else None
