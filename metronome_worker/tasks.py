"""Tasks that end together, and a cancellation that is not lost on the way.

A ``TaskGroup`` whose own task is cancelled in the moment in which one of its tasks fails raises the failure alone
(before Python 3.13).  Who takes that for an outage, and waits for better times, then works on although it was told to
stop.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence


async def until_first_done(*works: Coroutine[Any, Any, Any]) -> list[asyncio.Task[Any]]:
    """Do all until one of them is done, or fails; then cancel the others, wait for them, and return all as tasks.

    Raises what failed, as a group.  Cancelling cancels all, waits for them, and is what is raised, whatever they say.
    """
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _end(tasks)
    failures = [error for task in tasks if not task.cancelled() and (error := task.exception()) is not None]
    if failures:
        raise BaseExceptionGroup("of tasks that end together", failures)
    return tasks


async def _end(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel all and wait for them; cancelling that cancels them again, and goes on waiting."""
    cancelled: asyncio.CancelledError | None = None
    for task in tasks:
        task.cancel()
    while left := [task for task in tasks if not task.done()]:
        try:
            await asyncio.wait(left)
        except asyncio.CancelledError as error:
            cancelled = error
            for task in left:
                task.cancel()
    for task in tasks:
        _ = task.cancelled() or task.exception()  # heard of, even when nobody asks
    if cancelled is not None:
        raise cancelled
