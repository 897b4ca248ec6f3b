"""A flow in one moment, as Redis tells it, and the history that follows from it.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from metronome_worker.connectors.schedules import ticked_sources
from metronome_worker.errors import OperatorError
from metronome_worker.observe.history import ExitEntry, History, ScheduleHistory, StageHistory, exit_state, tick_record
from metronome_worker.plan.model import source_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from metronome_worker.broker.commits import StageState
    from metronome_worker.broker.flows import FlowRecord
    from metronome_worker.observe.expectation import RawEntry
    from metronome_worker.observe.history import TickRecord
    from metronome_worker.plan.model import ConnectorInstance, FlowPlan, Stage

#: For how long a tick that is due may be on its way: a lease, the time to notice that it has lapsed, some to spare.
GRACE_MS = 2_000

NO_ID = "0-0"


class StreamEnd(Struct, frozen=True, kw_only=True):
    """A stream at the cut: its first and last ID, how many entries it ever had, and whether some were deleted."""

    first_id: str = NO_ID
    last_id: str = NO_ID
    added: int = 0
    length: int = 0
    has_deletions: bool = False


class Group(Struct, frozen=True, kw_only=True):
    """How far the workers were given a stream, and how many of these entries are not done."""

    last_delivered: str
    pending: int


class Cut(Struct, frozen=True, kw_only=True):
    """A flow in one moment.  ``since_ms``: what has an ID from then on was added under these sources; times by the
    server's clock.

    ``streams`` and ``groups`` are by input; a stream that nobody has read yet has no group.
    """

    record: FlowRecord
    plan: FlowPlan
    now_ms: int
    since_ms: int
    started_ms: int
    is_paused: bool
    epoch: int | None
    schedules: dict[str, dict[str, int]]
    states: dict[str, StageState]
    epochs: dict[str, int]
    exits: tuple[ExitEntry, ...]
    streams: dict[str, StreamEnd]
    groups: dict[str, Group]
    dead: StreamEnd

    @property
    def has_lost_letters(self) -> bool:
        """Whether dead letters were deleted otherwise than by being put back."""
        put_back = sum(end.added for name, end in self.streams.items() if name != source_of(name))
        return self.dead.added - self.dead.length > put_back

    def begin(self, source: str) -> str:
        """The first ID that an entry of this run and revision may have."""
        return f"{max(self.schedules.get(source, {}).get('anchor', 0), self.since_ms)}-0"

    def is_whole(self, source: str, found: Sequence[RawEntry]) -> bool:
        """Whether ``found`` is every entry since the start of the run, all worked on by the revision that runs now."""
        return self.since_ms == self.started_ms and self.has_all(source, found)

    def has_all(self, source: str, found: Sequence[RawEntry]) -> bool:
        """Whether ``found`` is every entry of this run and revision."""
        end = self.streams[source]
        if end.added == end.length or as_number(end.first_id) < as_number(self.begin(source)):
            return True  # nothing was trimmed, or nothing of this run
        ticks = ticks_of(found[:1], self.plan.connectors[source].kind) if source in self.schedules else ()
        return bool(ticks) and ticks[0].n == 0


def history_of(cut: Cut, entries: Mapping[str, Sequence[RawEntry]]) -> History:
    """What the cut and the ``entries`` (by source) tell; what the sinks put out is not among it."""
    return History(
        schedules=tuple(_schedule(cut, connector, entries[connector.alias]) for connector in ticked_sources(cut.plan)),
        until_ms=_until_ms(cut),
        last_ids={source: end.last_id for source, end in cut.streams.items()},
        exits=cut.exits,
        stages=tuple(_stage(cut, stage, entries) for stage in cut.plan.stages),
        epoch=cut.epoch,
    )


def _until_ms(cut: Cut) -> int | None:
    """Up to when due ticks must be decided: until a moment ago, or until the flow was to stop."""
    if cut.is_paused:
        return None
    state = exit_state(History(schedules=(), until_ms=None, exits=cut.exits))
    late_ms = cut.now_ms - GRACE_MS
    if state.request is not None:
        return min(late_ms, state.request.at_ms + state.request.delay_ms)
    return late_ms if state.barrier is None else None


def _schedule(cut: Cut, connector: ConnectorInstance, found: Sequence[RawEntry]) -> ScheduleHistory:
    numbers = cut.schedules[connector.alias]
    try:
        anchor_ms, next_ms, published = numbers["anchor"], numbers["next"], numbers["published"]
    except KeyError as missing:
        raise OperatorError(
            "a schedule is damaged:",
            value=connector.alias,
            reason=f"{missing} is no whole number",
            advice=f"put it right, or begin a new run: `metronome exit --flow {cut.plan.flow}`, then deploy it again",
        ) from None
    is_changed = anchor_ms != cut.started_ms + connector.config.interval
    return ScheduleHistory(
        connector=connector.alias,
        interval_ms=connector.config.interval,
        missed=connector.config.missed,
        catch_up_ms=connector.config.catch_up,
        anchor_ms=anchor_ms,
        next_ms=next_ms,
        published=published,
        skipped=numbers.get("skipped", 0),
        gap=numbers.get("gap", 0),
        ticks=ticks_of(found, connector.kind),
        is_whole=cut.is_whole(connector.alias, found),
        is_changed=is_changed,
        paused=numbers.get("paused", 0),
    )


def _stage(cut: Cut, stage: Stage, entries: Mapping[str, Sequence[RawEntry]]) -> StageHistory:
    state = cut.states[stage.name]
    positions = {name: state.positions.get(name, NO_ID) for name in stage.inputs}
    behind = {name: _done(cut, stage, name, positions[name], entries[name]) for name in stage.inputs}
    return StageHistory(
        name=stage.name,
        positions=positions,
        epoch=cut.epochs[stage.name],
        read=state.read,
        behind={source: count for source, count in behind.items() if count is not None},
    )


def _done(cut: Cut, stage: Stage, name: str, position: str, found: Sequence[RawEntry]) -> int | None:
    """How many entries of an input were ever done; None when that cannot be known."""
    if not stage.is_shared:
        count = _behind(cut, name, position, found)
        return None if count is None else count - len(cut.states[stage.name].open.get(name, ()))
    group = cut.groups.get(name)
    if group is None:
        return None
    given = _behind(cut, name, group.last_delivered, found)
    return None if given is None else given - group.pending


def _behind(cut: Cut, source: str, position: str, found: Sequence[RawEntry]) -> int | None:
    """How many entries the stream ever had up to ``position``; None when that cannot be known."""
    end, done = cut.streams[source], as_number(position)
    if end.has_deletions:
        return None
    waiting = sum(as_number(entry_id.decode()) > done for entry_id, _ in found)
    if waiting == len(found) and done < as_number(cut.begin(source)) and not cut.is_whole(source, found):
        return None  # entries of an earlier revision may be waiting, too
    return end.added - waiting


def ticks_of(found: Sequence[RawEntry], kind: str) -> tuple[TickRecord, ...]:
    """The ticks among the entries; what somebody else has put there is none (and becomes a dead letter)."""
    ticks = []
    for entry_id, fields in found:
        try:
            named = {name.decode(): value for name, value in zip(fields[::2], fields[1::2], strict=True)}
            ticks.append(tick_record(entry_id.decode(), named, kind))
        except (ValueError, LookupError, TypeError, msgspec.DecodeError):
            continue
    return tuple(ticks)


def as_number(entry_id: str) -> tuple[int, int]:
    """A stream ID as numbers, to be compared."""
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence or 0)
