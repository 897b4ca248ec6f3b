"""A Redis that goes away while flows run is waited for, and work goes on where it was."""

from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING, Final

import pytest

from tests.harness.processes import wait_until
from tests.harness.servers import FaultyServer
from tests.system.flows import IDS, assert_each_once, has_lines, lines_in, run, ticking

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.processes import RealProcess

#: Longer than a lease, shorter than the time after which an answer is given up.
STOPPED_S: Final = 3.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultyServer]:
    (tmp_path / "server").mkdir()
    with FaultyServer(tmp_path / "server") as server:
        yield server


def wait_for_more(process: RealProcess, count: int) -> None:
    file = process.folder / IDS
    written = len(lines_in(file))

    def is_so() -> bool:
        assert process.is_running, process.stderr
        return has_lines(file, written + count)

    wait_until(is_so, 15, f"{count} more lines")


def end(process: RealProcess) -> None:
    process.terminate()
    assert process.wait(10) == 0, process.stderr
    assert_each_once(process.folder / IDS)
    assert "Traceback" not in process.stderr


def logged(process: RealProcess, event: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in process.stderr.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


def test_killed_and_restarted_redis_is_waited_for_with_one_log_line_and_nothing_is_lost(
    tmp_path: Path, server: FaultyServer
) -> None:
    with run(tmp_path, ticking(10), "--redis", server.url) as process:
        wait_for_more(process, 20)
        server.send(signal.SIGKILL)
        process.wait_for_output("redis_away", 10)
        server.start_again()
        process.wait_for_output("redis_back", 10)
        wait_for_more(process, 20)
        end(process)
    assert len(logged(process, "redis_away")) == len(logged(process, "redis_back")) == 1


def test_redis_that_is_restarted_twice_in_a_row_costs_no_line(tmp_path: Path, server: FaultyServer) -> None:
    with run(tmp_path, ticking(10), "--redis", server.url) as process:
        for _ in range(2):
            wait_for_more(process, 5)
            server.send(signal.SIGKILL)
            server.start_again()
        wait_for_more(process, 20)
        end(process)


def test_stopped_and_continued_redis_costs_no_line(tmp_path: Path, server: FaultyServer) -> None:
    with run(tmp_path, ticking(10), "--redis", server.url) as process:
        wait_for_more(process, 20)
        stopped = time.monotonic()
        server.send(signal.SIGSTOP)
        wait_until(lambda: time.monotonic() - stopped > STOPPED_S, 10, "the server was stopped for long enough")
        server.send(signal.SIGCONT)
        wait_for_more(process, 20)
        end(process)
    assert any(logged(process, event) for event in ("leading_lost", "stage_lost", "redis_away"))


def test_signal_during_an_outage_ends_in_order(tmp_path: Path, server: FaultyServer) -> None:
    with run(tmp_path, ticking(10), "--redis", server.url) as process:
        wait_for_more(process, 20)
        server.send(signal.SIGKILL)
        process.wait_for_output("redis_away", 10)
        process.terminate()
        # There is no batch to finish: what was under way was dropped when Redis went away.
        assert process.wait(3) == 0, process.stderr
    assert len(lines_in(tmp_path / IDS)) >= 20
    assert "Traceback" not in process.stderr
