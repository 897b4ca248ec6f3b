"""Workers that are killed and stopped under load: files and counters stay exact."""

from __future__ import annotations

import json
import time
from random import Random
from typing import TYPE_CHECKING, Final

from metronome_worker.observe.history import judge
from tests.faults.deployment import Deployment, measured
from tests.faults.flows import counting, names, with_failures
from tests.faults.scale import SCALE
from tests.system.flows import assert_each_once

if TYPE_CHECKING:
    from pathlib import Path

INTERVAL_MS: Final = 5
STAGES: Final = 3


def test_files_and_counters_are_exact_whatever_is_done_to_the_workers(tmp_path: Path) -> None:
    random = Random(3)
    with Deployment(tmp_path, with_failures(counting(tmp_path, INTERVAL_MS, STAGES), INTERVAL_MS)) as deployment:
        deployment.start_all(tickers=2, workers=3)
        for fault in range(SCALE.worker_faults):
            stage = random.choice(names(STAGES))
            owner, epoch = deployment.await_holder(stage, "worker")
            time.sleep(random.uniform(0, 0.1))  # any moment of its work will do
            is_stopped = fault % 3 == 1
            if is_stopped:
                owner.stop()
            else:
                owner.kill()
                deployment.start("worker")
            deployment.wait_for(lambda s=stage, e=epoch: (deployment.epoch(s) or 0) > e, "another owns the stage")
            # A run at work is judged as it stands; how late a tick may be is not the claim here.
            assert [found for found in judge(deployment.history()) if not found.startswith("never decided")] == []
            if is_stopped:
                owner.cont()
        for name in names(STAGES):
            deployment.await_progress(20, name)
        deployment.leave()
        history = deployment.judged(deployment.exit_codes())
        letters = [fields for _, fields in deployment.client.xrange(deployment.keys.dead)]
    *exclusive, (fails, shared) = zip(history.schedules, history.stages, strict=True)
    # A letter for each event of the stage that all share, counted in Redis: none is lost, and none is doubled.
    assert sorted(json.loads(letter["event"])["id"] for letter in letters) == list(range(fails.published))
    assert shared.read["fails"] == fails.published
    for schedule, stage in exclusive:
        assert assert_each_once(tmp_path / f"{schedule.connector}.log") == schedule.published
        assert stage.read[schedule.connector] == schedule.published
        assert schedule.skipped == 0
    lines = sum(schedule.published for schedule, _ in exclusive)
    measured(
        f"{SCALE.worker_faults} workers killed or stopped: {lines} lines in {STAGES} files, each once, in order; "
        f"{len(letters)} letters of the shared stage, each once"
    )
