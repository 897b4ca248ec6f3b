"""A plan as plain data, for people and for tests.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from metronome_worker.plan.model import ConnectorInstance, FlowPlan, ProcessorSettings, Stage, Target


def plan_as_dict(plan: FlowPlan) -> dict[str, Any]:
    """What JSON can hold: the connectors with their settings, and for each stage its nodes and where they lead.

    A place that takes events is written as in a ``connect``: ``/connector/file/in``.
    """
    return {
        "flow": plan.flow,
        "connectors": {alias: _connector(made) for alias, made in plan.connectors.items()},
        "stages": {stage.name: _stage(stage) for stage in plan.stages},
    }


def _connector(made: ConnectorInstance) -> dict[str, Any]:
    return {
        "kind": made.kind,
        "config": msgspec.to_builtins(made.config),
        "codec": None if made.codec is None else _processor(made.codec),
        "preprocessors": [_processor(one) for one in made.preprocessors],
        "postprocessors": [_processor(one) for one in made.postprocessors],
    }


def _processor(settings: ProcessorSettings) -> Any:
    return {"name": settings.name, "config": settings.config} if settings.config else settings.name


def _stage(stage: Stage) -> dict[str, Any]:
    return {
        "sources": list(stage.sources),
        "sinks": list(stage.sinks),
        "shared": stage.is_shared,
        "reasons": list(stage.reasons),
        "nodes": {
            **{
                source.name: {port: _places(targets) for port, targets in source.outlets.items()}
                for source in stage.graph.sources
            },
            **{
                select.name: {"out": _places(select.targets), "err": _places(select.errors)}
                for select in stage.graph.selects
            },
        },
    }


def _places(targets: Iterable[Target]) -> list[str]:
    return [f"{target.node}/{target.port}" if target.port != "in" else target.node for target in targets]


def run_by(stage: Stage) -> tuple[str, tuple[str, ...]]:
    """Who runs a stage, and why, as sentences begin."""
    if stage.is_shared:
        return "every worker takes some of its events", ("nothing in it keeps a state or an order",)
    return "one worker at a time, in order", tuple(f"it {reason}" for reason in stage.reasons)


def _title(stage: Stage, line_break: str) -> str:
    how, reasons = run_by(stage)
    return line_break.join((f"stage {stage.name}: {how}", *(f"because {reason}" for reason in reasons)))


def plan_as_mermaid(plan: FlowPlan) -> str:
    """A Mermaid flowchart: a box for each stage, an arrow for each way that events take."""
    ids, lines = _Ids(), ["graph LR"]
    for stage in plan.stages:
        lines.append(f'  subgraph {ids.of("stage " + stage.name)}["{_title(stage, "<br>")}"]')
        lines += [f'    {ids.of(node)}["{node}"]' for node in _nodes(stage)]
        lines.append("  end")
        for start, port, end in _arrows(stage):
            label = f"|{port}|" if port != "out" else ""
            lines.append(f"  {ids.of(start)} -->{label} {ids.of(end)}")
    return "\n".join(lines)


def plan_as_dot(plan: FlowPlan) -> str:
    """The same for Graphviz."""
    lines = [f'digraph "{plan.flow}" {{', "  rankdir=LR;", "  node [shape=box];"]
    for number, stage in enumerate(plan.stages):
        lines.append(f"  subgraph cluster_{number} {{")
        title = _title(stage, r"\n")
        lines.append(f'    label="{title}";')
        lines += [f'    "{node}";' for node in _nodes(stage)]
        lines.append("  }")
        for start, port, end in _arrows(stage):
            label = f' [label="{port}"]' if port != "out" else ""
            lines.append(f'  "{start}" -> "{end}"{label};')
    return "\n".join([*lines, "}"])


class _Ids:
    """Short names for what Mermaid cannot take as a name."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def of(self, node: str) -> str:
        return self._known.setdefault(node, f"n{len(self._known)}")


def _nodes(stage: Stage) -> list[str]:
    graph = stage.graph
    return [*(n.name for n in graph.sources), *(n.name for n in graph.selects), *(n.name for n in graph.sinks)]


def _arrows(stage: Stage) -> list[tuple[str, str, str]]:
    """Start, port, end of every way that events take in a stage."""
    found = [
        (source.name, port, target.node)
        for source in stage.graph.sources
        for port, targets in source.outlets.items()
        for target in targets
    ]
    for select in stage.graph.selects:
        found += [(select.name, "out", target.node) for target in select.targets]
        found += [(select.name, "err", target.node) for target in select.errors]
    return found
