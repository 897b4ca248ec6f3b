"""What a read brought: our entries, and whatever else somebody wrote into the stream."""

from __future__ import annotations

from metronome_worker.worker.entries import batches_of

SOURCES = {b"metronome:{main}:events:tick": "tick"}


def batch_of(*entries: tuple[bytes, list[bytes] | None]):  # type: ignore[no-untyped-def]
    [batch] = batches_of([[b"metronome:{main}:events:tick", list(entries)]], SOURCES)
    return batch


def test_an_entry_becomes_its_value_and_metadata() -> None:
    batch = batch_of(
        (b"5-0", [b"data", b'{"id":0}', b"ingest_ns", b"5"]),
        (b"6-0", [b"data", b'"x"', b"ingest_ns", b"6", b"meta", b'{"metronome":{"epoch":1}}']),
    )
    assert batch.entries == [("5-0", {"id": 0}, {}), ("6-0", "x", {"metronome": {"epoch": 1}})]
    assert (batch.source, batch.read, batch.last, batch.dead) == ("tick", 2, "6-0", [])


def test_nothing_read_is_no_batch() -> None:
    assert batches_of(None, SOURCES) == []
    assert batches_of([], SOURCES) == []


def test_a_damaged_or_foreign_entry_becomes_a_dead_letter_and_the_rest_goes_on() -> None:
    batch = batch_of(
        (b"1-0", [b"data", b"{oops", b"ingest_ns", b"1"]),
        (b"2-0", [b"hello", b"world"]),
        (b"3-0", [b"data"]),
        (b"4-0", None),
        (b"5-0", [b"data", b"\xff\xfe", b"ingest_ns", b"1"]),
        (b"6-0", [b"data", b"1", b"ingest_ns", b"1", b"meta", b"[]"]),
        (b"7-0", [b"data", b"1", b"ingest_ns", b"1", b"other", b"{}"]),
        (b"8-0", [b"data", b"1", b"ingest_ns", b"1"]),
    )
    assert [entry_id for entry_id, _, _ in batch.entries] == ["8-0"]
    assert [letter.entry_id for letter in batch.dead] == ["1-0", "2-0", "3-0", "4-0", "5-0", "6-0", "7-0"]
    assert all("damaged or not ours" in letter.error for letter in batch.dead)
    assert (batch.read, batch.last) == (8, "8-0")
