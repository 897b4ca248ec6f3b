"""Standard streams: lines in, events out, and the event loop never held up."""

from __future__ import annotations

import asyncio
import io
import json
import os
import select
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import pytest

from metronome_worker.connectors.descriptors import in_thread, read_some, write_all
from metronome_worker.connectors.interface import SourceReader
from metronome_worker.connectors.registry import make_reader, make_writer
from metronome_worker.errors import OperatorError
from metronome_worker.plan.model import Value
from metronome_worker.runtime.effects import Output
from tests.unit.connectors.instances import SEPARATE, environment, instance

CONSOLE = instance("stdio", codec="string", preprocessors=SEPARATE, postprocessors=SEPARATE)


@pytest.fixture
def pipe() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", buffering=0) as start, os.fdopen(writing, "wb", buffering=0) as end:
        yield start, end


async def values(reader: SourceReader) -> list[Value]:
    batch = await reader.read()
    return [] if batch is None else [json.loads(data) for data, _ in batch.events]


def test_ports_lead_to_the_two_streams(tmp_path: Path) -> None:
    stdout, stderr = io.BytesIO(), io.BytesIO()
    writer = make_writer(CONSOLE, environment(tmp_path, stdout=stdout, stderr=stderr))

    async def do() -> None:
        assert await writer.open(None) is None
        ports: dict[str, list[Output]] = {port: [(port, {}, "1-0")] for port in ("in", "stdout", "stderr", "err")}
        written = await writer.write(ports)
        assert (written.state, written.commands) == (None, ())
        await writer.close()

    asyncio.run(do())
    assert (stdout.getvalue(), stderr.getvalue()) == (b"in\nstdout\n", b"stderr\nerr\n")
    assert not stdout.closed


def test_lines_come_as_they_are_complete_and_the_last_at_the_end(
    tmp_path: Path, pipe: tuple[BinaryIO, BinaryIO]
) -> None:
    stdin, keyboard = pipe

    async def do() -> None:
        reader = make_reader(CONSOLE, environment(tmp_path, stdin=stdin))
        await reader.open(None)
        keyboard.write(b"one\ntw")
        assert await values(reader) == ["one"]
        keyboard.write(b"o\nthree")
        assert await values(reader) == ["two"]
        keyboard.close()
        assert await values(reader) == ["three"]
        assert await reader.read() is None
        await reader.close()

    asyncio.run(do())
    assert not stdin.closed


def test_cancelled_read_of_a_silent_terminal_ends_at_once_and_loses_nothing(
    tmp_path: Path, pipe: tuple[BinaryIO, BinaryIO]
) -> None:
    stdin, keyboard = pipe

    async def do() -> None:
        reader = make_reader(CONSOLE, environment(tmp_path, stdin=stdin))
        reading = asyncio.create_task(reader.read())
        for _ in range(3):
            await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        keyboard.write(b"later\n")
        assert await values(reader) == ["later"]

    asyncio.run(do())


def test_without_preprocessors_lines_are_read(tmp_path: Path) -> None:
    bare = instance("stdio", codec="json")
    reader = make_reader(bare, environment(tmp_path, stdin=io.BytesIO(b"1\n[2]\n3")))

    async def do() -> list[Value]:
        return [*await values(reader), *await values(reader), *await values(reader)]

    assert asyncio.run(do()) == [1, [2], 3]


@pytest.mark.parametrize("data", [b"", b"one\ntwo\n"])
def test_standard_input_may_be_a_file(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "in").write_bytes(data)
    with (tmp_path / "in").open("rb") as stdin:
        reader = make_reader(CONSOLE, environment(tmp_path, stdin=stdin))
        assert asyncio.run(values(reader)) == data.decode().split()


def test_standard_input_may_be_the_null_device(tmp_path: Path) -> None:
    with Path("/dev/null").open("rb") as stdin:
        assert asyncio.run(make_reader(CONSOLE, environment(tmp_path, stdin=stdin)).read()) is None


def test_standard_output_may_be_a_file_or_the_null_device(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as stdout, Path("/dev/null").open("wb") as stderr:
        writer = make_writer(CONSOLE, environment(tmp_path, stdout=stdout, stderr=stderr))
        stdout.write(b"before\n")
        asyncio.run(_write(writer.write({"in": [("a", {}, "1-0")], "err": [("b", {}, "1-0")]})))
    assert (tmp_path / "out").read_bytes() == b"before\na\n"


async def _write(writing: object) -> None:
    await writing  # type: ignore[misc]


def test_slow_reader_of_standard_output_does_not_hold_up_the_loop(
    tmp_path: Path, pipe: tuple[BinaryIO, BinaryIO]
) -> None:
    terminal, stdout = pipe
    size = 1_000_000

    async def do() -> bytes:
        writer = make_writer(CONSOLE, environment(tmp_path, stdout=stdout))
        writing = asyncio.create_task(writer.write({"in": [("x" * size, {}, "1-0")]}))
        taken = b""
        while len(taken) <= size:
            await asyncio.sleep(0)  # the loop still turns although the pipe is full
            taken += os.read(terminal.fileno(), 65536) if writing_has_filled(terminal) else b""
        await writing
        return taken

    assert asyncio.run(do()) == b"x" * size + b"\n"


def writing_has_filled(terminal: BinaryIO) -> bool:
    import select

    return bool(select.select([terminal], [], [], 0)[0])


def test_closed_standard_output_is_refused(tmp_path: Path, pipe: tuple[BinaryIO, BinaryIO]) -> None:
    terminal, stdout = pipe
    terminal.close()
    writer = make_writer(CONSOLE, environment(tmp_path, stdout=stdout))
    with pytest.raises(OperatorError, match="standard output"):
        asyncio.run(_write(writer.write({"in": [("a", {}, "1-0")]})))


# --- many who use one descriptor -----------------------------------------------------------------------------


async def to_pipe(end: BinaryIO, start: BinaryIO, writers: int, size: int) -> bytes:
    """What arrives when so many write lines of ``size`` bytes at the same time."""

    async def write(number: int) -> None:
        for _ in range(5):
            await write_all(end.fileno(), b"%d" % number * size + b"\n")

    async def read() -> bytes:
        found = b""
        while found.count(b"\n") < 5 * writers:
            found += await read_some(start.fileno(), 1 << 16)
        return found

    async with asyncio.timeout(10):
        found, *_ = await asyncio.gather(read(), *(write(number) for number in range(writers)))
    return found


@pytest.mark.parametrize("size", [3, 3 * select.PIPE_BUF], ids=["short", "longer than a pipe takes at once"])
def test_stages_that_write_to_one_pipe_all_go_on_and_cut_no_line_in_two(
    size: int, pipe: tuple[BinaryIO, BinaryIO]
) -> None:
    start, end = pipe
    lines = asyncio.run(to_pipe(end, start, 3, size)).split(b"\n")[:-1]
    assert sorted(lines) == sorted(b"%d" % number * size for number in range(3) for _ in range(5))


def test_sources_that_read_one_pipe_all_go_on(pipe: tuple[BinaryIO, BinaryIO]) -> None:
    start, end = pipe

    async def read_all() -> bytes:
        found = b""
        while chunk := await read_some(start.fileno(), 1):
            found += chunk
        return found

    async def do() -> list[bytes]:
        async with asyncio.timeout(10):
            reading = [asyncio.create_task(read_all()) for _ in range(2)]
            for _ in range(10):
                await write_all(end.fileno(), b"ab")
                await asyncio.sleep(0)
            end.close()
            return await asyncio.gather(*reading)

    assert sorted(b"".join(asyncio.run(do()))) == sorted(b"ab" * 10)


def test_work_in_a_thread_has_ended_however_often_it_was_cancelled() -> None:
    has_begun, may_end = threading.Event(), threading.Event()
    ended: list[bool] = []

    def work() -> None:
        has_begun.set()
        may_end.wait(10)
        ended.append(True)

    async def do() -> bool:
        task = asyncio.create_task(in_thread(work))
        await asyncio.to_thread(has_begun.wait, 10)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0.01)
        has_waited = not task.done()
        may_end.set()
        with suppress(asyncio.CancelledError):
            await task
        return has_waited and task.cancelled()

    assert asyncio.run(do())
    assert ended == [True]
