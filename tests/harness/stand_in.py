"""A server that says what it is told to: for states that a real one is hard to bring into (loading, ancient)."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    #: Command and arguments in, RESP out.
    Answer = Callable[[list[bytes]], bytes]


def bulk(text: str) -> bytes:
    """``text`` as a RESP bulk string."""
    return b"$%d\r\n%s\r\n" % (len(text.encode()), text.encode())


@asynccontextmanager
async def stand_in(answer: Answer) -> AsyncIterator[str]:
    """Runs on a free port as long as the block; yields its URL."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                command = [await _bulk(reader) for _ in range(int(line[1:]))]
                writer.write(answer(command))
                await writer.drain()
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    finally:
        server.close()
        await server.wait_closed()


async def _bulk(reader: asyncio.StreamReader) -> bytes:
    length = int((await reader.readline())[1:])
    return (await reader.readexactly(length + 2))[:-2]
