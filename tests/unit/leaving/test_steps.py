"""How a flow leaves, step by step; a new leader goes on where the last one stopped."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from metronome_worker.broker.exits import LONGEST_DELAY_MS, ExitRequest, ExitState, fold
from metronome_worker.leaving.steps import Done, Wait, WriteBarrier, WriteEnd, next_step

STAGES = frozenset({"a", "b"})
ASKED = ExitState(request=ExitRequest(at_ms=1_000, code=3, delay_ms=500))
LEAVING = replace(ASKED, barrier={"a": "5-0"}, barrier_ms=1_500)


def test_nothing_happens_without_a_request() -> None:
    assert next_step(ExitState(), 99_999, STAGES, 30_000) == Wait()


def test_the_delay_is_waited_for_by_the_servers_clock() -> None:
    assert next_step(ASKED, 1_499, STAGES, 30_000) == Wait(1_500)
    assert next_step(ASKED, 1_500, STAGES, 30_000) == WriteBarrier(3, due_ms=1_500)


def test_the_end_waits_for_every_stage() -> None:
    half = replace(LEAVING, drained=frozenset({"a"}))
    assert next_step(half, 1_600, STAGES, 30_000) == Wait(31_500)
    assert next_step(replace(half, drained=STAGES), 1_600, STAGES, 30_000) == WriteEnd("drained")


def test_the_deadline_ends_the_waiting() -> None:
    assert next_step(LEAVING, 31_500, STAGES, 30_000) == WriteEnd("deadline")


def test_a_request_that_is_not_graceful_waits_for_nobody() -> None:
    abrupt = replace(LEAVING, request=ExitRequest(at_ms=1_000, code=3, is_graceful=False))
    assert next_step(abrupt, 1_500, STAGES, 30_000) == WriteEnd("abrupt")


def test_the_end_is_the_end() -> None:
    assert next_step(replace(LEAVING, end=3), 1_600, STAGES, 30_000) == Done()


def test_the_first_request_counts() -> None:
    first = fold(ExitState(), "1000-0", {"exit": "3", "delay": "500"})
    assert fold(first, "1001-0", {"exit": "4"}) == first == ASKED


def test_a_bare_request_leaves_gracefully_at_once() -> None:
    state = fold(ExitState(), "7-0", {"exit": "0"})
    assert state.request == ExitRequest(at_ms=7, code=0)


def test_what_makes_no_sense_in_the_stream_does_no_harm() -> None:
    state = ExitState()
    for fields in ({}, {"barrier": "{oops"}, {"barrier": "[1]"}, {"hello": "world"}, {"drained": "x"}):
        state = fold(state, "1-0", fields)
    assert (state.barrier, state.end, state.request) == (None, None, None)


@pytest.mark.parametrize("last", ["abc", "", "5", "5-", "-1-0", "5-0 ", "1e3-0", "9" * 5_000 + "-0"])
def test_a_barrier_that_names_no_entries_is_passed_over(last: str) -> None:
    forged = {"barrier": f'{{"tick":"5-0","tock":"{last}"}}', "epoch": "1"}
    assert fold(ExitState(), "1-0", forged) == ExitState()


@pytest.mark.parametrize(
    ("text", "delay_ms"),
    [("10" + "0" * 30, LONGEST_DELAY_MS), ("1" + "0" * 400, LONGEST_DELAY_MS), ("9" * 5_000, 0), ("-5", 0), ("x", 0)],
)
def test_a_delay_is_one_that_can_be_waited_for(text: str, delay_ms: int) -> None:
    request = fold(ExitState(), "1-0", {"exit": "0", "delay": text}).request
    assert request == ExitRequest(at_ms=1, code=0, delay_ms=delay_ms)


def test_an_end_holds_what_a_process_can_leave_with() -> None:
    assert fold(ExitState(), "1-0", {"end": "1" + "0" * 400, "epoch": "1"}).end == 1


def test_a_barrier_and_an_end_that_no_leader_has_written_are_passed_over() -> None:
    state = ExitState()
    for fields in ({"barrier": '{"tick":"0-0"}'}, {"end": "0"}):
        state = fold(state, "1-0", fields)
    assert (state.barrier, state.end) == (None, None)
    state = fold(state, "2-0", {"barrier": '{"tick":"0-0"}', "code": "0", "epoch": "1"})
    assert fold(state, "3-0", {"end": "0", "reason": "drained", "epoch": "1"}).end == 0


def test_a_code_that_is_no_number_is_a_failure_and_one_byte_is_all_there_is() -> None:
    def code(text: str) -> int:
        request = fold(ExitState(), "1-0", {"exit": text}).request
        assert request is not None
        return request.code

    assert [code("soon"), code("256"), code("257"), code("-1")] == [1, 1, 1, 1]
