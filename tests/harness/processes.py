"""Real processes: started, killed, stopped, continued; and what they leave behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

METRONOME: Final = (sys.executable, "-m", "metronome_worker.cli.main")
_POLL_S: Final = 0.005


def wait_until(is_so: Callable[[], bool], limit_s: float, what: str) -> None:
    """Poll until ``is_so()``; fails with ``what`` when that takes longer than ``limit_s``."""
    deadline = time.monotonic() + limit_s
    while not is_so():
        assert time.monotonic() < deadline, f"not within {limit_s} s: {what}"
        time.sleep(_POLL_S)


class RealProcess:
    """A command in a folder of its own, with its output in files beside it, so that no pipe ever fills.

        with RealProcess([*METRONOME, "run", "flow.troy"], tmp_path) as process:
            assert process.wait(5) == 0, process.stderr

    ``TMPDIR`` of the process is ``folder/tmp``: whatever it leaves in the temporary directory is seen there.  It leads
    a session of its own, so that its process group can be sent signals without hitting the test.
    """

    def __init__(self, command: Sequence[str], folder: Path, **environment: str) -> None:
        self.folder = folder
        self.temporary = folder / "tmp"
        self.temporary.mkdir(exist_ok=True)
        self._out, self._err = folder / "stdout.txt", folder / "stderr.txt"
        # PYTHONPATH: the process works in ``folder`` but may import ``tests``.
        # Settings of whoever runs the tests must not reach it.
        own = {name: value for name, value in os.environ.items() if not name.startswith("METRONOME_")}
        inherited = own | {"TMPDIR": str(self.temporary), "PYTHONPATH": str(Path(__file__).parents[2])}
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env=inherited | environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stdout(self) -> str:
        return self._out.read_text("utf-8", "replace")

    @property
    def stderr(self) -> str:
        return self._err.read_text("utf-8", "replace")

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait(self, limit_s: float) -> int:
        """Its status; fails, with its output, when it runs longer."""
        try:
            return self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {limit_s} s\n{self.stdout}\n{self.stderr}") from None

    def wait_for_output(self, text: str, limit_s: float) -> None:
        """Until ``text`` is on its stdout or stderr; fails when it ends before, or takes longer."""

        def has_said() -> bool:
            is_over = not self.is_running
            said = self.stdout + self.stderr
            assert text in said or not is_over, f"ended without saying {text!r}:\n{said}"
            return text in said

        wait_until(has_said, limit_s, f"{text!r} in its output")

    def kill(self) -> None:
        """SIGKILL, and wait for that."""
        self._process.kill()
        self._process.wait()

    def terminate(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def interrupt_group(self) -> None:
        """What Ctrl-C in a terminal does: SIGINT to every process of the group."""
        os.killpg(self.pid, signal.SIGINT)

    def stop(self) -> None:
        """Stopped, not ended: it does nothing until ``cont``."""
        self._process.send_signal(signal.SIGSTOP)

    def cont(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_running:
            self.kill()


def processes_in(folder: Path) -> dict[int, str]:
    """Processes of this machine that work in ``folder`` or name it on their command line: pid to command line."""
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
            where = os.readlink(entry / "cwd")  # noqa: PTH115  Path.readlink resolves nothing more
        except OSError:
            continue  # it ended meanwhile, or is another user's
        if str(folder) in command or where.startswith(str(folder)):
            found[int(entry.name)] = command
    return found


def assert_nothing_remains(folder: Path, limit_s: float = 5.0) -> None:
    """No server, no guard, no temporary directory of a process that ran in ``folder`` with ``TMPDIR`` in it."""
    deadline = time.monotonic() + limit_s
    while (processes := processes_in(folder)) or (files := list((folder / "tmp").glob("metronome-*"))):
        if time.monotonic() > deadline:
            raise AssertionError(f"remains after {limit_s} s: {processes or files}")
        time.sleep(_POLL_S)
