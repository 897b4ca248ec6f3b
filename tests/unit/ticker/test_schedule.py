"""When ticks are due, and what becomes of those that were missed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from metronome_worker.ticker.schedule import LATE_MS, Schedule, decide

EVERY_SECOND = Schedule(
    connector="every_second", interval_ms=1_000, missed="all", catch_up_ms=60_000, next_ms=10_000, published=5
)


def due(schedule: Schedule, now_ms: int) -> list[tuple[int, int, int]]:
    what = decide(schedule, now_ms)
    return [] if what is None else [(tick.due_ms, tick.n, tick.skipped) for tick in what.ticks]


def test_nothing_is_due_before_its_time() -> None:
    assert decide(EVERY_SECOND, 9_999) is None


def test_a_tick_is_due_at_its_time() -> None:
    assert due(EVERY_SECOND, 10_000) == [(10_000, 5, 0)]


def test_a_late_tick_does_not_shift_the_next() -> None:
    what = decide(EVERY_SECOND, 10_700)
    assert what is not None
    assert what.after.next_ms == 11_000


def test_all_publishes_each_missed_tick() -> None:
    assert due(EVERY_SECOND, 12_500) == [(10_000, 5, 0), (11_000, 6, 0), (12_000, 7, 0)]


def test_all_skips_what_is_older_than_catch_up_and_says_how_many() -> None:
    patient = replace(EVERY_SECOND, catch_up_ms=2_000)
    what = decide(patient, 15_500)
    assert what is not None
    assert [(t.due_ms, t.n, t.skipped) for t in what.ticks] == [(14_000, 5, 4), (15_000, 6, 0)]
    assert what.skipped == 4


def test_a_tick_exactly_as_old_as_catch_up_is_published() -> None:
    assert due(replace(EVERY_SECOND, catch_up_ms=2_000), 12_000)[0][0] == 10_000


def test_latest_publishes_one_for_the_whole_gap() -> None:
    assert due(replace(EVERY_SECOND, missed="latest"), 3_610_400) == [(3_610_000, 5, 3_600)]


def test_skip_publishes_the_newest_while_it_is_hardly_late() -> None:
    assert due(replace(EVERY_SECOND, missed="skip"), 12_400) == [(12_000, 5, 2)]


def test_skip_gives_up_what_is_late_and_the_next_tick_knows() -> None:
    hourly = replace(EVERY_SECOND, missed="skip", interval_ms=3_600_000)
    what = decide(hourly, 10_000 + LATE_MS + 1)
    assert what is not None
    assert (what.ticks, what.skipped, what.after.gap) == ((), 1, 1)
    assert due(what.after, 3_610_000) == [(3_610_000, 5, 1)]


def test_skip_survives_a_failover() -> None:
    hourly = replace(EVERY_SECOND, missed="skip", interval_ms=3_600_000)
    assert due(hourly, 10_000 + 1_600) == [(10_000, 5, 0)]


def test_a_long_gap_is_published_in_calls_of_bounded_size() -> None:
    fast = replace(EVERY_SECOND, interval_ms=1)
    what = decide(fast, 11_999, limit=500)
    assert what is not None
    assert len(what.ticks) == 500
    assert what.through_ms == what.ticks[-1].due_ms == 10_499
    assert what.after.next_ms == 10_500


@given(
    interval_ms=st.integers(1, 5_000),
    missed=st.sampled_from(["all", "latest", "skip"]),
    catch_up_ms=st.integers(0, 10_000),
    waits=st.lists(st.integers(0, 20_000), max_size=20),
    limit=st.integers(1, 50),
)
def test_every_slot_is_published_or_skipped_once_in_order_and_never_early(
    interval_ms: int, missed: str, catch_up_ms: int, waits: list[int], limit: int
) -> None:
    schedule = Schedule(
        connector="c", interval_ms=interval_ms, missed=missed, catch_up_ms=catch_up_ms, next_ms=1_000, published=0
    )
    now_ms, slots, numbers, gap = 0, 0, [], 0
    for wait in waits:
        now_ms += wait
        while (what := decide(schedule, now_ms, limit)) is not None:
            assert len(what.ticks) <= limit
            assert schedule.next_ms <= what.through_ms <= now_ms
            for k, tick in enumerate(what.ticks):
                assert tick.due_ms == 1_000 + (slots + what.skipped + k) * interval_ms
                assert tick.due_ms <= now_ms
                assert tick.skipped == (gap + what.skipped if k == 0 else 0)
            numbers += [tick.n for tick in what.ticks]
            slots += what.skipped + len(what.ticks)
            gap = 0 if what.ticks else gap + what.skipped
            schedule = what.after
            assert schedule.next_ms == 1_000 + slots * interval_ms
    assert numbers == list(range(len(numbers)))
