"""`metronome health`: whether the ticker or worker on this host is alive, as those ask who start and restart it.

What is looked at is what other processes go by, too: the process says in each flow that it follows that it is there,
every second, in its own event loop.  One that hangs, or cannot get through to Redis, goes quiet.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Any, Final

import click
from msgspec import Struct
from redis.exceptions import RedisError, ResponseError

from metronome_worker.broker.addresses import address
from metronome_worker.broker.cluster import flow_client
from metronome_worker.broker.connection import open_client
from metronome_worker.broker.flows import Status
from metronome_worker.broker.keys import FlowKeys, flow_index
from metronome_worker.broker.members import sighting
from metronome_worker.broker.outages import is_outage, raise_translated
from metronome_worker.broker.ticks import server_us
from metronome_worker.cli.options import redis_option, required_url
from metronome_worker.errors import BrokerUnavailable
from metronome_worker.settings import read_environment

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from redis.asyncio import Redis

#: Below the time that orchestrators give a probe, so that the reason is said and not only that it took too long.
LIMIT_S: Final = 3.0

_UNHEALTHY: Final = 1


class Verdict(Struct, frozen=True):
    """Whether the process is as it should be, and the sentence that says why."""

    is_healthy: bool
    why: str


class FlowMembers(Struct, frozen=True):
    """The members of a flow as they stand in Redis, and the time there: each flow's server has its own clock."""

    now_ms: int
    values: tuple[bytes, ...]


@click.command()
@click.option("--role", type=click.Choice(("ticker", "worker")), help="Which of several processes on this host.")
@click.option("--spare-outage", is_flag=True, help="Count as healthy while Redis is away: for liveness probes.")
@redis_option
def health(*, role: str | None, spare_outage: bool, redis_url: str | None) -> int:
    """Say whether the ticker or worker on this host is alive: status 0 for yes, 1 for no, 3 when Redis is away.

    Yes: it was heard of within the last seconds in a flow that runs; or no flow runs, and there is nothing to say.
    """
    environment = read_environment(os.environ)
    url = required_url(redis_url, environment)
    try:
        members = asyncio.run(_ask(url, environment.namespace))
    except BrokerUnavailable as outage:
        if not spare_outage:
            raise
        click.echo(f"healthy as far as can be told: {outage}")
        return 0
    verdict = judge(members, socket.gethostname(), role)
    click.echo(("healthy: " if verdict.is_healthy else "unhealthy: ") + verdict.why)
    return 0 if verdict.is_healthy else _UNHEALTHY


def judge(members: dict[str, FlowMembers], host: str, role: str | None) -> Verdict:
    """Of the members of each flow that has not ended, as they stand in Redis, is one of this host alive?  Pure.

    One flow is enough: it is the same loop that speaks in all of them, and one deployed a moment ago is not followed
    yet.
    """
    if not members:
        return Verdict(True, "Redis answers, no flow runs")
    seen = [
        (flow.now_ms, one) for flow in members.values() for value in flow.values if (one := sighting(value)) is not None
    ]
    ours = [(now_ms, one) for now_ms, one in seen if one.member.host == host and role in (None, one.member.role)]
    what = f"{role or 'ticker or worker'} of {host}"
    if not ours:
        return Verdict(False, f"no {what} in {', '.join(sorted(members))}")
    now_ms, latest = min(ours, key=lambda pair: abs(pair[0] - pair[1].at_ms))
    who, age_ms = latest.member, now_ms - latest.at_ms
    return Verdict(latest.is_alive(now_ms), f"{who.role} {host}:{who.pid} was heard of {age_ms} ms ago")


async def _ask(url: str, namespace: str) -> dict[str, FlowMembers]:
    """The members of each flow that has not ended.  Raises ``BrokerUnavailable`` in an outage.

    Asks for these alone, and imports no more than that takes: a probe runs every few seconds, in every container.
    """
    client = open_client(url, name="metronome-health")
    try:
        async with asyncio.timeout(LIMIT_S):
            return await _members(client, namespace)
    except TimeoutError:
        raise BrokerUnavailable(f"Redis at {address(url)} did not answer within {LIMIT_S} s") from None
    except RedisError as error:
        raise_translated(error, url)
    finally:
        await client.aclose()


async def _members(client: Redis, namespace: str) -> dict[str, FlowMembers]:
    names: list[bytes] = await _answer(client.hkeys(flow_index(namespace))) or []
    found, outage = {}, None
    for name in names:
        keys = FlowKeys(name.decode(errors="backslashreplace"), namespace)
        try:
            members = await _members_of(flow_client(client, keys), keys)
        except RedisError as error:
            # In a cluster the flows of other nodes can still tell.
            if not is_outage(error):
                raise
            outage = error
        else:
            if members is not None:
                found[keys.flow_name] = members
    if outage is not None and not found:
        raise outage
    return found


async def _members_of(server: Redis, keys: FlowKeys) -> FlowMembers | None:
    """None for a flow that has ended, is none any more, or cannot be read."""
    status: bytes | None = await _answer(server.hget(keys.flow, "status"))
    if status is None or status.decode(errors="replace") == Status.ENDED.value:
        return None
    values: list[bytes] | None = await _answer(server.hvals(keys.members))
    return None if values is None else FlowMembers(await server_us(server) // 1000, tuple(values))


async def _answer(asked: Awaitable[Any] | Any) -> Any:
    """None for a key that holds what is not ours: that is the log's to tell, and no process is restarted for it."""
    try:
        return await asked
    except ResponseError as error:
        if is_outage(error):
            raise
        return None
