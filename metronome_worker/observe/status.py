"""How a deployment stands: read from Redis, in one struct a flow, for people and for programs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from metronome_worker.broker.cluster import flow_client
from metronome_worker.broker.commits import load_state, stream_ends
from metronome_worker.broker.flows import Status, layout_in, load_standing
from metronome_worker.broker.keys import TICKER, FlowKeys, flow_index
from metronome_worker.broker.members import Member, sighting
from metronome_worker.broker.ticks import damaged_schedule, load_schedule, server_us

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from metronome_worker.broker.flows import Layout


#: A stream that ends so far ahead of the clock was not written by a source.
_AHEAD_MS = 1_000


class LeaseStatus(Struct, frozen=True, kw_only=True):
    """Who holds a lease; all None when nobody does."""

    epoch: int | None
    holder: str | None


class ScheduleStatus(Struct, frozen=True, kw_only=True):
    """A schedule: ``last_late_ms`` is how late the last tick was published, by the server's clock.

    ``blocked_by``: where its stream ends, when that lies in the future: no tick can be added behind it.
    """

    connector: str
    published: int
    skipped: int
    next_ms: int
    last_late_ms: float | None
    blocked_by: str | None = None


class StageStatus(Struct, frozen=True, kw_only=True):
    """A stage: ``lag`` is how many entries are not done, ``workers`` who runs it (host:pid), as far as that is known.

    A shared stage has no lease.
    """

    stage: str
    is_shared: bool
    lease: LeaseStatus
    workers: tuple[str, ...]
    lag: int
    commits: int


class MemberStatus(Member, frozen=True, kw_only=True):
    """A live process; ``seen_ms``: when it was last heard of, by the server's clock."""

    seen_ms: int


class FlowStatus(Struct, frozen=True, kw_only=True):
    """A flow: ``status`` is running, paused, leaving or ended; ``drained`` names stages that have drained."""

    flow: str
    status: str
    run: int
    revision: int
    code: int | None
    ticker: LeaseStatus
    leader: str | None
    schedules: tuple[ScheduleStatus, ...]
    stages: tuple[StageStatus, ...]
    members: dict[str, MemberStatus]
    dead: int


async def deployed_flows(client: Redis, namespace: str) -> list[str]:
    """The names of all flows that are deployed, sorted."""
    names: list[bytes] = await client.hkeys(flow_index(namespace))  # type: ignore[misc]
    return sorted(name.decode(errors="backslashreplace") for name in names)


async def flow_status(client: Redis, keys: FlowKeys) -> FlowStatus | None:
    """How a flow stands; None when it is not deployed.  Several reads: not one moment, but close."""
    client = flow_client(client, keys)
    stands = await load_standing(client, keys)
    if stands is None:
        return None
    stored, paused = await client.hmget(keys.flow, ["layout", "paused"])  # type: ignore[misc]
    layout, now_ms = layout_in(keys, stored), await server_us(client) // 1000
    members = await _members(client, keys, now_ms)
    schedules = await asyncio.gather(*(_schedule(client, keys, s.connector, now_ms) for s in layout.schedules))
    stages = await asyncio.gather(*(_stage(client, keys, layout, stage, members) for stage in layout.stages))
    return FlowStatus(
        flow=keys.flow_name,
        status="paused" if stands.status is Status.RUNNING and paused else stands.status.value,
        run=stands.run,
        revision=stands.revision,
        code=stands.code,
        ticker=await _lease(client, keys, TICKER),
        leader=next(iter(_holders_of(members, TICKER)), None),
        schedules=tuple(schedules),
        stages=tuple(stages),
        members=members,
        dead=await client.xlen(keys.dead),
    )


async def _members(client: Redis, keys: FlowKeys, now_ms: int) -> dict[str, MemberStatus]:
    """Those that are alive: a process that was killed is still there when nobody else has removed it."""
    found: dict[bytes, bytes] = await client.hgetall(keys.members)  # type: ignore[misc]
    seen = {name.decode(errors="backslashreplace"): sighting(value) for name, value in found.items()}
    return {
        name: MemberStatus(seen_ms=one.at_ms, **msgspec.structs.asdict(one.member))
        for name, one in seen.items()
        if one is not None and one.is_alive(now_ms)
    }


def _holders_of(members: dict[str, MemberStatus], name: str) -> tuple[str, ...]:
    """Who says that it holds a lease, or works on a shared stage."""
    return tuple(sorted(f"{member.host}:{member.pid}" for member in members.values() if name in member.holds))


async def _lease(client: Redis, keys: FlowKeys, name: str) -> LeaseStatus:
    value: bytes | None = await client.get(keys.lease(name))
    epoch, _, holder = (value or b"").decode(errors="replace").partition(" ")
    return LeaseStatus(epoch=int(epoch) if epoch.isdecimal() else None, holder=holder or None)


async def _schedule(client: Redis, keys: FlowKeys, connector: str, now_ms: int) -> ScheduleStatus:
    record = await load_schedule(client, keys, connector)
    if record is None:
        raise damaged_schedule(keys.schedule(connector), "there is no such key")
    late_ms = None
    for entry_id, fields in await client.xrevrange(keys.events(connector), count=1):
        ingest_ns = fields.get(b"ingest_ns", b"")
        if ingest_ns.isdigit():
            late_ms = round(int(ingest_ns) / 1e6 - int(entry_id.split(b"-")[0]), 3)
    end = (await stream_ends(client, keys, [connector]))[connector]
    return ScheduleStatus(
        connector=connector,
        published=record.published,
        skipped=record.skipped,
        next_ms=record.next_ms,
        last_late_ms=late_ms,
        blocked_by=end if int(end.split("-")[0]) > now_ms + _AHEAD_MS else None,
    )


async def _stage(
    client: Redis, keys: FlowKeys, layout: Layout, stage: str, members: dict[str, MemberStatus]
) -> StageStatus:
    state = await load_state(client, keys.state(stage))
    lag = 0
    for name in layout.stages[stage]:
        if await client.exists(keys.events(name)):
            info: dict[str, Any] = await client.xinfo_stream(keys.events(name))
            lag += max(0, info["entries-added"] - state.read.get(name, 0))
    return StageStatus(
        stage=stage,
        is_shared=stage in layout.shared,
        lease=await _lease(client, keys, stage),
        workers=_holders_of(members, stage),
        lag=lag,
        commits=state.commits,
    )
