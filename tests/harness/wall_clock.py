"""Wall clocks of simulated hosts: what ``time.time()`` shows to a task depends on the host that it runs on.

    with simulated_wall_clocks():
        wall = WallClock(virtual_loop())
        task = asyncio.create_task(process(), context=wall.context())
        wall.step(-3600 * NS_PER_S)

Nothing of the product needs the wall clock to be right; here somebody moves it, and whoever relies on it is found out.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Final
from unittest import mock

from metronome_worker.clock import NS_PER_S
from tests.harness.virtual_clock import EPOCH_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.virtual_clock import VirtualLoop

_wall: ContextVar[WallClock | None] = ContextVar("wall", default=None)
_real_ns: Final = time.time_ns


class WallClock:
    """Of one host: nanoseconds since 1970, ``offset_ns`` wrong from the start."""

    def __init__(self, loop: VirtualLoop, offset_ns: int = 0) -> None:
        self._loop, self._offset_ns = loop, offset_ns

    def now_ns(self) -> int:
        return EPOCH_S * NS_PER_S + self._loop.now_ns() + self._offset_ns

    def step(self, ns: int) -> None:
        """Somebody sets it."""
        self._offset_ns += ns

    def context(self) -> Context:
        """For the tasks of its host."""
        context = copy_context()
        context.run(_wall.set, self)
        return context


def _now_ns() -> int:
    clock = _wall.get()
    return _real_ns() if clock is None else clock.now_ns()


@contextmanager
def simulated_wall_clocks() -> Iterator[None]:
    """Inside the block ``time.time()`` and ``time.time_ns()`` show the clock of the host that asks."""
    with (
        mock.patch.object(time, "time_ns", _now_ns),
        mock.patch.object(time, "time", lambda: _now_ns() / NS_PER_S),
    ):
        yield
