"""Whole deployments under faults.  A failing seed prints the command that repeats it with its trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.simulation.deployment import simulate

if TYPE_CHECKING:
    from pathlib import Path

    from tests.simulation.deployment import Verdict

#: Every run of the tests takes the same seeds; ``python -m tests.simulation NAME --seeds 1000`` looks further.
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
    assert verdict.lives_lost >= 50
    assert len({tick.epoch for tick in fast.ticks}) >= 50


@pytest.mark.parametrize("chunk", range(5))
def test_files_hold_each_tick_once_and_all_leave_with_one_code_whatever_dies(chunk: int, tmp_path: Path) -> None:
    verdicts = [upheld("exit", seed, tmp_path) for seed in range(_FIRST_SEED + 4 * chunk, _FIRST_SEED + 4 * chunk + 4)]
    assert all(verdict.history.exit_codes == (7,) * 5 for verdict in verdicts)
    assert all(verdict.end_reason == "drained" for verdict in verdicts)
    assert sum(verdict.lives_lost for verdict in verdicts) >= 20


@pytest.mark.parametrize("seed", range(_FIRST_SEED, _FIRST_SEED + 8))
def test_request_with_a_delay_stops_all_when_it_has_passed(seed: int, tmp_path: Path) -> None:
    assert upheld("late-exit", seed, tmp_path).history.exit_codes == (7,) * 4


@pytest.mark.parametrize("seed", range(_FIRST_SEED, _FIRST_SEED + 12))
def test_owner_stopped_past_its_lease_spoils_nothing_when_it_goes_on(seed: int, tmp_path: Path) -> None:
    upheld("stopped", seed, tmp_path)


@pytest.mark.parametrize("name", ["outage-all", "outage-latest", "outage-skip"])
@pytest.mark.parametrize("seed", range(_FIRST_SEED, _FIRST_SEED + 2))
def test_outage_beyond_catch_up_leaves_only_recorded_skips(name: str, seed: int, tmp_path: Path) -> None:
    verdict = upheld(name, seed, tmp_path)
    assert sum(schedule.skipped for schedule in verdict.history.schedules) > 0


@pytest.mark.parametrize("seed", range(_FIRST_SEED, _FIRST_SEED + 4))
def test_flow_leaves_in_order_although_redis_goes_away(seed: int, tmp_path: Path) -> None:
    assert upheld("outage-exit", seed, tmp_path).history.exit_codes == (7,) * 4


def test_seed_repeats_a_run_to_the_last_microsecond(tmp_path: Path) -> None:
    first, second = (simulate("stopped", 3, tmp_path / "same") for _ in range(2))
    assert first.trace == second.trace
    assert first.history.schedules == second.history.schedules
    assert first.history.exits == second.history.exits
    assert simulate("stopped", 4, tmp_path / "other").trace != first.trace
