"""The worker of one flow: runs its stages, and its sources that read from outside."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from metronome_worker.connectors.schedules import read_sources
from metronome_worker.session import Session, follow
from metronome_worker.share import Share
from metronome_worker.worker.exclusive import run_stage
from metronome_worker.worker.shared import run_shared_stage
from metronome_worker.worker.source import run_source

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from metronome_worker.host import Host


async def run_worker(
    host: Host,
    flow: str,
    stopping: asyncio.Event,
    share: Share | None = None,
    beside: Callable[[Session], Coroutine[None, None, None]] | None = None,
) -> int | None:
    """Run the stages of ``flow`` until it ends; returns the code it ends with, or None once ``stopping`` is obeyed.

    When ``stopping`` is set, each stage finishes its batch, commits, and is released.  ``share``: how many stages of
    all flows this process should hold; without one it takes what it can get.  ``beside`` is done beside the stages.
    """
    own = share or Share()

    async def work(session: Session) -> None:
        own.set_total(flow, sum(not stage.is_shared for stage in session.plan.stages))
        async with asyncio.TaskGroup() as group:
            besides = group.create_task(beside(session)) if beside is not None else None
            stages = [
                group.create_task((run_shared_stage if stage.is_shared else run_stage)(session, stage, own, stopping))
                for stage in session.plan.stages
            ]
            for connector in read_sources(session.plan):
                group.create_task(run_source(session, connector, stopping))
            await stopping.wait()
            await asyncio.wait(stages)
            if besides is not None:
                besides.cancel()

    try:
        return await follow(host, flow, host.worker.lease_ms, work, stopping)
    finally:
        own.forget(flow)
