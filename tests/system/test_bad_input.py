"""Whatever people get wrong, they are told what, where, and what to do; with the right status, never a traceback."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import pytest
from redis import Redis

from metronome_worker.broker.embedded import EmbeddedServer
from tests.harness.commands import command
from tests.harness.processes import METRONOME, RealProcess, assert_nothing_remains, wait_until
from tests.system.bad_input import AUTHOR, ENVIRONMENT, FLOWS, RIGHT, RUNS, BadFlow, BadRun
from tests.system.flows import IDS, has_lines, run, ticking

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.commands import Command

__all__ = ["command"]

IS_ROOT: Final = os.geteuid() == 0


def claims(case: BadFlow | BadRun) -> str:
    return case.claim


def assert_told(said: str, *wanted: str) -> None:
    assert "Traceback" not in said
    assert "this is a bug" not in said
    assert [words for words in wanted if words not in said] == [], said


# --- flows ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", FLOWS, ids=claims)
def test_author_is_told_of(case: BadFlow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flow.troy").write_bytes(case.file_content)
    outcome = command("check", "flow.troy")
    assert outcome.status == AUTHOR
    assert outcome.stdout == ""
    assert_told(outcome.stderr, *case.says)


def test_flow_that_the_cases_start_from_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flow.troy").write_text(RIGHT)
    outcome = command("check", "flow.troy", "--strict")
    assert (outcome.status, outcome.stdout, outcome.stderr) == (0, "flow.troy: ok (main)\n", "")


def test_every_wrong_flow_is_reported_by_one_process(tmp_path: Path) -> None:
    for case in FLOWS:
        (tmp_path / f"{case.claim}.troy").write_bytes(case.file_content)
    names = [f"{case.claim}.troy" for case in FLOWS]
    with RealProcess([*METRONOME, "check", *names], tmp_path) as process:
        assert process.wait(20) == AUTHOR
    assert_told(process.stderr, *names, " errors")


def test_run_starts_nothing_when_a_flow_is_wrong(tmp_path: Path) -> None:
    with run(tmp_path, RIGHT.replace("10}", "0}")) as process:
        assert process.wait(10) == AUTHOR
    assert_told(process.stderr, "flow.troy:4:", "at least 1", "1 error")
    assert "server_started" not in process.stderr
    assert_nothing_remains(tmp_path)


def test_all_mistakes_of_a_flow_are_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.chdir(tmp_path)
    text = RIGHT.replace("from metronome", "from metronom").replace('"json"', '"jsn"').replace("10}", "0}")
    (tmp_path / "flow.troy").write_text(text)
    assert_told(command("check", "flow.troy").stderr, "`metronome`?", "`json`?", "errors")


# --- commands and the environment ----------------------------------------------------------------------------


@pytest.mark.parametrize("case", RUNS, ids=claims)
def test_command_is_refused_for(case: BadRun, tmp_path: Path, valkey_url: str) -> None:
    fill = {"{valkey}": valkey_url, "{address}": urlsplit(valkey_url).netloc, "{folder}": str(tmp_path)}

    def filled(text: str) -> str:
        for name, value in fill.items():
            text = text.replace(name, value)
        return text

    (tmp_path / "right.troy").write_text(RIGHT.replace("out.log", case.path))
    (tmp_path / "folder").mkdir()
    arguments = shlex.split(filled(case.command))
    with RealProcess([*METRONOME, *arguments], tmp_path, **case.environment) as process:
        assert process.wait(10) == case.status, process.stderr
    assert_told(process.stderr, *map(filled, case.says))
    assert process.stdout == ""
    assert_nothing_remains(tmp_path)


@pytest.mark.skipif(IS_ROOT, reason="root may write everywhere")
def test_output_without_permission_is_refused_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with run(tmp_path, ticking(10, path="closed/out.log")) as process:
        assert process.wait(10) == ENVIRONMENT
    assert_told(process.stderr, "/connector/file", "closed", "allow this user")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a few kilobytes; skips where none can be made."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)]
    if not IS_ROOT or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root can mount a small disk, and not in every container")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_full_disk_ends_the_run_and_with_room_again_no_line_is_lost(tmp_path: Path, small_disk: Path) -> None:
    flow = ticking(1, path=f"disk/{IDS}", event='{"id": event.id, "fill": "' + "x" * 500 + '"}')
    with run(tmp_path, flow, "--data", "data") as process:
        assert process.wait(20) == ENVIRONMENT, process.stderr
    assert_told(process.stderr, "/connector/file", str(small_disk / IDS), "No space left on device", "free space")
    # Cut back to whole lines; none, when not even the first batch had room.
    assert (small_disk / IDS).read_bytes().endswith(b"}\n") or not (small_disk / IDS).stat().st_size
    written = (small_disk / IDS).read_bytes().count(b"\n")
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    with run(tmp_path, flow, "--data", "data") as process:
        wait_until(lambda: has_lines(small_disk / IDS, written + 50), 15, "more lines")
        process.terminate()
        assert process.wait(10) == 0, process.stderr
    ids = [int(line.split(",")[0].removeprefix('{"id":')) for line in (small_disk / IDS).read_text().splitlines()]
    assert ids == list(range(len(ids)))


# --- servers that are not as they should be ------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    server = EmbeddedServer()
    server.start()
    yield server.url
    server.stop()


def test_missing_and_wrong_passwords_are_told_apart_and_not_shown(tmp_path: Path, server: str) -> None:
    with Redis.from_url(server) as client:
        client.config_set("requirepass", "right one")
    (tmp_path / "flow.troy").write_text(RIGHT)
    with RealProcess([*METRONOME, "run", "flow.troy", "--redis", server], tmp_path) as process:
        assert process.wait(10) == ENVIRONMENT
    assert_told(process.stderr, "asks for a password", urlsplit(server).netloc, "redis://USER:PASSWORD@")
    wrong = server.replace("redis://", "redis://:wrong-one@")
    with RealProcess([*METRONOME, "run", "flow.troy", "--redis", wrong], tmp_path) as process:
        assert process.wait(10) == ENVIRONMENT
    assert_told(process.stderr, "refuses the password", "***")
    assert "wrong-one" not in process.stderr


def test_replica_is_refused_with_the_name_of_its_primary(tmp_path: Path, server: str) -> None:
    with Redis.from_url(server) as client:
        client.replicaof("127.0.0.1", 1)
    with run(tmp_path, RIGHT, "--redis", server) as process:
        assert process.wait(10) == ENVIRONMENT
    assert_told(process.stderr, "replica", "127.0.0.1:1")


def test_server_that_may_evict_keys_is_worked_with_after_a_warning(tmp_path: Path, server: str) -> None:
    with Redis.from_url(server) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    with run(tmp_path, RIGHT, "--redis", server) as process:
        assert process.wait(10) == 0, process.stderr
    assert_told(process.stderr, "allkeys-lru", "CONFIG SET maxmemory-policy noeviction")
    assert (tmp_path / "out.log").read_text().startswith('"0"\n')


# --- the environment and the edge of the process -------------------------------------------------------------


def test_redis_url_of_the_environment_is_used_unless_the_command_names_another(
    tmp_path: Path, valkey_url: str, namespace: str
) -> None:
    environment = {"METRONOME_REDIS_URL": valkey_url, "METRONOME_NAMESPACE": namespace}
    with run(tmp_path, RIGHT, **environment) as process:
        assert process.wait(10) == 0, process.stderr
    with Redis.from_url(valkey_url) as client:
        assert client.hget(f"{namespace}:{{main}}:flow", "run") == b"1"
    environment["METRONOME_REDIS_URL"] = "redis://127.0.0.1:1/0"
    with run(tmp_path, RIGHT, "--redis", valkey_url, **environment) as process:
        assert process.wait(10) == 0, process.stderr
    with Redis.from_url(valkey_url) as client:
        assert client.hget(f"{namespace}:{{main}}:flow", "run") == b"2"


def test_modules_are_found_in_each_folder_of_metronome_path(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "second" / "my").mkdir(parents=True)
    (tmp_path / "second" / "my" / "parts.tremor").write_text(
        "define pipeline greet pipeline select 'hello' from in into out; end;".replace("'", '"')
    )
    flow = RIGHT.replace("use std::string;", "use my::parts;").replace(
        "create pipeline main;", "create pipeline main from parts::greet;"
    )
    with run(tmp_path, flow, METRONOME_PATH="first:second") as process:
        assert process.wait(10) == 0, process.stderr
    assert (tmp_path / "out.log").read_text().startswith('"hello"\n')
    with run(tmp_path, flow) as process:
        assert process.wait(10) == AUTHOR
    assert_told(process.stderr, "there is no module `my::parts`", "searched:")


def closed_pipe() -> int:
    """The write end of a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.parametrize("arguments", ["check right.troy", "check --json wrong.troy", "--help"])
def test_reader_of_stdout_that_has_gone_costs_no_traceback(arguments: str, tmp_path: Path) -> None:
    (tmp_path / "right.troy").write_text(RIGHT)
    (tmp_path / "wrong.troy").write_text(RIGHT.replace("10}", "0}"))
    writer = closed_pipe()
    try:
        command = [*METRONOME, *arguments.split()]
        done = subprocess.run(command, cwd=tmp_path, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(writer)
    # Nobody is told anything, so whether the flow is right stays unsaid: neither 0 nor 1.
    assert (done.returncode, done.stderr) == (141, "")


def test_reader_of_a_console_flow_that_has_gone_ends_it_with_a_message(tmp_path: Path) -> None:
    countdown = Path(__file__).parents[2] / "pipelines" / "countdown.troy"
    writer = closed_pipe()
    try:
        done = subprocess.run(
            [*METRONOME, "run", str(countdown), "--log-level", "error"],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=20,
        )
    finally:
        os.close(writer)
    assert done.returncode == ENVIRONMENT
    assert_told(done.stderr, "/connector/console", "standard output", "Broken pipe")


def test_standard_streams_that_are_closed_cost_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "flow.troy").write_text(RIGHT)
    shell = f"exec {sys.executable} -m metronome_worker.cli.main run flow.troy <&- >&- 2>error.txt"
    done = subprocess.run(["sh", "-c", shell], cwd=tmp_path, check=False, timeout=20)
    assert_told((tmp_path / "error.txt").read_text())
    assert done.returncode == 0
    assert (tmp_path / "out.log").read_text().startswith('"0"\n')
