"""Commands that ask or tell Redis something and are done."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, TypeVar

from redis.exceptions import RedisError, ResponseError

from metronome_worker.broker.damage import UnexplainedRefusal, index_refusal_of, refusal_of
from metronome_worker.broker.flows import is_deployed, load_flow, load_standing
from metronome_worker.broker.keys import FlowKeys
from metronome_worker.broker.outages import is_outage, raise_translated
from metronome_worker.cli.options import required_url
from metronome_worker.cli.process import open_host
from metronome_worker.cli.report import show_error
from metronome_worker.errors import OperatorError, UsageError, shown
from metronome_worker.language.diagnostics import did_you_mean
from metronome_worker.language.names import has_valid_characters
from metronome_worker.observe.log import make_log
from metronome_worker.observe.status import deployed_flows
from metronome_worker.settings import read_environment

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from metronome_worker.broker.flows import FlowRecord, Standing
    from metronome_worker.host import Host

T = TypeVar("T")


def with_host(redis_url: str | None, do: Callable[[Host], Awaitable[T]], flow: str | None = None) -> T:
    """Do something on the Redis that is named on the command line or in the environment.

    ``flow``: the one that it is about.  Raises ``OperatorError`` when a key holds something that is not ours.
    """
    environment = read_environment(os.environ)
    url = required_url(redis_url, environment)

    async def run() -> T:
        async with open_host(url, environment.namespace, make_log(sys.stderr, "warning")) as host:
            try:
                return await do(host)
            except RedisError as error:
                if is_outage(error):
                    raise_translated(error, url)
                raise await _refusal(host, flow, error) from None

    return asyncio.run(run())


async def _refusal(host: Host, flow: str | None, error: BaseException) -> BaseException:
    told = await index_refusal_of(host.client, host.namespace, error)
    if flow is not None and isinstance(told, UnexplainedRefusal):
        told = await refusal_of(host.client, FlowKeys(flow, host.namespace), error)
    return told


async def one_by_one(host: Host, flows: Iterable[str], do: Callable[[str], Awaitable[T]]) -> tuple[list[T], int]:
    """Do something for each flow; what cannot be done is said, and the others are done all the same.

    Returns what came of it, and the status to leave with.
    """
    results, status = list[T](), 0
    for flow in flows:
        try:
            results.append(await do(flow))
        except (OperatorError, ResponseError) as failure:
            error = await _refusal(host, flow, failure)
            if not isinstance(error, OperatorError):
                raise error from None
            status = show_error(error)
    return results, status


async def found(host: Host, flow: str) -> FlowKeys:
    """The keys of a flow, whatever is in them.  Raises ``UsageError`` for one that is not deployed."""
    keys = FlowKeys(flow, host.namespace)
    if not has_valid_characters(flow) or not await is_deployed(host.client, keys):
        known = await deployed_flows(host.client, host.namespace)
        there = f"deployed: {', '.join(known)}" if known else "none is deployed"
        name = flow if has_valid_characters(flow) else shown(flow)
        raise UsageError(f"there is no flow {name}\n  {did_you_mean(flow, known) or there}")
    return keys


async def standing(host: Host, flow: str) -> tuple[FlowKeys, Standing]:
    """The keys of a flow and how it stands.  Raises as ``found`` does, and ``OperatorError`` when it is damaged."""
    keys = await found(host, flow)
    stands = await load_standing(host.client, keys)
    if stands is None:
        raise UsageError(f"there is no flow {flow} any more")
    return keys, stands


async def deployed(host: Host, flow: str) -> tuple[FlowKeys, FlowRecord]:
    """The keys and the record of a flow, with its source.  Raises as ``standing`` does."""
    keys = await found(host, flow)
    record = await load_flow(host.client, keys)
    if record is None:
        raise UsageError(f"there is no flow {flow} any more")
    return keys, record
