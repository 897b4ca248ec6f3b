"""The flows that system tests run, and how they run them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.harness.processes import METRONOME, RealProcess

if TYPE_CHECKING:
    from collections.abc import Iterable

SEED: Final = Path(__file__).with_name("seed.troy")

IDS = "ids.log"


def flow_of(*statements: str, name: str = "main") -> str:
    """A file with one flow of these statements."""
    body = "\n".join(f"  {statement}" for statement in statements)
    return f"define flow {name}\nflow\n{body}\nend;\ndeploy flow {name};\n"


def ticking(
    interval_ms: int, *, path: str = IDS, mode: str = "append", event: str = "event.id", name: str = "main"
) -> str:
    """Writes ``event`` of each tick, its number, as a line to a file, without an end."""
    return flow_of(
        f'define connector tick from metronome with config = {{"interval": {interval_ms}}} end;',
        'define connector file from file with codec = "json", postprocessors = ["separate"], '
        f'config = {{"path": "{path}", "mode": "{mode}"}} end;',
        f"define pipeline ids pipeline select {event} from in into out; end;",
        "create connector tick;",
        "create connector file;",
        "create pipeline ids;",
        "connect /connector/tick to /pipeline/ids;",
        "connect /pipeline/ids to /connector/file;",
        name=name,
    )


def leaving(event: str, *, config: str = "", name: str = "main") -> str:
    """Sends ``event`` to an exit connector with the first tick."""
    return flow_of(
        'define connector tick from metronome with config = {"interval": 20} end;',
        f"define connector exit from exit {f'with config = {config} end' if config else ''};",
        f"define pipeline leave pipeline select {event} from in into out; end;",
        "create connector tick;",
        "create connector exit;",
        "create pipeline leave;",
        "connect /connector/tick to /pipeline/leave;",
        "connect /pipeline/leave to /connector/exit;",
        name=name,
    )


def run(folder: Path, text: str, *options: str, **environment: str) -> RealProcess:
    """``metronome run`` on a flow, which is written into the folder first."""
    (folder / "flow.troy").write_text(text, encoding="utf-8")
    return RealProcess([*METRONOME, "run", "flow.troy", *options], folder, **environment)


def said_by(*arguments: str, folder: Path) -> tuple[int, str]:
    """The status of a short command in a process of its own, and all that it said."""
    done = subprocess.run([*METRONOME, *arguments], cwd=folder, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout + done.stderr


def lines_in(file: Path) -> list[str]:
    """The whole lines of a file that may not be there yet."""
    return file.read_text().split("\n")[:-1] if file.exists() else []


def has_lines(file: Path, count: int) -> bool:
    return file.exists() and file.read_bytes().count(b"\n") >= count


def assert_each_once(file: Path) -> int:
    """The file holds the numbers from 0 upwards, one a line, without a gap or a repetition; returns how many."""
    text = file.read_text()
    assert text.endswith("\n"), f"the last line is not whole: {text[-40:]!r}"
    ids = [int(line) for line in text.splitlines()]
    wrong = next((at for at, number in enumerate(ids) if number != at), None)
    assert wrong is None, f"line {wrong} holds {ids[wrong]}, around it: {ids[max(0, wrong - 5) : wrong + 5]}"
    return len(ids)


def mentions(text: str, words: Iterable[str]) -> bool:
    return all(word in text for word in words)
