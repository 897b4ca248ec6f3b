"""The pool of connections to one server."""

from __future__ import annotations

import asyncio
from typing import Any

from metronome_worker.broker.connection import open_client
from metronome_worker.broker.wire import TcpConnection


class SlowToOpen(TcpConnection):
    """Is never done with connecting."""

    async def connect(self) -> None:
        await asyncio.get_running_loop().create_future()


async def test_connection_that_is_open_is_used_while_another_one_is_being_opened(valkey_url: str) -> None:
    async with open_client(valkey_url) as client:
        pool: Any = client.connection_pool
        open_one = await pool.get_connection()
        pool.connection_class = SlowToOpen
        opening = asyncio.create_task(pool.get_connection())
        await asyncio.sleep(0)
        await pool.release(open_one)
        async with asyncio.timeout(2):
            assert await client.ping()
        opening.cancel()
        await asyncio.wait({opening})
        assert opening.cancelled()
