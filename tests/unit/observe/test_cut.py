"""What follows from a flow in one moment: which ticks must be there, what can be judged, and what cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from msgspec.structs import replace

from metronome_worker.assembly import Workshop
from metronome_worker.broker.commits import StageState
from metronome_worker.broker.flows import Bundle, FlowRecord, Status
from metronome_worker.observe.cut import GRACE_MS, Cut, StreamEnd, history_of
from metronome_worker.observe.history import ExitEntry, judge
from tests.system.flows import ticking

if TYPE_CHECKING:
    from metronome_worker.observe.expectation import RawEntry

STARTED_MS: Final = 1_000_000
INTERVAL_MS: Final = 100
ANCHOR_MS: Final = STARTED_MS + INTERVAL_MS
COUNT: Final = 5
NEXT_MS: Final = ANCHOR_MS + COUNT * INTERVAL_MS

BUNDLE: Final = Bundle(main="flow.troy", flow="main", sources={"flow.troy": ticking(INTERVAL_MS)})


def entry(n: int, slot: int | None = None, skipped: int = 0) -> RawEntry:
    due_ms = ANCHOR_MS + (n if slot is None else slot) * INTERVAL_MS
    ingest_ns = (due_ms + 1) * 10**6
    data = f'{{"connector":"metronome","ingest_ns":{ingest_ns},"id":{n}}}'
    meta = f'{{"metronome":{{"due_ms":{due_ms},"epoch":1,"skipped":{skipped}}}}}'
    fields = ["data", data, "ingest_ns", str(ingest_ns), "meta", meta]
    return f"{due_ms}-0".encode(), [field.encode() for field in fields]


ENTRIES: Final = [entry(n) for n in range(COUNT)]
LAST: Final = ENTRIES[-1][0].decode()

CUT: Final = Cut(
    record=FlowRecord(run=1, revision=1, digest="", status=Status.RUNNING, bundle=BUNDLE, exit_from="0-0", code=None),
    plan=Workshop().plan_of(BUNDLE),
    now_ms=NEXT_MS - 1,
    since_ms=STARTED_MS,
    started_ms=STARTED_MS,
    is_paused=False,
    epoch=2,
    schedules={"tick": {"anchor": ANCHOR_MS, "next": NEXT_MS, "published": COUNT, "skipped": 0, "gap": 0}},
    states={"tick": StageState(positions={"tick": LAST}, read={"tick": COUNT})},
    epochs={"tick": 2},
    exits=(),
    streams={
        "tick": StreamEnd(first_id=ENTRIES[0][0].decode(), last_id=LAST, added=COUNT, length=COUNT),
        "replay:tick": StreamEnd(),
    },
    groups={},
    dead=StreamEnd(),
)


def judged(cut: Cut, entries: list[RawEntry]) -> list[str]:
    return judge(history_of(cut, {"tick": entries, "replay:tick": []}))


def with_stream(**changes: Any) -> Cut:
    return replace(CUT, streams={**CUT.streams, "tick": replace(CUT.streams["tick"], **changes)})


def test_flow_at_work_is_in_order() -> None:
    assert judged(CUT, ENTRIES) == []


def test_tick_may_be_on_its_way_for_a_while_and_not_for_ever() -> None:
    assert judged(replace(CUT, now_ms=NEXT_MS + GRACE_MS - 1), ENTRIES) == []
    assert judged(replace(CUT, now_ms=NEXT_MS + GRACE_MS + 1), ENTRIES)[0].startswith("never decided: tick has 1 due")


def test_paused_flow_owes_nothing() -> None:
    assert judged(replace(CUT, now_ms=NEXT_MS + 3_600_000, is_paused=True), ENTRIES) == []


def test_ticks_given_up_in_a_pause_were_not_given_up_too_soon() -> None:
    entries = [*ENTRIES, entry(COUNT, COUNT + 3, skipped=3)]
    numbers = {"anchor": ANCHOR_MS, "next": NEXT_MS + 400, "published": COUNT + 1, "skipped": 3, "gap": 0}
    stream = StreamEnd(last_id=entries[-1][0].decode(), added=COUNT + 1, length=COUNT + 1)
    cut = replace(CUT, schedules={"tick": numbers}, streams={**CUT.streams, "tick": stream})
    assert [found.split(":")[0] for found in judged(cut, entries)] == ["skipped too soon"]
    assert judged(replace(cut, schedules={"tick": numbers | {"paused": 3}}), entries) == []


def test_run_that_was_told_to_leave_owes_only_what_was_due_before() -> None:
    request = ExitEntry(entry_id=f"{NEXT_MS - 50}-0", fields={"exit": "0"})
    assert judged(replace(CUT, now_ms=NEXT_MS + 60_000, exits=(request,)), ENTRIES) == []
    later = ExitEntry(entry_id=f"{NEXT_MS - 50}-0", fields={"exit": "0", "delay": "60"})
    assert judged(replace(CUT, now_ms=NEXT_MS + 60_000, exits=(later,)), ENTRIES) != []


def test_exit_stream_in_which_somebody_wrote_nonsense_is_read_as_the_processes_read_it() -> None:
    nonsense = (
        ExitEntry(entry_id=f"{NEXT_MS - 3}-0", fields={"hello": "world"}),
        ExitEntry(entry_id=f"{NEXT_MS - 2}-0", fields={"exit": "never", "delay": "soon", "epoch": "x"}),
    )
    assert judged(replace(CUT, exits=nonsense), ENTRIES) == []


def test_trimmed_stream_is_judged_from_its_first_tick() -> None:
    trimmed = with_stream(first_id=ENTRIES[2][0].decode(), length=COUNT - 2)
    history = history_of(trimmed, {"tick": ENTRIES[2:], "replay:tick": []})
    assert judge(history) == []
    assert not history.schedules[0].is_whole


def test_first_tick_that_is_missing_is_noticed_where_nothing_was_trimmed() -> None:
    assert any("slots lost" in found for found in judged(CUT, ENTRIES[1:]))
    # An entry of an earlier run is still there: whatever was trimmed, none of it was of this run.
    later = with_stream(first_id="5-0", added=COUNT + 10, length=COUNT + 3)
    assert any("slots lost" in found for found in judged(later, ENTRIES[1:]))


def test_foreign_entry_is_no_tick() -> None:
    foreign: RawEntry = (f"{ANCHOR_MS + 10}-7".encode(), [b"hello", b"world"])
    entries = [ENTRIES[0], foreign, *ENTRIES[1:]]
    states = {"tick": StageState(positions={"tick": LAST}, read={"tick": COUNT + 1})}
    assert judged(replace(with_stream(added=COUNT + 1, length=COUNT + 1), states=states), entries) == []


@pytest.mark.parametrize(("read", "position"), [(COUNT - 1, LAST), (COUNT, ENTRIES[-2][0].decode())])
def test_counter_that_does_not_fit_the_position_is_found(read: int, position: str) -> None:
    states = {"tick": StageState(positions={"tick": position}, read={"tick": read})}
    assert judged(replace(CUT, states=states), ENTRIES)[0].startswith("events miscounted: tick counts")


def test_counter_is_left_alone_where_entries_were_deleted_by_hand() -> None:
    states = {"tick": StageState(positions={"tick": LAST}, read={"tick": 99})}
    assert judged(replace(with_stream(has_deletions=True), states=states), ENTRIES) == []


def test_position_behind_the_end_of_the_stream_is_found() -> None:
    states = {"tick": StageState(positions={"tick": "9999999-0"}, read={"tick": COUNT})}
    assert judged(replace(CUT, states=states), ENTRIES)[0].startswith("ahead of its stream: tick")


def test_epoch_that_nobody_was_given_is_found() -> None:
    assert judged(replace(CUT, epoch=1), ENTRIES)[0].startswith("epoch was never given: tick has 2")


def test_schedule_whose_settings_were_changed_under_way_is_judged_from_there() -> None:
    since_ms = STARTED_MS - 5_000
    numbers = CUT.schedules["tick"] | {"published": COUNT + 40}
    entries = [entry(40 + n, n, skipped=7 if n == 0 else 0) for n in range(COUNT)]
    cut = replace(CUT, started_ms=since_ms, schedules={"tick": numbers})
    history = history_of(cut, {"tick": entries, "replay:tick": []})
    assert judge(history) == []
    assert history.schedules[0].is_changed
    assert any("slots lost" in found for found in judged(cut, [*entries[:2], *entries[3:]]))
