"""Processes that are killed at any moment, also while they start: every line is in the file once."""

from __future__ import annotations

import time
from random import Random
from typing import TYPE_CHECKING, Final

from tests.harness.processes import assert_nothing_remains, wait_until
from tests.harness.servers import FaultyServer
from tests.system.flows import IDS, assert_each_once, has_lines, lines_in, run, ticking

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.processes import RealProcess

#: One kill in so many comes at any moment of the start; the others while ticks are written.  A start after a kill at
#: work waits for the lease of the one that was killed, so starts that are killed cost the test no time.
STARTS: Final = 2
STARTING_S: Final = 0.8
WORKING_S: Final = 0.3
FLOW: Final = ticking(5)


def killed_at_random(process: RealProcess, random: Random, kill: int) -> None:
    """Waits for a moment that the seed chooses, and kills.  (The sleeping is the claim here: any moment will do.)"""
    if kill % STARTS == 0:
        time.sleep(random.uniform(0, STARTING_S))
    else:
        process.wait_for_output("stage_taken", 15)
        time.sleep(random.uniform(0, WORKING_S))
    assert process.is_running, process.stderr
    process.kill()


def finish(process: RealProcess) -> None:
    """Lets the process write something more, and end in order."""
    file = process.folder / IDS
    process.wait_for_output("stage_taken", 15)
    written = len(lines_in(file))
    wait_until(lambda: has_lines(file, written + 20), 15, "more lines")
    process.terminate()
    assert process.wait(10) == 0, process.stderr


def test_file_holds_every_line_once_after_fifty_kills(tmp_path: Path) -> None:
    random = Random(50)
    for kill in range(50):
        with run(tmp_path, FLOW, "--data", "data") as process:
            killed_at_random(process, random, kill)
    with run(tmp_path, FLOW, "--data", "data") as process:
        finish(process)
    # Each of 25 working processes wrote for 0.15 s on average, and no tick was left out.
    assert assert_each_once(tmp_path / IDS) > 500
    assert_nothing_remains(tmp_path)


def test_file_holds_every_line_once_after_kills_of_processes_on_a_redis_of_their_own(tmp_path: Path) -> None:
    random = Random(8)
    (tmp_path / "server").mkdir()
    with FaultyServer(tmp_path / "server") as server:
        for kill in range(8):
            with run(tmp_path, FLOW, "--redis", server.url) as process:
                killed_at_random(process, random, kill)
        with run(tmp_path, FLOW, "--redis", server.url) as process:
            finish(process)
    assert assert_each_once(tmp_path / IDS) > 150


def test_two_processes_on_one_redis_take_turns_when_one_is_killed(tmp_path: Path) -> None:
    """The standby takes over within the lease; nobody writes a line that another wrote."""
    for name in ("server", "one", "two"):
        (tmp_path / name).mkdir()
    shared = tmp_path / IDS
    flow = ticking(5, path=str(shared))
    with (
        FaultyServer(tmp_path / "server") as server,
        run(tmp_path / "one", flow, "--redis", server.url) as one,
    ):
        one.wait_for_output("stage_taken", 15)
        with run(tmp_path / "two", flow, "--redis", server.url) as two:
            two.wait_for_output("flow_unchanged", 15)
            one.kill()
            two.wait_for_output("stage_taken", 5)
            two.wait_for_output('"leading"', 5)
            written = len(lines_in(shared))
            wait_until(lambda: has_lines(shared, written + 20), 15, "more lines")
            two.terminate()
            assert two.wait(10) == 0, two.stderr
    assert_each_once(shared)
