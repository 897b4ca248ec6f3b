"""One source that reads from outside (a file, standard input): read, publish with the cursor; again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from metronome_worker.broker.campaign import unless, win
from metronome_worker.broker.commits import Outcome, Published, load_state, publish_events
from metronome_worker.broker.keys import source_owner
from metronome_worker.errors import FencedError

if TYPE_CHECKING:
    from metronome_worker.broker.commits import SourceBatch
    from metronome_worker.broker.leases import Lease
    from metronome_worker.plan.model import ConnectorInstance
    from metronome_worker.session import Session

#: How long a source waits before it looks again whether its stream has room, or its flow is no longer paused.
_HOLD_S = 0.1
_HELD = (Outcome.FULL, Outcome.PAUSED)


async def run_source(session: Session, connector: ConnectorInstance, stopping: asyncio.Event) -> None:
    """Contend for a source, and read it, until it has no more, the flow leaves, or ``stopping`` is set."""
    log = session.host.log.bind(flow=session.keys.flow_name, source=connector.alias)
    while True:
        lease = await unless(stopping, win(session.leases, session.feed, source_owner(connector.alias)))
        if lease is None:
            return
        log.info("source_taken", epoch=lease.epoch)
        try:
            await session.leases.work_under(lease, _read_all(session, connector, lease, stopping))
            log.info("source_left", epoch=lease.epoch)
            return
        except FencedError as lost:
            log.warning("source_lost", epoch=lease.epoch, why=str(lost))


async def _read_all(session: Session, connector: ConnectorInstance, lease: Lease, stopping: asyncio.Event) -> None:
    state = await load_state(session.host.client, session.keys.source_state(connector.alias))
    reader = session.host.workshop.make_reader(connector, session.host.environment(session.keys))
    try:
        await reader.open(state.nodes.get("cursor"))
        published = Published(Outcome.COMMITTED, state.commits)
        while published.outcome is not Outcome.LEAVING and not stopping.is_set():
            batch = await unless(stopping, reader.read())
            if batch is None:
                return
            published = await _publish(session, connector.alias, lease, published.commits, batch, stopping)
            if published.outcome in _HELD and not reader.is_repeatable:
                session.host.log.warning("source_input_dropped", connector=connector.alias, events=len(batch.events))
    finally:
        await reader.close()


async def _publish(
    session: Session, source: str, lease: Lease, commits: int, batch: SourceBatch, stopping: asyncio.Event
) -> Published:
    """Publish one batch, waiting while the stream is full or the flow is paused, until ``stopping`` is set."""
    host, token = session.host, session.record.token
    is_told = False
    while True:
        published = await publish_events(
            host.client, session.keys, lease, token, commits, source, batch, host.worker.backlog
        )
        if published.outcome not in _HELD or stopping.is_set():
            return published
        if not is_told:
            host.log.warning("source_waits", connector=source, why=published.outcome.value)
            is_told = True
        await unless(stopping, host.clock.sleep(_HOLD_S))
