"""Taking a flow through its exit: done by whoever holds the ticker's lease."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, assert_never

from metronome_worker.broker.campaign import win
from metronome_worker.broker.exits import write_barrier, write_end
from metronome_worker.broker.keys import TICKER
from metronome_worker.broker.server_time import ServerTime, ask_time
from metronome_worker.clock import NS_PER_S
from metronome_worker.errors import FencedError
from metronome_worker.leaving.steps import Done, Wait, WriteBarrier, WriteEnd, next_step
from metronome_worker.ticker.publisher import Publisher

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from metronome_worker.broker.leases import Lease
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
    sources = [source for stage in session.plan.stages for source in stage.sources]
    while True:
        seen = watch.seen
        match next_step(watch.state, time.now_ms(host.clock.now_ns()), stages, host.ticker.drain_ms):
            case Wait(until_ms):
                await _news(session, seen, time, until_ms)
                continue
            case WriteBarrier(code, due_ms):
                if published is not None:
                    await published(due_ms)
                await write_barrier(host.client, session.keys, lease, token, code, sources)
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


async def stand_in(session: Session) -> None:
    """Take the flow through its exit when it must leave and no ticker is alive; cancelled when it has ended.

    A ticker that is alive holds the lease, or takes it within a moment: it is given that moment.
    """
    while session.watch.state.request is None and session.watch.state.barrier is None:
        await session.watch.news(session.watch.seen)
    while True:
        await session.host.clock.sleep(session.leases.ttl_ms / 1000)
        lease = await win(session.leases, session.feed, TICKER)
        session.host.log.info("standing_in", flow=session.keys.flow_name, epoch=lease.epoch)
        time = ServerTime()
        try:
            await ask_time(session.host.client, session.host.clock, time)
            await session.leases.work_under(lease, _lead_out(session, lease, time))
            return
        except FencedError as lost:
            session.host.log.info("standing_in_lost", flow=session.keys.flow_name, why=str(lost))


async def _lead_out(session: Session, lease: Lease, time: ServerTime) -> None:
    """Whoever holds the ticker's lease publishes: until the sources stop, what is due is due."""
    publisher = Publisher(session, lease, time)
    async with asyncio.TaskGroup() as group:
        publishing = group.create_task(publisher.run())
        await take_through_exit(session, lease, time, publisher.decided)
        publishing.cancel()
