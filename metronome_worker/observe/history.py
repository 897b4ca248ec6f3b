"""What a run did, as Redis and the files tell it afterwards, and whether that is what was promised.  Pure.

``judge`` computes from the schedule alone which ticks there must be, and compares.  It believes nothing that the
ticker or a worker says of itself, and it knows no fault: what it asks for holds whatever died meanwhile.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_NS_PER_MS = 1_000_000
_SHOWN = 5


class TickRecord(Struct, frozen=True, kw_only=True):
    """One published tick: the ID of its entry, and what the entry says."""

    entry_id: str
    n: int
    ingest_ns: int
    due_ms: int
    epoch: int
    skipped: int


class ScheduleHistory(Struct, frozen=True, kw_only=True):
    """A schedule as it stands, and the ticks of this run.  ``is_whole``: no tick was trimmed away."""

    connector: str
    interval_ms: int
    missed: str
    catch_up_ms: int
    anchor_ms: int
    next_ms: int
    published: int
    skipped: int
    gap: int
    ticks: tuple[TickRecord, ...]
    is_whole: bool = True


class ExitEntry(Struct, frozen=True, kw_only=True):
    """One entry of the exit stream."""

    entry_id: str
    fields: dict[str, str]


class StageHistory(Struct, frozen=True, kw_only=True):
    """``positions``: source to the ID of the last entry whose effects are committed; ``epoch``: of the last commit."""

    name: str
    positions: dict[str, str]
    epoch: int


class OutputHistory(Struct, frozen=True, kw_only=True):
    """A sink that puts out each line once.

    ``expected``: what the committed entries make, in order; ``found``: what is there, up to the committed length;
    ``tail_bytes``: how much there is behind that.
    """

    name: str
    expected: tuple[str, ...]
    found: tuple[str, ...]
    tail_bytes: int = 0


class History(Struct, frozen=True, kw_only=True):
    """All that one run of one flow left behind.  ``until_ms``: up to when a tick that was due must be decided.

    ``last_ids``: source to the last ID ever given in its stream; ``exit_codes``: what each process ended with.
    """

    schedules: tuple[ScheduleHistory, ...]
    until_ms: int
    last_ids: dict[str, str] = {}
    exits: tuple[ExitEntry, ...] = ()
    stages: tuple[StageHistory, ...] = ()
    outputs: tuple[OutputHistory, ...] = ()
    exit_codes: tuple[int, ...] = ()


def tick_record(entry_id: str, fields: Mapping[str, bytes], kind: str) -> TickRecord:
    """A tick as its entry in the event stream tells it; ``kind`` is the connector's.  Raises ``ValueError``."""
    event, meta = msgspec.json.decode(fields["data"]), msgspec.json.decode(fields["meta"])[kind]
    return TickRecord(
        entry_id=entry_id,
        n=event["id"],
        ingest_ns=event["ingest_ns"],
        due_ms=meta["due_ms"],
        epoch=meta["epoch"],
        skipped=meta["skipped"],
    )


def judge(history: History) -> list[str]:
    """What was promised and did not hold, each as ``<what>: <where and which>``; empty when all is well."""
    violations: list[str] = []
    for schedule in history.schedules:
        violations += _judge_ticks(schedule)
        violations += _judge_totals(schedule, history.until_ms)
    violations += _judge_exit(history)
    for output in history.outputs:
        violations += _judge_output(output, is_drained=end_reason(history) == "drained")
    return violations


def _judge_ticks(schedule: ScheduleHistory) -> Iterator[str]:
    """Each tick against its predecessor, and against the slot of the schedule that it claims."""
    name, seen = schedule.connector, set[str]()
    slot, n, epoch = -1, -1, 0
    for position, tick in enumerate(schedule.ticks):
        where = f"{name} {tick.entry_id} (id {tick.n})"
        if tick.entry_id in seen:
            yield f"published twice: {where}"
            continue
        seen.add(tick.entry_id)
        due_ms = int(tick.entry_id.partition("-")[0])
        this_slot, off = divmod(due_ms - schedule.anchor_ms, schedule.interval_ms)
        if off or this_slot < 0 or tick.due_ms != due_ms:
            yield f"not in the schedule: {where}, due {tick.due_ms}"
        if position == 0 and not schedule.is_whole:
            slot, n = this_slot - 1 - tick.skipped, tick.n - 1
        if this_slot <= slot:
            yield f"out of order: {where} after slot {slot}"
        elif this_slot != slot + 1 + tick.skipped:
            missing = this_slot - slot - 1 - tick.skipped
            yield f"slots lost: {where} leaves {missing} slots neither published nor recorded as skipped"
        if tick.n != n + 1:
            yield f"gap in ids: {where} after id {n}"
        if tick.ingest_ns < due_ms * _NS_PER_MS:
            yield f"early: {where} by {due_ms * _NS_PER_MS - tick.ingest_ns} ns"
        if tick.epoch < epoch:
            yield f"epoch went back: {where} has {tick.epoch} after {epoch}"
        if tick.skipped and schedule.missed == "all":
            late_ms = tick.ingest_ns // _NS_PER_MS - (due_ms - schedule.interval_ms)
            if late_ms <= schedule.catch_up_ms:
                yield f"skipped too soon: {where} gave up a tick only {late_ms} ms late"
        slot, n, epoch = this_slot, tick.n, max(epoch, tick.epoch)


def _judge_totals(schedule: ScheduleHistory, until_ms: int) -> Iterator[str]:
    """What the schedule says of itself against its ticks, and against the time that has passed."""
    name, ticks = schedule.connector, schedule.ticks
    decided_ms = schedule.anchor_ms + (schedule.published + schedule.skipped) * schedule.interval_ms
    if schedule.next_ms != decided_ms:
        yield f"schedule does not add up: {name} has next {schedule.next_ms}, its counters say {decided_ms}"
    if ticks and ticks[-1].n + 1 != schedule.published:
        yield f"schedule does not add up: {name} counts {schedule.published} ticks, the last id is {ticks[-1].n}"
    if not ticks and schedule.is_whole and schedule.published:
        yield f"schedule does not add up: {name} counts {schedule.published} ticks, its stream holds none"
    recorded = sum(tick.skipped for tick in ticks) + schedule.gap
    if schedule.is_whole and recorded != schedule.skipped:
        yield f"schedule does not add up: {name} counts {schedule.skipped} skipped, ticks tell of {recorded}"
    if schedule.next_ms < until_ms:
        count = -((schedule.next_ms - until_ms) // schedule.interval_ms)
        yield f"never decided: {name} has {count} due ticks neither published nor skipped, from {schedule.next_ms}"


def _judge_exit(history: History) -> Iterator[str]:
    barriers = [entry for entry in history.exits if "barrier" in entry.fields]
    ends = [entry for entry in history.exits if "end" in entry.fields]
    for what, found in (("barrier", barriers), ("end", ends)):
        if len(found) > 1:
            yield f"more than one {what}: {', '.join(entry.entry_id for entry in found)}"
    epochs = [int(entry.fields["epoch"]) for entry in history.exits if "epoch" in entry.fields]
    if epochs != sorted(epochs):
        yield f"epoch went back: in the exit stream {epochs}"
    if ends and not barriers:
        yield f"end without a barrier: {ends[0].entry_id}"
    if barriers:
        yield from _judge_barrier(history, msgspec.json.decode(barriers[0].fields["barrier"], type=dict[str, str]))
    codes = {int(entry.fields["end"]) for entry in ends} | {int(entry.fields["code"]) for entry in barriers}
    codes |= set(history.exit_codes)
    requests = [entry for entry in history.exits if "exit" in entry.fields]
    if requests and (barriers or history.exit_codes):
        codes.add(int(requests[0].fields["exit"]))
    if len(codes) > 1:
        yield f"exit codes differ: {sorted(codes)}"
    if history.exit_codes and not ends:
        yield f"left without an end: {len(history.exit_codes)} processes"


def _judge_barrier(history: History, barrier: Mapping[str, str]) -> Iterator[str]:
    for source, last in history.last_ids.items():
        if _id(last) > _id(barrier.get(source, "0-0")):
            yield f"published after the barrier: {source} {last}, barrier {barrier.get(source)}"
    if end_reason(history) != "drained":
        return
    for stage in history.stages:
        for source, position in stage.positions.items():
            if _id(position) < _id(barrier.get(source, "0-0")):
                yield f"not settled at the end: {stage.name} is at {position} of {source}, barrier {barrier[source]}"


def _judge_output(output: OutputHistory, *, is_drained: bool) -> Iterator[str]:
    expected, found = Counter(output.expected), Counter(output.found)
    if missing := list((expected - found).elements()):
        yield f"lines missing: {output.name} lacks {_some(missing)}"
    surplus = found - expected
    if doubled := [line for line in surplus if line in expected]:
        yield f"lines doubled: {output.name} repeats {_some(doubled)}"
    if foreign := [line for line in surplus if line not in expected]:
        yield f"lines not expected: {output.name} holds {_some(foreign)}"
    if expected == found and output.expected != output.found:
        at = next(i for i, (a, b) in enumerate(zip(output.expected, output.found, strict=True)) if a != b)
        yield f"lines out of order: {output.name} from line {at + 1}"
    if is_drained and output.tail_bytes:
        yield f"more than was committed: {output.name} has {output.tail_bytes} bytes behind its committed length"


def end_reason(history: History) -> str:
    """Why the run ended (drained, deadline or abrupt); empty when it has not."""
    return next((entry.fields.get("reason", "") for entry in history.exits if "end" in entry.fields), "")


def _some(lines: Sequence[str]) -> str:
    more = f" and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    return ", ".join(lines[:_SHOWN]) + more


def _id(entry_id: str) -> tuple[int, int]:
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence or 0)
