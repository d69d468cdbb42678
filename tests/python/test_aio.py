"""Handles under asyncio: many waiters, cancelled waits that lose nothing, iteration, and the end."""

from __future__ import annotations

import asyncio
import gc
import pathlib
import random
import threading
import weakref

import oxidivert as od
import pytest
from samples import pcap, read_pcap, udp


def packet(number: int) -> bytes:
    return udp(number.to_bytes(2, "big"))


def number_of(packet: od.Packet | None) -> int:
    assert packet is not None
    return int.from_bytes(packet.payload, "big")


def inject(engine: od.Engine, *numbers: int) -> None:
    for number in numbers:
        engine.inject(packet(number))


def test_a_packet_that_is_there_and_one_that_comes_later(engine: od.Engine) -> None:
    async def main() -> list[int]:
        async with od.open("udp", backend=engine) as handle:
            inject(engine, 1)
            first = await handle.recv_async()
            asyncio.get_running_loop().call_later(0.05, inject, engine, 2)
            second = await handle.recv_async(timeout=10)
            assert second is not None
            await handle.send_async(second)
            assert handle.closed is False
        assert handle.closed
        return [number_of(first), number_of(second)]

    assert asyncio.run(main()) == [1, 2]
    assert [number_of(packet) for packet in engine.delivered] == [2]


def test_a_wait_ends_with_none_when_its_time_is_out(engine: od.Engine) -> None:
    async def main() -> None:
        async with od.open("udp", backend=engine) as handle:
            assert await handle.recv_async(timeout=0) is None
            assert await handle.recv_async(timeout=0.02) is None
            assert len(await handle.recv_batch_async(timeout=0.02)) == 0
            inject(engine, 3)
            assert number_of(await handle.recv_async(timeout=0)) == 3

    asyncio.run(main())


def test_iteration_ends_with_the_handle(engine: od.Engine) -> None:
    async def main() -> list[int]:
        numbers = []
        async with od.open("udp", backend=engine) as handle:
            inject(engine, *range(200))
            asyncio.get_running_loop().call_later(0.05, handle.shutdown, od.Shutdown.RECV)
            async for packet in handle:
                numbers.append(number_of(packet))
                handle.send(packet)
            with pytest.raises(od.HandleShutdownError):
                await handle.recv_async()
        with pytest.raises(od.HandleClosedError):
            await handle.recv_async()
        return numbers

    assert asyncio.run(main()) == list(range(200))


def test_an_iteration_that_waits_ends_when_the_handle_is_closed(engine: od.Engine) -> None:
    async def main() -> int:
        handle = od.open("udp", backend=engine)
        asyncio.get_running_loop().call_later(0.1, handle.close)
        count = 0
        async for _ in handle:
            count += 1
        return count

    assert asyncio.run(main()) == 0


def test_closing_wakes_all_who_wait(engine: od.Engine) -> None:
    async def main() -> list[object]:
        handle = od.open("udp", backend=engine)
        waits = [asyncio.create_task(handle.recv_async()) for _ in range(5)]
        await asyncio.sleep(0.02)
        handle.close()
        return await asyncio.gather(*waits, return_exceptions=True)

    for outcome in asyncio.run(main()):
        assert isinstance(outcome, od.DivertError)


def test_many_waiters_get_one_packet_each_in_order(engine: od.Engine) -> None:
    async def main() -> list[int]:
        async with od.open("udp", backend=engine) as handle:
            waits = [asyncio.create_task(handle.recv_async()) for _ in range(50)]
            await asyncio.sleep(0)
            inject(engine, *range(50))
            return [number_of(packet) for packet in await asyncio.gather(*waits)]

    assert asyncio.run(main()) == list(range(50))


def test_other_tasks_have_their_turn_while_packets_keep_coming(engine: od.Engine) -> None:
    async def main() -> int:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counter = asyncio.create_task(count())
        async with od.open("udp", backend=engine) as handle:
            inject(engine, *range(1000))
            for _ in range(1000):
                await handle.recv_async()
        counter.cancel()
        return turns

    assert asyncio.run(main()) > 5


def test_a_cancelled_wait_loses_no_packet(engine: od.Engine) -> None:
    count = 400
    dice = random.Random(1)

    async def main() -> list[int]:
        numbers: list[int] = []
        async with od.open("udp", backend=engine) as handle:

            async def take() -> None:
                numbers.append(number_of(await handle.recv_async()))

            def feed() -> None:
                for number in range(count):
                    inject(engine, number)
                    if number % 7 == 0:
                        pause.wait(0.0005)

            pause = threading.Event()
            feeder = threading.Thread(target=feed)
            feeder.start()
            while len(numbers) < count:
                task = asyncio.create_task(take())
                if dice.random() < 0.7:
                    await asyncio.sleep(dice.random() * 0.001)
                    task.cancel()
                await asyncio.wait([task], timeout=10)
            feeder.join()
            assert handle.stats.received == count
            assert handle.recv(timeout=0) is None
        return numbers

    assert asyncio.run(main()) == list(range(count))


def test_a_time_out_of_asyncio_loses_no_packet(engine: od.Engine) -> None:
    async def main() -> int:
        async with od.open("udp", backend=engine) as handle:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(handle.recv_async(), 0.02)
            inject(engine, 9)
            return number_of(await handle.recv_async(timeout=5))

    assert asyncio.run(main()) == 9


def test_batches_and_masks(engine: od.Engine) -> None:
    async def main() -> None:
        async with od.open("udp", backend=engine) as handle:
            inject(engine, *range(10))
            batch = await handle.recv_batch_async(limit=10)
            assert await handle.send_batch_async(batch, [number % 2 == 0 for number in range(10)]) == 5

    asyncio.run(main())
    assert [number_of(packet) for packet in engine.delivered] == [0, 2, 4, 6, 8]


def test_events_can_be_awaited(engine: od.Engine) -> None:
    async def main() -> od.Event:
        flags = od.Flag.SNIFF | od.Flag.RECV_ONLY
        async with od.open(layer=od.Layer.FLOW, flags=flags, backend=engine) as handle:
            asyncio.get_running_loop().call_later(0.02, lambda: engine.flow(process_id=3))
            event = await handle.recv_async(timeout=10)
            assert event is not None
            return event.event

    assert asyncio.run(main()) == od.Event.FLOW_ESTABLISHED


def test_a_capture_is_replayed_whole_and_discarded_after_an_exception(tmp_path: pathlib.Path) -> None:
    packets = [packet(number) for number in range(5)]
    out = tmp_path / "out.pcap"

    async def main(fail_at: int | None) -> None:
        async with od.open("udp", backend=od.Replay(pcap(packets), out=out)) as handle:
            async for item in handle:
                if number_of(item) == fail_at:
                    raise RuntimeError
                await handle.send_async(item)

    with pytest.raises(RuntimeError):
        asyncio.run(main(fail_at=2))
    assert not out.exists()
    asyncio.run(main(fail_at=None))
    assert read_pcap(out.read_bytes()) == packets


def test_two_loops_may_wait_for_one_handle(engine: od.Engine) -> None:
    numbers: list[int] = []

    async def take(handle: od.Handle[od.Packet]) -> None:
        for _ in range(20):
            numbers.append(number_of(await handle.recv_async(timeout=20)))

    with od.open("udp", backend=engine) as handle:
        threads = [threading.Thread(target=lambda: asyncio.run(take(handle))) for _ in range(2)]
        for thread in threads:
            thread.start()
        inject(engine, *range(40))
        for thread in threads:
            thread.join(30)
    assert sorted(numbers) == list(range(40))


def test_the_handle_is_collected_though_somebody_waited_for_it(engine: od.Engine) -> None:
    async def main() -> weakref.ref[od.Handle[od.Packet]]:
        async with od.open("udp", backend=engine) as handle:
            assert await handle.recv_async(timeout=0.01) is None
            return weakref.ref(handle)

    reference = asyncio.run(main())
    for _ in range(50):
        gc.collect()
        if reference() is None:
            return
        threading.Event().wait(0.02)
    raise AssertionError("something still holds the handle")
