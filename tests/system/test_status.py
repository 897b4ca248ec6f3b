"""`metronome status --watch`: shown anew until Ctrl-C, on a terminal, in a pipe, and as JSON."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.harness.processes import METRONOME, RealProcess, wait_until

if TYPE_CHECKING:
    from pathlib import Path

SOON_S = 20.0


@pytest.mark.parametrize(("options", "page"), [((), "nothing is deployed\n"), (("--json",), "[]\n")])
def test_in_a_pipe_each_look_is_told_when_it_is_taken(
    options: tuple[str, ...], page: str, tmp_path: Path, valkey_url: str, namespace: str
) -> None:
    command = [*METRONOME, "status", "--watch", *options, "--redis", valkey_url]
    with RealProcess(command, tmp_path, METRONOME_NAMESPACE=namespace) as process:
        wait_until(lambda: process.stdout.count(page) >= 3, SOON_S, "three pages")
        process.interrupt()
        assert process.wait(SOON_S) == 130
        assert process.stdout == page * process.stdout.count(page)
        assert process.stderr == ""


def test_on_a_terminal_the_page_is_shown_anew_in_its_place(valkey_url: str, namespace: str) -> None:
    ours, theirs = pty.openpty()
    environment = os.environ | {"METRONOME_NAMESPACE": namespace, "TERM": "xterm"}
    command = [*METRONOME, "status", "--watch", "--redis", valkey_url]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    try:
        seen = b""
        while seen.count(b"nothing is deployed") < 2:
            assert select.select([ours], [], [], SOON_S)[0], seen
            seen += os.read(ours, 4_096)
        assert b"\x1b[2K" in seen.partition(b"nothing is deployed")[2], "the line is cleared before it is written again"
        process.send_signal(signal.SIGINT)
        assert process.wait(SOON_S) == 130
    finally:
        process.kill()
        process.wait()
        os.close(ours)
