"""Collects what is wrong with a flow while its plan is built.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metronome_worker.language.diagnostics import Diagnostics, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable

    from metronome_worker.language.source import Span


def hint_for(name: str, known: Iterable[str]) -> str:
    """A hint for an unknown name: the nearest known one, or else all that there are."""
    choices = list(known)
    near = did_you_mean(name, choices)
    return near or (f"known: {', '.join(f'`{choice}`' for choice in choices)}" if choices else "")


class Report(Diagnostics):
    """The diagnostics of one flow; in strict mode what would be put right for its author is an error."""

    def __init__(self, *, is_strict: bool) -> None:
        super().__init__()
        self._is_strict = is_strict

    def correction(self, code: str, message: str, span: Span | None, *, label: str = "", hint: str = "") -> None:
        """Something that was put right on the author's behalf: a warning, in strict mode an error."""
        report = self.error if self._is_strict else self.warning
        report(code, message, span, label=label, hint=hint)

    def include(self, other: Diagnostics) -> None:
        """Adds what ``other`` found."""
        for found in other.in_order():
            self._collected[found] = None
