from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.harness.commands import command
from tests.system.bad_input import RIGHT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.commands import Command

__all__ = ["command"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current one, with a flow that is right and one that is wrong twice."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "right.troy").write_text(RIGHT)
    (tmp_path / "wrong.troy").write_text(RIGHT.replace("10}", "0}").replace('"json"', '"jsn"'))
    return tmp_path


def test_right_files_are_said_to_be_right_with_the_names_of_their_flows(command: Command) -> None:
    outcome = command("check", "right.troy")
    assert (outcome.status, outcome.stdout, outcome.stderr) == (0, "right.troy: ok (main)\n", "")


def test_one_wrong_file_makes_the_status_1_and_the_others_are_checked_all_the_same(command: Command) -> None:
    outcome = command("check", "wrong.troy", "right.troy")
    assert (outcome.status, outcome.stdout) == (1, "right.troy: ok (main)\n")
    assert outcome.stderr.endswith("2 errors\n")


def test_json_gives_one_record_a_line_and_nothing_else(command: Command) -> None:
    outcome = command("check", "--json", "wrong.troy", "right.troy")
    records = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert (outcome.status, outcome.stderr) == (1, "")
    assert [(r["file"], r["line"], r["severity"]) for r in records] == [
        ("wrong.troy", 4, "error"),
        ("wrong.troy", 7, "error"),
    ]
    assert [r["code"] for r in records] == ["bad-setting", "bad-setting"]
    assert all(r["message"] for r in records)


def test_help_names_every_command(command: Command) -> None:
    outcome = command("--help")
    assert outcome.status == 0
    assert {"check", "run"} <= set(outcome.stdout.split())
