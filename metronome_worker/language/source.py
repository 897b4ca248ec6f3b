"""Where a piece of the program stands: spans in named source texts.  Pure."""

from __future__ import annotations

from msgspec import Struct


class Span(Struct, frozen=True):
    """The characters ``start`` (inclusive) to ``end`` (exclusive) of the source called ``source``."""

    source: str
    start: int
    end: int

    def overlaps(self, other: Span) -> bool:
        """Whether some character is in both; a span is also in itself when it is empty."""
        return self.source == other.source and self.start <= other.end and other.start <= self.end

    def to(self, other: Span) -> Span:
        """From the start of this one to the end of ``other``, in the same source."""
        return Span(self.source, self.start, other.end)


class Position(Struct, frozen=True):
    """A place for people: ``line`` and ``column`` count from 1, in characters."""

    line: int
    column: int


def position_of(text: str, offset: int) -> Position:
    """The line and column of the character at ``offset`` in ``text``."""
    before = text.rfind("\n", 0, offset)
    return Position(text.count("\n", 0, offset) + 1, offset - before)
