"""Taking a flow through its exit: done by whoever holds the ticker's lease."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, assert_never

from metronome_worker.broker.exits import write_barrier, write_end
from metronome_worker.broker.flows import Status
from metronome_worker.clock import NS_PER_S
from metronome_worker.leaving.steps import Done, Wait, WriteBarrier, WriteEnd, next_step

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from metronome_worker.broker.leases import Lease
    from metronome_worker.broker.server_time import ServerTime
    from metronome_worker.session import Session


async def take_through_exit(
    session: Session, lease: Lease, time: ServerTime, published: Callable[[int], Awaitable[None]] | None = None
) -> None:
    """Wait for a request, stop the sources, wait for the stages, write the end; returns when that is written.

    ``published`` is waited for before the sources are stopped: all that is due before a moment (ms, server's clock).
    Raises ``FencedError`` when another has the lease, ``SupersededError`` when the run is over.  Cancelling leaves
    the exit where it is, for the next holder to go on.
    """
    host, watch, token = session.host, session.watch, session.record.token
    log = host.log.bind(flow=session.keys.flow_name)
    stages = frozenset(stage.name for stage in session.plan.stages)
    inputs = [name for stage in session.plan.stages for name in stage.inputs]
    if session.record.status is Status.LEAVING:
        # Somebody may have deleted the exit stream: nothing in it would tell that there is something to do.
        await write_barrier(host.client, session.keys, lease, token, session.record.code or 0, inputs)
    while True:
        seen = watch.seen
        match next_step(watch.state, time.now_ms(host.clock.now_ns()), stages, host.ticker.drain_ms):
            case Wait(until_ms):
                await _news(session, seen, time, until_ms)
                continue
            case WriteBarrier(code, due_ms):
                if published is not None:
                    await published(due_ms)
                await write_barrier(host.client, session.keys, lease, token, code, inputs)
                log.info("sources_stopped", code=code)
            case WriteEnd(reason):
                await write_end(host.client, session.keys, lease, token, reason)
                if reason == "deadline":
                    log.warning("drain_deadline", not_drained=sorted(stages - watch.state.drained))
            case Done():
                return
            case step:
                assert_never(step)
        await watch.news(seen)


async def _news(session: Session, seen: int, time: ServerTime, until_ms: int | None) -> None:
    """Until the exit stream has news, or the server's clock shows ``until_ms``."""
    if until_ms is None:
        await session.watch.news(seen)
        return
    left_s = max(0, time.local_ns(until_ms) - session.host.clock.now_ns()) / NS_PER_S
    with suppress(TimeoutError):
        async with asyncio.timeout(left_s + 0.001):
            await session.watch.news(seen)
