"""A way to the server that can be cut, held up and slowed down: a TCP proxy in a thread of this process."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

_CHUNK = 65_536


class Proxy:
    """``with Proxy(server_url) as way: … way.url``; the faults last until ``mend``.

    ``cut``: connections are closed and new ones too.  ``hold``: they stay, and nothing goes through until mended; then
    all of it arrives, late.  ``slow_down``: everything takes so much longer in each direction.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._host, self._port = parts.hostname, parts.port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._is_cut, self._delay_s = False, 0.0
        self._open = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self.url = ""

    def cut(self) -> None:
        self._do(self._cut)

    def hold(self) -> None:
        self._do(self._open.clear)

    def slow_down(self, seconds: float) -> None:
        self._do(lambda: setattr(self, "_delay_s", seconds))

    def mend(self) -> None:
        self._do(self._mend)

    def _cut(self) -> None:
        self._is_cut = True
        for writer in self._writers:
            writer.transport.abort()

    def _mend(self) -> None:
        self._is_cut, self._delay_s = False, 0.0
        self._open.set()

    def _do(self, change: Callable[[], object]) -> None:
        self._loop.call_soon_threadsafe(change)

    async def _serve(self) -> asyncio.Server:
        self._open.set()
        return await asyncio.start_server(self._connect, "127.0.0.1", 0)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if self._is_cut:
                return
            there, back = await asyncio.open_connection(self._host, self._port)
            self._writers.add(back)
            try:
                await asyncio.wait(
                    [asyncio.ensure_future(self._pass(reader, back)), asyncio.ensure_future(self._pass(there, writer))],
                )
            finally:
                self._writers.discard(back)
                back.close()
        except OSError:
            pass  # the server is away: so is this connection
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One direction, until either end closes; then the other end is closed, too."""
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                await asyncio.sleep(self._delay_s)
                await self._open.wait()
                writer.write(data)
                await writer.drain()
        writer.close()

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result(5)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._server.close)
        self._do(self._cut)
        asyncio.run_coroutine_threadsafe(self._end_tasks(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _end_tasks(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0)  # what was aborted is closed in the next turn
