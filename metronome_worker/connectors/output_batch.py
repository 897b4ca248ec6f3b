"""From outputs of a stage to the bytes that leave: the codec, then postprocessors.

A value that the codec has no bytes for is left out and becomes a dead letter; it never stops the others of its batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from metronome_worker.connectors.codecs import CodecError
from metronome_worker.connectors.interface import Undeliverable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from metronome_worker.connectors.codecs import OutputEncoder
    from metronome_worker.runtime.effects import Output


def encode_outputs(encoder: OutputEncoder, outputs: Sequence[Output]) -> tuple[bytes, tuple[Undeliverable, ...]]:
    """The bytes of a batch, in order, and the events that there are no bytes for."""
    try:
        return encoder.encode_batch([value for value, _, _ in outputs]), ()
    except CodecError:
        return _encode_each(encoder, outputs)


def _encode_each(encoder: OutputEncoder, outputs: Sequence[Output]) -> tuple[bytes, tuple[Undeliverable, ...]]:
    parts: list[bytes] = []
    dead: list[Undeliverable] = []
    for value, meta, entry_id in outputs:
        try:
            parts.append(encoder.encode_batch([value]))
        except CodecError as error:
            dead.append(Undeliverable(entry_id=entry_id, value=value, meta=meta, error=str(error)))
    return b"".join(parts), tuple(dead)
