"""The worker of one flow: runs its stages, and its sources that read from outside."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from redis.exceptions import ResponseError

from metronome_worker.connectors.schedules import read_sources
from metronome_worker.errors import OperatorError
from metronome_worker.refusal import outlive
from metronome_worker.session import Session, follow, require_current
from metronome_worker.share import Share
from metronome_worker.worker.exclusive import run_stage
from metronome_worker.worker.shared import run_shared_stage
from metronome_worker.worker.source import run_source

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from structlog.typing import FilteringBoundLogger

    from metronome_worker.host import Host
    from metronome_worker.plan.model import ConnectorInstance, Stage

#: How long stages may take to finish their batch when they are told to stop, seconds: Docker waits for 10 s.
STOP_LIMIT_S: Final = 8.0


async def run_worker(
    host: Host,
    flow: str,
    stopping: asyncio.Event,
    share: Share | None = None,
    beside: Callable[[Session], Coroutine[None, None, None]] | None = None,
) -> int | None:
    """Run the stages of ``flow`` until it ends; returns the code it ends with, or None once ``stopping`` is obeyed.

    When ``stopping`` is set, each stage finishes its batch, commits, and is released; one that cannot within
    ``STOP_LIMIT_S`` drops it, to be done again by whoever takes it over.  ``share``: how many stages of
    all flows this process should hold; without one it takes what it can get.  ``beside`` is done beside the stages.
    """
    own = share or Share()

    async def work(session: Session) -> None:
        own.set_total(flow, sum(not stage.is_shared for stage in session.plan.stages))
        async with asyncio.TaskGroup() as group:
            besides = group.create_task(beside(session)) if beside is not None else None
            stages = [
                group.create_task(_stage(session, stage, own, stopping), name=stage.name)
                for stage in session.plan.stages
            ]
            for connector in read_sources(session.plan):
                group.create_task(_source(session, connector, stopping))
            await stopping.wait()
            await _finish(session, stages)
            if besides is not None:
                besides.cancel()

    own.follow(flow)
    try:
        log = host.log.bind(flow=flow, role="worker")
        return await outlive(
            host, flow, log, lambda: follow(host, flow, host.worker.lease_ms, work, stopping), stopping
        )
    finally:
        own.forget(flow)


async def _finish(session: Session, stages: Sequence[asyncio.Task[None]]) -> None:
    """Wait for stages that were told to stop, but not for ever: nobody may be reading what one of them writes."""
    _, late = await asyncio.wait(stages, timeout=STOP_LIMIT_S)
    for stage in late:
        session.host.log.warning("stage_dropped", flow=session.keys.flow_name, stage=stage.get_name())
        stage.cancel()


async def _stage(session: Session, stage: Stage, share: Share, stopping: asyncio.Event) -> None:
    """A stage that is refused waits, and leaves the others alone."""
    run = run_shared_stage if stage.is_shared else run_stage
    log = session.host.log.bind(flow=session.keys.flow_name, stage=stage.name)
    await _part(session, log, lambda: run(session, stage, share, stopping), stopping)


async def _source(session: Session, connector: ConnectorInstance, stopping: asyncio.Event) -> None:
    log = session.host.log.bind(flow=session.keys.flow_name, source=connector.alias)
    await _part(session, log, lambda: run_source(session, connector, stopping), stopping)


async def _part(
    session: Session, log: FilteringBoundLogger, work: Callable[[], Awaitable[None]], stopping: asyncio.Event
) -> None:
    async def attempt() -> None:
        try:
            await work()
        except (OperatorError, ResponseError):
            await require_current(session)  # what is wrong with a revision that is over is nobody's concern
            raise

    await outlive(session.host, session.keys.flow_name, log, attempt, stopping)
