"""Events that kill the process that works on them: put aside after some deaths; all others are done once."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Final

from tests.faults.deadly_worker import KILLER
from tests.faults.deployment import Deployment, Replica, measured
from tests.faults.flows import counting, with_failures

if TYPE_CHECKING:
    from pathlib import Path

WORKERS: Final = 2
LIMIT_S: Final = 60.0


def test_event_that_kills_its_worker_does_not_stop_the_flow(tmp_path: Path) -> None:
    with Deployment(tmp_path, with_failures(counting(tmp_path, 20), 20)) as deployment:
        deployment.start("ticker")
        killed, deadline = 0, time.monotonic() + LIMIT_S
        while len(aside := put_aside(deployment)) < 2 and time.monotonic() < deadline:
            alive = [replica for replica in deployment.replicas if replica.role == "worker" and replica.is_running]
            killed += WORKERS - len(alive)
            for number in range(WORKERS - len(alive)):
                start_deadly(deployment, tmp_path / f"deadly{killed}-{number}")
            time.sleep(0.05)
        assert sorted(letter["source"] for letter in aside) == ["/connector/fails", "/connector/tick"]
        assert all(json.loads(letter["event"])["id"] == KILLER for letter in aside)
        deployment.await_progress(50)
        deployment.leave()
        history = deployment.judged(deployment.exit_codes())
        letters = [fields for _, fields in deployment.client.xrange(deployment.keys.dead)]
    tick, fails = history.schedules
    assert sorted(
        json.loads(letter["event"])["id"] for letter in letters if letter["source"] == "/connector/fails"
    ) == [*range(fails.published)]
    lines = [int(line) for line in (tmp_path / "tick.log").read_text().splitlines()]
    assert lines == [n for n in range(tick.published) if n != KILLER]
    measured(f"{killed - WORKERS} workers died over two events")


def put_aside(deployment: Deployment) -> list[dict[str, str]]:
    return [fields for _, fields in deployment.client.xrange(deployment.keys.dead) if "deaths" in fields]


def start_deadly(deployment: Deployment, folder: Path) -> None:
    folder.mkdir()
    command = [sys.executable, "-m", "tests.faults.deadly_worker", "--redis", deployment.url]
    replica = Replica(command, folder)
    replica.role = "worker"
    deployment.replicas.append(replica)
