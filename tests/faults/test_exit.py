"""The whole deployment leaves as one, although one worker is stopped, one comes late, and one dies meanwhile."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from metronome_worker.observe.history import end_reason
from metronome_worker.settings import TickerSettings
from tests.faults.deployment import BACK_S, Deployment, measured
from tests.faults.flows import counting, names
from tests.system.flows import assert_each_once

if TYPE_CHECKING:
    from pathlib import Path

STAGES: Final = 5
CODE: Final = 42


def has_spread(deployment: Deployment) -> bool:
    held = [member["holds"] for member in deployment.members().values() if member["role"] == "worker"]
    return len(held) == STAGES and all(len(stages) == 1 for stages in held)


def test_all_leave_with_one_code_although_workers_are_stopped_come_late_and_die(tmp_path: Path) -> None:
    with Deployment(tmp_path, counting(tmp_path, 10, STAGES)) as deployment:
        deployment.start_all(tickers=2, workers=5)
        deployment.wait_for(lambda: has_spread(deployment), "every worker has a stage")
        stopped, killed = (deployment.await_holder(name, "worker")[0] for name in names(STAGES)[:2])
        assert stopped is not killed
        deployment.await_progress(20)
        stopped.stop()
        began = time.monotonic()
        deployment.client.xadd(deployment.keys.exit, {"exit": CODE, "by": "test"})
        deployment.wait_for(lambda: deployment.client.hget(deployment.keys.flow, "status") != "running", "it leaves")
        killed.kill()
        late = deployment.start("worker")
        codes = [r.wait(BACK_S) for r in deployment.replicas if r not in (stopped, killed)]
        took_s = time.monotonic() - began
        stopped.cont()
        codes.append(stopped.wait(BACK_S))
        assert codes == [CODE] * 7, late.stderr
        history = deployment.judged(tuple(codes))
    assert end_reason(history) == "drained"
    assert took_s < TickerSettings().drain_ms / 1000
    for schedule in history.schedules:
        assert assert_each_once(tmp_path / f"{schedule.connector}.log") == schedule.published
    measured(f"exit with 5 workers, one stopped, one late, one killed: {took_s:.1f} s until the others had left")
