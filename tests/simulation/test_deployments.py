"""Whole deployments under faults.  A failing seed prints the command that repeats it with its trace."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.simulation.campaign import counted, run_seed
from tests.simulation.deployment import simulate
from tests.simulation.family import RANDOM
from tests.simulation.incidents import KINDS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.simulation.deployment import Verdict

#: Every run of the tests takes the same seeds; ``make simulate`` runs a thousand others.
_FIRST_SEED = 1_000


def upheld(name: str, seed: int, folder: Path) -> Verdict:
    verdict = simulate(name, seed, folder / f"{name}-{seed}")
    assert not verdict.violations, str(verdict)
    return verdict


def test_ten_thousand_ticks_are_published_once_each_while_leaders_are_killed_and_replaced(tmp_path: Path) -> None:
    verdict = upheld("ten-thousand", _FIRST_SEED, tmp_path)
    fast, slow = verdict.history.schedules
    assert fast.published >= 10_000
    assert [tick.n for tick in fast.ticks] == list(range(fast.published))
    assert [tick.n for tick in slow.ticks] == list(range(slow.published))
    assert fast.skipped == 0
    assert verdict.counts["lives lost"] >= 50
    assert len({tick.epoch for tick in fast.ticks}) >= 50


@pytest.mark.parametrize("chunk", range(4))
def test_random_schedules_keep_every_promise(chunk: int) -> None:
    seeds = range(_FIRST_SEED + 8 * chunk, _FIRST_SEED + 8 * chunk + 8)
    outcomes = [run_seed(RANDOM, seed) for seed in seeds]
    assert not [outcome.failure for outcome in outcomes if outcome.failure]
    tally = counted(outcomes)
    assert tally.counts["ticks published"] > 0
    assert tally.counts["lives lost"] > 0
    assert tally.counts["exits: drained"] > 0


def test_random_schedules_hold_every_kind_of_incident() -> None:
    from tests.simulation.family import scenario_of

    drawn = {incident.kind for seed in range(100) for incident in scenario_of(RANDOM, seed).incidents}
    assert drawn == KINDS.keys()


@pytest.mark.parametrize("seed", range(_FIRST_SEED, _FIRST_SEED + 2))
def test_request_with_a_delay_stops_all_when_it_has_passed(seed: int, tmp_path: Path) -> None:
    assert upheld("late-exit", seed, tmp_path).history.exit_codes == (7,) * 4


@pytest.mark.parametrize("seed", range(_FIRST_SEED, _FIRST_SEED + 3))
def test_owner_stopped_past_its_lease_spoils_nothing_when_it_goes_on(seed: int, tmp_path: Path) -> None:
    assert upheld("stopped", seed, tmp_path).history.exit_codes == (7,) * 5


@pytest.mark.parametrize("name", ["outage-all", "outage-latest", "outage-skip"])
def test_outage_beyond_catch_up_leaves_only_recorded_skips(name: str, tmp_path: Path) -> None:
    verdict = upheld(name, _FIRST_SEED, tmp_path)
    assert sum(schedule.skipped for schedule in verdict.history.schedules) > 0


def test_seed_repeats_a_run_to_the_last_microsecond(tmp_path: Path) -> None:
    first, second = (simulate(RANDOM, 7, tmp_path / "same") for _ in range(2))
    assert first.trace == second.trace
    assert first.history.schedules == second.history.schedules
    assert first.history.exits == second.history.exits
    assert simulate(RANDOM, 8, tmp_path / "other").trace != first.trace


@pytest.mark.parametrize("seed", [7, 43_903])
def test_seed_repeats_a_run_in_another_process(seed: int) -> None:
    """What a set of texts happens to begin with must not count, nor where things lie in memory."""
    command = [sys.executable, "-m", "tests.simulation", "--seed", str(seed)]
    traces = [
        subprocess.run(command, env=os.environ | ways, capture_output=True, check=True).stdout
        for ways in (
            {"PYTHONHASHSEED": "1", "PYTHONMALLOC": "pymalloc"},
            {"PYTHONHASHSEED": "2", "PYTHONMALLOC": "malloc"},
        )
    ]
    shown = [trace.rpartition(b"seeds failed")[0].rpartition(b"\n")[0] for trace in traces]
    assert shown[0]
    assert shown[0] == shown[1]
