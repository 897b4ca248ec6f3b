"""What an operator must act on is said, and tried again, in good measure."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from metronome_worker.errors import OperatorError
from metronome_worker.host import Host
from metronome_worker.refusal import LONGEST_PAUSE_S, Complaints, outlive
from tests.harness.virtual_clock import VirtualClock, run_virtual, virtual_loop

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger


class Log:
    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []

    def error(self, event: str, **fields: Any) -> None:
        self.said.append({"event": event, **fields})


def refused(what: str = "a key is wrong:") -> OperatorError:
    return OperatorError(what, value="key", reason="because", advice="do this")


def host(clock: VirtualClock, *, outlives_refusals: bool) -> Host:
    others = dict.fromkeys(("client", "random", "log", "patience", "workshop", "stdin", "stdout", "stderr"))
    return Host(namespace="n", clock=clock, folder=Path(), outlives_refusals=outlives_refusals, **cast("Any", others))


def test_the_same_is_said_once_a_minute_and_what_is_new_at_once() -> None:
    log = Log()

    async def do() -> None:
        clock = VirtualClock(virtual_loop())
        complaints = Complaints(clock, cast("FilteringBoundLogger", log))
        for _ in range(119):
            complaints.refused(refused())
            await clock.sleep(1)
        complaints.refused(refused("another:"))

    run_virtual(do)
    assert [entry["what"] for entry in log.said] == ["a key is wrong", "a key is wrong", "another"]
    assert log.said[0] == {
        "event": "operator_must_act",
        "what": "a key is wrong",
        "value": "key",
        "why": "because",
        "advice": "do this",
    }


def test_it_is_tried_again_after_pauses_that_grow_and_end() -> None:
    log, at_s = Log(), list[float]()

    async def do() -> str | None:
        clock = VirtualClock(virtual_loop())

        async def work() -> str:
            at_s.append(clock.now_ns() / 1e9)
            if len(at_s) < 9:
                raise refused()
            return "done"

        return await outlive(host(clock, outlives_refusals=True), "f", cast("FilteringBoundLogger", log), work)

    assert run_virtual(do) == "done"
    pauses = [after - before for before, after in pairwise(at_s)]
    assert pauses == pytest.approx([0.5, 1, 2, 4, 8, LONGEST_PAUSE_S, LONGEST_PAUSE_S, LONGEST_PAUSE_S])
    assert len(log.said) == 1


def test_a_process_for_one_flow_ends_with_what_is_refused() -> None:
    async def do() -> None:
        clock = VirtualClock(virtual_loop())

        async def work() -> None:
            raise refused()

        await outlive(host(clock, outlives_refusals=False), "f", cast("FilteringBoundLogger", Log()), work)

    with pytest.raises(OperatorError, match="a key is wrong"):
        run_virtual(do)
