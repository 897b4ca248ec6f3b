"""Which flows a process follows, and what it leaves with."""

from __future__ import annotations

from metronome_worker.broker.flows import Status
from metronome_worker.clock import NS_PER_S
from metronome_worker.roster import LATE_START_MS, MOST_PAUSES, Roster, Sighting, keep_up

RUNNING = Sighting(status=Status.RUNNING, run=1, code=0)


def ended(code: int, age_ms: int = 0) -> Sighting:
    return Sighting(status=Status.ENDED, run=1, code=code, age_ms=age_ms)


def test_every_flow_that_runs_or_leaves_is_followed_once() -> None:
    roster = Roster()
    leaving = Sighting(status=Status.LEAVING, run=1, code=3)
    assert roster.decide({"a": RUNNING, "b": leaving}) == ["a", "b"]
    assert roster.decide({"a": RUNNING, "b": leaving}) == []
    assert roster.code is None


def test_the_largest_code_is_left_with_once_all_have_ended() -> None:
    roster = Roster()
    roster.decide({"a": RUNNING, "b": RUNNING})
    roster.ended("a", 7)
    assert roster.code is None
    roster.ended("b", 2)
    assert roster.code == 7


def test_a_late_starter_takes_the_code_of_what_has_just_ended() -> None:
    roster = Roster()
    assert roster.decide({"a": ended(5)}) == []
    assert roster.code == 5


def test_what_ended_long_ago_is_not_ours() -> None:
    roster = Roster()
    roster.decide({"a": ended(5, LATE_START_MS)})
    assert roster.code is None


def test_what_ended_in_the_future_of_a_clock_that_was_set_back_is_not_ours() -> None:
    roster = Roster()
    roster.decide({"a": ended(5, -LATE_START_MS)})
    assert roster.code is None
    roster.decide({"a": ended(5, -LATE_START_MS + 1)})
    assert roster.code == 5, "it was put right by a little"


def test_a_flow_that_runs_again_is_followed_again() -> None:
    roster = Roster()
    roster.decide({"a": RUNNING})
    roster.ended("a", 4)
    assert roster.decide({"a": Sighting(status=Status.RUNNING, run=2, code=0)}) == ["a"]
    assert roster.code is None


def test_a_process_that_was_told_to_stop_claims_no_code_of_its_own() -> None:
    roster = Roster()
    roster.decide({"a": RUNNING, "b": RUNNING})
    roster.ended("a", 4)
    roster.ended("b", None)
    assert roster.code is None


class LateClock:
    """Every pause takes longer than it should, by a factor for each, and then by the last one."""

    def __init__(self, *factors: float) -> None:
        self._factors, self.pauses, self._now_ns = factors, 0, 0

    def now_ns(self) -> int:
        return self._now_ns

    async def sleep(self, seconds: float) -> None:
        factor = self._factors[min(self.pauses, len(self._factors) - 1)]
        self.pauses += 1
        self._now_ns += int(seconds * factor * NS_PER_S)

    async def sleep_until(self, deadline_ns: int) -> None:
        self._now_ns = deadline_ns


async def test_next_flow_is_begun_with_when_the_process_is_on_time_again() -> None:
    clock = LateClock(30.0, 3.0, 1.1)
    await keep_up(clock)
    assert clock.pauses == 3


async def test_process_that_is_never_on_time_begins_all_the_same() -> None:
    clock = LateClock(5.0)
    await keep_up(clock)
    assert clock.pauses == MOST_PAUSES
