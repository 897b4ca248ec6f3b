"""The wall clock of a host counts for nothing: only the server's says what is due."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.faults.deployment import Deployment, gaps_ms, measured
from tests.faults.flows import counting
from tests.faults.scale import SCALE
from tests.system.flows import assert_each_once

_PLACES: Final = ("/usr/lib/*/faketime", "/usr/lib/faketime", "/usr/local/lib/faketime", "/opt/homebrew/lib/faketime")
INTERVAL_MS: Final = 50
HOUR_S: Final = 3_600


def find_library() -> str:
    """Of libfaketime, for LD_PRELOAD; skips where it is not installed."""
    found = [path for place in _PLACES for path in Path("/").glob(f"{place[1:]}/libfaketimeMT.so.1")]
    if not found:
        pytest.skip("libfaketime is not installed (Debian: apt-get install faketime)")
    return str(found[0])


def test_wall_clock_of_a_host_that_jumps_by_an_hour_has_no_effect(tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    clock.write_text("+0s\n")
    wrong = {
        "LD_PRELOAD": find_library(),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        # What counts from boot does not jump when somebody sets the clock.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    with Deployment(tmp_path, counting(tmp_path, INTERVAL_MS)) as deployment:
        for role in ("ticker", "worker"):
            deployment.start(role, **wrong)
        deployment.await_holder("ticker", "ticker")
        deployment.await_holder("tick", "worker")
        deployment.start_all(tickers=1, workers=1)
        for move in range(SCALE.clock_moves):
            clock.write_text(f"{HOUR_S if move % 2 == 0 else -HOUR_S:+d}s\n")
            deployment.await_progress(20)
        deployment.leave(4)
        history = deployment.judged(deployment.exit_codes())
    schedule = history.schedules[0]
    wrong_leads = sum(entry.epoch == schedule.ticks[0].epoch for entry in schedule.ticks)
    assert wrong_leads >= 20, "the host with the wrong clock never led"
    assert assert_each_once(tmp_path / "tick.log") == schedule.published
    assert schedule.skipped == 0
    assert max(gaps_ms(history)) < 1_000
    stamps = [line[:40] for replica in deployment.replicas[:2] for line in replica.stderr.splitlines()]
    measured(
        f"{SCALE.clock_moves} jumps by an hour: longest gap {max(gaps_ms(history)):.0f} ms; log times {stamps[-1]}"
    )
