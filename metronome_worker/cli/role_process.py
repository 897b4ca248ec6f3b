"""A process of one role: it follows every flow that is deployed, until all have ended or a signal comes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec.structs import replace
from redis.exceptions import ResponseError

from metronome_worker.broker.campaign import unless
from metronome_worker.broker.flows import deploy_flow
from metronome_worker.broker.keys import FlowKeys
from metronome_worker.broker.leases import first_of
from metronome_worker.cli.process import Signals, open_host
from metronome_worker.connectors.schedules import layout_of
from metronome_worker.errors import OperatorError
from metronome_worker.presence import Presence
from metronome_worker.refusal import outlive
from metronome_worker.roster import LATE_START_MS, follow_all
from metronome_worker.share import Share
from metronome_worker.ticker.role import run_ticker, stand_in
from metronome_worker.worker.role import run_worker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from structlog.typing import FilteringBoundLogger

    from metronome_worker.assembly import CheckedFlow
    from metronome_worker.broker.flows import Deployed
    from metronome_worker.host import Host

#: How often a deployment that was put off, as the flow is just leaving, is tried again, seconds.
_RETRY_S = 0.2


async def run_role(
    role: str, url: str, namespace: str, log: FilteringBoundLogger, flows: Sequence[CheckedFlow] = ()
) -> int:
    """Be a ``ticker`` or a ``worker``; returns the status to leave with.  ``flows`` are deployed first, if new."""
    signals = Signals(log)
    async with open_host(url, namespace, log) as host:
        with signals.heeded():
            code = await take_part(replace(host, outlives_refusals=True), role, flows, signals.stopping)
    return code if code is not None else signals.status or 0


async def take_part(host: Host, role: str, flows: Sequence[CheckedFlow], stopping: asyncio.Event) -> int | None:
    """Deploy ``flows``, then follow all that is deployed as a ``ticker`` or a ``worker``.

    Returns the code to leave with when all of that has ended, or None once ``stopping`` is obeyed.
    """
    share = Share()

    async def follow_one(flow: str) -> int | None:
        if role == "worker":
            return await run_worker(host, flow, stopping, share, stand_in)
        return await unless(stopping, run_ticker(host, flow, share))

    presence = Presence(host, role, share, datetime.now(UTC).isoformat(timespec="seconds"))
    try:
        put_off = [flow for flow in flows if not await _is_deployed(host, flow, stopping)]
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(presence.run())]
            beside += [group.create_task(_deploy_at_last(host, flow)) for flow in put_off]
            code = await follow_all(host, stopping, follow_one)
            for task in beside:
                task.cancel()
    except BaseExceptionGroup as failures:
        raise first_of(failures) from None
    return code


async def _is_deployed(host: Host, flow: CheckedFlow, stopping: asyncio.Event) -> bool:
    """Deploy a flow; False when an operator must act on what stands in its place."""
    try:
        await unless(stopping, _deploy(host, flow))
    except (OperatorError, ResponseError):
        return False  # said by the next attempt
    return True


async def _deploy_at_last(host: Host, flow: CheckedFlow) -> None:
    name = flow.plan.flow
    await outlive(host, name, host.log.bind(flow=name), lambda: _deploy(host, flow))


async def _deploy(host: Host, flow: CheckedFlow) -> None:
    """Deploy a flow unless it is deployed already, has just ended, or was superseded by another source."""
    keys, layout = FlowKeys(flow.plan.flow, host.namespace), layout_of(flow.plan)

    async def attempt() -> Deployed:
        return await deploy_flow(host.client, keys, flow.digest, flow.bundle, layout, grace_ms=LATE_START_MS)

    while (deployed := await host.patience.insist(attempt)).outcome == "leaving":
        await host.clock.sleep(_RETRY_S)
    report = host.log.warning if deployed.outcome == "superseded" else host.log.info
    replaced = {"replaces": deployed.replaces} if deployed.replaces else {}
    report("flow_" + deployed.outcome, flow=flow.plan.flow, run=deployed.run, revision=deployed.revision, **replaced)
