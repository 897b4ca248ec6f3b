"""The simulation can fail: for each bug that is planted one of the random schedules says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.scale import IS_FULL
from tests.simulation.deployment import simulate
from tests.simulation.family import RANDOM
from tests.simulation.planted import FOUND_BY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.simulation.planted import Plant

#: Bugs that take more seeds to be found than a run of the tests should spend: they need a fault in a very moment.
#: They are looked for by ``make test-faults``, among as many seeds as CI runs.
_RARE = frozenset(
    {
        "deposed_leader_publishes",
        "deposed_owner_commits",
        "end_is_written_again",
        "file_is_cut_by_a_deposed_owner",
        "file_is_not_cut_back",
        "leases_go_by_the_wall_clock",
        "sources_stop_before_what_is_due_is_published",
    }
)
_SEEDS = 100
_MOST_SEEDS = 1_000


@pytest.mark.parametrize("plant", FOUND_BY, ids=lambda plant: plant.__name__)
def test_planted_bug_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    is_rare = plant.__name__ in _RARE
    if is_rare and not IS_FULL:
        pytest.skip("in the full form only: make test-faults")
    plant(monkeypatch)
    said = (
        violation
        for seed in range(_MOST_SEEDS if is_rare else _SEEDS)
        for violation in simulate(RANDOM, seed, tmp_path / str(seed)).violations
    )
    assert any(violation.startswith(FOUND_BY[plant]) for violation in said)
