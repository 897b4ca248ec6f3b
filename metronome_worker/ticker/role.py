"""The ticker of one flow: stands by, leads, publishes, and takes the flow through its exit."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, assert_never

from metronome_worker.broker.campaign import win
from metronome_worker.broker.exits import write_barrier, write_end
from metronome_worker.broker.keys import TICKER
from metronome_worker.clock import NS_PER_S
from metronome_worker.errors import FencedError
from metronome_worker.session import Session, follow
from metronome_worker.ticker.leaving import Done, Wait, WriteBarrier, WriteEnd, next_step
from metronome_worker.ticker.publisher import Publisher

if TYPE_CHECKING:
    from metronome_worker.broker.leases import Lease
    from metronome_worker.host import Host


async def run_ticker(host: Host, flow: str) -> int | None:
    """Contend for leading ``flow``, and lead it, until it ends; returns the code it ends with.

    Cancelling releases the lease, so that a standby takes over at once; what was published stays published.
    """
    return await follow(host, flow, host.ticker.lease_ms, _contend)


async def _contend(session: Session) -> None:
    log = session.host.log.bind(flow=session.record.bundle.flow, role="ticker")
    while True:
        lease = await win(session.leases, session.feed, TICKER)
        log.info("leading", epoch=lease.epoch)
        try:
            await session.leases.work_under(lease, _lead(session, lease))
            return
        except FencedError as lost:
            log.warning("leading_lost", epoch=lease.epoch, why=str(lost))


async def _lead(session: Session, lease: Lease) -> None:
    publisher = Publisher(session, lease)
    await publisher.ask_time()
    async with asyncio.TaskGroup() as group:
        publishing = group.create_task(publisher.run())
        await _leave(session, lease, publisher)
        publishing.cancel()


async def _leave(session: Session, lease: Lease, publisher: Publisher) -> None:
    """Take the flow through its exit; returns when the end is written."""
    host, watch, token = session.host, session.watch, session.record.token
    log = host.log.bind(flow=session.keys.flow_name, role="ticker")
    stages = frozenset(stage.name for stage in session.plan.stages)
    sources = [source for stage in session.plan.stages for source in stage.sources]
    while True:
        seen = watch.seen
        match next_step(watch.state, publisher.now_ms(), stages, host.ticker.drain_ms):
            case Wait(until_ms):
                await _news(session, seen, publisher, until_ms)
                continue
            case WriteBarrier(code, due_ms):
                await publisher.decided(due_ms)
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


async def _news(session: Session, seen: int, publisher: Publisher, until_ms: int | None) -> None:
    """Until the exit stream has news, or the server's clock shows ``until_ms``."""
    if until_ms is None:
        await session.watch.news(seen)
        return
    left_s = max(0, publisher.local_ns(until_ms) - session.host.clock.now_ns()) / NS_PER_S
    with suppress(TimeoutError):
        async with asyncio.timeout(left_s + 0.001):
            await session.watch.news(seen)
