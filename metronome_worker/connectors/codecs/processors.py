"""Preprocessors, from the chunks that arrive to documents, and postprocessors, from documents to what leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Protocol

import msgspec
from msgspec import Meta, Struct

from metronome_worker.connectors.codecs.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Callable

    from metronome_worker.plan.model import ProcessorSettings


class Preprocessor(Protocol):
    """Stateful: one per stream of bytes, fed in order."""

    @property
    def held_back(self) -> int:
        """How many of the bytes that came in last are in no document yet."""
        ...

    def feed(self, chunk: bytes) -> list[bytes]:
        """The documents that ``chunk`` completes."""
        ...

    def finish(self) -> list[bytes]:
        """The last documents, when nothing more will come; then it is as new."""
        ...


class Postprocessor(Protocol):
    """Stateless: what one document becomes on its way out."""

    def process(self, document: bytes) -> bytes: ...


class SplitterConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """``max_length`` in bytes is how long a document may be; None where there is no limit."""

    separator: Annotated[str, Meta(min_length=1)] = "\n"
    buffered: bool = True
    max_length: Annotated[int, Meta(ge=1)] | None = None


class SeparatorConfig(Struct, frozen=True, forbid_unknown_fields=True):
    separator: str = "\n"


class Splitter:
    """Documents are what stands between separators.

    Buffered, what follows the last separator waits for more; else the end of a chunk ends a document too.  A
    document longer than ``max_length`` is an error as soon as it is known, and is gone after that: the documents of
    the same chunk are in ``CodecError``'s place only when ``feed`` is called again with no bytes.
    """

    def __init__(self, config: SplitterConfig) -> None:
        self._separator = config.separator.encode()
        self._is_buffered = config.buffered
        self._max_length = config.max_length
        self._rest = b""
