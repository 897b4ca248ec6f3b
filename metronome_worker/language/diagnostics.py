"""Diagnostics: what is wrong in a program, where, and what to do.  Pure; rendering included."""

from __future__ import annotations

import difflib
import unicodedata
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from metronome_worker.language.source import Span, position_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Severity(Enum):
    ERROR = "error"
    WARNING = "warning"


class Diagnostic(Struct, frozen=True, kw_only=True):
    """``code`` is stable, in kebab-case; ``label`` stands behind the caret; ``span`` is None where no text exists."""

    severity: Severity
    code: str
    message: str
    span: Span | None
    label: str = ""
    hint: str = ""


class Diagnostics:
    """Collects diagnostics while a program is looked at; each is kept once."""

    def __init__(self) -> None:
        self._collected: dict[Diagnostic, None] = {}

    def error(self, code: str, message: str, span: Span | None, *, label: str = "", hint: str = "") -> None:
        self._add(Severity.ERROR, code, message, span, label, hint)

    def warning(self, code: str, message: str, span: Span | None, *, label: str = "", hint: str = "") -> None:
        self._add(Severity.WARNING, code, message, span, label, hint)

    def extend(self, found: Iterable[Diagnostic]) -> None:
        self._collected.update(dict.fromkeys(found))

    def _add(self, severity: Severity, code: str, message: str, span: Span | None, label: str, hint: str) -> None:
        found = Diagnostic(severity=severity, code=code, message=message, span=span, label=label, hint=hint)
        self._collected[found] = None

    @property
    def has_errors(self) -> bool:
        return any(diagnostic.severity is Severity.ERROR for diagnostic in self._collected)

    def in_order(self) -> list[Diagnostic]:
        """All of them, file by file in the order they were first met, each file from top to bottom."""
        files: dict[str, int] = {}
        for diagnostic in self._collected:
            files.setdefault(diagnostic.span.source if diagnostic.span else "", len(files))
        return sorted(
            self._collected,
            key=lambda d: (files[d.span.source], d.span.start) if d.span else (files[""], -1),
        )


def suggest(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate that ``name`` was most likely meant to be, or None when none is near."""
    known = {candidate.casefold(): candidate for candidate in sorted(candidates, reverse=True) if candidate != name}
    # Short names differ much by one letter: of three letters, two must agree.
    cutoff = 0.7 if len(name) > 3 else 0.5
    near = difflib.get_close_matches(name.casefold(), known, n=1, cutoff=cutoff)
    return known[near[0]] if near else None


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """A hint with the nearest name, or empty."""
    near = suggest(name, candidates)
    return f"did you mean `{near}`?" if near else ""


def to_record(diagnostic: Diagnostic, sources: Mapping[str, str]) -> dict[str, str | int | None]:
    """For JSON: lines and columns count from 1, in characters; the end is behind the last one."""
    place: dict[str, str | int | None] = dict.fromkeys(("file", "line", "column", "end_line", "end_column"))
    span = diagnostic.span
    if span is not None:
        start, end = (position_of(sources.get(span.source, ""), offset) for offset in (span.start, span.end))
        place = {
            "file": span.source, "line": start.line, "column": start.column,
            "end_line": end.line, "end_column": end.column,
        }  # fmt: skip
    return place | {
        "severity": diagnostic.severity.value,
        "code": diagnostic.code,
        "message": diagnostic.message,
        "label": diagnostic.label or None,
        "hint": diagnostic.hint or None,
    }


# --- for people ----------------------------------------------------------------------------------------------

_WIDTH: Final = 110
"""So much of a source line is shown at most, around the place; terminals break longer ones and move the caret."""

_COLOURS: Final[Mapping[Any, str]] = {
    Severity.ERROR: "\x1b[1;31m", Severity.WARNING: "\x1b[1;33m", "frame": "\x1b[1;34m", "bold": "\x1b[1m",
}  # fmt: skip


def render(diagnostic: Diagnostic, sources: Mapping[str, str], colour: bool = False) -> str:
    """The diagnostic as text of several lines: message, place, the source line with a caret, hint."""

    def paint(text: str, style: Any) -> str:
        return f"{_COLOURS[style]}{text}\x1b[0m" if colour else text

    severity = diagnostic.severity
    lines = [paint(f"{severity.value}[{diagnostic.code}]", severity) + paint(f": {diagnostic.message}", "bold")]
    margin = 0
    span = diagnostic.span
    if span is not None and span.source in sources:
        text = sources[span.source]
        place = position_of(text, span.start)
        number = str(place.line)
        margin = len(number)
        shown, before, width = _excerpt(text, span)
        marks = " " * before + paint("^" * width + (f" {diagnostic.label}" if diagnostic.label else ""), severity)
        bar = paint("|", "frame")
        lines += [
            f"{' ' * margin}{paint('-->', 'frame')} {span.source}:{place.line}:{place.column}",
            f"{' ' * margin} {bar}",
            f"{paint(number, 'frame')} {bar} {shown}".rstrip(),
            f"{' ' * margin} {bar} {marks}",
        ]
    if diagnostic.hint:
        first, *rest = diagnostic.hint.splitlines()
        lines.append(f"{' ' * margin} {paint('=', 'frame')} hint: {first}")
        lines += [f"{' ' * margin}         {line}".rstrip() for line in rest]
    return "\n".join(lines)


def _excerpt(text: str, span: Span) -> tuple[str, int, int]:
    """The part of the line around ``span`` that is shown, and the place and width of the caret in columns."""
    line_start = text.rfind("\n", 0, span.start) + 1
    line_end = text.find("\n", span.start)
    line = text[line_start : line_end if line_end >= 0 else len(text)].rstrip("\r")
    start = min(span.start - line_start, len(line))
    end = min(span.end - line_start, len(line))
    first = max(0, min(start - _WIDTH // 3, len(line) - _WIDTH)) if len(line) > _WIDTH else 0
    last = min(len(line), first + _WIDTH)
    lead, trail = "…" if first else "", "…" if last < len(line) else ""
    before = _columns(lead + line[first:start])
    width = max(1, _columns(line[start : min(end, last)]))
    return lead + _printable(line[first:last]) + trail, before, width


def _printable(text: str) -> str:
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if character == "\t":
        return "    "
    # Control characters and bidirectional marks would move the caret, or worse.
    return "\ufffd" if unicodedata.category(character) in ("Cc", "Cf", "Cs") else character


def _columns(text: str) -> int:
    return sum(map(_column_width, _printable(text)))


def _column_width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
