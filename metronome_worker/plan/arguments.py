"""Binds ``with`` to ``args``: what a definition asks for, what its creation gives, as values.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from metronome_worker.errors import MetronomeError
from metronome_worker.language.source import Span
from metronome_worker.language.syntax import Parameter
from metronome_worker.plan.model import ConnectorKind
from metronome_worker.plan.report import hint_for

if TYPE_CHECKING:
    from metronome_worker.language.syntax import Expression, Setting
    from metronome_worker.plan.model import ProcessorSettings, SettingProblem, Value
    from metronome_worker.plan.report import Report


class Evaluate(Protocol):
    def __call__(self, expression: Expression, *, args: Value) -> Value:
        """The value of a constant expression; raises a ``MetronomeError`` with ``message`` and ``span``."""
        ...


class ProcessorsCheck(Protocol):
    def __call__(self, kind: Any, settings: ProcessorSettings, /) -> tuple[SettingProblem, ...]:
        """What is wrong with a ``"codec"``, ``"preprocessor"`` or ``"postprocessor"`` (paths are below its config)."""
        ...


class Toolbox(Struct, frozen=True, kw_only=True):
    """What the plan is told by packages that it must not import."""

    kinds: Mapping[str, ConnectorKind]
    check_processor: ProcessorsCheck
    evaluate: Evaluate


class Asked(Struct, frozen=True, kw_only=True):
    """Who asks for arguments: ``what`` for people (``connector `file```), where it is defined and created."""

    what: str
    parameters: tuple[Parameter, ...]
    created: Span
    definition: Span


def evaluate_or_report(expression: Expression, args: Value, tools: Toolbox, report: Report) -> tuple[bool, Value]:
    """``(True, value)``, or ``(False, None)`` after the reason was reported."""
    try:
        return True, tools.evaluate(expression, args=args)
    except MetronomeError as error:
        span = getattr(error, "span", None) or expression.span
        report.error("evaluation", str(getattr(error, "message", error)), span, label="needed before the flow starts")
        return False, None


def bind_arguments(
    asked: Asked, settings: tuple[Setting, ...], outer: Value, tools: Toolbox, report: Report
) -> dict[str, Value] | None:
    """The record ``args`` of one instance, or None after at least one problem was reported.

    ``settings`` see the ``args`` of their surroundings (``outer``), defaults see the parameters before them.
    """
    given = _evaluate_given(asked, settings, outer, tools, report)
    is_complete = len(given) == len(settings)
    bound: dict[str, Value] = {}
    written = {setting.name.text for setting in settings}
    for parameter in asked.parameters:
        name = parameter.name.text
        if name in given:
            bound[name] = given[name]
        elif name in written:
            continue  # its value could not be evaluated, which is reported
        elif parameter.default is not None:
            is_evaluated, bound[name] = evaluate_or_report(parameter.default, bound, tools, report)
            is_complete &= is_evaluated
        else:
            _report_missing(asked, name, report)
            is_complete = False
    return bound if is_complete else None


def _evaluate_given(
    asked: Asked, settings: tuple[Setting, ...], outer: Value, tools: Toolbox, report: Report
) -> dict[str, Value]:
    known = [parameter.name.text for parameter in asked.parameters]
    given: dict[str, Value] = {}
    seen: set[str] = set()
    for setting in settings:
        name = setting.name.text
        if name not in known:
            message = f"{asked.what} has no argument `{name}`"
            hint = hint_for(name, known) or "it takes no arguments"
            report.error("unknown-argument", message, setting.name.span, label="no such argument", hint=hint)
            continue
        if name in seen:
            report.error("repeated-argument", f"`{name}` is given twice", setting.name.span, label="given before")
            continue
        seen.add(name)
        is_evaluated, value = evaluate_or_report(setting.value, outer, tools, report)
        if is_evaluated:
            given[name] = value
    return given


def _report_missing(asked: Asked, name: str, report: Report) -> None:
    takes = ", ".join(p.name.text + ("" if p.default is None else " (optional)") for p in asked.parameters)
    report.error(
        "missing-argument",
        f"{asked.what} needs the argument `{name}`",
        asked.created,
        label=f"`{name}` is not given",
        hint=f"add `with {name} = … end`; it is defined in {asked.definition.source} with args: {takes}",
    )
