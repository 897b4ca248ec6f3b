"""Takes the history of a deployed flow from Redis and from the files that it writes, while it runs or afterwards.

What is small — schedules, states, the exit stream, where each stream ends — is read in one transaction: one moment, the
*cut*.  Entries and files are read after it, up to what the cut says.  They only grow behind that, so what is under way
while they are read does not look like a fault.  Streams are read from their ends back, as trimming takes what is first.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace
from redis.exceptions import ResponseError

from metronome_worker.broker.commits import state_of
from metronome_worker.broker.flows import load_flow
from metronome_worker.broker.keys import GROUP
from metronome_worker.broker.outages import is_outage
from metronome_worker.connectors.schedules import ticked_sources
from metronome_worker.errors import OperatorError
from metronome_worker.observe.cut import NO_ID, Cut, Group, StreamEnd, history_of
from metronome_worker.observe.history import ExitEntry
from metronome_worker.observe.outputs import output_histories

if TYPE_CHECKING:
    from collections.abc import Sequence

    from metronome_worker.broker.flows import FlowRecord
    from metronome_worker.broker.keys import FlowKeys
    from metronome_worker.host import Host
    from metronome_worker.observe.expectation import RawEntry
    from metronome_worker.observe.history import History
    from metronome_worker.plan.model import FlowPlan

_PAGE = 2_000
_ATTEMPTS = 5


class Recording(Struct, frozen=True, kw_only=True):
    """A history, and of what: the run and revision that it belongs to."""

    flow: str
    run: int
    revision: int
    status: str
    history: History


async def record(process: Host, keys: FlowKeys, exit_codes: tuple[int, ...] = ()) -> Recording:
    """The history of the run under way, or of the last one.  Raises ``OperatorError`` when it cannot be read.

    ``exit_codes``: what processes are known to have ended with.
    """
    host = process.for_flow(keys)
    for _ in range(_ATTEMPTS):
        cut = await _take_cut(host, keys)
        if cut is None:
            continue
        entries = {name: await _entries(host, keys, cut, name) for name in cut.streams}
        letters = [(i.decode(), _texts(fields)) for i, fields in await _read_back(host, keys.dead, cut.dead, NO_ID)]
        # A new run cuts files and lets states begin anew: what was read must all be of one run.
        now: list[bytes | None] = await host.client.hmget(keys.flow, ["run", "revision"])  # type: ignore[misc]
        if [int(value or 0) for value in now] == [cut.record.run, cut.record.revision]:
            outputs = await asyncio.to_thread(output_histories, host, keys, cut, entries, letters)
            return Recording(
                flow=keys.flow_name,
                run=cut.record.run,
                revision=cut.record.revision,
                status=cut.record.status.value,
                history=replace(history_of(cut, entries), outputs=tuple(outputs), exit_codes=exit_codes),
            )
    raise OperatorError("the flow is being deployed anew:", value=keys.flow_name, advice="try again when that is done")


async def _take_cut(host: Host, keys: FlowKeys) -> Cut | None:
    """None when the flow was deployed anew just now."""
    record = await load_flow(host.client, keys)
    if record is None:
        raise OperatorError("there is no flow", value=keys.flow_name, advice="`metronome flows` lists those that are")
    plan = host.workshop.plan_of(record.bundle)
    inputs = sorted({name for stage in plan.stages for name in stage.inputs})
    async with host.client.pipeline(transaction=True) as pipe:
        pipe.hgetall(keys.flow)
        pipe.time()
        pipe.get(keys.epoch)
        pipe.xrange(keys.exit, min=f"({record.exit_from}")
        pipe.xinfo_stream(keys.dead)
        for connector in ticked_sources(plan):
            pipe.hgetall(keys.schedule(connector.alias))
        for stage in plan.stages:
            pipe.hgetall(keys.state(stage.name))
        for name in inputs:
            pipe.xinfo_stream(keys.events(name))
            pipe.xinfo_groups(keys.events(name))
        replies: list[Any] = await pipe.execute(raise_on_error=False)
    return _cut(keys, record, plan, inputs, replies)


def _cut(keys: FlowKeys, record: FlowRecord, plan: FlowPlan, inputs: Sequence[str], replies: list[Any]) -> Cut | None:
    flow, (seconds, micros), epoch, exits, dead, *rest = (_reply(reply) for reply in replies)
    if [int(flow.get(name, 0)) for name in (b"run", b"revision")] != [record.run, record.revision]:
        return None
    ticked = [connector.alias for connector in ticked_sources(plan)]
    schedules, rest = rest[: len(ticked)], rest[len(ticked) :]
    states, infos = rest[: len(plan.stages)], rest[len(plan.stages) :: 2]
    groups = rest[len(plan.stages) + 1 :: 2]
    times = _numbers(flow)
    started_ms = times.get("started_at", 0)
    names = [stage.name for stage in plan.stages]
    return Cut(
        record=record,
        plan=plan,
        now_ms=int(seconds) * 1000 + int(micros) // 1000,
        since_ms=times.get("entries_from") or max(started_ms, times.get("deployed_at", 0)),
        started_ms=started_ms,
        is_paused=b"paused" in flow,
        epoch=int(epoch) if epoch is not None and epoch.isdigit() else None,
        schedules={name: _numbers(fields or {}) for name, fields in zip(ticked, schedules, strict=True)},
        states={name: state_of(keys.state(name), found or {}) for name, found in zip(names, states, strict=True)},
        epochs={name: _numbers(found or {}).get("epoch", 0) for name, found in zip(names, states, strict=True)},
        exits=tuple(ExitEntry(entry_id=i.decode(), fields=_texts(_flat(fields))) for i, fields in exits or ()),
        streams={name: _stream_end(info) for name, info in zip(inputs, infos, strict=True)},
        groups={name: group for name, found in zip(inputs, groups, strict=True) if (group := _group(found))},
        dead=_stream_end(dead),
    )


def _reply(reply: Any) -> Any:
    """One reply of the transaction: None for a stream that is not there."""
    if isinstance(reply, Exception) and (not isinstance(reply, ResponseError) or is_outage(reply)):
        raise reply
    if isinstance(reply, ResponseError) and str(reply).startswith("WRONGTYPE"):
        raise reply
    return None if isinstance(reply, Exception) else reply


def _numbers(fields: dict[bytes, bytes]) -> dict[str, int]:
    return {name.decode(errors="replace"): int(value) for name, value in fields.items() if value.lstrip(b"-").isdigit()}


def _flat(fields: dict[bytes, bytes]) -> list[bytes]:
    return [part for pair in fields.items() for part in pair]


def _texts(fields: Sequence[bytes]) -> dict[str, str]:
    texts = [field.decode(errors="replace") for field in fields]
    return dict(zip(texts[::2], texts[1::2], strict=True))


def _stream_end(info: dict[str, Any] | None) -> StreamEnd:
    if not info:
        return StreamEnd()
    first = info["first-entry"]
    return StreamEnd(
        first_id=first[0].decode() if first else NO_ID,
        last_id=info["last-generated-id"].decode(),
        added=info["entries-added"],
        length=info["length"],
        has_deletions=info["max-deleted-entry-id"] != b"0-0",
    )


def _group(found: list[dict[str, Any]] | None) -> Group | None:
    for info in found or ():
        if info["name"] == GROUP.encode():
            return Group(last_delivered=info["last-delivered-id"].decode(), pending=info["pending"])
    return None


async def _entries(host: Host, keys: FlowKeys, cut: Cut, name: str) -> list[RawEntry]:
    """The entries of an input in this run, and of this revision where the run has had others, up to the cut."""
    return await _read_back(host, keys.events(name), cut.streams[name], cut.begin(name))


async def _read_back(host: Host, key: str, end: StreamEnd, first: str) -> list[RawEntry]:
    found: list[RawEntry] = []
    last = end.last_id
    while last != NO_ID:
        # The name as bytes is one that the client has no parser for: entries come as they are.
        page: list[RawEntry] = await host.client.execute_command(  # type: ignore[no-untyped-call]
            b"XREVRANGE", key, last, first, "COUNT", _PAGE
        )
        found += page
        if len(page) < _PAGE:
            break
        last = f"({page[-1][0].decode()}"
    found.reverse()
    return found
