"""What a type checker makes of handles. Checked by mypy, never run; an ignored line is one that it must refuse."""

from __future__ import annotations

from typing import assert_type

import oxidivert as od
from oxidivert import Flag, Layer, Packet

handle = od.open("udp", backend=od.Engine())
assert_type(handle, od.Handle[Packet])
assert_type(handle.recv(), Packet | None)
assert_type(od.open(layer=Layer.FLOW), od.Handle[od.FlowEvent])
assert_type(od.open(layer=Layer.SOCKET, flags=Flag.RECV_ONLY), od.Handle[od.SocketEvent])
assert_type(od.open(layer=4).recv(), od.ReflectEvent | None)

# Callbacks


def decide(packet: Packet) -> bool:
    return packet.dst_port != 80


handle.run(decide, workers=4, on_error="pass")
handle.run(lambda packet: None)
handle.run(lambda packet: packet.ttl)  # type: ignore[attr-defined]
handle.run(lambda: None)  # type: ignore[misc,arg-type]
handle.run(decide, on_error="ignore")  # type: ignore[arg-type]

# Asyncio


async def wait() -> None:
    async with od.open("udp", backend=od.Engine()) as handle:
        assert_type(handle, od.Handle[Packet])
        assert_type(await handle.recv_async(timeout=1), Packet | None)
        assert_type(await handle.recv_batch_async(), od.Batch)
        async for packet in handle:
            assert_type(packet, Packet)
            await handle.send_async(packet)
        await handle.send_async(b"")  # type: ignore[call-overload]
    async with od.open(layer=Layer.FLOW) as events:
        assert_type(await events.recv_async(), od.FlowEvent | None)


# Flows

flow = Packet(b"").flow
assert_type(flow, od.Flow | None)
if flow is not None:
    assert_type(flow.bypass(), bool)
    flow.protocol = 6  # type: ignore[misc]
