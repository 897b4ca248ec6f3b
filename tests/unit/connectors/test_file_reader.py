"""Reading a file: every line once, from wherever the last committed batch ended."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from metronome_worker.connectors.interface import NodeState, SourceBatch, SourceReader
from metronome_worker.connectors.registry import make_reader
from metronome_worker.errors import OperatorError
from metronome_worker.plan.model import ProcessorSettings, Value
from tests.unit.connectors.instances import SEPARATE, environment, instance


def reader_of(
    path: Path, *, codec: str = "json", chunk_size: int = 8192, preprocessors: tuple[ProcessorSettings, ...] = SEPARATE
) -> SourceReader:
    config: dict[str, Value] = {"path": str(path), "mode": "read", "chunk_size": chunk_size}
    made = instance("file", config, codec=codec, preprocessors=preprocessors)
    return make_reader(made, environment(path.parent))


async def read_all(reader: SourceReader, cursor: NodeState | None = None) -> list[SourceBatch]:
    batches = []
    await reader.open(cursor)
    try:
        while (batch := await reader.read()) is not None:
            batches.append(batch)
        assert await reader.read() is None
    finally:
        await reader.close()
    return batches


def values(batches: list[SourceBatch]) -> list[Value]:
    assert all(meta is None for batch in batches for _, meta in batch.events)
    return [json.loads(data) for batch in batches for data, _ in batch.events]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "in.json"


@pytest.mark.parametrize("chunk_size", [1, 3, 8192])
def test_every_line_is_an_event_also_the_last_without_newline(path: Path, chunk_size: int) -> None:
    path.write_bytes(b'1\n{"a": "b\\n"}\n3')
    batches = asyncio.run(read_all(reader_of(path, chunk_size=chunk_size)))
    assert values(batches) == [1, {"a": "b\n"}, 3]
    assert batches[-1].cursor == {"path": str(path), "offset": path.stat().st_size}


def test_empty_file_ends_at_once(path: Path) -> None:
    path.touch()
    assert asyncio.run(read_all(reader_of(path))) == []


def test_large_file_comes_in_bounded_batches(path: Path) -> None:
    path.write_text("".join(f"{number}\n" for number in range(20_000)))
    batches = asyncio.run(read_all(reader_of(path)))
    assert values(batches) == list(range(20_000))
    assert all(len(batch.events) < 1_000 + 8192 for batch in batches)
    assert len(batches) > 3


@pytest.mark.parametrize("chunk_size", [1, 7, 100])
def test_reading_goes_on_behind_any_committed_batch_without_loss_or_repetition(path: Path, chunk_size: int) -> None:
    path.write_text("".join(f"{number}\n" for number in range(5_000)))
    batches = asyncio.run(read_all(reader_of(path, chunk_size=chunk_size)))
    for committed in range(len(batches)):
        rest = asyncio.run(read_all(reader_of(path), batches[committed].cursor))
        assert values(batches[: committed + 1]) + values(rest) == list(range(5_000))


def test_damaged_line_is_left_out_logged_and_counted_and_stops_nothing(path: Path) -> None:
    path.write_bytes(b'1\n{"a": \n\xff\xfe\n2\n')
    with capture_logs() as logs:
        batches = asyncio.run(read_all(reader_of(path)))
    assert values(batches) == [1, 2]
    assert [(log["event"], log["connector"], log["data"]) for log in logs] == [
        ("event_damaged", "/connector/it", '{"a": '),
        ("event_damaged", "/connector/it", "\\xff\\xfe"),
    ]


def test_file_of_nothing_but_damage_ends(path: Path) -> None:
    path.write_bytes((b"x" * 99 + b"\n") * 6_000)  # more than fits one batch
    with capture_logs() as logs:
        assert asyncio.run(read_all(reader_of(path))) == []
    assert len(logs) == 6_000


def test_string_codec_gives_the_text_of_each_line(path: Path) -> None:
    path.write_text("ein Wort\nß\n")
    assert values(asyncio.run(read_all(reader_of(path, codec="string")))) == ["ein Wort", "ß"]


def test_without_preprocessors_each_chunk_is_an_event(path: Path) -> None:
    path.write_text("abcdefg")
    batches = asyncio.run(read_all(reader_of(path, codec="string", chunk_size=3, preprocessors=())))
    assert values(batches) == ["abc", "def", "g"]


def test_chain_of_preprocessors_gives_every_document_and_never_skips_one_on_resuming(path: Path) -> None:
    chain = (*SEPARATE, ProcessorSettings(name="separate", config={"separator": ","}))
    path.write_text("1,2\n,3,4,\n5,6\n")

    def read(cursor: NodeState | None = None) -> list[SourceBatch]:
        return asyncio.run(read_all(reader_of(path, chunk_size=4, preprocessors=chain), cursor))

    batches = read()
    assert values(batches) == [1, 2, 3, 4, 5, 6]
    for batch in batches:
        assert set(values(batches)) == set(values([batch])) | set(values(batches[: batches.index(batch)])) | set(
            values(read(batch.cursor))
        )


def test_file_that_became_shorter_has_nothing_more(path: Path) -> None:
    path.write_bytes(b"1\n")
    with capture_logs() as logs:
        assert asyncio.run(read_all(reader_of(path), {"path": str(path), "offset": 100})) == []
    assert logs[0]["event"] == "file_is_shorter"


def test_cursor_of_another_path_does_not_count(path: Path) -> None:
    path.write_bytes(b"1\n2\n")
    assert values(asyncio.run(read_all(reader_of(path), {"path": "/elsewhere", "offset": 2}))) == [1, 2]


@pytest.mark.parametrize("make", [lambda path: None, Path.mkdir])
def test_what_cannot_be_read_is_refused_with_path_and_reason(path: Path, make: object) -> None:
    assert callable(make)
    make(path)
    with pytest.raises(OperatorError) as raised:
        asyncio.run(read_all(reader_of(path)))
    assert raised.value.value == str(path)
    assert raised.value.reason


def test_fifo_is_read_until_its_writer_closes_it(path: Path) -> None:
    os.mkfifo(path)

    async def do() -> list[SourceBatch]:
        reading = asyncio.create_task(read_all(reader_of(path)))
        writer = await asyncio.to_thread(os.open, path, os.O_WRONLY)  # waits for the reader
        os.write(writer, b"1\n2")
        os.close(writer)
        return await reading

    assert values(asyncio.run(do())) == [1, 2]
