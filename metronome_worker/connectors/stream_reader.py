"""Reads events from a stream that cannot be read twice: standard input, a FIFO."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from metronome_worker.connectors.descriptors import read_some
from metronome_worker.connectors.interface import NodeState, SourceBatch, SourceReader

if TYPE_CHECKING:
    from metronome_worker.connectors.input_decoder import InputDecoder

CHUNK_BYTES = 64 * 1024


class StreamReader(SourceReader):
    """Gives out events as soon as they are complete; reads a file descriptor, or a stream in memory.

    Cursor: ``{"offset": bytes}``, for people only: a stream goes on where it is, whoever reads it.
    """

    is_repeatable = False

    def __init__(self, stream: int | BinaryIO, decoder: InputDecoder) -> None:
        self._stream, self._decoder = stream, decoder
        self._offset = 0
        self._is_at_end = False

    async def open(self, cursor: NodeState | None) -> None:
        pass

    async def read(self) -> SourceBatch | None:
        """The next events; cancelled, none is lost: what was read is given out by the next ``read``."""
        while not self._is_at_end:
            chunk = await self._read_chunk()
            self._offset += len(chunk)
            self._is_at_end = not chunk
            events = self._decoder.feed(chunk) if chunk else self._decoder.finish()
            if events:
                return SourceBatch(events=tuple(events), cursor={"offset": self._offset - self._decoder.held_back})
        return None

    async def close(self) -> None:
        """The stream itself stays open: it belongs to whoever opened it."""

    async def _read_chunk(self) -> bytes:
        if isinstance(self._stream, int):
            return await read_some(self._stream, CHUNK_BYTES)
        return self._stream.read(CHUNK_BYTES)
