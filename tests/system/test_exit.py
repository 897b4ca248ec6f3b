"""The number that an `exit` event holds is the status of the process."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from redis import Redis

from tests.harness.processes import METRONOME, RealProcess, assert_nothing_remains, wait_until
from tests.system.flows import IDS, assert_each_once, flow_of, has_lines, leaving, lines_in, run, ticking

if TYPE_CHECKING:
    from pathlib import Path

#: Writes the number of each tick, and asks to leave at the third one, in the way that the test says.
COUNTING = """
define flow main
flow
  define connector tick from metronome with config = {"interval": 20} end;
  define connector file from file
  with codec = "json", postprocessors = ["separate"], config = {"path": "ids.log", "mode": "truncate"} end;
  define connector exit from exit;
  define pipeline ids pipeline select event.id from in into out; end;
  define pipeline leave pipeline select REQUEST from in where event.id == 2 into out; end;
  create connector tick;
  create connector file;
  create connector exit;
  create pipeline ids;
  create pipeline leave;
  connect /connector/tick to /pipeline/ids;
  connect /connector/tick to /pipeline/leave;
  connect /pipeline/ids to /connector/file;
  connect /pipeline/leave to /connector/exit;
end;
deploy flow main;
"""


@pytest.mark.parametrize("status", [0, 3, 255])
def test_number_in_the_event_is_the_status(status: int, tmp_path: Path) -> None:
    with run(tmp_path, leaving(f'{{"exit": {status}}}')) as process:
        assert process.wait(10) == status, process.stderr
    assert_nothing_remains(tmp_path)


@pytest.mark.parametrize(
    ("event", "status"),
    [('{"exit": 256}', 1), ('{"exit": -1}', 1), ('{"exit": "failed"}', 1), ('{"exit": 4 / 2}', 2), ('"stop"', 0)],
)
def test_event_without_a_usable_number_never_passes_for_success(event: str, status: int, tmp_path: Path) -> None:
    with run(tmp_path, leaving(event)) as process:
        assert process.wait(10) == status, process.stderr


@pytest.mark.parametrize(
    ("event", "config"), [('{"exit": 0, "delay": 700}', ""), ('{"exit": 0}', '{"delay": 700}')], ids=["event", "config"]
)
def test_delay_keeps_the_flow_running_before_it_leaves(event: str, config: str, tmp_path: Path) -> None:
    text = COUNTING.replace("REQUEST", event)
    if config:
        text = text.replace("from exit;", f"from exit with config = {config} end;")
    with run(tmp_path, text) as process:
        process.wait_for_output("stage_taken", 10)
        taken = time.monotonic()
        assert process.wait(10) == 0, process.stderr
        assert time.monotonic() - taken > 0.7
    # 35 ticks are due within the delay; all that were published before the barrier were written.
    assert assert_each_once(tmp_path / IDS) >= 30


def test_delay_of_the_event_wins_over_the_delay_of_the_connector(tmp_path: Path) -> None:
    with run(tmp_path, leaving('{"exit": 5, "delay": 0}', config='{"delay": 60000}')) as process:
        assert process.wait(10) == 5, process.stderr


@pytest.mark.parametrize(("graceful", "reason"), [("true", "drained"), ("false", "abrupt")])
def test_end_of_the_run_says_whether_it_was_drained(
    graceful: str, reason: str, tmp_path: Path, valkey_url: str, namespace: str
) -> None:
    text = COUNTING.replace("REQUEST", f'{{"exit": 4, "graceful": {graceful}}}')
    with run(tmp_path, text, "--redis", valkey_url, METRONOME_NAMESPACE=namespace) as process:
        assert process.wait(10) == 4, process.stderr
    with Redis.from_url(valkey_url, decode_responses=True) as client:
        entries = [fields for _, fields in client.xrange(f"{namespace}:{{main}}:exit")]
        leases = client.keys(f"{namespace}:{{main}}:lease:*")
    assert entries[0]["exit"] == "4"
    assert entries[0]["by"] == "/connector/exit"
    assert (entries[-1]["end"], entries[-1]["reason"]) == ("4", reason)
    assert leases == []
    assert assert_each_once(tmp_path / IDS) >= 3


def test_request_by_redis_cli_is_as_good_as_one_of_the_flow(tmp_path: Path, valkey_url: str, namespace: str) -> None:
    with run(tmp_path, ticking(10), "--redis", valkey_url, METRONOME_NAMESPACE=namespace) as process:
        wait_until(lambda: has_lines(tmp_path / IDS, 3) or not process.is_running, 10, "three lines")
        with Redis.from_url(valkey_url) as client:
            client.xadd(f"{namespace}:{{main}}:exit", {"exit": "9"})
        assert process.wait(10) == 9, process.stderr
    assert_each_once(tmp_path / IDS)


def test_several_flows_run_side_by_side_and_the_largest_status_counts(tmp_path: Path) -> None:
    (tmp_path / "one.troy").write_text(leaving('{"exit": 3}', name="one"))
    (tmp_path / "two.troy").write_text(leaving('{"exit": 1, "delay": 200}', name="two"))
    with RealProcess([*METRONOME, "run", "one.troy", "two.troy"], tmp_path) as process:
        assert process.wait(10) == 3, process.stderr
    assert process.stderr.count('"flow_ended"') == 2
    assert_nothing_remains(tmp_path)


def test_two_flows_of_one_file_keep_their_events_apart(tmp_path: Path) -> None:
    first = ticking(20, path="first.log", name="first")
    second = COUNTING.replace("ids.log", "second.log").replace("flow main", "flow second")
    with run(tmp_path, first + second.replace("REQUEST", '{"exit": 0}')) as process:
        process.wait_for_output('"flow_ended"', 10)
        assert process.is_running  # the first has no end
        process.terminate()
        assert process.wait(10) == 0, process.stderr
    assert assert_each_once(tmp_path / "first.log") >= 3
    assert assert_each_once(tmp_path / "second.log") >= 3


def test_same_flow_in_two_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one.troy").write_text(leaving('{"exit": 0}'))
    (tmp_path / "two.troy").write_text(leaving('{"exit": 0}'))
    with RealProcess([*METRONOME, "run", "one.troy", "two.troy"], tmp_path) as process:
        assert process.wait(10) == 2
    assert "flow main is in more than one of the files" in process.stderr
    assert "Traceback" not in process.stderr


def test_flow_whose_source_is_a_file_that_ends_goes_on_until_it_is_told_to_leave(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("a\nb\nc\n")
    text = flow_of(
        'define connector source from file with codec = "string", preprocessors = ["separate"], '
        'config = {"path": "in.txt", "mode": "read"} end;',
        'define connector sink from file with codec = "string", postprocessors = ["separate"], '
        'config = {"path": "out.txt", "mode": "truncate"} end;',
        "define pipeline hand_on pipeline select event from in into out; end;",
        "create connector source;",
        "create connector sink;",
        "create pipeline hand_on;",
        "connect /connector/source to /pipeline/hand_on;",
        "connect /pipeline/hand_on to /connector/sink;",
    )
    with run(tmp_path, text) as process:
        process.wait_for_output("source_left", 10)
        wait_until(lambda: has_lines(tmp_path / "out.txt", 3) or not process.is_running, 10, "three lines")
        process.terminate()
        assert process.wait(10) == 0, process.stderr
    assert lines_in(tmp_path / "out.txt") == ["a", "b", "c"]
