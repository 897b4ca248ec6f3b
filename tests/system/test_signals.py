"""Leaving: in order at the first signal, at once at the second, and never before what was begun is committed."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
import termios
import time
from array import array
from typing import TYPE_CHECKING

import pytest
from redis import Redis

from metronome_worker.broker.keys import FlowKeys
from tests.harness.processes import METRONOME, RealProcess, assert_nothing_remains, wait_until
from tests.system.flows import IDS, assert_each_once, flow_of, has_lines, run, ticking

if TYPE_CHECKING:
    from pathlib import Path

#: Every tick asks to leave in half a minute: until then the flow is running.
LEAVING_LATER = flow_of(
    'define connector tick from metronome with config = {"interval": 10} end;',
    'define connector exit from exit with config = {"delay": 30000} end;',
    'define pipeline leave pipeline select {"exit": 7} from in into out; end;',
    "create connector tick;",
    "create connector exit;",
    "create pipeline leave;",
    "connect /connector/tick to /pipeline/leave;",
    "connect /pipeline/leave to /connector/exit;",
)


def wait_for_lines(process: RealProcess, count: int, file: str = IDS) -> None:
    def is_so() -> bool:
        assert process.is_running, process.stderr
        return has_lines(process.folder / file, count)

    wait_until(is_so, 10, f"{count} lines in {file}")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_first_signal_commits_the_batch_and_releases_every_lease(
    number: signal.Signals, status: int, tmp_path: Path, valkey_url: str, namespace: str
) -> None:
    with run(tmp_path, ticking(5), "--redis", valkey_url, METRONOME_NAMESPACE=namespace) as process:
        wait_for_lines(process, 20)
        with Redis.from_url(valkey_url, decode_responses=True) as client:
            assert set(client.keys(f"{namespace}:{{main}}:lease:*")) == {
                f"{namespace}:{{main}}:lease:ticker",
                f"{namespace}:{{main}}:lease:tick",
            }
            os.kill(process.pid, number)
            assert process.wait(5) == status, process.stderr
            assert client.keys(f"{namespace}:{{main}}:lease:*") == []
            state = client.hgetall(f"{namespace}:{{main}}:state:tick")
            flow = client.hgetall(f"{namespace}:{{main}}:flow")
    written = assert_each_once(tmp_path / IDS)
    assert int(state["read:tick"]) == written
    assert flow["status"] == "running"
    assert "Traceback" not in process.stderr


def test_stopped_flow_goes_on_where_it_was(tmp_path: Path, valkey_url: str, namespace: str) -> None:
    for lines in (10, 60):
        with run(tmp_path, ticking(5), "--redis", valkey_url, METRONOME_NAMESPACE=namespace) as process:
            wait_for_lines(process, lines)
            process.terminate()
            assert process.wait(5) == 0, process.stderr
    assert assert_each_once(tmp_path / IDS) >= 60


def test_ctrl_c_reaches_the_whole_group_and_the_embedded_server_outlives_the_drain(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with run(tmp_path, ticking(5), "--data", "data") as process:
        wait_for_lines(process, 20)
        process.interrupt_group()
        assert process.wait(5) == 130, process.stderr
    assert "redis_away" not in process.stderr
    assert "ended unexpectedly" not in process.stderr
    assert '"stage_left"' in process.stderr
    assert_each_once(tmp_path / IDS)
    assert_nothing_remains(tmp_path)
    assert data.is_dir()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has pipes whose size can be set")
def test_second_signal_ends_at_once_and_leaves_no_server(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    # A pipe that nobody empties: its writer does not come to the end of a batch.
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, select.PIPE_BUF)
    try:
        with run(tmp_path, ticking(1, path="pipe", event=f'"{"x" * 2_500}"')) as process:
            wait_until(lambda: bytes_in(reader) > 2_500, 10, "the pipe is full")
            process.terminate()
            process.wait_for_output("leaving_in_order", 5)
            assert process.is_running
            process.terminate()
            assert process.wait(2) == 128 + signal.SIGTERM
            assert "leaving_at_once" in process.stderr
    finally:
        os.close(reader)
    assert_nothing_remains(tmp_path)


def bytes_in(pipe: int) -> int:
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def test_signal_during_the_delay_of_an_exit_leaves_with_the_signals_status(tmp_path: Path) -> None:
    with run(tmp_path, LEAVING_LATER) as process:
        process.wait_for_output("stage_joined", 10)
        process.terminate()
        assert process.wait(5) == 0, process.stderr
    assert_nothing_remains(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_while_starting_leaves_nothing_behind(number: signal.Signals, tmp_path: Path) -> None:
    with run(tmp_path, ticking(5)) as process:
        # The first sign of life: the server's directory.
        wait_until(lambda: bool(list(process.temporary.iterdir())) or not process.is_running, 10, "a server starts")
        os.kill(process.pid, number)
        status = process.wait(5)
    assert status in (0, 128 + number, -number), process.stderr
    assert "Traceback" not in process.stderr
    assert_nothing_remains(tmp_path)


def test_source_that_waits_obeys_a_signal(tmp_path: Path, valkey_url: str, namespace: str) -> None:
    text = flow_of(
        'define connector lines from file with codec = "string", preprocessors = ["separate"], '
        'config = {"path": "in.txt", "mode": "read"} end;',
        "define connector gone from null;",
        "define pipeline main pipeline select event from in into out; end;",
        "create connector lines;",
        "create connector gone;",
        "create pipeline main;",
        "connect /connector/lines to /pipeline/main;",
        "connect /pipeline/main to /connector/gone;",
    )
    (tmp_path / "flow.troy").write_text(text)
    (tmp_path / "in.txt").write_text("a\nb\n")
    settings = {"METRONOME_NAMESPACE": namespace, "METRONOME_REDIS_URL": valkey_url}
    for command in (["deploy", "flow.troy"], ["pause", "main"]):
        with RealProcess([*METRONOME, *command], tmp_path, **settings) as process:
            assert process.wait(10) == 0, process.stderr
    with RealProcess([*METRONOME, "worker"], tmp_path, **settings) as process:
        process.wait_for_output("source_waits", 10)
        process.terminate()
        assert process.wait(5) == 0, process.stderr
    with Redis.from_url(valkey_url, decode_responses=True) as client:
        keys = FlowKeys("main", namespace)
        assert client.exists(keys.lease("source:lines"), keys.lease("lines")) == 0
        assert client.hgetall(keys.members) == {}, "it has said goodbye"


def test_stage_whose_output_nobody_reads_holds_up_no_signal(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4_096)
    try:
        with run(tmp_path, ticking(5, path="fifo")) as process:
            wait_until(lambda: waiting_in(reader) > 0, 10, "a line is in the pipe")
            time.sleep(0.5)  # a hundred ticks: with one of its pages in use, the pipe is full
            process.terminate()
            assert process.wait(10) == 0, process.stderr
            assert '"stage_dropped"' in process.stderr
        assert_nothing_remains(tmp_path)
    finally:
        os.close(reader)


def waiting_in(pipe: int) -> int:
    """How many bytes are waiting in a pipe."""
    waiting = array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, waiting)
    return waiting[0]
