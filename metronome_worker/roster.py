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
from metronome_worker.broker.cluster import ClusterClient, by_server
from metronome_worker.broker.damage import index_refusal_of
from metronome_worker.broker.flows import Status
from metronome_worker.broker.keys import FlowKeys, flow_index
from metronome_worker.broker.outages import is_outage
from metronome_worker.broker.ticks import server_us
from metronome_worker.clock import NS_PER_S
from metronome_worker.errors import OperatorError
from metronome_worker.refusal import Complaints

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from redis.asyncio import Redis

    from metronome_worker.clock import Clock
    from metronome_worker.host import Host

    #: The fields of a record, or why they are not known.
    _Answer = list[bytes | None] | BaseException

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

#: Of so many flows a server is asked in one round trip, so that it does not take long in which it does nothing else.
AT_ONCE = 50

#: What is looked at of a flow's record; the last one says whether there is an age to know.
_FIELDS = ("status", "run", "code", "ended_at")


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


class View(Struct, frozen=True):
    """What one look has seen.  ``hidden``: how many flows could not be seen, as their node of a cluster is away."""

    seen: dict[str, Sighting] = {}
    hidden: int = 0


class Roster:
    """The flows that a process follows.  ``decide`` is pure: what was seen goes in, what to follow comes out."""

    def __init__(self) -> None:
        self._following: dict[str, int] = {}
        self._codes: dict[str, int] = {}
        self._has_left = False
        self._has_followed = False
        self._has_seen_all = False

    def decide(self, view: View) -> list[str]:
        """The flows to begin to follow now."""
        starting = []
        self._has_seen_all = not view.hidden
        for flow, sighting in view.seen.items():
            if flow in self._following:
                continue
            if sighting.status is not Status.ENDED:
                self._following[flow] = sighting.run
                self._codes.pop(flow, None)
                self._has_followed = True
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
        """What to leave with: the largest code, once all that was followed has ended; None before.

        Who starts late and follows nothing must have seen all: what is hidden may run.
        """
        if self._following or self._has_left or not self._codes:
            return None
        if not (self._has_followed or self._has_seen_all):
            return None
        return max(self._codes.values())


async def look(host: Host, following: frozenset[str] = frozenset()) -> View:
    """Every deployed flow as it stands now, those left out that this process is ``following``."""
    names: list[bytes] = await host.client.hkeys(flow_index(host.namespace))  # type: ignore[misc]
    flows = [flow for name in names if (flow := name.decode(errors="backslashreplace")) not in following]
    servers = await by_server(host.client, [FlowKeys(flow, host.namespace) for flow in flows])
    parts = await asyncio.gather(*(_look_into(host, client, held) for client, held in servers))
    told = {flow: sighting for part in parts for flow, sighting in part.items()}
    seen = {flow: sighting for flow in flows if (sighting := told.get(flow)) is not None}
    return View(seen, hidden=len(set(flows) - told.keys()))


async def _look_into(host: Host, client: Redis, flows: Sequence[FlowKeys]) -> dict[str, Sighting | None]:
    """The flows of one server; None for one that is gone.  In a cluster those are left out that it does not tell of."""
    seen: dict[str, Sighting | None] = {}
    for at in range(0, len(flows), AT_ONCE):
        part = flows[at : at + AT_ONCE]
        try:
            told = await _look_at(host, client, part)
        except RedisError as error:
            if not (isinstance(host.client, ClusterClient) and is_outage(error)):
                raise
            break  # each question to a node that is away would be waited for
        seen |= told
    return seen


async def _look_at(host: Host, client: Redis, flows: Sequence[FlowKeys]) -> dict[str, Sighting | None]:
    """Some flows of one server, asked for in one round trip.  Raises an outage when all that it told is that."""
    questions = (host.rounds.execute(client, "HMGET", keys.flow, *_FIELDS) for keys in flows)
    answers: list[_Answer] = await asyncio.gather(*questions, return_exceptions=True)
    outages = [answer for answer in answers if isinstance(answer, BaseException) and not _is_refusal(answer)]
    if outages and (len(outages) == len(answers) or not isinstance(host.client, ClusterClient)):
        raise outages[0]
    # By the clock that has noted the ends: every server of a cluster has its own.
    has_ended = any(isinstance(answer, list) and answer[-1] for answer in answers)
    now_ms = await server_us(client) // 1000 if has_ended else 0
    return {
        keys.flow_name: _UNCLEAR if isinstance(answer, BaseException) else _sighting(answer, now_ms)
        for keys, answer in zip(flows, answers, strict=True)
        if answer not in outages
    }


def _is_refusal(answer: BaseException) -> bool:
    return isinstance(answer, ResponseError) and not is_outage(answer)


def _sighting(fields: Sequence[bytes | None], now_ms: int) -> Sighting | None:
    """What the fields of a record say; None when there is none."""
    if not any(fields):
        return None
    try:
        status, run, code, ended_at = ((value or b"").decode() for value in fields)
        age_ms = now_ms - int(ended_at) if ended_at else 0
        return Sighting(status=Status(status), run=int(run), code=int(code or 0), age_ms=age_ms)
    except ValueError:
        return _UNCLEAR


async def follow_all(
    host: Host, stopping: asyncio.Event, follow_one: Callable[[str], Awaitable[int | None]]
) -> int | None:
    """Follow every deployed flow; returns the code to leave with, or None once ``stopping`` is obeyed."""
    roster, news = Roster(), asyncio.Event()
    complaints = Complaints(host.clock, host.log)
    hidden = 0

    async def look_around() -> View:
        nonlocal hidden
        try:
            view = await look(host, roster.following)
        except RedisError as failure:
            if is_outage(failure) and roster.code is not None:
                return View()  # all that was followed has ended: an answer is not worth waiting for
            if not isinstance(failure, ResponseError):
                raise
            error = await index_refusal_of(host.client, host.namespace, failure)
            if not isinstance(error, OperatorError):
                raise
            complaints.refused(error)
            return View()
        if view.hidden and not hidden:
            host.log.warning("flows_hidden", count=view.hidden)
        hidden = view.hidden
        return view

    async def follow_until_end(flow: str) -> None:
        roster.ended(flow, await follow_one(flow))
        news.set()

    async with asyncio.TaskGroup() as group:
        while not stopping.is_set():
            view = await unless(stopping, host.patience.insist(look_around))
            for flow in roster.decide(view or View()):
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
