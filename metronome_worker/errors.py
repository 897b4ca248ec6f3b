"""The errors of metronome-worker, split by who must act.

Every error says what failed, where, with which value, and what to do now.  The command line turns each
into a message and a process status; none reaches a user as a traceback.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from metronome_worker.language.diagnostics import Diagnostic

#: The most of a value that a message shows.
_SHOWN: Final = 60


def shown(value: bytes | str | None) -> str:
    """A value that was found somewhere, as a message may show it: on one line, and not all of a long one."""
    if value is None:
        return "missing"
    text = value.decode(errors="backslashreplace") if isinstance(value, bytes) else value
    return ascii(text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "...")


class MetronomeError(Exception):
    """Root of all errors that this package raises on purpose."""

    exit_status: ClassVar[int] = 70


class FlowError(MetronomeError):
    """The flow's author must act: the flow has errors.

    ``diagnostics`` holds all of them, ``sources`` maps source names to their text for rendering.
    """

    exit_status: ClassVar[int] = 1

    def __init__(self, diagnostics: Sequence[Diagnostic], sources: Mapping[str, str]) -> None:
        super().__init__("; ".join(d.message for d in diagnostics))
        self.diagnostics = tuple(diagnostics)
        self.sources = dict(sources)


class UsageError(MetronomeError):
    """Whoever typed the command must act: the command line is wrong."""

    exit_status: ClassVar[int] = 2


class OperatorError(MetronomeError):
    """The operator must act: the environment (Redis, files, disk, permissions) refuses.

    ``what`` failed, on which ``value``, for which ``reason``, and the ``advice``: what to do now.
    """

    exit_status: ClassVar[int] = 3

    def __init__(self, what: str, *, value: str = "", reason: str = "", advice: str = "") -> None:
        self.what, self.value, self.reason, self.advice = what, value, reason, advice
        message = what
        if value:
            message += f" {value}"
        if reason:
            message += f": {reason}"
        if advice:
            message += f"\n  {advice}"
        super().__init__(message)


class BrokerUnavailable(MetronomeError):
    """Nobody must act, it is tried again: Redis did not answer, so what was asked may or may not have happened."""

    exit_status: ClassVar[int] = 3


class SupersededError(MetronomeError):
    """Nobody must act: the run or revision that this process worked for is over; the session begins again."""


class FencedError(MetronomeError):
    """Nobody must act: this process is no longer the holder of the lease it wrote under, and somebody else is."""
