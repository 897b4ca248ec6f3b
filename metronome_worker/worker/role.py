"""The worker of one flow: runs its stages, and its sources that read from outside."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from metronome_worker.connectors.schedules import read_sources
from metronome_worker.leaving.coordinator import stand_in
from metronome_worker.session import Session, follow
from metronome_worker.share import Share
from metronome_worker.worker.source import run_source
from metronome_worker.worker.stage import run_stage

if TYPE_CHECKING:
    from metronome_worker.host import Host


async def run_worker(host: Host, flow: str, stopping: asyncio.Event, share: Share | None = None) -> int | None:
    """Run the stages of ``flow`` until it ends; returns the code it ends with, or None once ``stopping`` is obeyed.

    When ``stopping`` is set, each stage finishes its batch, commits, and is released.  ``share``: how many stages of
    all flows this process should hold; without one it takes what it can get.
    """
    own = share or Share()

    async def work(session: Session) -> None:
        own.set_total(flow, len(session.plan.stages))
        async with asyncio.TaskGroup() as group:
            for stage in session.plan.stages:
                group.create_task(run_stage(session, stage, own, stopping))
            for connector in read_sources(session.plan):
                group.create_task(run_source(session, connector, stopping))
            standing_in = group.create_task(stand_in(session))
            await stopping.wait()
            standing_in.cancel()

    try:
        return await follow(host, flow, host.worker.lease_ms, work)
    finally:
        own.set_total(flow, 0)
