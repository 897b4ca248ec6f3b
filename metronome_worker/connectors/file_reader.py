"""Reads events from a file, from where the last committed batch ended to the end of the file, and no further.

What is no regular file (a FIFO, ``/dev/stdin``) is read as a stream: what was read before a crash is gone there.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from metronome_worker.connectors.descriptors import in_thread
from metronome_worker.connectors.interface import NodeState, SourceBatch, SourceReader, count_in
from metronome_worker.connectors.stream_reader import StreamReader
from metronome_worker.errors import OperatorError

if TYPE_CHECKING:
    from pathlib import Path

    from metronome_worker.connectors.input_decoder import Event, InputDecoder

#: A batch ends when it has this many events or came from this many bytes; its last chunk is always taken whole.
BATCH_EVENTS = 1_000
BATCH_BYTES = 256 * 1024

_CLOSED = -1

_log = structlog.get_logger(__name__)


class FileReader(SourceReader):
    """Cursor: ``{"path": absolute path, "offset": bytes}``, behind the last event that was given out.

    A last line without a newline counts when the end is reached.  With preprocessors that hold back more than a part
    of a line the offset stays at the last place where nothing was held back.
    """

    def __init__(self, node: str, path: Path, chunk_size: int, decoder: InputDecoder) -> None:
        self._node, self._path, self._chunk_size, self._decoder = node, path, chunk_size, decoder
        self._descriptor = _CLOSED
        self._stream: StreamReader | None = None
        self._offset = 0
        self._is_at_end = False
        self.is_repeatable = True

    async def open(self, cursor: NodeState | None) -> None:
        await in_thread(lambda: self._open(cursor))

    async def read(self) -> SourceBatch | None:
        """The next batch; None at the end of the file.  Cancelled, the reader must be opened anew to go on."""
        if self._stream is not None:
            return await self._stream.read()
        while not self._is_at_end:
            events = await in_thread(self._read_batch)
            if events:
                cursor = {"path": str(self._path), "offset": self._offset - self._decoder.held_back}
                return SourceBatch(events=tuple(events), cursor=cursor)
        return None

    async def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, _CLOSED
        if descriptor != _CLOSED:
            with suppress(OSError):  # what was read is read
                os.close(descriptor)

    def _open(self, cursor: NodeState | None) -> None:
        try:
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            found = os.fstat(self._descriptor)
            if stat.S_ISDIR(found.st_mode):
                raise IsADirectoryError(0, "it is a folder")
        except OSError as error:
            raise self._refusal(error) from error
        if not stat.S_ISREG(found.st_mode):
            self._stream, self.is_repeatable = StreamReader(self._descriptor, self._decoder), False
        elif cursor is not None and cursor.get("path") == str(self._path):
            self._offset = count_in(self._node, cursor, "offset")
            if self._offset > found.st_size:
                _log.warning(
                    "file_is_shorter",
                    connector=self._node,
                    path=str(self._path),
                    expected=self._offset,
                    found=found.st_size,
                )
                self._offset = found.st_size

    def _read_batch(self) -> list[Event]:
        events: list[Event] = []
        start = self._offset
        while len(events) < BATCH_EVENTS and self._offset - start < BATCH_BYTES:
            try:
                chunk = os.pread(self._descriptor, self._chunk_size, self._offset)
            except OSError as error:
                raise self._refusal(error) from error
            if not chunk:
                self._is_at_end = True
                events += self._decoder.finish()
                break
            self._offset += len(chunk)
            events += self._decoder.feed(chunk)
        return events

    def _refusal(self, error: OSError) -> OperatorError:
        return OperatorError(
            f"{self._node} cannot read the file",
            value=str(self._path),
            reason=error.strerror or str(error),
            advice="check that it exists and may be read",
        )
