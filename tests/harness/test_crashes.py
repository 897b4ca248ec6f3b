from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.crashes import Crashed, Life, crashable_client
from tests.harness.virtual_clock import VirtualClock, fake_client, fake_server, run_virtual, virtual_loop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fakeredis import FakeServer


def with_server(scene: Callable[[FakeServer, Any], Awaitable[None]]) -> None:
    async def main() -> None:
        with fake_server(VirtualClock(virtual_loop())) as server:
            witness = fake_client(server)
            await scene(server, witness)
            await witness.aclose()

    run_virtual(main)


def test_last_command_is_executed_or_not_and_never_answered() -> None:
    outcomes: set[bytes | None] = set()

    async def scene(server: FakeServer, witness: Any) -> None:
        for seed in range(20):
            life = Life(Random(seed))
            client = crashable_client(server, life)
            await client.set("key", "before")
            life.die_after(1)
            with pytest.raises(Crashed):
                await client.set("key", "after")
            assert life.is_over
            outcomes.add(await witness.get("key"))
            await client.aclose()

    with_server(scene)
    assert outcomes == {b"before", b"after"}


def test_nothing_that_the_dead_send_has_an_effect() -> None:
    async def scene(server: FakeServer, witness: Any) -> None:
        life = Life(Random(1))
        client = crashable_client(server, life)
        life.crash()
        for _ in range(2):
            with pytest.raises(Crashed):
                await client.set("key", "value")
        with pytest.raises(Crashed):
            await client.pipeline().set("key", "value").execute()
        assert await witness.get("key") is None
        await client.aclose()

    with_server(scene)


def test_pending_read_ends_at_the_crash() -> None:
    async def scene(server: FakeServer, witness: Any) -> None:
        life = Life(Random(1))
        client = crashable_client(server, life)
        reading = asyncio.create_task(client.xread({"s": "$"}, block=2000))
        await asyncio.sleep(0.5)
        life.crash()
        with pytest.raises(Crashed):
            await reading
        assert virtual_loop().time() == 0.5
        await client.aclose()

    with_server(scene)


def test_crash_passes_through_what_a_component_catches() -> None:
    async def scene(server: FakeServer, witness: Any) -> None:
        life = Life(Random(1))
        client = crashable_client(server, life)

        async def component() -> None:
            while True:
                try:
                    await client.incr("steps")
                    await asyncio.sleep(1)
                except Exception:  # noqa: BLE001  what is tested
                    continue

        life.die_after(5)
        with pytest.raises(Crashed):
            await component()
        assert await witness.get("steps") in (b"4", b"5")
        await client.aclose()

    with_server(scene)


def test_dead_that_hang_never_return() -> None:
    async def scene(server: FakeServer, witness: Any) -> None:
        life = Life(Random(1), hangs=True)
        client = crashable_client(server, life)
        life.die_after(1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3600):
                await client.set("key", "value")
        await client.aclose()

    with_server(scene)
