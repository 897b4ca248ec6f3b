"""The simulation can fail: for each bug that is planted one of the first random schedules says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.simulation.deployment import simulate
from tests.simulation.family import RANDOM
from tests.simulation.planted import FOUND_BY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.simulation.planted import Plant

#: The first seeds of those that CI runs.
_SEEDS = 400

#: Where to look first, as the first seed that shows a bug is not always among the very first.  Only a matter of time.
_SHORTCUTS = {
    "sources_stop_before_what_is_due_is_published": 16,
    "file_is_not_cut_back": 16,
    "deposed_owner_commits": 44,
    "end_is_written_again": 48,
    "leases_go_by_the_wall_clock": 314,
}


@pytest.mark.parametrize("plant", FOUND_BY, ids=lambda plant: plant.__name__)
def test_planted_bug_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plant(monkeypatch)
    first = _SHORTCUTS.get(plant.__name__, 0)
    said = (
        violation
        for seed in (*range(first, _SEEDS), *range(first))
        for violation in simulate(RANDOM, seed, tmp_path / str(seed)).violations
    )
    assert any(violation.startswith(FOUND_BY[plant]) for violation in said)
