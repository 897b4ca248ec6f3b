"""Who works how carefully after which deaths."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metronome_worker.broker.commits import Command
from metronome_worker.worker.caution import MOST_DEATHS, Caution, Verdict

if TYPE_CHECKING:
    from metronome_worker.worker.entries import RawReply

BATCH = 100


def caution(attempt: str = "", deaths: int = 0) -> Caution:
    made = Caution("state")
    made.begin(attempt, deaths, BATCH)
    return made


def reply(*ids: str) -> RawReply:
    return [[b"events", [(entry_id.encode(), [b"data", b"1"]) for entry_id in ids]]]


def test_first_batch_of_a_term_is_noted_and_no_other() -> None:
    owner = caution()
    assert owner.judge("tick 1-0") is Verdict.NOTE
    assert owner.note("tick 1-0") == ["attempt", "tick 1-0", "deaths", "1"]
    assert owner.clearing() == [Command("HDEL", "state", ("attempt", "deaths"))]
    owner.settled()
    assert owner.judge("tick 2-0") is Verdict.GO
    assert owner.clearing() == []


def test_one_death_changes_nothing_but_the_count() -> None:
    owner = caution("tick 1-0", 1)
    assert list(owner.parts_of(reply("1-0", "2-0"))) == [reply("1-0", "2-0")]
    assert owner.note("tick 1-0")[3] == "2"


def test_after_two_deaths_each_entry_is_worked_on_alone_as_many_as_a_batch_may_have_held() -> None:
    owner = caution("tick 1-0", 2)
    assert list(owner.parts_of(reply("1-0", "2-0"))) == [reply("1-0"), reply("2-0")]
    for n in range(1, BATCH + 1):
        assert owner.judge(f"tick {n}-0") is Verdict.NOTE
        assert owner.note(f"tick {n}-0")[3] == "3", "an entry that was not tried alone before"
        owner.settled()
    assert owner.judge("tick 101-0") is Verdict.GO
    assert list(owner.parts_of(reply("101-0", "102-0"))) == [reply("101-0", "102-0")]


def test_entry_over_which_workers_died_again_and_again_is_put_aside_and_the_next_is_not() -> None:
    deaths = 0
    for _ in range(MOST_DEATHS):
        owner = caution("tick 1-0" if deaths else "", deaths)
        assert owner.judge("tick 1-0") is Verdict.NOTE
        deaths = int(owner.note("tick 1-0")[3])
    owner = caution("tick 1-0", deaths)
    assert owner.judge("tick 1-0") is Verdict.KILLS
    assert owner.deaths == MOST_DEATHS
    owner.settled()
    assert owner.judge("tick 2-0") is Verdict.NOTE


def test_entry_that_others_died_over_before_another_is_not_put_aside() -> None:
    owner = caution("tick 1-0", MOST_DEATHS)
    assert owner.judge("tick 0-5") is Verdict.NOTE
    assert owner.note("tick 0-5")[3] == "3"
