"""What a read brought: our entries, and whatever else somebody wrote into the stream."""

from __future__ import annotations

from metronome_worker.worker.entries import batches_of, killer

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
    assert (batch.source, batch.stage_input, batch.read, batch.dead) == ("/connector/tick", "tick", 2, [])


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
    assert not any(letter.is_event for letter in batch.dead)
    assert batch.read == 8


def test_what_was_put_back_is_an_event_of_its_source() -> None:
    fields = [b"data", b"1", b"ingest_ns", b"1", b"meta", b'{"metronome":{"epoch":1}}', b"of", b"5-0 at /pipeline/a"]
    [batch] = batches_of([[b"r", [(b"7-0", fields)]]], {b"r": "replay:tick"})
    assert (batch.source, batch.dead) == ("/connector/tick", [])
    assert batch.entries == [("7-0", 1, {"metronome": {"epoch": 1}})]


def test_letter_of_an_entry_that_kills_holds_it_unread() -> None:
    fields = [b"data", b'{"a": 1}', b"ingest_ns", b"1", b"meta", b'{"b":2}']
    letter = killer("replay:tick", b"7-0", fields, 5)
    assert (letter.stream, letter.node, letter.entry_id) == ("/connector/tick", "/connector/tick", "7-0")
    assert (bytes(letter.event), bytes(letter.meta), letter.deaths) == (b'{"a": 1}', b'{"b":2}', 5)
    assert letter.error == "5 workers in a row died or hung while they worked on it"
