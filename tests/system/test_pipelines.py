"""The flows that people learn from: each does what its first comment shows."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Final

import pytest

from tests.harness.processes import METRONOME, RealProcess, assert_nothing_remains

PIPELINES: Final = Path(__file__).parents[2] / "pipelines"
FLOWS: Final = sorted(PIPELINES.glob("*.troy"))

#: Command, where its output goes, and the output, as the comment at the top of each flow has them.
HEADER: Final = re.compile(
    r"(?s)^#.*?\n#\n#     (metronome run [^\n]*)\n#\n# (?:writes|prints|appends) [^\n]*?\n#\n(.*?)\n\n"
)


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.stem)
def test_flow_does_what_its_comment_shows(flow: Path, tmp_path: Path) -> None:
    text = flow.read_text(encoding="utf-8")
    header = HEADER.match(text)
    assert header, "its first comment does not show the command and what that prints"
    program, *arguments = shlex.split(header[1])
    shown = "".join(line.removeprefix("#     ") + "\n" for line in header[2].splitlines())
    shutil.copytree(PIPELINES, tmp_path / "pipelines")
    with RealProcess([*METRONOME, *arguments, "--strict", "--log-level", "warning"], tmp_path) as process:
        assert process.wait(15) == 0, process.stderr
        assert process.stderr == ""
        if "prints on standard output:" in text:
            assert process.stdout == shown
        else:
            [file] = re.findall(r"# (?:writes|appends) to (\S+),", text)
            assert (tmp_path / file).read_text() == shown
    assert program == "metronome"
    assert flow.name in arguments[-1]
    assert_nothing_remains(tmp_path)


def test_appending_flow_goes_on_behind_what_an_earlier_run_wrote(tmp_path: Path) -> None:
    flow = str(PIPELINES / "every_third.troy")
    for run in (1, 2):
        with RealProcess([*METRONOME, "run", flow], tmp_path) as process:
            assert process.wait(15) == 0, process.stderr
        ticks = re.findall(r'"tick":(\d+)', (tmp_path / "third.log").read_text())
        assert ticks == ["0", "3", "6", "9"] * run
