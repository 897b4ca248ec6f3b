"""Following one flow: what every role does around its own work.

A session is crash-only.  When Redis goes away, everything of the session is dropped; when Redis is back, the session
begins again from what is committed.  So there is one way to start, and it is also the way to recover.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec import Struct

from metronome_worker.broker.campaign import ReleaseFeed, unless
from metronome_worker.broker.exits import ExitWatch
from metronome_worker.broker.flows import FlowRecord, Status, load_flow
from metronome_worker.broker.keys import FlowKeys
from metronome_worker.broker.leases import Leases, first_of
from metronome_worker.broker.outages import is_outage, reason_of
from metronome_worker.errors import FencedError, OperatorError, SupersededError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from metronome_worker.host import Host
    from metronome_worker.plan.model import FlowPlan


#: How often a session looks whether its flow was deployed anew, seconds.
_LOOK_S = 1.0


class Session(Struct, frozen=True, kw_only=True):
    """One process following one run of one flow."""

    host: Host
    keys: FlowKeys
    record: FlowRecord
    plan: FlowPlan
    watch: ExitWatch
    feed: ReleaseFeed
    leases: Leases


async def follow(
    host: Host,
    flow: str,
    lease_ms: int,
    work: Callable[[Session], Awaitable[None]],
    stopping: asyncio.Event | None = None,
) -> int | None:
    """Do ``work`` for a flow until its run ends, and return the code it ends with; None when ``work`` ends before.

    ``stopping``, when set, ends the waiting for a Redis that is away; the work itself must obey it by itself.

    Waits for a Redis that goes away.  Raises ``OperatorError`` when somebody must act.
    """
    keys = FlowKeys(flow, host.namespace)
    while True:
        found = host.patience.insist(lambda: load_flow(host.client, keys))
        record = await found if stopping is None else await unless(stopping, found)
        if stopping is not None and stopping.is_set():
            return None
        if record is None:
            advice = f"deploy it first; `redis-cli HKEYS {host.namespace}:flows` lists those that are"
            raise OperatorError("there is no flow", value=flow, advice=advice)
        if record.status is Status.ENDED:
            return record.code
        try:
            return await _follow_once(_session(host, keys, record, lease_ms), work)
        except BaseExceptionGroup as failures:
            failure = first_of(failures)
            if not isinstance(failure, (FencedError, SupersededError)) and not is_outage(failure):
                raise failure from None
            host.log.info("session_restarts", flow=flow, why=reason_of(failure))


def _session(process: Host, keys: FlowKeys, record: FlowRecord, lease_ms: int) -> Session:
    host = process.for_flow(keys)
    return Session(
        host=host,
        keys=keys,
        record=record,
        plan=host.workshop.plan_of(record.bundle),
        watch=ExitWatch(host.client, keys, record.exit_from),
        feed=ReleaseFeed(host.client, keys),
        leases=Leases(host.client, keys, host.clock, host.random, lease_ms),
    )


async def _follow_once(session: Session, work: Callable[[Session], Awaitable[None]]) -> int | None:
    async with asyncio.TaskGroup() as group:
        feeding = group.create_task(session.feed.run())
        ending = group.create_task(session.watch.run())
        checking = group.create_task(_notice_revision(session))
        working = group.create_task(_run(work, session))
        await asyncio.wait({ending, working}, return_when=asyncio.FIRST_COMPLETED)
        for task in (feeding, ending, checking, working):
            task.cancel()
    return session.watch.state.end


async def _notice_revision(session: Session) -> None:
    """Raise ``SupersededError`` when the flow was deployed anew: at once when that is heard, else within a second.

    Writes of an older revision are refused anyway; but a flow that has nothing to write must not sleep over the news.
    """
    while True:
        await session.feed.wait(_LOOK_S)
        run, revision = await session.host.client.hmget(session.keys.flow, ["run", "revision"])  # type: ignore[misc]
        if (run or b"").decode() + "." + (revision or b"").decode() != session.record.token:
            raise SupersededError(f"{session.keys.flow_name} was deployed anew")


async def _run(work: Callable[[Session], Awaitable[None]], session: Session) -> None:
    await work(session)
