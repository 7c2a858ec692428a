"""A program that speaks the protocol between Trireme servers (cluster/peers.h, raft/wire.h), and no more than that: it
says hello, beats, acknowledges what it is sent, and sends what a test wants."""
import contextlib
import json
import socket
import struct
import threading
import time

META_GROUP = 0
PREVOTE, PREVOTE_REPLY, VOTE, VOTE_REPLY, APPEND, APPEND_REPLY, ALIVE, SNAPSHOT = range(1, 9)


def varint(n):
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7f | 0x80)
        n >>= 7
    return bytes([*out, n])


def message(kind, term, index=0, index_term=0, commit=0, entries=(), group=META_GROUP, flags=0):
    """`entries`: (index, term, data) each."""
    out = varint(group) + bytes([kind, flags]) + b"".join(map(varint, (term, index, index_term, commit, len(entries))))
    for at, of, data in entries:
        out += varint(at) + varint(of) + b"\x01" + varint(len(data)) + data
    return out


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def varint(self):
        n = shift = 0
        while True:
            b = self.data[self.at]
            self.at += 1
            n |= (b & 0x7f) << shift
            shift += 7
            if b < 0x80:
                return n

    def bytes(self):
        n = self.varint()
        self.at += n
        return self.data[self.at - n:self.at]


class FakePeer:
    def __init__(self, port, name, cluster="C1", acknowledges=True, **hello):
        self.acknowledges = acknowledges
        self.term = self.index = self.index_term = 0  # of the last APPEND
        self.closed = False
        self.socket = socket.create_connection(("127.0.0.1", port))
        lines = self.socket.makefile("rb")
        assert lines.readline().startswith(b"INFO ")
        self.socket.sendall(b"TRIREME " + json.dumps(dict(name=name, cluster=cluster, version=2, **hello)).encode() + b"\r\n")
        assert lines.readline().startswith(b"TRIREME "), "refused"
        self.lock = threading.Lock()
        threading.Thread(target=self._read, args=(lines,), daemon=True).start()
        threading.Thread(target=self._beat, daemon=True).start()

    def _frame(self, kind, body=b""):
        with self.lock:
            self.socket.sendall(struct.pack("<IB", len(body) + 1, kind) + body)

    def send(self, *messages):
        self._frame(1, b"".join(varint(len(m)) + m for m in messages))

    def _beat(self):
        with contextlib.suppress(OSError):
            while not self.closed:
                self._frame(0)
                time.sleep(0.1)

    def _read(self, lines):
        with contextlib.suppress(OSError, ValueError):
            while len(head := lines.read(5)) == 5:
                size, kind = struct.unpack("<IB", head)
                body = Reader(lines.read(size - 1))
                while kind == 1 and body.at < len(body.data):
                    self._on_message(Reader(body.bytes()))
        self.closed = True

    def _on_message(self, r):
        group = r.varint()
        kind, flags = r.data[r.at], r.data[r.at + 1]
        r.at += 2
        term, index, index_term, _ = (r.varint() for _ in range(4))
        if kind != APPEND or group != META_GROUP:
            return
        if flags & 64:
            r.at += 8
        if flags & 128:
            r.varint()
        for _ in range(r.varint()):
            index, index_term = r.varint(), r.varint()
            r.at += 1
            r.bytes()
        self.term, self.index, self.index_term = term, index, index_term
        if self.acknowledges:
            self.send(message(ALIVE, term), message(APPEND_REPLY, term, index, index_term))

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
