"""Runs commands as a reader would: in a shell, on a terminal, in a folder of their own."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from typing import TYPE_CHECKING, Final

from tests.docs.pages import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

LIMIT_S: Final = 30.0


class Running:
    """A command on a terminal of its own; what it prints, on either stream, is kept by the terminal until read."""

    def __init__(self, command: str, folder: Path, environment: dict[str, str]) -> None:
        self._command = command
        self._terminal, theirs = pty.openpty()
        _set_size(theirs, rows=50, columns=80)
        try:
            self._process = subprocess.Popen(
                ["bash", "-c", command],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=theirs,
                stderr=theirs,
                start_new_session=True,
            )
        finally:
            os.close(theirs)

    @property
    def is_over(self) -> bool:
        return self._process.poll() is not None

    def output(self) -> str:
        """All that it prints, when it has ended."""
        printed, deadline = b"", time.monotonic() + LIMIT_S
        try:
            while self._is_readable(deadline) and (chunk := os.read(self._terminal, 65536)):
                printed += chunk
        except OSError:
            pass  # how Linux says that nobody has the terminal open any more
        os.close(self._terminal)
        try:
            self._process.wait(max(1.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"still running after {LIMIT_S} s: {self._command}\n{printed.decode()}") from None
        return printed.decode()

    def _is_readable(self, deadline: float) -> bool:
        """Whether there is something to read, or the end, before ``deadline``."""
        return bool(select.select([self._terminal], [], [], max(0.0, deadline - time.monotonic()))[0])

    def kill(self) -> None:
        if not self.is_over:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def environment_of(folder: Path) -> dict[str, str]:
    """A reader's environment: ``metronome`` on PATH, none of the settings of whoever runs the tests."""
    commands = folder.parent / "bin"
    commands.mkdir(exist_ok=True)
    metronome = commands / "metronome"
    metronome.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m metronome_worker.cli.main "$@"\n')
    metronome.chmod(0o755)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("METRONOME_", "MAKE"))}
    return inherited | {
        "PATH": f"{commands}:{inherited.get('PATH', '')}",
        "PYTHONPATH": str(REPOSITORY),
        "TERM": "xterm",
        "LC_ALL": "C.UTF-8",
    }


def _set_size(descriptor: int, *, rows: int, columns: int) -> None:
    termios.tcsetwinsize(descriptor, (rows, columns))
