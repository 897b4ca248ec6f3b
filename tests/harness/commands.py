"""Commands in this process: what `metronome …` says and the status it leaves with, without the cost of a start."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
import structlog
from msgspec import Struct

from metronome_worker.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable

    #: Arguments behind ``metronome`` in, what came of it out.
    Command = Callable[..., "Outcome"]


class Outcome(Struct, frozen=True, kw_only=True):
    status: int
    stdout: str
    stderr: str


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """``command("check", "flow.troy")``: as typed in the current folder; `run` belongs into a process of its own."""

    def call(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["metronome", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        # The log that a command has set up would be that of the tests after this one.
        structlog.reset_defaults()
        said = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return Outcome(status=left.value.code, stdout=said.out, stderr=said.err)

    return call
