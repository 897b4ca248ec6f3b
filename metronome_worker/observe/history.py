"""What a run did, as Redis and the files tell it afterwards, and whether that is what was promised.  Pure.

``examine`` computes from the schedule alone which ticks there must be, and compares.  It believes nothing that the
ticker or a worker says of itself, and it knows no fault: what it asks for holds whatever died meanwhile.  What a
history does not tell is not judged, and said to be so.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from metronome_worker.broker.exits import ExitState, fold

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

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
    """A schedule as it stands, and the ticks of this run.

    ``is_whole``: no tick was trimmed away.  ``is_changed``: its settings are not those that the run began with, and
    ``ticks`` holds what came since.  ``paused``: how many slots were given up as the flow was paused.
    """

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
    is_changed: bool = False
    paused: int = 0


class ExitEntry(Struct, frozen=True, kw_only=True):
    """One entry of the exit stream."""

    entry_id: str
    fields: dict[str, str]


class StageHistory(Struct, frozen=True, kw_only=True):
    """``positions``: source to the ID of the last entry whose effects are committed; ``epoch``: of the last commit.

    ``read``: source to how many entries its counter says are done; ``behind``: how many the stream says are.
    """

    name: str
    positions: dict[str, str]
    epoch: int
    read: dict[str, int] = {}
    behind: dict[str, int] = {}


class OutputHistory(Struct, frozen=True, kw_only=True):
    """What must be there once each, whatever it is: the lines of a file, dead letters, exit requests.

    ``expected``: what the committed entries make, in order; ``found``: what is there, up to the committed length;
    ``tail_bytes``: how much there is behind that.  ``unchecked`` says why it cannot be judged; ``note`` what was not.
    """

    name: str
    expected: tuple[str, ...] = ()
    found: tuple[str, ...] = ()
    tail_bytes: int = 0
    what: str = "lines"
    is_ordered: bool = True
    unchecked: str = ""
    note: str = ""


class History(Struct, frozen=True, kw_only=True):
    """All that one run of one flow left behind.  ``until_ms``: up to when a tick that was due must be decided.

    It is None where nobody can say, as in a flow that is paused.  ``last_ids``: source to the last ID ever given in its
    stream; ``exit_codes``: what each process ended with; ``epoch``: the counter of leases, None when it is not known.
    """

    schedules: tuple[ScheduleHistory, ...]
    until_ms: int | None
    last_ids: dict[str, str] = {}
    exits: tuple[ExitEntry, ...] = ()
    stages: tuple[StageHistory, ...] = ()
    outputs: tuple[OutputHistory, ...] = ()
    exit_codes: tuple[int, ...] = ()
    epoch: int | None = None


class Check(Struct, frozen=True, kw_only=True):
    """One thing that was looked at.  ``count``: of how many; ``unchecked``: why it could not be judged, or empty."""

    name: str
    about: str
    count: int = 0
    violations: tuple[str, ...] = ()
    unchecked: str = ""
    note: str = ""

    @property
    def verdict(self) -> str:
        if self.violations:
            return "violated"
        return "not checked" if self.unchecked else "ok"


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
    return [violation for check in examine(history) for violation in check.violations]


def examine(history: History) -> tuple[Check, ...]:
    """Every check that a history allows, and those that it does not."""
    state = exit_state(history)
    checks: list[Check] = []
    for schedule in history.schedules:
        checks += _examine_schedule(schedule, history.until_ms)
    for stage in history.stages:
        counted = stage.behind.keys() & stage.read.keys()
        reason = "" if counted else "entries were deleted by hand, or it has no sources"
        checks.append(_check("counters", stage.name, len(counted), _judge_stage(stage, history.last_ids), reason))
    checks += [_examine_output(output, is_drained=end_reason(history) == "drained") for output in history.outputs]
    reason = "" if history.epoch is not None else "the counter of epochs is not known"
    checks.append(_check("epochs", "leases", _writes(history), _judge_epochs(history), reason))
    left = state.request is not None or state.barrier is not None or history.exit_codes
    reason = "" if left else "nobody has asked it to leave"
    checks.append(_check("exit", "run", len(history.exits), _judge_exit(history, state), reason))
    return tuple(checks)


def _check(name: str, about: str, count: int, found: Iterable[str], unchecked: str = "", note: str = "") -> Check:
    return Check(name=name, about=about, count=count, violations=tuple(found), unchecked=unchecked, note=note)


def _examine_schedule(schedule: ScheduleHistory, until_ms: int | None) -> list[Check]:
    name, first = schedule.connector, schedule.ticks[0] if schedule.ticks else None
    note = "" if schedule.is_whole or first is None else f"from id {first.n} on; what came before is gone"
    changed = "its settings were changed under way" if schedule.is_changed else ""
    unknown = "" if until_ms is not None else "the flow is paused, or the end of its schedule is not known"
    return [
        _check("ticks", name, len(schedule.ticks), _judge_ticks(schedule), "" if first else "there are none", note),
        _check("schedule", name, schedule.published + schedule.skipped, _judge_totals(schedule), changed),
        _check("overdue", name, 0, _judge_overdue(schedule, until_ms), unknown),
    ]


def _examine_output(output: OutputHistory, *, is_drained: bool) -> Check:
    found = () if output.unchecked else tuple(_judge_output(output, is_drained=is_drained))
    return _check(output.what, output.name, len(output.expected), found, output.unchecked, output.note)


def _judge_ticks(schedule: ScheduleHistory) -> Iterator[str]:
    """Each tick against its predecessor, and against the slot of the schedule that it claims."""
    name, seen = schedule.connector, set[str]()
    slot, n, epoch, pardoned = -1, -1, 0, schedule.paused
    for position, tick in enumerate(schedule.ticks):
        where = f"{name} {tick.entry_id} (id {tick.n})"
        if tick.entry_id in seen:
            yield f"published twice: {where}"
            continue
        seen.add(tick.entry_id)
        due_ms = tick.due_ms
        this_slot, off = divmod(due_ms - schedule.anchor_ms, schedule.interval_ms)
        if off or this_slot < 0 or not _is_in_place(tick):
            yield f"not in the schedule: {where}, due {tick.due_ms}"
        if position == 0 and (not schedule.is_whole or schedule.is_changed):
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
        if tick.skipped and schedule.missed == "all" and not (position == 0 and schedule.is_changed):
            late_ms = tick.ingest_ns // _NS_PER_MS - (due_ms - schedule.interval_ms)
            if late_ms <= schedule.catch_up_ms and (pardoned := pardoned - tick.skipped) < 0:
                yield f"skipped too soon: {where} gave up a tick only {late_ms} ms late"
        slot, n, epoch = this_slot, tick.n, max(epoch, tick.epoch)


def _is_in_place(tick: TickRecord) -> bool:
    """Whether a tick stands where it was due, or right behind what somebody else wrote there in that moment."""
    at_ms, _, sequence = tick.entry_id.partition("-")
    return int(at_ms) == tick.due_ms or (int(at_ms) > tick.due_ms and int(sequence) > 0)


def _judge_totals(schedule: ScheduleHistory) -> Iterator[str]:
    """What the schedule says of itself against its ticks."""
    name, ticks = schedule.connector, schedule.ticks
    if ticks:
        decided_ms = ticks[-1].due_ms + (1 + schedule.gap) * schedule.interval_ms
        if schedule.next_ms != decided_ms:
            yield f"schedule does not add up: {name} has next {schedule.next_ms}, its last tick says {decided_ms}"
    if ticks and ticks[-1].n + 1 != schedule.published:
        yield f"schedule does not add up: {name} counts {schedule.published} ticks, the last id is {ticks[-1].n}"
    if schedule.is_changed:
        return
    decided_ms = schedule.anchor_ms + (schedule.published + schedule.skipped) * schedule.interval_ms
    if schedule.next_ms != decided_ms:
        yield f"schedule does not add up: {name} has next {schedule.next_ms}, its counters say {decided_ms}"
    if not ticks and schedule.is_whole and schedule.published:
        yield f"schedule does not add up: {name} counts {schedule.published} ticks, its stream holds none"
    recorded = sum(tick.skipped for tick in ticks) + schedule.gap
    if schedule.is_whole and recorded != schedule.skipped:
        yield f"schedule does not add up: {name} counts {schedule.skipped} skipped, ticks tell of {recorded}"


def _judge_overdue(schedule: ScheduleHistory, until_ms: int | None) -> Iterator[str]:
    if until_ms is not None and schedule.next_ms < until_ms:
        count = -((schedule.next_ms - until_ms) // schedule.interval_ms)
        where = f"{schedule.connector} has {count} due ticks neither published nor skipped, from {schedule.next_ms}"
        yield f"never decided: {where}"


def _judge_stage(stage: StageHistory, last_ids: Mapping[str, str]) -> Iterator[str]:
    """A stage's positions against the streams: it has done what is there, once, and nothing that is not."""
    for source, position in stage.positions.items():
        if _id(position) > _id(last_ids.get(source, position)):
            yield f"ahead of its stream: {stage.name} is at {position} of {source}, which ends at {last_ids[source]}"
    for source, count in stage.behind.items():
        if (said := stage.read.get(source, count)) != count:
            yield f"events miscounted: {stage.name} counts {said} of {source}, {count} are done"


def _writes(history: History) -> int:
    return sum(len(schedule.ticks) for schedule in history.schedules) + len(history.stages)


def _judge_epochs(history: History) -> Iterator[str]:
    """No write was accepted under an epoch that nobody was given."""
    if history.epoch is None:
        return
    ticks = [(tick.epoch, f"{s.connector} {tick.entry_id}") for s in history.schedules for tick in s.ticks]
    for epoch, where in [*ticks, *((stage.epoch, stage.name) for stage in history.stages)]:
        if epoch > history.epoch:
            yield f"epoch was never given: {where} has {epoch}, the last one given is {history.epoch}"


def _judge_exit(history: History, state: ExitState) -> Iterator[str]:
    barriers = [entry for entry in history.exits if "barrier" in entry.fields]
    ends = [entry for entry in history.exits if "end" in entry.fields]
    for what, found in (("barrier", barriers), ("end", ends)):
        if len(found) > 1:
            yield f"more than one {what}: {', '.join(entry.entry_id for entry in found)}"
    epochs = [int(entry.fields["epoch"]) for entry in history.exits if entry.fields.get("epoch", "").isdecimal()]
    if epochs != sorted(epochs):
        yield f"epoch went back: in the exit stream {epochs}"
    if ends and state.barrier is None:
        yield f"end without a barrier: {ends[0].entry_id}"
    if state.barrier is not None:
        yield from _judge_barrier(history, state.barrier)
    codes = {int(said) for entry in (*ends, *barriers) if (said := _code(entry)).isdecimal()} | set(history.exit_codes)
    if state.request is not None and (barriers or history.exit_codes):
        codes.add(state.request.code)
    if len(codes) > 1:
        yield f"exit codes differ: {sorted(codes)}"
    if history.exit_codes and not ends:
        yield f"left without an end: {len(history.exit_codes)} processes"


def _code(entry: ExitEntry) -> str:
    return entry.fields.get("end", entry.fields.get("code", ""))


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
    if output.tail_bytes < 0:
        yield f"shorter than was committed: {output.name} lacks {-output.tail_bytes} bytes"
    if output.tail_bytes > 0 and is_drained:
        yield f"more than was committed: {output.name} has {output.tail_bytes} bytes behind its committed length"
    if output.expected == output.found:
        return
    expected, found, what = Counter(output.expected), Counter(output.found), output.what
    if missing := list((expected - found).elements()):
        yield f"{what} missing: {output.name} lacks {_some(missing)}"
    surplus = found - expected
    if doubled := [line for line in surplus if line in expected]:
        yield f"{what} doubled: {output.name} repeats {_some(doubled)}"
    if foreign := [line for line in surplus if line not in expected]:
        yield f"{what} not expected: {output.name} holds {_some(foreign)}"
    if expected == found and output.is_ordered:
        at = next(i for i, (a, b) in enumerate(zip(output.expected, output.found, strict=True)) if a != b)
        yield f"{what} out of order: {output.name} from line {at + 1}"


def exit_state(history: History) -> ExitState:
    """How far the run has come in leaving, as its own processes read the exit stream."""
    state = ExitState()
    for entry in history.exits:
        state = fold(state, entry.entry_id, entry.fields)
    return state


def end_reason(history: History) -> str:
    """Why the run ended (drained, deadline or abrupt); empty when it has not."""
    return next((entry.fields.get("reason", "") for entry in history.exits if "end" in entry.fields), "")


def _some(lines: Sequence[str]) -> str:
    more = f" and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    return ", ".join(lines[:_SHOWN]) + more


def _id(entry_id: str) -> tuple[int, int]:
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence or 0)
