"""Waiting for a lease: at once when its holder gives it back, else when it lapses."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from metronome_worker.broker.leases import Held, Lease, first_of
from metronome_worker.tasks import until_first_done

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from redis.asyncio import Redis

    from metronome_worker.broker.keys import FlowKeys
    from metronome_worker.broker.leases import Leases

T = TypeVar("T")

#: How long one wait for an announcement lasts, seconds; well below every socket timeout.
_LISTEN_S = 1.0


class ReleaseFeed:
    """Hears of the leases of one flow that were just released."""

    def __init__(self, client: Redis, keys: FlowKeys) -> None:
        self._client, self._channel = client, keys.news
        self._released = asyncio.Condition()

    async def run(self) -> None:
        """Listen until cancelled.  Raises what the client raises."""
        pubsub = self._client.pubsub(ignore_subscribe_messages=True)
        try:
            await pubsub.subscribe(self._channel)
            while True:
                if await pubsub.get_message(timeout=_LISTEN_S) is not None:
                    async with self._released:
                        self._released.notify_all()
        finally:
            await pubsub.aclose()  # type: ignore[no-untyped-call]

    async def wait(self, seconds: float) -> None:
        """Until some lease is released, at most ``seconds``.  An announcement that is missed costs only time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._released:
                await self._released.wait()


async def win(leases: Leases, feed: ReleaseFeed, name: str, *, yields: Callable[[], float] = lambda: 0.0) -> Lease:
    """Contend for a lease until it is ours.  Cancelling leaves at most a lease that lapses by itself.

    ``yields`` is asked before each attempt how many seconds others should come first.
    """
    while True:
        if later_s := yields():
            await leases.clock.sleep(later_s)
        # A new holder each time: a lease that an attempt of ours won without hearing of it must lapse, as writes
        # under it may still be on their way.
        answer = await leases.acquire(name, leases.new_holder())
        match answer:
            case Lease():
                return answer
            case Held(wait_ms):
                await feed.wait((min(wait_ms, leases.ttl_ms) + 1) / 1000)


async def unless(stopping: asyncio.Event, work: Coroutine[None, None, T]) -> T | None:
    """Do ``work``, or drop it and return None as soon as ``stopping`` is set.  Raises what the work raises."""
    try:
        working, _ = await until_first_done(work, stopping.wait())
    except BaseExceptionGroup as failures:
        raise first_of(failures) from None
    return None if working.cancelled() else working.result()
