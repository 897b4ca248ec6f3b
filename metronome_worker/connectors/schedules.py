"""Which sources are ticked: the ticker publishes for them by a schedule; all others read from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from metronome_worker.broker.flows import Layout, ScheduleLayout
from metronome_worker.connectors.metronome import MetronomeConfig

if TYPE_CHECKING:
    from metronome_worker.plan.model import ConnectorInstance, FlowPlan


def is_ticked(connector: ConnectorInstance) -> bool:
    """Whether the events of this source come from the ticker."""
    return isinstance(connector.config, MetronomeConfig)


def ticked_sources(plan: FlowPlan) -> tuple[ConnectorInstance, ...]:
    """The sources that the ticker publishes for, in source order."""
    return tuple(connector for connector in _sources(plan) if is_ticked(connector))


def read_sources(plan: FlowPlan) -> tuple[ConnectorInstance, ...]:
    """The sources that read from outside, in source order."""
    return tuple(connector for connector in _sources(plan) if not is_ticked(connector))


def _sources(plan: FlowPlan) -> list[ConnectorInstance]:
    aliases = {alias for stage in plan.stages for alias in stage.sources}
    return [connector for alias, connector in plan.connectors.items() if alias in aliases]


def layout_of(plan: FlowPlan) -> Layout:
    """What a run of this plan needs in Redis."""
    return Layout(
        schedules=tuple(
            ScheduleLayout(
                connector=connector.alias,
                kind=connector.kind,
                settings=msgspec.json.encode(connector.config, order="sorted").decode(),
                interval=connector.config.interval,
            )
            for connector in ticked_sources(plan)
        ),
        stages={stage.name: stage.inputs for stage in plan.stages},
        shared=tuple(stage.name for stage in plan.stages if stage.is_shared),
        readers=tuple(connector.alias for connector in read_sources(plan)),
        nodes={
            stage.name: (*(sink.name for sink in stage.graph.sinks), *(node.name for node in stage.graph.selects))
            for stage in plan.stages
        },
    )
