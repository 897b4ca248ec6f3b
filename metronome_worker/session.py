"""Following one flow: what every role does around its own work.

A session is crash-only.  When Redis goes away, everything of the session is dropped; when Redis is back, the session
begins again from what is committed.  So there is one way to start, and it is also the way to recover.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec import Struct
from redis.exceptions import RedisError, ResponseError

from metronome_worker.broker.campaign import unless
from metronome_worker.broker.cluster import flow_client
from metronome_worker.broker.damage import refusal_of
from metronome_worker.broker.exits import ExitWatch
from metronome_worker.broker.flows import FlowRecord, Status, code_of_removed, load_flow
from metronome_worker.broker.keys import FlowKeys
from metronome_worker.broker.leases import Leases, first_of
from metronome_worker.broker.news import Feed
from metronome_worker.broker.outages import is_outage, reason_of
from metronome_worker.clock import NS_PER_S
from metronome_worker.errors import FencedError, OperatorError, SupersededError
from metronome_worker.tasks import until_first_done

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from metronome_worker.host import Host
    from metronome_worker.plan.model import FlowPlan

#: How often a session looks whether its flow was deployed anew, seconds; and how long that waits for other flows.
_LOOK_S = 1.0
_LOOK_WAIT_S = 0.05

#: How long an end that stands in the record may not be heard of.
_UNHEARD_NS = 3 * NS_PER_S


class Session(Struct, frozen=True, kw_only=True):
    """One process following one run of one flow."""

    host: Host
    keys: FlowKeys
    record: FlowRecord
    plan: FlowPlan
    watch: ExitWatch
    feed: Feed
    leases: Leases


async def follow(
    host: Host,
    flow: str,
    lease_ms: int,
    work: Callable[[Session], Awaitable[None]],
    stopping: asyncio.Event | None = None,
) -> int | None:
    """Do ``work`` for a flow until its run ends, and return the code it ends with; None when ``work`` ends before.

    ``stopping``, when set, ends what comes before the work, such as waiting for a Redis that is away; the work itself
    must obey it by itself.

    Waits for a Redis that goes away.  Raises ``OperatorError`` when somebody must act.
    """
    keys = FlowKeys(flow, host.namespace)
    while True:
        record = await unless(stopping, host.patience.insist(lambda: _load(host, keys)))
        if stopping is not None and stopping.is_set():
            return None
        if record is None:
            code = await unless(stopping, host.patience.insist(lambda: code_of_removed(host.client, keys)))
            if code is not None or (stopping is not None and stopping.is_set()):
                return code  # it has ended and was removed, all while this process could not see it
            advice = f"deploy it first; `redis-cli HKEYS {host.namespace}:flows` lists those that are"
            raise OperatorError("there is no flow", value=flow, advice=advice)
        if record.status is Status.ENDED:
            return record.code
        session = await unless(stopping, _session(host, keys, record, lease_ms))
        if session is None:
            return None
        try:
            code = await _follow_once(session, work)
            await unless(stopping, _confirm(host, keys, record, code))
            return code
        except BaseExceptionGroup as failures:
            failure = await refusal_of(host.client, keys, first_of(failures))
            if not (isinstance(failure, (FencedError, SupersededError)) or is_outage(failure)) and not (
                isinstance(failure, OperatorError) and await _is_over(host, keys, record)
            ):
                raise failure from None
            host.log.info("session_restarts", flow=flow, why=reason_of(failure))


async def _load(host: Host, keys: FlowKeys) -> FlowRecord | None:
    try:
        return await load_flow(host.client, keys)
    except ResponseError as error:
        refusal = await refusal_of(host.client, keys, error)
        if refusal is error:
            raise  # "from" itself it would be its own cause, and whoever looks for the first cause would look for ever
        raise refusal from error


async def _confirm(host: Host, keys: FlowKeys, record: FlowRecord, code: int | None) -> None:
    """Raise ``OperatorError`` when the exit stream tells of an end that the record does not know: it was forged.

    Else the flow would be begun with, and be over, again and again.
    """
    if code is None:
        return
    token, status = await host.patience.insist(lambda: _token(host, keys))
    if token == record.token and status == Status.RUNNING.value:
        raise OperatorError(
            "the exit stream holds an end that no leader has written:",
            value=keys.exit,
            reason="the flow is running",
            advice=f"take it out with `redis-cli XDEL`; `redis-cli XREVRANGE '{keys.exit}' + - COUNT 5` shows it",
        )


async def _is_over(host: Host, keys: FlowKeys, record: FlowRecord) -> bool:
    """Whether what a session found wrong belongs to a run or revision that is over: then nobody must act."""
    try:
        return (await _token(host, keys))[0] != record.token
    except RedisError:
        return False


async def _token(host: Host, keys: FlowKeys, wait_s: float = 0.0) -> tuple[str, str]:
    """The token, as ``FlowRecord.token``, and the status as they stand now."""
    client = flow_client(host.client, keys)
    found: list[bytes | None] = await host.rounds.execute(
        client, "HMGET", keys.flow, "run", "revision", "status", wait_s=wait_s
    )
    run, revision, status = ((value or b"").decode(errors="replace") for value in found)
    return f"{run}.{revision}", status


async def _session(process: Host, keys: FlowKeys, record: FlowRecord, lease_ms: int) -> Session:
    host = process.for_flow(keys)
    # A file of many flows takes seconds, in which what is held already must be renewed; and one plan at a time, as
    # flows of one file have theirs made together.
    async with host.planning:
        plan = await asyncio.to_thread(host.workshop.plan_of, record.bundle)
    return Session(
        host=host,
        keys=keys,
        record=record,
        plan=plan,
        watch=ExitWatch(host.client, keys, record.exit_from),
        feed=Feed(host.desk, host.client, keys),
        leases=Leases(host.client, keys, host.clock, host.random, lease_ms, host.rounds),
    )


async def _follow_once(session: Session, work: Callable[[Session], Awaitable[None]]) -> int | None:
    await until_first_done(session.feed.run(), session.watch.run(), _notice_revision(session), _run(work, session))
    return session.watch.state.end


async def require_current(session: Session, wait_s: float = 0.0) -> Status:
    """Raise ``SupersededError`` when the flow was deployed anew, or its record must be looked at.

    ``wait_s``: how long that may wait for what is asked of other flows.
    """
    token, status = await _token(session.host, session.keys, wait_s)
    if token != session.record.token:
        raise SupersededError(f"{session.keys.flow_name} was deployed anew")
    if status not in [known.value for known in Status]:
        raise SupersededError(f"the record of {session.keys.flow_name} was changed")
    return Status(status)


async def _notice_revision(session: Session) -> None:
    """Raise ``SupersededError`` when the flow was deployed anew: at once when that is heard, else within a second.

    Writes of an older revision are refused anyway; but a flow that has nothing to write must not sleep over the news.
    The same for an end that is not in the exit stream any more, as somebody has taken it out: the record tells of it.
    """
    heard = 0  # that the session listens is news: nobody told it what was deployed since it was begun
    clock, ended_ns = session.host.clock, None
    while True:
        await session.feed.wait(heard, _LOOK_S)
        heard = session.feed.heard
        if await require_current(session, _LOOK_WAIT_S) is not Status.ENDED:
            continue
        ended_ns = clock.now_ns() if ended_ns is None else ended_ns
        if clock.now_ns() - ended_ns >= _UNHEARD_NS:
            raise SupersededError(f"{session.keys.flow_name} has ended, and its exit stream does not tell of it")


async def _run(work: Callable[[Session], Awaitable[None]], session: Session) -> None:
    await work(session)
