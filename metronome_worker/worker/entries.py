"""What a read of event streams brought, as batches for a compiled stage.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from metronome_worker.runtime.effects import DeadLetter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from metronome_worker.runtime.effects import Entry

_decode = msgspec.json.Decoder().decode

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


def _batch(source: str, raw: Sequence[tuple[bytes, list[bytes] | None]]) -> SourceBatch:
    entries: list[Entry] = []
    dead: list[DeadLetter] = []
    for entry_id, fields in raw:
        try:
            # Our own entries hold `data`, `ingest_ns` and, at the end, `meta` where there is any.
            if fields[0] != b"data":  # type: ignore[index]
                raise ValueError("its first field is not `data`")
            meta = {} if len(fields) < 6 else _meta(fields)  # type: ignore[arg-type]
            entries.append((entry_id.decode(), _decode(fields[1]), meta))  # type: ignore[index]
        except (ValueError, TypeError, IndexError, msgspec.DecodeError) as error:
            dead.append(_damaged(source, entry_id.decode(), fields, error))
    return SourceBatch(source=source, entries=entries, dead=dead, read=len(raw), last=raw[-1][0].decode())


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
