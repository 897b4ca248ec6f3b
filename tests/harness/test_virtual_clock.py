from __future__ import annotations

import asyncio
from random import Random

import pytest
from redis.exceptions import ResponseError

from tests.harness.virtual_clock import (
    EPOCH_S,
    StuckError,
    VirtualClock,
    fake_client,
    fake_server,
    run_virtual,
    virtual_loop,
)

TICK = """
local now = redis.call('TIME')
redis.call('XADD', KEYS[1], ARGV[1], 'data', ARGV[2])
redis.call('HSET', KEYS[2], 'published', ARGV[2])
return now[1] * 1000 + math.floor(now[2] / 1000)
"""


def test_hours_pass_at_once_and_exactly() -> None:
    async def main() -> int:
        clock = VirtualClock(virtual_loop())
        for _ in range(36_000):
            await clock.sleep(0.1)
        await clock.sleep_until(clock.now_ns() + 1)
        return clock.now_ns()

    assert run_virtual(main) == 3_600_000_000_001


def test_hosts_have_clocks_of_their_own() -> None:
    async def main() -> tuple[int, int]:
        here, there = VirtualClock(virtual_loop()), VirtualClock(virtual_loop(), offset_ns=-5_000_000)
        await there.sleep_until(1_000_000)
        return here.now_ns(), there.now_ns()

    assert run_virtual(main) == (6_000_000, 1_000_000)


def test_run_in_which_nothing_can_happen_any_more_is_an_error() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(StuckError):
        run_virtual(main)


def test_work_in_a_thread_is_done_in_place() -> None:
    async def main() -> list[int]:
        return await asyncio.to_thread(sorted, [2, 1])

    assert run_virtual(main) == [1, 2]


def test_server_time_expiry_and_stream_ids_follow_the_clock() -> None:
    async def main() -> None:
        clock = VirtualClock(virtual_loop())
        with fake_server(clock) as server:
            client = fake_client(server)
            assert await client.time() == (EPOCH_S, 0)
            await client.set("lease", "1 a", px=1500)
            await clock.sleep(1.4)
            assert await client.pttl("lease") == 100
            await clock.sleep(0.2)
            assert await client.get("lease") is None
            assert await client.time() == (EPOCH_S + 1, 600_000)
            assert await client.xadd("s", {"a": 1}) == b"%d-0" % (EPOCH_S * 1000 + 1600)
            await client.xgroup_create("s", "g", id="0")
            await client.xreadgroup("g", "c", {"s": ">"})
            await clock.sleep(7)
            (pending,) = await client.xpending_range("s", "g", "-", "+", 10)
            assert pending["time_since_delivered"] == 7000
            await client.aclose()

    run_virtual(main)


def test_blocking_read_ends_with_the_entry_or_after_virtual_time() -> None:
    async def main() -> None:
        clock = VirtualClock(virtual_loop())
        with fake_server(clock) as server:
            reader, writer = fake_client(server), fake_client(server)
            assert await reader.xread({"s": "$"}, block=2000) == []
            assert clock.now_ns() == 2_000_000_000
            reading = asyncio.create_task(reader.xread({"s": "0"}, block=2000))
            await clock.sleep(0.5)
            await writer.eval("return redis.call('XADD', KEYS[1], '1-0', 'a', '1')", 1, "s")
            assert await reading == [[b"s", [(b"1-0", {b"a": b"1"})]]]
            assert clock.now_ns() == 2_500_000_000
            await reader.aclose()
            await writer.aclose()

    run_virtual(main)


def test_message_is_received_at_the_moment_of_its_publication() -> None:
    async def main() -> None:
        clock = VirtualClock(virtual_loop())
        with fake_server(clock) as server:
            one, other = fake_client(server), fake_client(server)
            async with one.pubsub(ignore_subscribe_messages=True) as channel:
                await channel.subscribe("released")
                assert await channel.get_message(timeout=1) is None
                assert await channel.get_message(timeout=1) is None
                waiting = asyncio.create_task(channel.get_message(timeout=60))
                await clock.sleep(3)
                await other.eval("return redis.call('PUBLISH', KEYS[1], 'ticker')", 1, "released")
                message = await waiting
            assert message["data"] == b"ticker"
            assert clock.now_ns() < 5_000_000_001
            await one.aclose()
            await other.aclose()

    run_virtual(main)


async def _publishing(seed: int) -> list[tuple[int, str, object]]:
    """Three contenders at random moments; what each was told."""
    clock, random, seen = VirtualClock(virtual_loop()), Random(seed), []
    with fake_server(clock) as server:

        async def contend(name: str) -> None:
            client = fake_client(server)
            sha = await client.script_load(TICK)
            for n in range(1, 50):
                await clock.sleep(random.uniform(0, 0.1))
                try:
                    reply: object = await client.evalsha(sha, 2, "s", "h", f"{n}-0", n)
                except ResponseError as error:
                    reply = str(error)
                seen.append((clock.now_ns(), name, reply))
            await client.aclose()

        async with asyncio.TaskGroup() as group:
            for name in "abc":
                group.create_task(contend(name))
    return seen


def test_seed_repeats_a_run_and_another_gives_another() -> None:
    first = run_virtual(lambda: _publishing(1))
    assert first == run_virtual(lambda: _publishing(1))
    assert first != run_virtual(lambda: _publishing(2))
    assert sum(isinstance(reply, int) for _, _, reply in first) == 49
