"""A connection that is spoken byte by byte."""
import json
import socket


class Raw:
    def __init__(self, server):
        self.s = socket.create_connection(("127.0.0.1", server.port), timeout=5)
        self.data = b""

    def send(self, data):
        self.s.sendall(data)
        return self

    def until(self, marker):
        while marker not in self.data:
            chunk = self.s.recv(65536)
            assert chunk, f"closed while waiting for {marker!r}: {self.data!r}"
            self.data += chunk
        at = self.data.index(marker) + len(marker)
        out, self.data = self.data[:at], self.data[at:]
        return out

    def info(self):
        """The INFO that comes next."""
        line = self.until(b"\r\n")
        assert line.startswith(b"INFO "), line
        return json.loads(line[5:])

    def rest(self):
        """Everything until the server closes."""
        try:
            while chunk := self.s.recv(65536):
                self.data += chunk
        except ConnectionResetError:
            pass
        return self.data


def connect(server, options=b'{"verbose":false,"pedantic":false}'):
    c = Raw(server)
    c.until(b"\r\n")
    c.send(b"CONNECT " + options + b"\r\nPING\r\n").until(b"PONG\r\n")
    return c
