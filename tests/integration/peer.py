"""Tests that a real nats-server has to pass as well."""
import pytest

from harness import PEER

# It says what the tests may ask for; its own rare failures say nothing of Trireme.
both = pytest.mark.parametrize("binary", [None, pytest.param(PEER, marks=[
    pytest.mark.skipif(PEER is None, reason="nats-server is not installed: nothing to compare with"),
    pytest.mark.flaky(reruns=1)])], ids=["trireme", "nats-server"])
