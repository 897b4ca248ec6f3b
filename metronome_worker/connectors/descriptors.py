"""Bytes in and out of files and pipes without holding up the event loop.

A pipe or terminal is waited for by the loop and then used directly, so that nothing is left waiting in a thread when
the process wants to end.  Regular files, for which the loop cannot wait, are used in a thread, briefly.

A loop wakes one waiter for each descriptor and direction, so all who use one take turns: standard output has as many
writers as there are stages that write to it.
"""

from __future__ import annotations

import asyncio
import io
import os
import select
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, TypeVar
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")

#: For each loop: a descriptor, and whether it is written to, to the lock of those who wait for it.
_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[int, bool], asyncio.Lock]] = WeakKeyDictionary()


async def in_thread(function: Callable[[], _T]) -> _T:
    """Run ``function`` in a thread; cancelled, wait for its end first, so that nothing goes on behind our back."""
    task = asyncio.ensure_future(asyncio.to_thread(function))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):  # cancelled again: that does not end the thread either
                await asyncio.wait([task])
        _ = task.cancelled() or task.exception()  # said to be seen: the cancellation is what counts
        raise


def descriptor_of(stream: BinaryIO) -> int | None:
    """The file descriptor of a binary stream, None for one in memory."""
    try:
        return stream.fileno()
    except (io.UnsupportedOperation, OSError):
        return None


def is_regular(descriptor: int) -> bool:
    return stat.S_ISREG(os.fstat(descriptor).st_mode)


async def read_some(descriptor: int, size: int) -> bytes:
    """At most ``size`` bytes, as soon as there are any; empty at the end.  Cancelled, nothing was taken."""
    async with _turn(descriptor, is_output=False):
        if await _is_waited_for(descriptor, is_output=False):
            return os.read(descriptor, size)
        return await in_thread(lambda: os.read(descriptor, size))


async def write_all(descriptor: int, data: bytes) -> None:
    """Write everything to a stream, in order, and in one piece.  Cancelled, a part of it may have been written.

    A descriptor that other processes share must not be made non-blocking, so it gets no more at once than it takes
    without blocking once it is reported ready: ``select.PIPE_BUF`` bytes.
    """
    async with _turn(descriptor, is_output=True):
        await _write_all(descriptor, data)


def _turn(descriptor: int, *, is_output: bool) -> asyncio.Lock:
    locks = _turns.setdefault(asyncio.get_running_loop(), {})
    return locks.setdefault((descriptor, is_output), asyncio.Lock())


async def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    is_shared = os.get_blocking(descriptor)
    while rest:
        if await _is_waited_for(descriptor, is_output=True):
            try:
                written = os.write(descriptor, rest[: select.PIPE_BUF] if is_shared else rest)
            except BlockingIOError:
                continue
        else:
            written = await in_thread(lambda: os.write(descriptor, rest))  # noqa: B023 (awaited before rest changes)
        rest = rest[written:]


async def _is_waited_for(descriptor: int, *, is_output: bool) -> bool:
    """Wait until the loop reports ``descriptor`` ready; False at once where the loop cannot watch it."""
    if is_regular(descriptor):
        return False
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    watch, forget = (loop.add_writer, loop.remove_writer) if is_output else (loop.add_reader, loop.remove_reader)
    try:
        watch(descriptor, wake)
    except OSError:  # such as /dev/null, which is always ready and so cannot be watched
        return False
    try:
        await ready
    finally:
        forget(descriptor)
    return True
