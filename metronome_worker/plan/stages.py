"""Cuts a flow's graph into stages: what must run in one place, in order.  Pure."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from metronome_worker.language.syntax import InstanceKind
from metronome_worker.plan.model import (
    ConnectorInstance,
    ConnectorKind,
    SelectNode,
    SinkNode,
    SourceNode,
    Stage,
    StageGraph,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from metronome_worker.plan.graph import FlowGraph
    from metronome_worker.plan.instances import InstanceKey


def stage_name(sources: Sequence[str]) -> str:
    """What a stage is called in Redis and for people: its sources.

    Whoever publishes a flow's ticks holds the lease ``ticker``; a stage must not be called so.
    """
    name = "+".join(sources)
    return name + "+" if name == "ticker" else name


class _Groups:
    """Union-find over instances."""

    def __init__(self) -> None:
        self._leader: dict[InstanceKey, InstanceKey] = {}

    def of(self, key: InstanceKey) -> InstanceKey:
        leader = self._leader.setdefault(key, key)
        while leader != self._leader[leader]:
            leader = self._leader[leader]
        self._leader[key] = leader
        return leader

    def join(self, one: InstanceKey, other: InstanceKey) -> None:
        self._leader[self.of(other)] = self.of(one)


def cut_stages(
    graph: FlowGraph, connectors: Mapping[str, ConnectorInstance], kinds: Mapping[str, ConnectorKind]
) -> tuple[Stage, ...]:
    """The stages in the order of their first sources.

    What is connected belongs together, with one exception: a sink that keeps no order (``exit``, ``null``) may be
    written by several stages and so joins none.
    """
    cutter = _Cutter(graph, connectors, kinds)
    cutter.join_all()
    members: dict[InstanceKey, list[SourceNode]] = defaultdict(list)
    for source in graph.nodes.sources:
        members[cutter.group_of(source.name)].append(source)
    return tuple(cutter.stage(group, sources) for group, sources in members.items())


class _Cutter:
    def __init__(
        self, graph: FlowGraph, connectors: Mapping[str, ConnectorInstance], kinds: Mapping[str, ConnectorKind]
    ) -> None:
        self._graph, self._connectors, self._kinds = graph, connectors, kinds
        self._groups = _Groups()

    def _key(self, node: str) -> InstanceKey:
        return self._graph.pipeline_of.get(node) or (InstanceKind.CONNECTOR, _alias(node))

    def _kind(self, node: str) -> ConnectorKind:
        return self._kinds[self._connectors[_alias(node)].kind]

    def group_of(self, node: str) -> InstanceKey:
        return self._groups.of(self._key(node))

    def join_all(self) -> None:
        ordered = {sink.name for sink in self._graph.nodes.sinks if self._kind(sink.name).is_ordered}
        ordered |= self._graph.pipeline_of.keys()
        nodes: tuple[SourceNode | SelectNode, ...] = (*self._graph.nodes.sources, *self._graph.nodes.selects)
        for node in nodes:
            for target in node.followers:
                if target in ordered:
                    self._groups.join(self._key(node.name), self._key(target))

    def stage(self, group: InstanceKey, sources: list[SourceNode]) -> Stage:
        selects = tuple(node for node in self._graph.nodes.selects if self.group_of(node.name) == group)
        feeders: tuple[SourceNode | SelectNode, ...] = (*sources, *selects)
        fed = {target for node in feeders for target in node.followers}
        sinks = tuple(sink for sink in self._graph.nodes.sinks if sink.name in fed)
        names = tuple(sorted(_alias(source.name) for source in sources))
        return Stage(
            name=stage_name(names),
            sources=names,
            sinks=tuple(sorted(_alias(sink.name) for sink in sinks)),
            graph=StageGraph(sources=tuple(sources), selects=selects, sinks=sinks),
            reasons=tuple(self._reasons(sources, sinks)),
        )

    def _reasons(self, sources: list[SourceNode], sinks: tuple[SinkNode, ...]) -> Iterable[str]:
        """Why one worker at a time must run the stage; nothing when any number may."""
        ordered = [(self._kind(sink.name).name, sink.name) for sink in sinks if self._kind(sink.name).is_ordered]
        for kind, name in ordered:
            yield f"writes the {kind} {name} in order"
        if ordered and len(sources) > 1:
            yield f"brings {', '.join(source.name for source in sources)} into one order"


def _alias(node: str) -> str:
    return node.removeprefix("/connector/")
