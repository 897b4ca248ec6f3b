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
