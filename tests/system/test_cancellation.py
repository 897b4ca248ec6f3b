"""A task that is cancelled ends, whatever it was just saying to Redis: leaving in order rests on that."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING, Final

from metronome_worker.broker.connection import open_client

if TYPE_CHECKING:
    from redis.asyncio import Redis

CANCELLATIONS: Final = 300


async def talk(client: Redis) -> None:
    while True:
        await client.execute_command("PING")  # type: ignore[no-untyped-call]


async def test_no_cancellation_gets_lost_in_a_command(valkey_url: str) -> None:
    random = Random(1)
    client = open_client(valkey_url)
    for _ in range(CANCELLATIONS):
        talking = asyncio.create_task(talk(client))
        await asyncio.sleep(random.uniform(0, 0.002))
        talking.cancel()
        ended, _ = await asyncio.wait({talking}, timeout=1)
        assert ended, "it goes on as if nothing had happened"
        assert talking.cancelled(), talking.exception()
    await client.aclose()
