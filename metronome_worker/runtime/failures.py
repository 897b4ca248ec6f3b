"""From an exception in generated code to the error of the flow: which select, which expression, what was wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from metronome_worker.language.source import Span, position_of
from metronome_worker.runtime.errors import EvalError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType, TracebackType

    from metronome_worker.runtime.fragments import Site

#: All that generated code raises when an event has no value for an expression; ``located`` tells these from bugs.
FAILURES = (EvalError, KeyError, TypeError, OverflowError, RecursionError)


class Unit(Struct, frozen=True, kw_only=True):
    """One generated function: the ``node`` (or expression) it was made for and its sites by line number."""

    node: str
    span: Span
    sites: tuple[Site | None, ...]


class Failure(Struct, frozen=True, kw_only=True):
    node: str
    message: str
    span: Span

    def __str__(self) -> str:
        return self.message

    def with_position(self, sources: Mapping[str, str]) -> str:
        """``file:line:column: message``; without the columns where the text of the file is not at hand."""
        source = sources.get(self.span.source)
        if source is None:
            return f"{self.span.source}: {self.message}"
        position = position_of(source, self.span.start)
        return f"{self.span.source}:{position.line}:{position.column}: {self.message}"


def locate(raised: BaseException, units: Mapping[str, Unit], namespace: Mapping[str, Any]) -> Failure:
    """The failure behind ``raised``, which is raised again when no expression of the flow explains it (a bug).

    ``units`` are the functions that were generated with ``namespace`` as their globals, by name.
    """
    frame, line, is_innermost = _generated_frame(raised.__traceback__, namespace)
    unit = None if frame is None else units.get(frame.f_code.co_name)
    if frame is None or unit is None:
        raise raised
    site = unit.sites[line] if line < len(unit.sites) else None
    span = site.span if site is not None else unit.span
    match raised:
        case EvalError():
            return Failure(node=unit.node, message=raised.message, span=raised.span or span)
        case KeyError() | TypeError() if is_innermost and site is not None and site.trail:
            return Failure(node=unit.node, message=_explain(site, frame), span=span)
        case OverflowError():
            return Failure(node=unit.node, message="a number is beyond 64 bits", span=span)
        case RecursionError():
            return Failure(node=unit.node, message="a value is nested too deeply", span=span)
    raise raised


def _generated_frame(
    traceback: TracebackType | None, namespace: Mapping[str, Any]
) -> tuple[FrameType | None, int, bool]:
    """The innermost frame of generated code, its line, and whether it raised the exception itself."""
    found: TracebackType | None = None
    last: TracebackType | None = None
    while traceback is not None:
        if traceback.tb_frame.f_globals is namespace:
            found = traceback
        last, traceback = traceback, traceback.tb_next
    if found is None:
        return None, 0, False
    return found.tb_frame, found.tb_lineno, found is last


def _explain(site: Site, frame: FrameType) -> str:
    """Walks the trail again, in vain at its last key; values never change, so it fails as it did before."""
    variable, *keys = site.trail
    container: Any = frame.f_locals[variable]
    for key in keys[:-1]:
        container = container[key]
    assert site.explain is not None
    try:
        site.explain(container, keys[-1], site.label)
    except EvalError as error:
        return error.message
    raise AssertionError(f"{site.label} has {keys[-1]} after all")
