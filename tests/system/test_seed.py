"""The documentation's own example, as people paste it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from redis import Redis

from tests.harness.processes import METRONOME, RealProcess, assert_nothing_remains
from tests.harness.servers import flush
from tests.system.flows import SEED

if TYPE_CHECKING:
    from pathlib import Path


INTERVAL_S = 1.0
ALLOWED_S = INTERVAL_S + 0.5
ATTEMPTS = 3

WARNINGS = """\
warning[needless-create]: no connector definition is called `metronome`, and nothing connects /connector/metronome: \
it is left out
  --> seed.troy:26:3
   |
26 |   create connector metronome;
   |   ^^^^^^^^^^^^^^^^^^^^^^^^^^ left out
   = hint: write `create connector every_second;` instead

warning[missing-create]: /connector/every_second is defined and connected, but never created: it is created here
  --> seed.troy:31:11
   |
31 |   connect /connector/every_second to /pipeline/main;
   |           ^^^^^^^^^^^^^^^^^^^^^^^ never created
   = hint: write `create connector every_second;` before it

"""


def seed(folder: Path, *options: str, **environment: str) -> RealProcess:
    return RealProcess([*METRONOME, "run", str(SEED), *options], folder, **environment)


@pytest.mark.alone
def test_seed_writes_one_line_and_ends_within_the_interval_and_half_a_second(
    tmp_path: Path, record_property: pytest.Function
) -> None:
    took: list[float] = []
    # What is installed comes with its bytecode; sources that are told to write none are compiled at every start.
    compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path / "bytecode")}
    while len(took) < ATTEMPTS and (not took or took[-1] > ALLOWED_S):
        (tmp_path / "out.log").unlink(missing_ok=True)
        began = time.monotonic()
        with seed(tmp_path, **compiled) as process:
            status = process.wait(10)
            took.append(time.monotonic() - began)
            assert status == 0, process.stderr
        assert (tmp_path / "out.log").read_text() == '"triggered"\n'
        assert_nothing_remains(tmp_path)
    record_property("seconds", took)
    # Machines are shared: the best of a few attempts is what the program itself needs.
    assert INTERVAL_S <= min(took) <= ALLOWED_S, f"it took {took} seconds"


def test_seed_is_run_with_two_warnings_that_show_line_and_correction(tmp_path: Path) -> None:
    with seed(tmp_path, "--log-level", "error") as process:
        assert process.wait(10) == 0
        assert process.stderr == WARNINGS
        assert process.stdout == ""


def test_strict_makes_the_corrections_errors_and_runs_nothing(tmp_path: Path) -> None:
    with seed(tmp_path, "--strict") as process:
        assert process.wait(10) == 1
        assert process.stderr == WARNINGS.replace("warning[", "error[") + "2 errors\n"
    assert not (tmp_path / "out.log").exists()
    assert_nothing_remains(tmp_path)


def test_seed_on_a_redis_that_is_named_is_a_new_run_each_time(tmp_path: Path, valkey_url: str) -> None:
    flush(valkey_url)
    for run in (1, 2):
        with seed(tmp_path, "--redis", valkey_url) as process:
            assert process.wait(10) == 0, process.stderr
        assert (tmp_path / "out.log").read_text() == '"triggered"\n'
        with Redis.from_url(valkey_url, decode_responses=True) as client:
            flow = client.hgetall("metronome:{main}:flow")
        assert (flow["run"], flow["revision"], flow["status"], flow["code"]) == (str(run), "1", "ended", "0")
