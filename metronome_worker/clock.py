"""The one place where time comes from.  Everything else is handed a ``Clock``."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

NS_PER_S: Final = 1_000_000_000
NS_PER_MS: Final = 1_000_000
NS_PER_US: Final = 1_000

#: A timer of the event loop may end this much late; the rest is waited for precisely.
_FINE_WAIT_NS: Final = 2 * NS_PER_MS


class Clock(Protocol):
    """Time as one process sees it.  Only ever used for liveness: what is true is decided by the server's clock."""

    def now_ns(self) -> int:
        """Nanoseconds on a clock that never steps and keeps counting while the machine is suspended."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait about ``seconds``; may end a millisecond late.  Cancelling leaves nothing behind."""
        ...

    async def sleep_until(self, deadline_ns: int) -> None:
        """Wait until ``now_ns() >= deadline_ns``, as precisely as the machine allows."""
        ...


class SystemClock:
    """The machine's clock.

    ``CLOCK_BOOTTIME`` where there is one: a laptop that slept must not believe that its lease is still good.
    """

    def __init__(self) -> None:
        self._id: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
        self._fine = ThreadPoolExecutor(max_workers=4, thread_name_prefix="precise-wait")

    def now_ns(self) -> int:
        return time.clock_gettime_ns(self._id)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def sleep_until(self, deadline_ns: int) -> None:
        while (left_ns := deadline_ns - self.now_ns()) > 0:
            if left_ns > _FINE_WAIT_NS:
                await asyncio.sleep((left_ns - _FINE_WAIT_NS) / NS_PER_S)
            else:
                # An event loop's timer counts in milliseconds; a sleeping thread wakes within some 60 us.
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(self._fine, time.sleep, left_ns / NS_PER_S)
