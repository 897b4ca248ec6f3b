"""Which flows one process follows: every one that is deployed, as long as it runs.

The index and the flows' status are looked at every ``LOOK_MS``; that is also how a flow that was deployed a moment
ago is found.  A process leaves with a flow's code when all flows that it has followed have ended.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec import Struct
from redis.exceptions import RedisError, ResponseError

from metronome_worker.broker.campaign import unless
from metronome_worker.broker.cluster import flow_client
from metronome_worker.broker.damage import index_refusal_of
from metronome_worker.broker.flows import Status
from metronome_worker.broker.keys import FlowKeys, flow_index
from metronome_worker.broker.outages import is_outage
from metronome_worker.broker.ticks import server_us
from metronome_worker.clock import NS_PER_S
from metronome_worker.errors import OperatorError
from metronome_worker.refusal import Complaints

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from metronome_worker.clock import Clock
    from metronome_worker.host import Host

#: How often a process looks for flows that were deployed.
LOOK_MS = 500

#: How long a process that was told to stop asks whether the deployment has ended meanwhile.
LAST_LOOK_S = 1.0

#: How long after a flow's end a process that starts late still counts itself as part of it.
LATE_START_MS = 30_000

#: Between two flows that a process begins to follow it pauses, and again while a pause takes twice as long as it
#: should.
PAUSE_S = 0.01
MOST_PAUSES = 10


class Sighting(Struct, frozen=True):
    """A flow as it was seen.

    ``age_ms``: how long ago it ended, for one that has; negative when the clock was set back since.
    """

    status: Status
    run: int
    code: int
    age_ms: int = 0


#: A flow whose record is damaged: whoever follows it will say what is wrong.
_UNCLEAR = Sighting(status=Status.RUNNING, run=0, code=0)


class Roster:
    """The flows that a process follows.  ``decide`` is pure: what was seen goes in, what to follow comes out."""

    def __init__(self) -> None:
        self._following: dict[str, int] = {}
        self._codes: dict[str, int] = {}
        self._has_left = False

    def decide(self, seen: dict[str, Sighting]) -> list[str]:
        """The flows to begin to follow now."""
        starting = []
        for flow, sighting in seen.items():
            if flow in self._following:
                continue
            if sighting.status is not Status.ENDED:
                self._following[flow] = sighting.run
                self._codes.pop(flow, None)
                starting.append(flow)
            elif abs(sighting.age_ms) < LATE_START_MS and flow not in self._codes:
                self._codes[flow] = sighting.code
        return starting

    def ended(self, flow: str, code: int | None) -> None:
        """A flow that was followed has ended with ``code`` (None: this process was told to stop)."""
        self._following.pop(flow, None)
        if code is None:
            self._has_left = True
        else:
            self._codes[flow] = code

    @property
    def following(self) -> frozenset[str]:
        """The flows that are followed now: nothing about them is for the roster to decide."""
        return frozenset(self._following)

    @property
    def code(self) -> int | None:
        """What to leave with: the largest code, once all that was followed has ended; None before."""
        if self._following or self._has_left or not self._codes:
            return None
        return max(self._codes.values())


async def look(host: Host, following: frozenset[str] = frozenset()) -> dict[str, Sighting]:
    """Every deployed flow as it stands now, those left out that this process is ``following``."""
    names: list[bytes] = await host.client.hkeys(flow_index(host.namespace))  # type: ignore[misc]
    flows = [flow for name in names if (flow := name.decode(errors="backslashreplace")) not in following]
    seen = await asyncio.gather(*(_look_at(host, flow) for flow in flows))
    return {flow: sighting for flow, sighting in zip(flows, seen, strict=True) if sighting is not None}


async def _look_at(host: Host, flow: str) -> Sighting | None:
    keys, fields = FlowKeys(flow, host.namespace), ["status", "run", "code", "ended_at"]
    client = flow_client(host.client, keys)
    try:
        found: list[bytes | None] = await client.hmget(keys.flow, fields)  # type: ignore[misc]
    except ResponseError as error:
        if is_outage(error):
            raise
        return _UNCLEAR
    if not any(found):
        return None
    try:
        status, run, code, ended_at = ((value or b"").decode() for value in found)
        # By the clock that has noted the end: every server of a cluster has its own.
        age_ms = await server_us(client) // 1000 - int(ended_at) if ended_at else 0
        return Sighting(status=Status(status), run=int(run), code=int(code or 0), age_ms=age_ms)
    except ValueError:
        return _UNCLEAR


async def follow_all(
    host: Host, stopping: asyncio.Event, follow_one: Callable[[str], Awaitable[int | None]]
) -> int | None:
    """Follow every deployed flow; returns the code to leave with, or None once ``stopping`` is obeyed."""
    roster, news = Roster(), asyncio.Event()
    complaints = Complaints(host.clock, host.log)

    async def look_around() -> dict[str, Sighting]:
        try:
            return await look(host, roster.following)
        except ResponseError as failure:
            error = await index_refusal_of(host.client, host.namespace, failure)
            if not isinstance(error, OperatorError):
                raise
            complaints.refused(error)
            return {}

    async def follow_until_end(flow: str) -> None:
        roster.ended(flow, await follow_one(flow))
        news.set()

    async with asyncio.TaskGroup() as group:
        while not stopping.is_set():
            seen = await unless(stopping, host.patience.insist(look_around))
            for flow in roster.decide(seen or {}):
                if stopping.is_set():
                    break
                group.create_task(follow_until_end(flow))
                await keep_up(host.clock)
            if roster.code is not None:
                break
            news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_MS / 1000):
                    await unless(stopping, news.wait())
    return roster.code if roster.code is not None else await _code_after_all(host)


async def keep_up(clock: Clock) -> None:
    """Wait until this process is on time again, but not for ever: what is held already must be renewed in time."""
    for _ in range(MOST_PAUSES):
        began_ns = clock.now_ns()
        await clock.sleep(PAUSE_S)
        if clock.now_ns() - began_ns < 2 * PAUSE_S * NS_PER_S:
            return


async def _code_after_all(host: Host) -> int | None:
    """The code of a deployment that has just ended, for a process that was told to stop before it saw that.

    Whoever stops what has ended must hear one code from all.  None when a flow runs on, or Redis cannot be asked.
    """
    with suppress(TimeoutError, RedisError):
        async with asyncio.timeout(LAST_LOOK_S):
            last = Roster()
            return None if last.decide(await look(host)) else last.code
    return None
