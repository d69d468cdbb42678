"""To test packet tools anywhere, without rights and the same in every run: the driver's rules in process.

With ``pytest_plugins = ["oxidivert.testing"]`` in a ``conftest.py``, tests get the fixture ``engine``::

    def test_dns_is_redirected(engine):
        with od.open("outbound and udp.DstPort == 53", backend=engine) as handle:
            engine.inject(query)
            packet = handle.recv(timeout=1)
            packet.dst_addr = "192.0.2.53"
            handle.send(packet)
        assert [str(packet.dst_addr) for packet in engine.delivered] == ["192.0.2.53"]
"""

from __future__ import annotations

import pytest

from ._native import Engine, EngineFlow

__all__ = ["Engine", "EngineFlow", "engine"]


@pytest.fixture
def engine() -> Engine:
    """An engine of its own for the test, with a clock that stands still but for ``engine.advance(seconds)``."""
    return Engine()
