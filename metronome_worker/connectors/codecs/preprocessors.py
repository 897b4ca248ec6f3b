"""Preprocessors: from the chunks of bytes that arrive to the documents that a codec decodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Protocol

import msgspec
from msgspec import Meta, Struct

if TYPE_CHECKING:
    from collections.abc import Callable

    from metronome_worker.plan.model import ProcessorSettings


class Preprocessor(Protocol):
    """Has state: one for each stream of bytes, fed in order."""

    @property
    def held_back(self) -> int:
        """How many of the latest bytes are in no document yet: from before them a stream can be taken up again."""
        ...

    @property
    def discarded(self) -> int:
        """How many documents were too long, and left out."""
        ...

    def feed(self, chunk: bytes) -> list[bytes]:
        """The documents that ``chunk`` completes."""
        ...

    def finish(self) -> list[bytes]:
        """What is left when nothing more will come; the preprocessor is as new after it."""
        ...


class SplitterConfig(Struct, frozen=True, forbid_unknown_fields=True):
    separator: Annotated[str, Meta(min_length=1, description="a string that is not empty")] = "\n"
    buffered: bool = True
    max_length: Annotated[int, Meta(ge=1, description="a number of bytes, at least 1")] | None = None


class Splitter:
    """``separate``: documents are what stands between separators.

    ``buffered``, what follows the last separator waits for the next chunk; otherwise the end of a chunk ends a
    document.  A document of more than ``max_length`` bytes is left out and counted; without it there is no limit.
    """

    def __init__(self, config: SplitterConfig) -> None:
        self._separator = config.separator.encode()
        self._is_buffered = config.buffered
        self._max_length = config.max_length
        self._rest = bytearray()
        self._skipped = 0  # bytes of a document that is known to be too long, while its end has not come
        self.discarded = 0

    @property
    def held_back(self) -> int:
        return self._skipped + len(self._rest)

    def feed(self, chunk: bytes) -> list[bytes]:
        searched = max(0, len(self._rest) - len(self._separator) + 1)  # a separator may come in two chunks
        self._rest += chunk
        documents: list[bytes] = []
        if self._rest.find(self._separator, searched) >= 0:
            *documents, rest = bytes(self._rest).split(self._separator)
            self._rest = bytearray(rest)
            if self._skipped:
                self._skipped = 0
                del documents[0]
        if not self._is_buffered:
            documents += self.finish()
        else:
            self._skip_if_too_long()
        return self._short_enough(documents)

    def finish(self) -> list[bytes]:
        documents = [bytes(self._rest)] if self._rest and not self._skipped else []
        self._rest.clear()
        self._skipped = 0
        return self._short_enough(documents)

    def _skip_if_too_long(self) -> None:
        """Bounds the memory: of a document that is too long only so much is kept as may begin a separator."""
        if self._max_length is None:
            return
        kept = len(self._separator) - 1
        if self._skipped or len(self._rest) > self._max_length + kept:
            self.discarded += not self._skipped
            surplus = max(0, len(self._rest) - kept)
            self._skipped += surplus
            del self._rest[:surplus]

    def _short_enough(self, documents: list[bytes]) -> list[bytes]:
        if self._max_length is None:
            return documents
        short = [document for document in documents if len(document) <= self._max_length]
        self.discarded += len(documents) - len(short)
        return short


class PreprocessorKind(Struct, frozen=True, kw_only=True):
    """A preprocessor by name: its settings and how it is made of them."""

    name: str
    config_type: type[Struct]
    make: Callable[[Any], Preprocessor]


PREPROCESSORS: tuple[PreprocessorKind, ...] = (
    PreprocessorKind(name="separate", config_type=SplitterConfig, make=Splitter),
)


def make_preprocessor(settings: ProcessorSettings) -> Preprocessor:
    """The preprocessor of settings that ``check_processor`` has found nothing wrong with."""
    [kind] = [kind for kind in PREPROCESSORS if kind.name == settings.name]
    return kind.make(msgspec.convert(settings.config, kind.config_type))
