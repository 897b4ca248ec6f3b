"""What a read of event streams brought, as batches for a compiled stage.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from metronome_worker.runtime.effects import DeadLetter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from metronome_worker.runtime.effects import Entry

_decode = msgspec.json.Decoder().decode

#: The metadata of an entry that has none.  One for all, as values are never changed in place.
_NO_META: dict[str, Any] = {}

#: What decoding raises for an entry that is not as we write them; RecursionError for JSON that is nested too deeply.
_DAMAGE = (ValueError, TypeError, IndexError, RecursionError, msgspec.DecodeError)

#: How many entries are decoded before they are worked on.  Few enough that they stay in the processor's cache, and are
#: gone again before Python's collector takes the young objects of a batch for old ones.
_PART = 256

#: The reply of XREAD as it comes: per stream its key and its entries, an entry being its ID and its fields.
RawReply = list[list[Any]]


class SourceBatch(Struct, frozen=True, kw_only=True):
    """The entries of one source: ``read`` counts all, the damaged ones included; ``last`` is the ID of the last."""

    source: str
    entries: Sequence[Entry]
    dead: Sequence[DeadLetter]
    read: int
    last: str


def batches_of(reply: RawReply | None, sources: Mapping[bytes, str]) -> list[SourceBatch]:
    """Decode a reply; ``sources`` maps the keys of streams to the sources' aliases."""
    return [_batch(sources[key], raw) for key, raw in reply or () if raw]


def parts_of(reply: RawReply | None) -> Iterator[RawReply]:
    """A reply in parts of at most ``_PART`` entries, in order."""
    for key, raw in reply or ():
        for start in range(0, len(raw), _PART):
            yield [[key, raw[start : start + _PART]]]


def ends_of(reply: RawReply | None, sources: Mapping[bytes, str]) -> dict[str, str]:
    """Source to the ID of the last entry that a reply brought; known before anything is decoded."""
    return {sources[key]: raw[-1][0].decode() for key, raw in reply or () if raw}


def _batch(source: str, raw: Sequence[tuple[bytes, list[bytes] | None]]) -> SourceBatch:
    """Most reads bring nothing but whole entries without `meta`: those are taken at once, all others one by one."""
    entries, dead = _all_at_once(raw), list[DeadLetter]()
    if len(entries) < len(raw):
        entries, dead = _one_by_one(source, raw)
    return SourceBatch(source=source, entries=entries, dead=dead, read=len(raw), last=raw[-1][0].decode())


def _all_at_once(raw: Sequence[tuple[bytes, Any]]) -> list[Entry]:
    """As many entries as there are, or fewer: then not all of them are whole and without `meta`."""
    try:
        return [(entry_id.decode(), _decode(data), _NO_META) for entry_id, (name, data, _, _) in raw if name == b"data"]
    except _DAMAGE:
        return []


def _one_by_one(source: str, raw: Sequence[tuple[bytes, list[bytes] | None]]) -> tuple[list[Entry], list[DeadLetter]]:
    entries: list[Entry] = []
    dead: list[DeadLetter] = []
    for entry_id, fields in raw:
        try:
            # Our own entries hold `data`, `ingest_ns` and, at the end, `meta` where there is any.
            if fields[0] != b"data":  # type: ignore[index]
                raise ValueError("its first field is not `data`")
            meta = _NO_META if len(fields) < 6 else _meta(fields)  # type: ignore[arg-type]
            entries.append((entry_id.decode(), _decode(fields[1]), meta))  # type: ignore[index]
        except _DAMAGE as error:
            dead.append(_damaged(source, entry_id.decode(), fields, error))
    return entries, dead


def _meta(fields: list[bytes]) -> dict[str, Any]:
    if fields[4] != b"meta":
        raise ValueError("its third field is not `meta`")
    meta = _decode(fields[5])
    if not isinstance(meta, dict):
        raise ValueError("its `meta` is no record")
    return meta


def _damaged(source: str, entry_id: str, fields: list[bytes] | None, error: Exception) -> DeadLetter:
    shown = [field.decode(errors="backslashreplace") for field in fields or ()]
    return DeadLetter(
        stream=f"/connector/{source}",
        entry_id=entry_id,
        node=f"/connector/{source}",
        error=f"the entry is damaged or not ours: {error}",
        event=shown,
    )
