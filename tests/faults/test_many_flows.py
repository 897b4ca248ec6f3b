"""Many flows on few processes: everything runs, and everybody does a share of it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import structlog

from metronome_worker.assembly import Workshop, check_file
from metronome_worker.broker.keys import FlowKeys
from metronome_worker.cli.process import open_host
from metronome_worker.observe.history import judge
from metronome_worker.observe.recording import record
from tests.faults.deployment import BACK_S, Deployment, measured
from tests.faults.scale import SCALE
from tests.harness.processes import METRONOME
from tests.system.flows import ticking

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WORKERS: Final = 4
TICKERS: Final = 2
#: Until all is even, seconds: pieces are handed over one by one, and are left alone for a while after that.
SETTLED_S: Final = 60.0 if SCALE.flows < 100 else 300.0
LOOK_S: Final = 0.2 if SCALE.flows < 100 else 3.0


def flow_names() -> list[str]:
    return [f"flow{number}" for number in range(SCALE.flows)]


def status(deployment: Deployment) -> list[dict[str, Any]]:
    """What `metronome status --json` says."""
    command = [*METRONOME, "status", "--json", "--redis", deployment.url]
    said = subprocess.run(command, capture_output=True, check=True, timeout=60)
    return json.loads(said.stdout)  # type: ignore[no-any-return]


def test_every_stage_runs_and_nobody_holds_more_than_a_share(tmp_path: Path) -> None:
    text = "".join(ticking(1_000, path=f"{tmp_path}/{name}.log", mode="truncate", name=name) for name in flow_names())
    with Deployment(tmp_path, text) as deployment:
        for role, count in (("ticker", TICKERS), ("worker", WORKERS)):
            for _ in range(count):
                deployment.start(role)
        began = time.monotonic()
        assert comes_true(lambda: _runs_all(tmp_path)), "not every flow has written two lines"
        runs_s = time.monotonic() - began
        share, leads = -(-SCALE.flows // WORKERS) + 1, -(-SCALE.flows // TICKERS) + 1
        seen: list[tuple[Counter[str], Counter[str]]] = []

        def is_even() -> bool:
            found = status(deployment)
            stages = Counter(who for flow in found for stage in flow["stages"] for who in stage["workers"])
            leaders = Counter(flow["leader"] for flow in found if flow["leader"])
            seen.append((stages, leaders))
            is_all = stages.total() == leaders.total() == SCALE.flows
            return is_all and max(stages.values()) <= share and max(leaders.values()) <= leads

        has_settled = comes_true(is_even)
        took_s = time.monotonic() - began
        stages, leaders = seen[-1]
        measured(
            f"{SCALE.flows} flows: all run after {runs_s:.1f} s, even after {took_s:.1f} s; "
            f"stages {sorted(stages.values())}, leaders {sorted(leaders.values())}"
        )
        assert has_settled, f"more than {share} stages or {leads} flows in one process"
        for name in flow_names():
            deployment.client.xadd(FlowKeys(name).exit, {"exit": 9})
        for replica in deployment.replicas:
            assert replica.wait(2 * BACK_S) == 9, replica.stderr[-2000:]
        assert asyncio.run(_violations(deployment)) == []


def test_each_flow_of_a_file_is_planned_with_the_others_at_once(tmp_path: Path) -> None:
    """A role plans flow by flow; were the whole file planned for each of them, nothing else would be done for long."""
    file = tmp_path / "flow.troy"
    file.write_text("".join(ticking(1_000, name=f"flow{number}") for number in range(60)))
    began = time.process_time()
    flows = check_file(file, ()).flows
    checked = time.process_time()
    workshop = Workshop()
    assert [workshop.plan_of(flow.bundle).flow for flow in flows] == [flow.plan.flow for flow in flows]
    assert time.process_time() - checked < 10 * (checked - began)


def comes_true(is_so: Callable[[], bool]) -> bool:
    """Whether it is so before long.  Looked at now and then, as looking takes time from what is looked at."""
    deadline = time.monotonic() + SETTLED_S
    while not (is_true := is_so()) and time.monotonic() < deadline:
        time.sleep(LOOK_S)
    return is_true


def _runs_all(folder: Path) -> bool:
    files = [folder / f"{name}.log" for name in flow_names()]
    return all(file.exists() and file.read_bytes().count(b"\n") >= 2 for file in files)


async def _violations(deployment: Deployment) -> list[str]:
    async with open_host(deployment.url, "metronome", structlog.get_logger()) as host:
        histories = [(await record(host, FlowKeys(name))).history for name in flow_names()]
    return [
        f"{name}: {found}" for name, history in zip(flow_names(), histories, strict=True) for found in judge(history)
    ]
