"""Servers on hosts of a network that is made for the test."""
from harness import Server


class HostServer(Server):
    """A server on host `self.i` of `self.net`: set both before Server.__init__()."""

    def start(self, wait=True):
        with self.net.on(self.i):
            return super().start(wait)

    def accepts(self):
        with self.net.on(self.i):
            return super().accepts()

    def get(self, path, expect=200):
        with self.net.on(self.i):
            return super().get(path, expect)
