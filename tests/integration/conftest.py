import atexit
import os
import signal
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness  # noqa: E402

# The bound of a whole run ends it with SIGTERM: fixtures and leftovers are then cleared as on ^C.
signal.signal(signal.SIGTERM, signal.default_int_handler)
atexit.register(harness.end_leftovers)


@pytest.fixture(autouse=True)
def no_leftovers():
    yield
    harness.end_leftovers()


@pytest.fixture
def server(tmp_path):
    s = harness.Server(tmp_path, jetstream=True).start()
    yield s
    s.stop()


@pytest.fixture
def core_server(tmp_path):
    s = harness.Server(tmp_path).start()
    yield s
    s.stop()


@pytest.fixture
def cluster(tmp_path):
    c = harness.Cluster(tmp_path)
    c.start()
    yield c
    c.kill()
