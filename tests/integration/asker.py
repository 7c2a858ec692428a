"""Requests of the JetStream API over a connection that is spoken byte by byte."""
import itertools
import json

from raw import connect


_numbers = itertools.count()


class Asker:
    def __init__(self, server, user=None):
        options = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True}
        if user:
            options.update({"user": user, "pass": "p"})
        self.c = connect(server, json.dumps(options).encode())
        self.inbox = f"_INBOX.{next(_numbers)}"
        self.c.send(b"SUB %s.* 1\r\n" % self.inbox.encode())
        self.asked = 0

    def message(self):
        """The next message: its line and what it carries, headers included."""
        c = self.c
        while True:
            line = c.until(b"\r\n")
            if line == b"PING\r\n":
                c.send(b"PONG\r\n")
            elif line.startswith((b"MSG ", b"HMSG ")):
                break
        size = int(line.split()[-1])
        while len(c.data) < size + 2:
            c.data += c.s.recv(65536)
        body, c.data = c.data[:size], c.data[size + 2:]
        return line.decode().strip(), body.decode()

    def send(self, subject, body="", headers="", reply=""):
        text, header = body.encode(), headers.encode()
        if header:
            self.c.send(b"HPUB %s %s %d %d\r\n%s%s\r\n" % (subject.encode(), reply.encode(), len(header),
                                                         len(header) + len(text), header, text))
        else:
            self.c.send(b"PUB %s %s %d\r\n%s\r\n" % (subject.encode(), reply.encode(), len(text), text))

    def request(self, subject, body="", headers=""):
        self.asked += 1
        self.send(subject, body, headers, f"{self.inbox}.{self.asked}")
        return self.message()[1]

    def ask(self, verb, body=""):
        return self.request("$JS.API." + verb, body)

    def api(self, verb, **body):
        return json.loads(self.ask(verb, json.dumps(body) if body else ""))

    def sync(self):
        self.c.send(b"PING\r\n").until(b"PONG\r\n")
