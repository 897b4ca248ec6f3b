"""What goes wrong while an expression is computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from metronome_worker.errors import MetronomeError

if TYPE_CHECKING:
    from metronome_worker.language.source import Span


class EvalError(MetronomeError):
    """The flow's author must act: an expression has no value for this event (or, at plan time, none at all).

    Operators and functions raise it with a ``message`` only; the ``span`` of the failing expression is added once,
    where the compiled code is called (see ``failures``).
    """

    exit_status: ClassVar[int] = 1

    def __init__(self, message: str, span: Span | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.span = span
