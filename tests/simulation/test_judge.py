"""The judge finds what is wrong in a history; each test doctors one that is in order."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from metronome_worker.observe.history import (
    ExitEntry,
    History,
    OutputHistory,
    ScheduleHistory,
    StageHistory,
    TickRecord,
    judge,
    tick_record,
)

_ANCHOR_MS, _INTERVAL_MS, _COUNT = 10_000, 100, 6
_LAST = f"{_ANCHOR_MS + 6 * _INTERVAL_MS}-0"


def tick(n: int, slot: int, *, epoch: int = 1, skipped: int = 0, late_ms: int = 1) -> TickRecord:
    due_ms = _ANCHOR_MS + slot * _INTERVAL_MS
    return TickRecord(
        entry_id=f"{due_ms}-0", n=n, ingest_ns=(due_ms + late_ms) * 10**6, due_ms=due_ms, epoch=epoch, skipped=skipped
    )


#: Six ticks, one slot skipped before the fourth, a change of leader, an exit with code 3.
TICKS = (
    tick(0, 0),
    tick(1, 1),
    tick(2, 2, epoch=2),
    tick(3, 4, epoch=2, skipped=1),
    tick(4, 5, epoch=2),
    tick(5, 6, epoch=4),
)
SCHEDULE = ScheduleHistory(
    connector="every",
    interval_ms=_INTERVAL_MS,
    missed="latest",
    catch_up_ms=1_000,
    anchor_ms=_ANCHOR_MS,
    next_ms=_ANCHOR_MS + 7 * _INTERVAL_MS,
    published=_COUNT,
    skipped=1,
    gap=0,
    ticks=TICKS,
)
EXITS = (
    ExitEntry(entry_id="10650-0", fields={"exit": "3", "delay": "0"}),
    ExitEntry(entry_id="10651-0", fields={"barrier": f'{{"every":"{_LAST}"}}', "code": "3", "epoch": "4"}),
    ExitEntry(entry_id="10652-0", fields={"drained": "every"}),
    ExitEntry(entry_id="10653-0", fields={"end": "3", "reason": "drained", "epoch": "4"}),
)
LINES = tuple(str(n) for n in range(_COUNT))
GOOD = History(
    schedules=(SCHEDULE,),
    until_ms=10_650,
    last_ids={"every": _LAST},
    exits=EXITS,
    stages=(StageHistory(name="every", positions={"every": _LAST}, epoch=3),),
    outputs=(OutputHistory(name="/connector/file", expected=LINES, found=LINES),),
    exit_codes=(3, 3, 3),
)


def with_ticks(*ticks: TickRecord) -> History:
    return replace(GOOD, schedules=(replace(SCHEDULE, ticks=ticks),))


def with_found(*lines: str) -> History:
    return replace(GOOD, outputs=(replace(GOOD.outputs[0], found=lines),))


def with_exit(index: int, **fields: str) -> History:
    changed = replace(EXITS[index], fields=EXITS[index].fields | fields)
    return replace(GOOD, exits=(*EXITS[:index], changed, *EXITS[index + 1 :]))


def with_schedule(**fields: object) -> History:
    return replace(GOOD, schedules=(replace(SCHEDULE, **fields),))


def test_a_tick_right_behind_what_somebody_has_written_there_is_in_its_place() -> None:
    behind = with_ticks(*TICKS[:5], replace(TICKS[5], entry_id="10601-1"))
    assert [found for found in judge(behind) if found.startswith("not in the schedule")] == []


DOCTORED = {
    "published twice": with_ticks(*TICKS[:3], TICKS[2], *TICKS[3:]),
    "gap in ids": with_ticks(*TICKS[:4], replace(TICKS[4], n=5), replace(TICKS[5], n=6)),
    "slots lost": with_ticks(*TICKS[:3], replace(TICKS[3], skipped=0), *TICKS[4:]),
    "out of order": with_ticks(*TICKS[:4], TICKS[5], TICKS[4]),
    "not in the schedule": with_ticks(*TICKS[:5], replace(TICKS[5], entry_id="10601-0")),
    "early": with_ticks(*TICKS[:5], tick(5, 6, epoch=4, late_ms=-1)),
    "epoch went back": with_ticks(*TICKS[:4], replace(TICKS[4], epoch=1), TICKS[5]),
    "epoch went back: in the exit stream": with_exit(3, epoch="2"),
    "skipped too soon": with_schedule(missed="all"),
    "schedule does not add up: every has next": with_schedule(next_ms=SCHEDULE.next_ms + _INTERVAL_MS),
    "schedule does not add up: every counts 7 ticks": with_schedule(published=7),
    "schedule does not add up: every counts 2 skipped": with_schedule(skipped=2),
    "schedule does not add up: every counts 6 ticks, its stream holds none": with_ticks(),
    "never decided: every has 2": replace(GOOD, until_ms=SCHEDULE.next_ms + 150),
    "published after the barrier": with_exit(1, barrier='{"every":"10500-0"}'),
    "not settled at the end": replace(GOOD, stages=(replace(GOOD.stages[0], positions={"every": "10500-0"}),)),
    "more than one end": replace(GOOD, exits=(*EXITS, EXITS[3])),
    "more than one barrier": replace(GOOD, exits=(*EXITS, EXITS[1])),
    "end without a barrier": replace(GOOD, exits=(EXITS[0], EXITS[3])),
    "left without an end": replace(GOOD, exits=EXITS[:3]),
    "exit codes differ: [0, 3]": replace(GOOD, exit_codes=(3, 0, 3)),
    "exit codes differ: [3, 4]": with_exit(0, exit="4"),
    "lines missing": with_found("0", "1", "2", "4", "5"),
    "lines doubled": with_found("0", "1", "2", "2", "3", "4", "5"),
    "lines not expected": with_found(*LINES, "6"),
    "lines out of order": with_found("0", "1", "3", "2", "4", "5"),
    "more than was committed": replace(GOOD, outputs=(replace(GOOD.outputs[0], tail_bytes=2),)),
}


def test_history_in_order_has_no_violation() -> None:
    assert judge(GOOD) == []


@pytest.mark.parametrize("violation", DOCTORED)
def test_doctored_history_is_found_out(violation: str) -> None:
    found = judge(DOCTORED[violation])
    assert any(line.startswith(violation) for line in found), found


def test_history_that_was_trimmed_is_judged_from_its_first_tick() -> None:
    trimmed = replace(SCHEDULE, ticks=TICKS[2:], is_whole=False)
    assert judge(replace(GOOD, schedules=(trimmed,))) == []
    assert judge(replace(GOOD, schedules=(replace(trimmed, is_whole=True),))) != []


def test_skips_after_the_last_tick_are_counted_by_the_gap() -> None:
    later = replace(SCHEDULE, skipped=3, gap=2, next_ms=SCHEDULE.next_ms + 2 * _INTERVAL_MS)
    assert judge(replace(GOOD, schedules=(later,))) == []


def test_run_that_goes_on_has_no_end_to_be_judged() -> None:
    assert judge(replace(GOOD, exits=(), exit_codes=())) == []


def test_tick_is_read_from_its_entry() -> None:
    fields = {
        "data": b'{"connector":"metronome","ingest_ns":10001000000,"id":0}',
        "ingest_ns": b"10001000000",
        "meta": b'{"metronome":{"due_ms":10000,"epoch":1,"skipped":0}}',
    }
    assert tick_record("10000-0", fields, "metronome") == tick(0, 0)
