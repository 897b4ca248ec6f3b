"""A deployment of checked flows in this process: server, roles, signals."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING

from metronome_worker.assembly import Workshop
from metronome_worker.broker.connection import Patience, open_client
from metronome_worker.broker.embedded import EmbeddedServer
from metronome_worker.broker.flows import deploy_flow
from metronome_worker.broker.keys import FlowKeys
from metronome_worker.broker.leases import first_of
from metronome_worker.broker.server_check import check_server
from metronome_worker.clock import SystemClock
from metronome_worker.connectors import registry
from metronome_worker.connectors.schedules import layout_of
from metronome_worker.host import Host
from metronome_worker.ticker.role import run_ticker
from metronome_worker.worker.role import run_worker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from structlog.typing import FilteringBoundLogger

    from metronome_worker.assembly import CheckedFlow
    from metronome_worker.broker.flows import Deployed

#: How long stages may take to finish their batch after a signal, seconds.
_STOP_LIMIT_S = 10.0


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
        host = _make_host(url, namespace, log)
        stack.push_async_callback(host.client.aclose)
        for warning in await check_server(host.client, url, clock=host.clock, namespace=namespace):
            log.warning("server_unsuited", what=warning.what, value=warning.value, advice=warning.advice)
        _preflight(flows, host)
        return await _Deployment(host, flows, server).run()


def _make_host(url: str, namespace: str, log: FilteringBoundLogger) -> Host:
    clock, random = SystemClock(), SystemRandom()
    return Host(
        client=open_client(url),
        namespace=namespace,
        clock=clock,
        random=random,
        log=log,
        patience=Patience(url, clock, random, log),
        workshop=Workshop(),
        folder=Path.cwd(),
        stdin=sys.stdin.buffer,
        stdout=sys.stdout.buffer,
        stderr=sys.stderr.buffer,
    )


def _preflight(flows: Sequence[CheckedFlow], host: Host) -> None:
    """What the environment will refuse is said before anything starts."""
    for flow in flows:
        environment = host.environment(FlowKeys(flow.plan.flow, host.namespace))
        for refusal in registry.preflight(flow.plan.connectors.values(), environment):
            raise refusal


class _Deployment:
    """The flows at work; ``status`` is what a signal wants us to leave with, if one came."""

    def __init__(self, host: Host, flows: Sequence[CheckedFlow], server: EmbeddedServer | None) -> None:
        self._host, self._flows, self._server = host, flows, server
        self._stopping = asyncio.Event()
        self._status: int | None = None

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            codes = await self._run_all()
        except BaseExceptionGroup as failures:
            raise first_of(failures) from None
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
        return self._status if self._status is not None else max(codes)

    def _on_signal(self, number: signal.Signals) -> None:
        if self._stopping.is_set():
            self._host.log.warning("leaving_at_once", signal=number.name)
            os._exit(128 + number)
        self._host.log.info("leaving_in_order", signal=number.name)
        self._status = 0 if number is signal.SIGTERM else 128 + number
        self._stopping.set()

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
        while not self._stopping.is_set():
            deployed = await self._deploy(flow)
            log.info("flow_" + deployed.outcome, run=deployed.run, revision=deployed.revision)
            code = await self._run_roles(flow.plan.flow)
            if code is None:
                break
            log.info("flow_ended", code=code)
            if deployed.outcome != "leaving":
                return code
            # An earlier run of another source was about to end: with its end, ours can begin.
        return 0

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
            for task in (ticker, worker, stopping):
                task.cancel()
        return worker.result() if not worker.cancelled() else None
