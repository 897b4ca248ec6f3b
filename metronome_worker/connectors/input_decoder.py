"""From bytes as they are read to events as they are published: preprocessors, then the codec.

Bytes that are no event of the codec are left out: one damaged line must not stop a source.  Each is logged with its
reason and its beginning, and counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import structlog

from metronome_worker.connectors.codecs import CodecError, make_codec, make_preprocessor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from metronome_worker.plan.model import ProcessorSettings

#: The value as JSON, and its metadata as JSON or None.
Event = tuple[bytes, bytes | None]

_SHOWN_BYTES = 80

_log = structlog.get_logger(__name__)


class InputDecoder:
    """Has state: one for each stream of bytes, fed in order."""

    def __init__(self, node: str, codec: ProcessorSettings, preprocessors: Sequence[ProcessorSettings]) -> None:
        self._node = node
        self._codec = make_codec(codec)
        self._preprocessors = [make_preprocessor(settings) for settings in preprocessors]
        self._held_back = 0
        self._damaged = 0

    @property
    def held_back(self) -> int:
        """How many of the latest bytes must be read again to go on from here.

        Only what the first preprocessor holds back can be told exactly.  While one behind it holds something, all
        bytes since the last place where none did are read again, and their events given out again.
        """
        return self._held_back

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that ``chunk`` completes; without preprocessors it is one event."""
        documents = [chunk]
        for preprocessor in self._preprocessors:
            documents = [made for document in documents for made in preprocessor.feed(document)]
        if any(preprocessor.held_back for preprocessor in self._preprocessors[1:]):
            self._held_back += len(chunk)
        else:
            self._held_back = sum(preprocessor.held_back for preprocessor in self._preprocessors[:1])
        return self._decode(documents)

    def finish(self) -> list[Event]:
        """The events in what was held back, when nothing more will come."""
        documents: list[bytes] = []
        for preprocessor in self._preprocessors:
            fed = [made for document in documents for made in preprocessor.feed(document)]
            documents = fed + preprocessor.finish()
        self._held_back = 0
        return self._decode(documents)

    @property
    def discarded(self) -> int:
        """How many documents were left out: too long, or no event of the codec."""
        return self._damaged + sum(preprocessor.discarded for preprocessor in self._preprocessors)

    def _decode(self, documents: Sequence[bytes]) -> list[Event]:
        events: list[Event] = []
        for document in documents:
            try:
                events.append((msgspec.json.encode(self._codec.decode(document)), None))
            except CodecError as error:
                self._damaged += 1
                beginning = document[:_SHOWN_BYTES].decode(errors="backslashreplace")
                _log.warning("event_damaged", connector=self._node, reason=str(error), data=beginning)
        return events
