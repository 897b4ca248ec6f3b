"""Leaders that are killed, ended and stopped: each tick is published once, never early, and none late by much."""

from __future__ import annotations

import time
from random import Random
from statistics import median
from typing import TYPE_CHECKING, Final

from tests.faults.deployment import LEASE_MS, Deployment, gaps_ms, measured
from tests.faults.flows import counting
from tests.faults.scale import SCALE

if TYPE_CHECKING:
    from pathlib import Path

INTERVAL_MS: Final = 50


def test_killed_leaders_cost_no_tick_and_no_more_time_than_a_lease(tmp_path: Path) -> None:
    random = Random(1)
    with Deployment(tmp_path, counting(tmp_path, INTERVAL_MS)) as deployment:
        deployment.start_all(tickers=SCALE.tickers, workers=1)
        for _ in range(SCALE.leader_kills):
            leader, epoch = deployment.await_holder("ticker", "ticker")
            time.sleep(random.uniform(0, 3 * INTERVAL_MS / 1000))  # any moment of its work will do
            leader.kill()
            deployment.start("ticker")
            deployment.wait_for(lambda e=epoch: (deployment.epoch("ticker") or 0) > e, "another leads")
            deployment.await_progress(1)
        deployment.await_progress(5)
        deployment.leave()
        history = deployment.judged(deployment.exit_codes())
    takeovers = gaps_ms(history, at_takeovers=True)
    measured(
        f"{len(takeovers)} takeovers after SIGKILL: gap median {median(takeovers):.0f} ms, "
        f"most {max(takeovers):.0f} ms; {len(history.schedules[0].ticks)} ticks"
    )
    assert len(takeovers) >= SCALE.leader_kills
    assert max(gaps_ms(history)) <= LEASE_MS + SCALE.late_ms
    assert history.schedules[0].skipped == 0


def test_leaders_that_are_told_to_end_hand_over_at_once(tmp_path: Path) -> None:
    with Deployment(tmp_path, counting(tmp_path, INTERVAL_MS)) as deployment:
        deployment.start_all(tickers=SCALE.tickers, workers=1)
        for _ in range(SCALE.leader_ends):
            if sum(replica.is_running for replica in deployment.replicas) < 3:
                standby = deployment.start("ticker")
                # Only a standby that is listening can take over at once.
                standby.wait_for_output("flow_unchanged", 20)
                deployment.wait_for(lambda: len(deployment.members()) >= 3, "the new one is there")
            leader, epoch = deployment.await_holder("ticker", "ticker")
            leader.terminate()
            deployment.wait_for(lambda e=epoch: (deployment.epoch("ticker") or 0) > e, "another leads")
            assert leader.wait(10) == 0, leader.stderr
            deployment.await_progress(1)
        deployment.await_progress(5)
        deployment.leave()
        history = deployment.judged()
    takeovers = gaps_ms(history, at_takeovers=True)
    measured(
        f"{len(takeovers)} handovers after SIGTERM: gap median {median(takeovers):.1f} ms, most {max(takeovers):.1f} ms"
    )
    assert len(takeovers) >= SCALE.leader_ends
    assert median(takeovers) < 100
    assert history.schedules[0].skipped == 0


def test_leader_stopped_past_its_lease_has_nothing_accepted_when_it_goes_on(tmp_path: Path) -> None:
    random = Random(2)
    with Deployment(tmp_path, counting(tmp_path, INTERVAL_MS)) as deployment:
        deployment.start_all(tickers=SCALE.tickers, workers=1)
        deposed: dict[int, int] = {}
        for _ in range(SCALE.leader_stops):
            leader, epoch = deployment.await_holder("ticker", "ticker")
            time.sleep(random.uniform(0, 2 * INTERVAL_MS / 1000))  # any moment of its work will do
            leader.stop()
            deployment.wait_for(lambda e=epoch: (deployment.epoch("ticker") or 0) > e, "another leads")
            deployment.await_progress(1)
            deposed[epoch] = deployment.published()
            leader.cont()
            deployment.wait_for(
                lambda old=leader, e=epoch: any(lost["epoch"] == e for lost in old.logged("leading_lost")),
                "it has noticed",
            )
            deployment.await_progress(2)
        deployment.leave()
        history = deployment.judged(deployment.exit_codes())
    for epoch, published in deposed.items():
        late = [tick.n for tick in history.schedules[0].ticks if tick.epoch == epoch and tick.n >= published]
        assert late == [], f"published by the leader of epoch {epoch} after another led"
    measured(f"{len(deposed)} leaders stopped past their lease and continued; {history.schedules[0].published} ticks")
    assert history.schedules[0].skipped == 0
