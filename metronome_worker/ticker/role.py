"""The ticker of one flow: stands by, leads, publishes, and takes the flow through its exit."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from metronome_worker.broker.campaign import win
from metronome_worker.broker.flows import Status
from metronome_worker.broker.keys import TICKER
from metronome_worker.broker.server_time import ServerTime, ask_time
from metronome_worker.errors import FencedError
from metronome_worker.leaving.coordinator import take_through_exit
from metronome_worker.refusal import outlive
from metronome_worker.session import Session, follow
from metronome_worker.share import COOL_DOWN_S, Share
from metronome_worker.ticker.publisher import Publisher

if TYPE_CHECKING:
    from metronome_worker.broker.leases import Lease
    from metronome_worker.host import Host


async def run_ticker(host: Host, flow: str, share: Share | None = None) -> int | None:
    """Contend for leading ``flow``, and lead it, until it ends; returns the code it ends with.

    Cancelling releases the lease, so that a standby takes over at once; what was published stays published.
    ``share``: how many flows this process should lead; without one it leads what it can get.
    """
    own = share or Share()

    async def work(session: Session) -> None:
        own.set_total(flow, 1)
        await _contend(session, own)

    own.follow(flow)
    try:
        log = host.log.bind(flow=flow, role="ticker")
        return await outlive(host, flow, log, lambda: follow(host, flow, host.ticker.lease_ms, work))
    finally:
        own.forget(flow)


async def _contend(session: Session, share: Share) -> None:
    log = session.host.log.bind(flow=session.keys.flow_name, role="ticker")
    piece = (session.keys.flow_name, TICKER)
    while True:
        lease = await win(session.leases, session.feed, TICKER, yields=lambda: share.yield_s)
        log.info("leading", epoch=lease.epoch)
        handover = share.take(piece)
        try:
            if await session.leases.work_under(lease, _lead(session, lease, handover)):
                return
            log.info("leading_handed_over", epoch=lease.epoch)
        except FencedError as lost:
            log.warning("leading_lost", epoch=lease.epoch, why=str(lost))
        finally:
            share.drop(piece)
        if handover.is_set():
            await session.host.clock.sleep(COOL_DOWN_S)


async def stand_in(session: Session) -> None:
    """Lead a flow out when it must leave and no ticker is alive; returns when it has ended.

    A ticker that is alive holds the lease, or takes it within a moment: it is given that moment.
    """
    watch = session.watch
    while watch.state.request is None and watch.state.barrier is None and session.record.status is not Status.LEAVING:
        await watch.news(watch.seen)
    log = session.host.log.bind(flow=session.keys.flow_name)
    while True:
        await session.host.clock.sleep(session.leases.ttl_ms / 1000)
        lease = await win(session.leases, session.feed, TICKER)
        log.info("standing_in", epoch=lease.epoch)
        try:
            await session.leases.work_under(lease, _lead(session, lease, asyncio.Event()))
            return
        except FencedError as lost:
            log.info("standing_in_lost", why=str(lost))


async def _lead(session: Session, lease: Lease, handover: asyncio.Event) -> bool:
    """Publish and take the flow through its exit; True when it has ended, False when another should lead."""
    time = ServerTime()
    await ask_time(session.host.client, session.host.clock, time)
    async with asyncio.TaskGroup() as group:
        publisher = Publisher(session, lease, time)
        publishing = group.create_task(publisher.run())
        leaving = group.create_task(take_through_exit(session, lease, time, publisher.decided))
        told = group.create_task(handover.wait())
        await asyncio.wait({leaving, told}, return_when=asyncio.FIRST_COMPLETED)
        has_ended = leaving.done()
        for task in (publishing, leaving, told):
            task.cancel()
    return has_ended
