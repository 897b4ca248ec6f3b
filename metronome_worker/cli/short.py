"""Commands that ask or tell Redis something and are done."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, TypeVar

from metronome_worker.broker.flows import load_flow
from metronome_worker.broker.keys import FlowKeys
from metronome_worker.cli.options import required_url
from metronome_worker.cli.process import open_host
from metronome_worker.errors import UsageError
from metronome_worker.language.diagnostics import did_you_mean
from metronome_worker.observe.log import make_log
from metronome_worker.observe.status import deployed_flows
from metronome_worker.settings import read_environment

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from metronome_worker.broker.flows import FlowRecord
    from metronome_worker.host import Host

T = TypeVar("T")


def with_host(redis_url: str | None, do: Callable[[Host], Awaitable[T]]) -> T:
    """Do something on the Redis that is named on the command line or in the environment."""
    environment = read_environment(os.environ)
    url = required_url(redis_url, environment)

    async def run() -> T:
        async with open_host(url, environment.namespace, make_log(sys.stderr, "warning")) as host:
            return await do(host)

    return asyncio.run(run())


async def deployed(host: Host, flow: str) -> tuple[FlowKeys, FlowRecord]:
    """The keys and the record of a flow.  Raises ``UsageError`` for one that is not deployed."""
    keys = FlowKeys(flow, host.namespace)
    record = await load_flow(host.client, keys)
    if record is None:
        known = await deployed_flows(host.client, host.namespace)
        there = f"deployed: {', '.join(known)}" if known else "none is deployed"
        raise UsageError(f"there is no flow {flow}\n  {did_you_mean(flow, known) or there}")
    return keys, record
