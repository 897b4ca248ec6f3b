"""A deployment of checked flows in this process: server, roles, signals."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from metronome_worker.broker.embedded import EmbeddedServer
from metronome_worker.broker.flows import deploy_flow
from metronome_worker.broker.keys import TICKER, FlowKeys, source_owner
from metronome_worker.broker.leases import first_of
from metronome_worker.cli.process import Signals, open_host
from metronome_worker.connectors import registry
from metronome_worker.connectors.schedules import layout_of, read_sources
from metronome_worker.ticker.role import run_ticker
from metronome_worker.worker.role import STOP_LIMIT_S, run_worker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from structlog.typing import FilteringBoundLogger

    from metronome_worker.assembly import CheckedFlow
    from metronome_worker.broker.flows import Deployed
    from metronome_worker.host import Host

#: How long a role may take to leave after a signal, seconds: the stages, and then a moment to give leases back.
_STOP_LIMIT_S = STOP_LIMIT_S + 2.0


async def run_deployment(
    flows: Sequence[CheckedFlow], broker: str | EmbeddedServer, namespace: str, log: FilteringBoundLogger
) -> int:
    """Run flows until all have ended, or a signal comes; returns the status to leave with.

    ``broker`` is the URL of a Redis, or an embedded server that lives as long as this.
    """
    async with AsyncExitStack() as stack:
        if isinstance(broker, EmbeddedServer):
            server = await stack.enter_async_context(broker)
            url = server.url
            log.info("server_started", url=url, data=str(server.directory))
        else:
            server, url = None, broker
        host = await stack.enter_async_context(open_host(url, namespace, log))
        _preflight(flows, host)
        return await _Deployment(host, flows, server).run()


def _preflight(flows: Sequence[CheckedFlow], host: Host) -> None:
    """What the environment will refuse is said before anything starts."""
    for flow in flows:
        environment = host.environment(FlowKeys(flow.plan.flow, host.namespace))
        for refusal in registry.preflight(flow.plan.connectors.values(), environment):
            raise refusal


class _Deployment:
    """The flows at work."""

    def __init__(self, host: Host, flows: Sequence[CheckedFlow], server: EmbeddedServer | None) -> None:
        self._host, self._flows, self._server = host, flows, server
        self._signals = Signals(host.log)
        self._stopping = self._signals.stopping

    async def run(self) -> int:
        with self._signals.heeded():
            try:
                codes = await self._run_all()
            except BaseExceptionGroup as failures:
                raise first_of(failures) from None
        return max(codes) if self._signals.status is None else self._signals.status

    async def _run_all(self) -> list[int]:
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(self._server.watch()) if self._server is not None else None
            flows = [group.create_task(self._run_flow(flow)) for flow in self._flows]
            codes = [await task for task in flows]
            if watch is not None:
                watch.cancel()
        return codes

    async def _run_flow(self, flow: CheckedFlow) -> int:
        log = self._host.log.bind(flow=flow.plan.flow)
        if self._server is not None:
            await self._drop_leases(flow)
        while not self._stopping.is_set():
            deployed = await self._deploy(flow)
            replaced = {"replaces": deployed.replaces} if deployed.replaces else {}
            log.info("flow_" + deployed.outcome, run=deployed.run, revision=deployed.revision, **replaced)
            code = await self._run_roles(flow.plan.flow)
            if code is None:
                break
            log.info("flow_ended", code=code)
            if deployed.outcome != "leaving":
                return code
            # An earlier run of another source was about to end: with its end, ours can begin.
        return 0

    async def _drop_leases(self, flow: CheckedFlow) -> None:
        """Our own server has just started: who held a lease was cut off when it ended, and need not be waited for.

        Harmless should it be wrong: a write under a lease that is gone is refused.
        """
        keys = FlowKeys(flow.plan.flow, self._host.namespace)
        sources = [source_owner(reader.alias) for reader in read_sources(flow.plan)]
        names = [TICKER, *(stage.name for stage in flow.plan.stages), *sources]
        await self._host.patience.insist(lambda: self._host.client.delete(*map(keys.lease, names)))

    async def _deploy(self, flow: CheckedFlow) -> Deployed:
        keys = FlowKeys(flow.plan.flow, self._host.namespace)
        layout = layout_of(flow.plan)
        return await self._host.patience.insist(
            lambda: deploy_flow(self._host.client, keys, flow.digest, flow.bundle, layout)
        )

    async def _run_roles(self, flow: str) -> int | None:
        """The code that the flow ends with; None when a signal came first."""
        async with asyncio.TaskGroup() as group:
            ticker = group.create_task(run_ticker(self._host, flow))
            worker = group.create_task(run_worker(self._host, flow, self._stopping))
            stopping = group.create_task(self._stopping.wait())
            await asyncio.wait({worker, stopping}, return_when=asyncio.FIRST_COMPLETED)
            # The stages finish their batch; the ticker has nothing to finish.
            await asyncio.wait({worker}, timeout=_STOP_LIMIT_S)
            if not self._stopping.is_set():
                # It ends with the flow, by itself: cancelled while it releases its lease, it would leave that behind.
                await asyncio.wait({ticker}, timeout=_STOP_LIMIT_S)
            for task in (ticker, worker, stopping):
                task.cancel()
        return worker.result() if not worker.cancelled() else None
