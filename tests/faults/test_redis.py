"""A Redis that restarts, stops, or cannot be reached: nothing is lost, nothing is done twice."""

from __future__ import annotations

import signal
import time
from random import Random
from typing import TYPE_CHECKING, Final

from tests.faults.deployment import Deployment, gaps_ms, measured
from tests.faults.flows import counting, names
from tests.faults.proxy import Proxy
from tests.faults.scale import SCALE
from tests.system.flows import assert_each_once

if TYPE_CHECKING:
    from pathlib import Path

    from metronome_worker.observe.history import History

INTERVAL_MS: Final = 20
STAGES: Final = 2


def ended_well(deployment: Deployment, folder: Path) -> History:
    for name in names(STAGES):
        deployment.await_progress(20, name)
    deployment.leave(5)
    history = deployment.judged(deployment.exit_codes())
    for schedule in history.schedules:
        assert assert_each_once(folder / f"{schedule.connector}.log") == schedule.published
        assert schedule.skipped == 0
    return history


def test_redis_that_is_killed_and_restarted_loses_nothing(tmp_path: Path) -> None:
    random = Random(4)
    with Deployment(tmp_path, counting(tmp_path, INTERVAL_MS, STAGES)) as deployment:
        deployment.start_all(tickers=2, workers=3)
        for _ in range(SCALE.server_restarts):
            deployment.await_progress(10)
            time.sleep(random.uniform(0, INTERVAL_MS / 1000))  # any moment will do
            deployment.server.send(signal.SIGKILL)
            deployment.server.start_again()
            deployment.sync_always()
        history = ended_well(deployment, tmp_path)
    measured(f"{SCALE.server_restarts} restarts of Redis: longest gap {max(gaps_ms(history)):.0f} ms")


def test_redis_that_is_stopped_for_longer_than_every_lease_loses_nothing(tmp_path: Path) -> None:
    with Deployment(tmp_path, counting(tmp_path, INTERVAL_MS, STAGES)) as deployment:
        deployment.start_all(tickers=2, workers=3)
        deployment.await_progress(10)
        deployment.server.send(signal.SIGSTOP)
        time.sleep(SCALE.server_pause_s)  # the fault itself
        deployment.server.send(signal.SIGCONT)
        history = ended_well(deployment, tmp_path)
    measured(f"Redis stopped for {SCALE.server_pause_s} s: longest gap {max(gaps_ms(history)):.0f} ms")


def test_connections_that_are_cut_held_up_and_slowed_down_lose_nothing(tmp_path: Path) -> None:
    random = Random(5)
    with (
        Deployment(tmp_path, counting(tmp_path, INTERVAL_MS, STAGES)) as deployment,
        Proxy(deployment.server.url) as one,
        Proxy(deployment.server.url) as other,
    ):
        for way in (one, other):
            deployment.url = way.url
            deployment.start_all(tickers=1, workers=2)
        for fault in range(SCALE.network_faults):
            deployment.await_progress(10)
            hit = ((one,), (other,), (one, other))[fault % 3]
            seconds = SCALE.longest_fault_s if fault < 3 else random.uniform(0.1, SCALE.longest_fault_s)
            for way in hit:
                (way.cut, way.hold, lambda w=way: w.slow_down(random.uniform(0.05, 1.0)))[(fault // 3 + fault) % 3]()
            time.sleep(seconds)  # the fault itself
            for way in hit:
                way.mend()
        history = ended_well(deployment, tmp_path)
    measured(f"{SCALE.network_faults} faults of the network: longest gap {max(gaps_ms(history)):.0f} ms")
