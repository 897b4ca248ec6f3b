"""The wall clock of a host counts for nothing: only the server's says what is due."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from tests.faults.deployment import Deployment, gaps_ms, measured
from tests.faults.flows import counting
from tests.faults.scale import IS_FULL, SCALE
from tests.system.flows import assert_each_once

_PLACES: Final = ("usr/lib/*/faketime", "usr/lib/faketime", "usr/local/lib/faketime")
_SOURCE: Final = Path(__file__).with_name("wall_clock.c")
INTERVAL_MS: Final = 50
HOUR_S: Final = 3_600


def start_wrong(deployment: Deployment, **environment: str) -> None:
    """A host with the wrong clock leads and owns the stage; another stands by."""
    deployment.start("ticker", **environment)
    deployment.start("worker", **environment)
    deployment.await_holder("ticker", "ticker")
    deployment.await_holder("tick", "worker")
    deployment.start_all(tickers=1, workers=1)


def ended_well(deployment: Deployment, folder: Path, what: str) -> None:
    led_by = deployment.holder("ticker", "ticker")
    deployment.leave(4)
    history = deployment.judged(deployment.exit_codes())
    schedule = history.schedules[0]
    assert led_by is deployment.replicas[0], "the host with the wrong clock was to lead all the time"
    assert assert_each_once(folder / "tick.log") == schedule.published
    assert schedule.skipped == 0
    assert max(gaps_ms(history)) < 1_000
    measured(f"{what}: {schedule.published} ticks, longest gap {max(gaps_ms(history)):.0f} ms")


def hours_off(deployment: Deployment, event: str) -> set[int]:
    """By how many hours the leader's log was wrong when it said ``event``."""
    times = [datetime.fromisoformat(entry["at"]) for entry in deployment.replicas[0].logged(event)]
    return {round((at - datetime.now(UTC)).total_seconds() / HOUR_S) for at in times}


def test_wall_clock_of_a_host_that_jumps_by_an_hour_has_no_effect(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to make a wall clock with")
    library, clock = tmp_path / "wall_clock.so", tmp_path / "clock"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(_SOURCE)], check=True)
    clock.write_text("0")
    with Deployment(tmp_path, counting(tmp_path, INTERVAL_MS)) as deployment:
        start_wrong(deployment, LD_PRELOAD=str(library), WALL_CLOCK=str(clock))
        for move in range(SCALE.clock_moves):
            clock.write_text(str(HOUR_S if move % 2 == 0 else -HOUR_S))
            deployment.await_progress(20)
        ended_well(deployment, tmp_path, f"{SCALE.clock_moves} jumps by up to two hours")
        assert hours_off(deployment, "leading") == {0}
        assert hours_off(deployment, "sources_stopped") == {-1}


@pytest.mark.skipif(not IS_FULL, reason="in the full form only: make test-faults")
@pytest.mark.parametrize("offset_s", [HOUR_S, -HOUR_S])
def test_host_whose_clock_is_wrong_by_an_hour_leads_as_any_other(offset_s: int, tmp_path: Path) -> None:
    found = [path for place in _PLACES for path in Path("/").glob(f"{place}/libfaketimeMT.so.1")]
    if not found:
        pytest.skip("libfaketime is not installed (Debian: apt-get install faketime)")
    with Deployment(tmp_path, counting(tmp_path, INTERVAL_MS)) as deployment:
        start_wrong(deployment, LD_PRELOAD=str(found[0]), FAKETIME=f"{offset_s:+d}s")
        assert hours_off(deployment, "leading") == {offset_s // HOUR_S}
        deployment.await_progress(20)
        ended_well(deployment, tmp_path, f"clock wrong by {offset_s} s")
