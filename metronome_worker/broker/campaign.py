"""Waiting for a lease: at once when its holder gives it back, else when it lapses."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from metronome_worker.broker.leases import Held, Lease, first_of
from metronome_worker.tasks import until_first_done

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from metronome_worker.broker.leases import Leases
    from metronome_worker.broker.news import Feed

T = TypeVar("T")


async def win(leases: Leases, feed: Feed, name: str, *, yields: Callable[[], float] = lambda: 0.0) -> Lease:
    """Contend for a lease until it is ours.  Cancelling leaves at most a lease that lapses by itself.

    ``yields`` is asked before each attempt how many seconds others should come first.
    """
    while True:
        if later_s := yields():
            await leases.clock.sleep(later_s)
        heard = feed.heard  # what is announced while we ask must not be missed
        # A new holder each time: a lease that an attempt of ours won without hearing of it must lapse, as writes
        # under it may still be on their way.
        answer = await leases.acquire(name, leases.new_holder())
        match answer:
            case Lease():
                return answer
            case Held(wait_ms):
                await feed.wait(heard, (min(wait_ms, leases.ttl_ms) + 1) / 1000)


async def unless(stopping: asyncio.Event | None, work: Coroutine[None, None, T]) -> T | None:
    """Do ``work``, or drop it and return None as soon as ``stopping`` is set.  Raises what the work raises.

    Where ``stopping`` is None nobody can stop it.
    """
    if stopping is None:
        return await work
    try:
        working, _ = await until_first_done(work, stopping.wait())
    except BaseExceptionGroup as failures:
        raise first_of(failures) from None
    return None if working.cancelled() else working.result()
