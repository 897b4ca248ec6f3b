"""A file whose owner was stopped: whoever comes after it loses nothing by what it does when it goes on."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from pathlib import Path
from typing import Self

import pytest

from metronome_worker.connectors.interface import NodeState
from metronome_worker.errors import OperatorError
from tests.unit.connectors.files import path, run, state, writer_of
from tests.unit.connectors.instances import outputs

__all__ = ["path"]


def test_stale_owner_that_wakes_up_puts_the_same_bytes_to_the_same_place(path: Path) -> None:
    async def do() -> None:
        stale, heir = writer_of(path, "append"), writer_of(path, "append")
        opened = await stale.open(None)
        await heir.open(opened)
        await heir.write(outputs(1, 2))
        await heir.write(outputs(3))
        await stale.write(outputs(1, 2))
        await stale.close()
        await heir.write(outputs(4))
        await heir.close()

    asyncio.run(do())
    assert path.read_bytes() == b"1\n2\n3\n4\n"


class StoppedOwner:
    """One that is stopped in the moment in which it has found that the file is its own."""

    def __init__(self, path: Path, committed: NodeState) -> None:
        self._has_looked, self._go_on = threading.Event(), threading.Event()
        self._writer = writer_of(path, "append", self._look)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._open(committed)))

    def _look(self) -> bool:
        self._has_looked.set()
        return self._go_on.wait(30)

    async def _open(self, committed: NodeState) -> None:
        await self._writer.open(committed)
        await self._writer.close()

    def continue_after(self, seconds: float) -> None:
        threading.Timer(seconds, self._go_on.set).start()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._has_looked.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._go_on.set()
        self._thread.join()


def test_owner_that_is_stopped_before_it_cuts_holds_up_its_heir_and_cuts_nothing_of_it(path: Path) -> None:
    path.write_bytes(b"1\n2\n")
    with StoppedOwner(path, state(path, 2)) as stale:
        stale.continue_after(0.2)
        run(path, "append", state(path, 2), [3], [4])
    assert path.read_bytes() == b"1\n3\n4\n"


def test_owner_that_stays_stopped_before_it_cuts_is_told(path: Path) -> None:
    path.write_bytes(b"1\n2\n")
    with StoppedOwner(path, state(path, 2)):
        with pytest.raises(OperatorError, match="another process is about to write to it") as refused:
            run(path, "append", state(path, 2), [3])
        assert refused.value.value == str(path)
        assert path.read_bytes() == b"1\n2\n"
    run(path, "append", state(path, 2), [3])
    assert path.read_bytes() == b"1\n3\n"


def test_file_system_without_locks_is_written_all_the_same(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", flock)
    run(path, "append", None, [1], [2])
    assert path.read_bytes() == b"1\n2\n"
