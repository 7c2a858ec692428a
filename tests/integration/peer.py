"""Tests that a real nats-server has to pass as well."""
import pytest

from harness import PEER

both = pytest.mark.parametrize("binary", [None, pytest.param(PEER, marks=pytest.mark.skipif(
    PEER is None, reason="nats-server is not installed: nothing to compare with"))],
    ids=["trireme", "nats-server"])
