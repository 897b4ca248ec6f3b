"""What a read of event streams brought, as batches for a compiled stage.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from metronome_worker.plan.model import source_of
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


class InputBatch(Struct, frozen=True, kw_only=True):
    """The entries of one input: ``read`` counts all, the damaged ones included."""

    stage_input: str
    entries: Sequence[Entry]
    dead: Sequence[DeadLetter]
    read: int

    @property
    def source(self) -> str:
        """The node whose events these are."""
        return f"/connector/{source_of(self.stage_input)}"


def batches_of(reply: RawReply | None, inputs: Mapping[bytes, str]) -> list[InputBatch]:
    """Decode a reply; ``inputs`` maps the keys of streams to their inputs."""
    return [_batch(inputs[key], raw) for key, raw in reply or () if raw]


def parts_of(reply: RawReply | None) -> Iterator[RawReply]:
    """A reply in parts of at most ``_PART`` entries, in order."""
    for key, raw in reply or ():
        for start in range(0, len(raw), _PART):
            yield [[key, raw[start : start + _PART]]]


def ends_of(reply: RawReply | None, inputs: Mapping[bytes, str]) -> dict[str, str]:
    """Input to the ID of the last entry that a reply brought; known before anything is decoded."""
    return {inputs[key]: raw[-1][0].decode() for key, raw in reply or () if raw}


def _batch(stage_input: str, raw: Sequence[tuple[bytes, list[bytes] | None]]) -> InputBatch:
    """Most reads bring nothing but whole entries without `meta`: those are taken at once, all others one by one."""
    entries, dead = _all_at_once(raw), list[DeadLetter]()
    if len(entries) < len(raw):
        entries, dead = _one_by_one(stage_input, raw)
    return InputBatch(stage_input=stage_input, entries=entries, dead=dead, read=len(raw))


def _all_at_once(raw: Sequence[tuple[bytes, Any]]) -> list[Entry]:
    """As many entries as there are, or fewer: then not all of them are whole and without `meta`."""
    try:
        return [(entry_id.decode(), _decode(data), _NO_META) for entry_id, (name, data, _, _) in raw if name == b"data"]
    except _DAMAGE:
        return []


def _one_by_one(
    stage_input: str, raw: Sequence[tuple[bytes, list[bytes] | None]]
) -> tuple[list[Entry], list[DeadLetter]]:
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
            dead.append(_damaged(stage_input, entry_id, fields, error))
    return entries, dead


def _meta(fields: list[bytes]) -> dict[str, Any]:
    if fields[4] != b"meta":
        raise ValueError("its third field is not `meta`")
    meta = _decode(fields[5])
    if not isinstance(meta, dict):
        raise ValueError("its `meta` is no record")
    return meta


def _damaged(stage_input: str, entry_id: bytes, fields: Sequence[bytes] | None, error: Exception) -> DeadLetter:
    node = f"/connector/{source_of(stage_input)}"
    shown = [field.decode(errors="backslashreplace") for field in fields or ()]
    message = f"the entry is damaged or not ours: {error}"
    return DeadLetter(stream=node, entry_id=entry_id.decode(), node=node, error=message, event=shown, is_event=False)


def killer(stage_input: str, entry_id: bytes, fields: Sequence[bytes] | None, deaths: int) -> DeadLetter:
    """The dead letter of an entry that is put aside as it kills whoever works on it; what it holds is not read."""
    node = f"/connector/{source_of(stage_input)}"
    named = dict(zip(fields[::2], fields[1::2], strict=False)) if fields else {}
    return DeadLetter(
        stream=node,
        entry_id=entry_id.decode(),
        node=node,
        error=f"{deaths} workers in a row died or hung while they worked on it",
        event=msgspec.Raw(named.get(b"data", b"null")),
        meta=msgspec.Raw(named[b"meta"]) if b"meta" in named else None,
        deaths=deaths,
    )
