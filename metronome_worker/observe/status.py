"""How a deployment stands: read from Redis, in one struct a flow, for people and for programs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from metronome_worker.broker.commits import load_state
from metronome_worker.broker.flows import Layout
from metronome_worker.broker.keys import TICKER, FlowKeys, flow_index

if TYPE_CHECKING:
    from redis.asyncio import Redis


class LeaseStatus(Struct, frozen=True, kw_only=True):
    """Who holds a lease; all None when nobody does."""

    epoch: int | None
    holder: str | None


class ScheduleStatus(Struct, frozen=True, kw_only=True):
    """A schedule: ``last_late_ms`` is how late the last tick was published, by the server's clock."""

    connector: str
    published: int
    skipped: int
    next_ms: int
    last_late_ms: float | None


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
    members: dict[str, Any]
    dead: int


async def deployed_flows(client: Redis, namespace: str) -> list[str]:
    """The names of all flows that are deployed, sorted."""
    names: list[bytes] = await client.hkeys(flow_index(namespace))  # type: ignore[misc]
    return sorted(name.decode() for name in names)


async def flow_status(client: Redis, keys: FlowKeys) -> FlowStatus | None:
    """How a flow stands; None when it is not deployed.  Several reads: not one moment, but close."""
    record: dict[bytes, bytes] = await client.hgetall(keys.flow)  # type: ignore[misc]
    if b"layout" not in record:
        return None
    layout = msgspec.json.decode(record[b"layout"], type=Layout)
    members = await _members(client, keys)
    schedules = await asyncio.gather(*(_schedule(client, keys, s.connector) for s in layout.schedules))
    stages = await asyncio.gather(*(_stage(client, keys, layout, stage, members) for stage in layout.stages))
    status = record[b"status"].decode()
    return FlowStatus(
        flow=keys.flow_name,
        status="paused" if status == "running" and b"paused" in record else status,
        run=int(record[b"run"]),
        revision=int(record[b"revision"]),
        code=int(record[b"code"]) if b"code" in record else None,
        ticker=await _lease(client, keys, TICKER),
        leader=next(iter(_holders_of(members, TICKER)), None),
        schedules=tuple(schedules),
        stages=tuple(stages),
        members=members,
        dead=await client.xlen(keys.dead),
    )


async def _members(client: Redis, keys: FlowKeys) -> dict[str, Any]:
    found: dict[bytes, bytes] = await client.hgetall(keys.members)  # type: ignore[misc]
    members = {}
    for name, value in found.items():
        seen, _, card = value.decode(errors="replace").partition(" ")
        try:
            members[name.decode()] = {"seen_ms": int(seen), **msgspec.json.decode(card)}
        except (ValueError, TypeError, msgspec.DecodeError):
            members[name.decode()] = {"card": value.decode(errors="replace")}
    return members


def _holders_of(members: dict[str, Any], name: str) -> tuple[str, ...]:
    """Who says that it holds a lease, or works on a shared stage."""
    return tuple(sorted(f"{m['host']}:{m['pid']}" for m in members.values() if name in m.get("holds", ())))


async def _lease(client: Redis, keys: FlowKeys, name: str) -> LeaseStatus:
    value: bytes | None = await client.get(keys.lease(name))
    epoch, _, holder = (value or b"").decode().partition(" ")
    return LeaseStatus(epoch=int(epoch) if epoch.isdecimal() else None, holder=holder or None)


async def _schedule(client: Redis, keys: FlowKeys, connector: str) -> ScheduleStatus:
    names = ["published", "skipped", "next"]
    found: list[bytes | None] = await client.hmget(keys.schedule(connector), names)  # type: ignore[misc]
    published, skipped, next_ms = (int(value or 0) for value in found)
    late_ms = None
    for entry_id, fields in await client.xrevrange(keys.events(connector), count=1):
        late_ms = round(int(fields.get(b"ingest_ns", 0)) / 1e6 - int(entry_id.split(b"-")[0]), 3)
    return ScheduleStatus(
        connector=connector, published=published, skipped=skipped, next_ms=next_ms, last_late_ms=late_ms
    )


async def _stage(client: Redis, keys: FlowKeys, layout: Layout, stage: str, members: dict[str, Any]) -> StageStatus:
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
