"""Selects and stages from a few words of the language, for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from metronome_worker.language.parser import parse_module
from metronome_worker.language.syntax import DefineFlow, DefinePipeline, Expression, Select
from metronome_worker.library.functions import FUNCTIONS
from metronome_worker.plan.model import SelectNode, SinkNode, SourceNode, StageGraph, Target
from metronome_worker.runtime.compiler import evaluate
from metronome_worker.runtime.effects import DeadLetter, Effects, Entry
from metronome_worker.runtime.stage import compile_stage

if TYPE_CHECKING:
    from metronome_worker.language.source import Span

FILE = "test.troy"
SOURCE = "/connector/in"
SINK = "/connector/out"
ERRORS = "/connector/errors"

_BEFORE = "define flow f flow define pipeline p pipeline "
_BEHIND = " end; end;"


def file_of(select: str) -> str:
    """The text that spans of ``parse_select`` refer to."""
    return f"{_BEFORE}{select};{_BEHIND}"


def parse_select(text: str) -> Select:
    module, diagnostics = parse_module(file_of(text), FILE)
    assert module is not None, diagnostics
    [flow] = module.statements
    assert isinstance(flow, DefineFlow)
    [pipeline] = flow.statements
    assert isinstance(pipeline, DefinePipeline)
    [select] = pipeline.statements
    assert isinstance(select, Select)
    return select


def expression(text: str) -> Expression:
    return parse_select(f"select {text} from in into out").target


def text_at(select: str, span: Span) -> str:
    return file_of(select)[span.start : span.end]


def constant(text: str, args: Any = None) -> Any:
    return evaluate(expression(text), args=args, functions=FUNCTIONS)


def node(
    text: str,
    name: str = "/pipeline/p/select-1",
    *,
    to: tuple[str, ...] = (SINK,),
    errors: tuple[str, ...] = (),
    args: Any = None,
) -> SelectNode:
    """``text`` is all of ``select … [where …] [having …]`` with ``from in into out`` in its place."""
    parsed = parse_select(text)
    return SelectNode(
        name=name,
        target=parsed.target,
        where=parsed.where,
        having=parsed.having,
        args={} if args is None else args,
        targets=tuple(Target(node=target) for target in to),
        errors=tuple(Target(node=target) for target in errors),
        span=parsed.span,
    )


def graph(*selects: SelectNode, first: tuple[str, ...] | None = None) -> StageGraph:
    """From one source to the selects named ``first`` (the first one); sinks for values and for errors."""
    starts = first if first is not None else (selects[0].name,)
    return StageGraph(
        sources=(SourceNode(name=SOURCE, outlets={"out": tuple(Target(node=start) for start in starts)}),),
        selects=selects,
        sinks=(SinkNode(name=SINK), SinkNode(name=ERRORS)),
    )


def run(stage: StageGraph, *events: Any, sources: dict[str, str] | None = None) -> Effects:
    """What the stage does with the events; their IDs are ``0-0``, ``1-0``…"""
    effects = Effects()
    entries: list[Entry] = [(f"{number}-0", event, {}) for number, event in enumerate(events)]
    compile_stage(stage, FUNCTIONS, sources).run(SOURCE, entries, effects)
    return effects


def values(effects: Effects, sink: str = SINK) -> list[Any]:
    return [value for value, _, _ in effects.outputs.get(sink, {}).get("in", [])]


def project(text: str, event: Any, args: Any = None) -> Any:
    """The value of an expression for an event; fails the test when it has none."""
    effects = run(graph(node(f"select {text} from in into out", args=args)), event)
    assert effects.dead == []
    [value] = values(effects)
    return value


def failure(text: str, event: Any, args: Any = None) -> DeadLetter:
    """The dead letter of an expression that has no value for an event."""
    effects = run(graph(node(f"select {text} from in into out", args=args)), event)
    assert values(effects) == []
    [letter] = effects.dead
    return letter
