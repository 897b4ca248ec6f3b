"""From outputs of a stage to the bytes that leave: the codec, then postprocessors.

A value that the codec has no bytes for is left out with a log line, and never stops the others of its batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from metronome_worker.connectors.codecs import CodecError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from metronome_worker.connectors.codecs import OutputEncoder
    from metronome_worker.runtime.effects import Output

_log = structlog.get_logger(__name__)


def encode_outputs(node: str, encoder: OutputEncoder, outputs: Sequence[Output]) -> bytes:
    """The bytes of a batch, in order."""
    try:
        return encoder.encode_batch([value for value, _, _ in outputs])
    except CodecError:
        return b"".join(_encode_one(node, encoder, output) for output in outputs)


def _encode_one(node: str, encoder: OutputEncoder, output: Output) -> bytes:
    value, _, entry_id = output
    try:
        return encoder.encode_batch([value])
    except CodecError as error:
        _log.error("event_not_encoded", connector=node, entry=entry_id, reason=str(error))
        return b""
