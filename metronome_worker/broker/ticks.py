"""Schedules in Redis, and the publication of their ticks."""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from metronome_worker.broker.keys import flow_in
from metronome_worker.broker.scripts import run_script
from metronome_worker.errors import OperatorError, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio import Redis

    from metronome_worker.broker.keys import FlowKeys
    from metronome_worker.broker.leases import Lease
    from metronome_worker.broker.scripts import Argument


class Outcome(Enum):
    """What ``publish_ticks.lua`` answers."""

    PUBLISHED = "published"
    DUPLICATE = "duplicate"
    FENCED = "fenced"
    LEAVING = "leaving"
    PAUSED = "paused"
    STOPPED = "stopped"
    MOVED = "moved"
    EARLY = "early"
    FULL = "full"
    BLOCKED = "blocked"


class ScheduleRecord(Struct, frozen=True, kw_only=True):
    """The hash ``schedule:<connector>``: times in ms by the server's clock, Unix epoch."""

    anchor_ms: int
    next_ms: int
    published: int
    skipped: int
    gap: int


class TickEntry(Struct, frozen=True, kw_only=True):
    """One tick as it is written: ``head`` and ``tail`` are the event's JSON before and after ``ingest_ns``."""

    entry_id: str
    head: str
    tail: str
    meta: str


class TickBatch(Struct, frozen=True, kw_only=True):
    """One call of the script: what the caller believes (``published``, ``next_ms``) and what it wants."""

    connector: str
    published: int
    next_ms: int
    after_ms: int
    through_ms: int
    skipped: int
    gap: int
    entries: Sequence[TickEntry]


class Reply(Struct, frozen=True, kw_only=True):
    """``server_us``: the server's clock during the call.  ``published`` and ``next_ms`` as they stand now, if told.

    ``blocked_by``: the ID at which the stream ends, when nothing can be added behind it.
    """

    outcome: Outcome
    server_us: int
    published: int = -1
    next_ms: int = -1
    blocked_by: str = ""


async def load_schedule(client: Redis, keys: FlowKeys, connector: str) -> ScheduleRecord | None:
    """The schedule as far as it has come, or None when there is none.  Raises ``OperatorError`` when it is damaged."""
    names = ["anchor", "next", "published", "skipped", "gap"]
    fields: list[bytes | None] = await client.hmget(keys.schedule(connector), names)  # type: ignore[misc]
    if not any(fields):
        return None
    anchor, next_ms, published, skipped, gap = (
        _whole(keys.schedule(connector), name, value) for name, value in zip(names, fields, strict=True)
    )
    return ScheduleRecord(anchor_ms=anchor, next_ms=next_ms, published=published, skipped=skipped, gap=gap)


def _whole(key: str, name: str, value: bytes | None) -> int:
    if value is not None and re.fullmatch(rb"\d{1,15}", value):
        return int(value)
    raise damaged_schedule(key, f"{name} is {shown(value)}, no whole number")


def damaged_schedule(key: str, reason: str) -> OperatorError:
    """A schedule that cannot be gone on with: guessing would lose ticks, or publish them under other numbers."""
    return OperatorError(
        "a schedule is damaged:",
        value=key,
        reason=reason,
        advice=f"look at it with `redis-cli HGETALL '{key}'` and put it right; or begin a new run: "
        f"`metronome exit --flow {flow_in(key)}`, then deploy the flow again",
    )


async def publish_ticks(client: Redis, keys: FlowKeys, lease: Lease, token: str, batch: TickBatch, cap: int) -> Reply:
    """Publish a batch (``publish_ticks.lua``).  Safe to repeat: what was published before is answered with MOVED."""
    args: list[Argument] = [
        lease.value,
        token,
        batch.published,
        batch.next_ms,
        batch.after_ms,
        batch.through_ms,
        batch.skipped,
        batch.gap,
        cap,
    ]
    for entry in batch.entries:
        args += [entry.entry_id, entry.head, entry.tail, entry.meta]
    names = [keys.lease(lease.name), keys.flow, keys.schedule(batch.connector), keys.events(batch.connector)]
    reply = await run_script(client, "publish_ticks", names, args)
    outcome, server_us = Outcome(reply[0].decode()), int(reply[1])
    if outcome is Outcome.BLOCKED:
        return Reply(outcome=outcome, server_us=server_us, blocked_by=reply[2].decode())
    if len(reply) < 4 or not reply[2].isdigit() or not reply[3].isdigit():
        return Reply(outcome=outcome, server_us=server_us)
    return Reply(outcome=outcome, server_us=server_us, published=int(reply[2]), next_ms=int(reply[3]))


async def server_us(client: Redis) -> int:
    """The server's clock, in microseconds since the Unix epoch."""
    seconds, micros = await client.time()
    return int(seconds) * 1_000_000 + int(micros)


def tick_entry(kind: str, due_ms: int, index: int, n: int, meta: dict[str, object]) -> TickEntry:
    """The entry of one tick: Tremor's event for its ``kind``, and ``$<kind>`` with what is known about the tick."""
    return TickEntry(
        entry_id=f"{due_ms}-{index}",
        head=f'{{"connector":"{kind}","ingest_ns":',
        tail=f',"id":{n}}}',
        meta=msgspec.json.encode({kind: meta}).decode(),
    )
