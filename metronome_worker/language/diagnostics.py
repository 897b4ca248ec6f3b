"""Diagnostics: what is wrong in a program, where, and what to do.  Pure; rendering included."""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

from metronome_worker.language.source import Span


class Severity(Enum):
    ERROR = "error"
    WARNING = "warning"


class Diagnostic(Struct, frozen=True, kw_only=True):
    """``code`` is stable and kebab-case; ``label`` stands behind the caret; ``span`` is None only where no text exists."""

    severity: Severity
    code: str
    message: str
    span: Span | None
    label: str = ""
    hint: str = ""
