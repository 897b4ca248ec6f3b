"""A file holds each line exactly once, whenever the process dies between a write and its commit."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import resource
import signal
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from metronome_worker.connectors.interface import NodeState, SinkWriter, Written
from metronome_worker.connectors.registry import make_writer
from metronome_worker.errors import OperatorError
from tests.unit.connectors.files import path, run, state, writer_of
from tests.unit.connectors.instances import environment, instance, outputs

__all__ = ["path"]


# --- beginning -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "opened", "holds"),
    [
        ("write", 0, b"1\n2\n"),
        ("truncate", 0, b"1\n2\n"),
        ("append", 8, b"old\nold\n1\n2\n"),
        ("overwrite", 0, b"1\n2\nold\n"),
    ],
)
def test_mode_decides_what_becomes_of_what_is_there(path: Path, mode: str, opened: int, holds: bytes) -> None:
    path.write_bytes(b"old\nold\n")
    assert run(path, mode, None, [1], [2]) == (state(path, opened), [state(path, opened + 2), state(path, opened + 4)])
    assert path.read_bytes() == holds


@pytest.mark.parametrize("mode", ["write", "truncate", "append", "overwrite"])
def test_missing_file_is_created(path: Path, mode: str) -> None:
    assert run(path, mode, None, [1])[0] == state(path, 0)
    assert path.read_bytes() == b"1\n"


def test_relative_path_refers_to_the_base_directory(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    made = instance("file", {"path": "sub/../a.log", "mode": "append"}, codec="json")
    opened = asyncio.run(_open_and_close(make_writer(made, environment(tmp_path))))
    assert opened == state(tmp_path / "a.log", 0)


async def _open_and_close(writer: SinkWriter) -> NodeState | None:
    try:
        return await writer.open(None)
    finally:
        await writer.close()


def test_nothing_stands_between_events_without_a_postprocessor(tmp_path: Path) -> None:
    made = instance("file", {"path": "a", "mode": "truncate"}, codec="json")

    async def do() -> None:
        writer = make_writer(made, environment(tmp_path))
        await writer.open(None)
        await writer.write(outputs("a", {"b": 1}))
        await writer.close()

    asyncio.run(do())
    assert (tmp_path / "a").read_bytes() == b'"a"{"b":1}'


def test_empty_batch_changes_nothing(path: Path) -> None:
    assert run(path, "append", None, [])[1] == [None]


# --- dying between a write and its commit --------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["truncate", "append", "overwrite"])
def test_what_was_written_but_not_committed_is_written_once_in_the_end(path: Path, mode: str) -> None:
    path.write_bytes(b"old\n")
    opened, [first, _] = run(path, mode, None, [1], [2, 3])
    assert opened is not None and first is not None
    reopened, _ = run(path, mode, first, [2, 3], [4])
    assert reopened is None  # nothing new to commit
    assert path.read_bytes() == (b"old\n" if mode == "append" else b"") + b"1\n2\n3\n4\n"


@pytest.mark.parametrize("mode", ["truncate", "append"])
def test_smaller_batches_after_a_crash_give_the_same_bytes(path: Path, mode: str) -> None:
    opened, _ = run(path, mode, None, [1, 2, 3])
    run(path, mode, opened, [1])
    assert path.read_bytes() == b"1\n"
    run(path, mode, state(path, 2), [2], [3])
    assert path.read_bytes() == b"1\n2\n3\n"


def test_overwrite_never_cuts_the_file(path: Path) -> None:
    path.write_bytes(b"0123456789")
    _, [first] = run(path, "overwrite", None, [1])
    run(path, "overwrite", first)
    assert path.read_bytes() == b"1\n23456789"


def test_death_in_the_middle_of_a_line_leaves_no_half_line(path: Path) -> None:
    _, [committed] = run(path, "append", None, [1])
    with path.open("ab") as file:
        file.write(b"22")  # a torn write
    run(path, "append", committed, [222])
    assert path.read_bytes() == b"1\n222\n"


def test_random_deaths_leave_every_line_once(path: Path) -> None:
    """Every run writes one batch more than it commits, in batches of random size; committed is what counts."""
    dice = random.Random(7)
    committed: NodeState | None = None
    done = 0
    while done < 500:
        at, sizes = done, [dice.randint(1, 9) for _ in range(dice.randint(1, 5))]
        batches = []
        for size in sizes:
            batches.append(list(range(at, at + size)))
            at += size
        opened, states = run(path, "append", committed, *batches)
        kept = dice.randint(0, len(sizes))  # so many of the commits got through
        committed = states[kept - 1] if kept else (opened or committed)
        done += sum(sizes[:kept])
    run(path, "append", committed)
    assert [int(line) for line in path.read_bytes().split()] == list(range(done))


def test_state_of_another_path_does_not_cut_this_file(path: Path) -> None:
    path.write_bytes(b"old\n")
    assert run(path, "append", state(path.with_name("other"), 1))[0] == state(path, 4)
    assert path.read_bytes() == b"old\n"


# --- somebody else at the file -------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["truncate", "append", "overwrite"])
def test_file_that_became_shorter_goes_on_at_its_real_end(path: Path, mode: str) -> None:
    path.write_bytes(b"1\n")
    with capture_logs() as logs:
        opened, _ = run(path, mode, state(path, 1000), [2])
    assert opened == state(path, 2)
    assert path.read_bytes() == b"1\n2\n"
    assert [(log["event"], log["expected"], log["found"]) for log in logs] == [("file_is_shorter", 1000, 2)]


def test_file_that_was_removed_between_two_runs_starts_again(path: Path) -> None:
    with capture_logs():
        run(path, "append", state(path, 1000), [2])
    assert path.read_bytes() == b"2\n"


def test_file_that_is_cut_while_open_gets_no_hole_of_zeros(path: Path) -> None:
    path.write_bytes(b"old old old\n")
    with capture_logs() as logs:
        run(path, "append", None, [1], after=lambda: path.write_bytes(b""))
    assert path.read_bytes() == b"1\n"
    assert [log["event"] for log in logs] == ["file_is_shorter"]


def test_file_that_is_removed_while_open_is_created_anew(path: Path) -> None:
    with capture_logs() as logs:
        run(path, "append", None, [1], [2], after=path.unlink)
    assert path.read_bytes() == b"1\n2\n"
    assert logs[0]["event"] == "file_was_removed"


# --- what the environment refuses ----------------------------------------------------------------------------


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Stands for a full disk: no file may grow beyond ``size`` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def content(path: Path) -> bytes:
    return path.read_bytes()


async def fails(awaitable: Awaitable[object]) -> OperatorError:
    with pytest.raises(OperatorError) as raised:
        await awaitable
    return raised.value


def test_partial_write_is_cut_back_and_can_be_tried_again(path: Path) -> None:
    async def do() -> None:
        writer = writer_of(path, "truncate")
        await writer.open(None)
        first = await writer.write(outputs(1))
        with file_size_limit(8):
            error = await fails(writer.write(outputs("a long line that does not fit")))
        assert (error.value, error.reason) == (str(path), os.strerror(errno.EFBIG))
        assert error.advice
        assert content(path) == b"1\n"
        again = await writer.write(outputs(2))
        await writer.close()
        assert (first.state, again.state) == (state(path, 2), state(path, 4))

    asyncio.run(do())
    assert path.read_bytes() == b"1\n2\n"


def test_failed_write_does_not_cut_what_a_later_owner_added(path: Path) -> None:
    async def do() -> None:
        stale, heir = writer_of(path, "truncate"), writer_of(path, "truncate")
        opened = await stale.open(None)
        await heir.open(opened)
        await heir.write(outputs("much more than the other one would have written"))
        before = content(path)
        with file_size_limit(0):
            await fails(stale.write(outputs(1)))
        assert content(path) == before
        await stale.close()
        await heir.close()

    asyncio.run(do())


def test_file_that_cannot_be_closed_is_told_and_kills_nobody(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def close(descriptor: int) -> None:
        really_close(descriptor)
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    async def do() -> None:
        writer = writer_of(path, "append")
        await writer.open(None)
        await writer.write(outputs(1))
        monkeypatch.setattr("os.close", close)
        await writer.close()
        monkeypatch.undo()
        await writer.close()

    really_close = os.close
    with capture_logs() as logged:
        asyncio.run(do())
    assert [entry["event"] for entry in logged] == ["file_not_closed"]
    assert logged[0]["reason"] == os.strerror(errno.EDQUOT)


@pytest.mark.parametrize(
    ("name", "reason"), [("missing/out.log", errno.ENOENT), ("folder", errno.EISDIR), ("file/out.log", errno.ENOTDIR)]
)
def test_path_that_cannot_be_opened_is_refused_with_path_and_reason(tmp_path: Path, name: str, reason: int) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    error = asyncio.run(fails(writer_of(tmp_path / name, "append").open(None)))
    assert (error.value, error.reason) == (str(tmp_path / name), os.strerror(reason))
    assert error.exit_status == 3


def test_full_device_is_refused() -> None:
    async def do() -> None:
        writer = writer_of("/dev/full", "truncate")
        assert await writer.open(None) is None
        error = await fails(writer.write(outputs(1)))
        assert (error.value, error.reason) == ("/dev/full", os.strerror(errno.ENOSPC))
        await writer.close()

    asyncio.run(do())


# --- what is no regular file ---------------------------------------------------------------------------------


def test_device_has_no_state() -> None:
    assert run(Path("/dev/null"), "append", None, [1, 2, 3]) == (None, [None])


def test_fifo_takes_more_than_it_holds_while_somebody_reads(path: Path) -> None:
    os.mkfifo(path)
    size = 300_000

    async def do() -> bytes:
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        writer = writer_of(path, "truncate")
        assert await writer.open(None) is None

        async def read() -> bytes:
            taken = b""
            while len(taken) < size + 3:
                with_more = await asyncio.to_thread(_read_when_ready, reader)
                taken += with_more
            return taken

        reading = asyncio.create_task(read())
        assert (await writer.write(outputs("x" * size))).state is None
        taken = await reading
        await writer.close()
        os.close(reader)
        return taken

    assert asyncio.run(do()) == b'"' + b"x" * size + b'"\n'


def _read_when_ready(descriptor: int) -> bytes:
    import select

    select.select([descriptor], [], [])
    return os.read(descriptor, 65536)


def test_fifo_that_nobody_reads_is_refused_and_not_waited_for(path: Path) -> None:
    os.mkfifo(path)
    error = asyncio.run(fails(writer_of(path, "append").open(None)))
    assert error.value == str(path)


def test_value_without_bytes_is_left_out_and_reported(path: Path) -> None:
    async def do() -> Written:
        writer = writer_of(path, "truncate")
        await writer.open(None)
        written = await writer.write(outputs("a", "half \ud800", "b"))
        await writer.close()
        return written

    written = asyncio.run(do())
    assert path.read_bytes() == b'"a"\n"b"\n'
    assert [(event.entry_id, event.value) for event in written.dead] == [("2-0", "half \ud800")]
