"""Links and selects to one graph of nodes: pipelines inlined, streams and ports gone, dead nodes pruned.  Pure.

A select's name for a place, *vertex* below, is a pipeline's stream or port; it exists only here.  Since every way
through a pipeline passes a select, what a vertex leads to is always found in one step.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from msgspec import Struct

from metronome_worker.language.syntax import InstanceKind, Select, StreamPort
from metronome_worker.plan.instances import InstanceKey, Instances, PipelineInstance, name_of
from metronome_worker.plan.model import SelectNode, SinkNode, SourceNode, StageGraph, Target
from metronome_worker.plan.report import Report, hint_for
from metronome_worker.plan.wiring import Link, find_cycle

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ERROR_PORT = "err"


class FlowGraph(Struct, frozen=True, kw_only=True):
    """All live nodes of a flow, and the instance that each select came from."""

    nodes: StageGraph
    pipeline_of: dict[str, InstanceKey]


class _PlacedSelect(Struct, frozen=True, kw_only=True):
    """A select of one instance, with the vertices (streams or ports) that it reads and feeds."""

    name: str
    select: Select
    source: str
    into: str


def build_graph(instances: Instances, links: Sequence[Link], report: Report) -> FlowGraph | None:
    """The live graph, or None after a fault inside of a pipeline was reported."""
    placed = {alias: _place_selects(pipeline, report) for alias, pipeline in instances.pipelines.items()}
    if report.has_errors:
        return None
    wires = _Wires(instances, links, placed)
    return _prune(wires.all_nodes(), wires.pipeline_of)


def _place_selects(pipeline: PipelineInstance, report: Report) -> tuple[_PlacedSelect, ...]:
    definition = pipeline.definition
    streams = [stream.name.text for stream in definition.streams]
    placed = []
    for number, select in enumerate(definition.selects, start=1):
        source = _vertex(select.source, (*definition.from_ports, *streams), definition.from_ports, report)
        into = _vertex(select.into, (*definition.into_ports, *streams), definition.into_ports, report)
        name = f"/pipeline/{pipeline.alias}/select-{number}"
        if source is not None and into is not None:
            placed.append(_PlacedSelect(name=name, select=select, source=source, into=into))
    _check_streams(pipeline, streams, placed, report)
    return tuple(placed)


def _vertex(written: StreamPort, known: Sequence[str], ports: Sequence[str], report: Report) -> str | None:
    """``out`` is the stream or port of that name; ``out/a`` is the pipeline's port ``a``."""
    stream = written.stream.text
    if stream not in known:
        message = f"there is no stream or port called `{stream}` here"
        report.error("unknown-stream", message, written.stream.span, hint=hint_for(stream, known))
        return None
    if written.port is None or written.port.text in ("in", "out"):
        return stream
    port = written.port.text
    if stream in ports and port in ports:
        return port
    message = f"`{stream}` has no port `{port}`"
    report.error("unknown-port", message, written.port.span, hint=hint_for(port, ports if stream in ports else ()))
    return None


def _check_streams(
    pipeline: PipelineInstance, streams: Sequence[str], placed: Sequence[_PlacedSelect], report: Report
) -> None:
    follows: dict[str, list[str]] = defaultdict(list)
    for one in placed:
        if one.source in streams and one.into in streams:
            follows[one.source].append(one.into)
    cycle = find_cycle(follows)
    if cycle is not None:
        closing = next(one for one in placed if (one.source, one.into) == (cycle[-2], cycle[-1]))
        report.error(
            "stream-cycle",
            f"the streams of /pipeline/{pipeline.alias} feed each other in a circle: {' → '.join(cycle)}",
            closing.select.span,
            label="closes the circle",
            hint="a feedback loop is not supported",
        )


class _Wires:
    """Follows streams, ports and links to the nodes at their ends."""

    def __init__(
        self, instances: Instances, links: Sequence[Link], placed: dict[str, tuple[_PlacedSelect, ...]]
    ) -> None:
        self._instances, self._placed = instances, placed
        self._leaving: dict[tuple[InstanceKey, str], list[Link]] = defaultdict(list)
        for link in links:
            self._leaving[link.start, link.out_port].append(link)
        self._links = links
        self._readers: dict[tuple[str, str], list[Target]] = defaultdict(list)
        self.pipeline_of: dict[str, InstanceKey] = {}
        for alias, selects in placed.items():
            for one in selects:
                self._readers[alias, one.source].append(Target(node=one.name))
                self.pipeline_of[one.name] = (InstanceKind.PIPELINE, alias)

    def all_nodes(self) -> StageGraph:
        return StageGraph(sources=tuple(self._sources()), selects=tuple(self._selects()), sinks=tuple(self._sinks()))

    def _sources(self) -> Iterable[SourceNode]:
        for alias in self._instances.connectors:
            key = (InstanceKind.CONNECTOR, alias)
            ports = dict.fromkeys(link.out_port for link in self._links if link.start == key)
            if ports:
                yield SourceNode(name=name_of(key), outlets={port: self._behind_port(key, port) for port in ports})

    def _sinks(self) -> Iterable[SinkNode]:
        for alias in self._instances.connectors:
            if any(link.end == (InstanceKind.CONNECTOR, alias) for link in self._links):
                yield SinkNode(name=f"/connector/{alias}")

    def _selects(self) -> Iterable[SelectNode]:
        for alias, selects in self._placed.items():
            pipeline = self._instances.pipelines[alias]
            errors = self._behind_port((InstanceKind.PIPELINE, alias), ERROR_PORT)
            for one in selects:
                yield SelectNode(
                    name=one.name,
                    target=one.select.target,
                    where=one.select.where,
                    having=one.select.having,
                    args=pipeline.args,
                    targets=self._behind_vertex(pipeline, one.into),
                    errors=errors,
                    span=one.select.span,
                )

    def _behind_vertex(self, pipeline: PipelineInstance, vertex: str) -> tuple[Target, ...]:
        if vertex in pipeline.definition.into_ports:
            return self._behind_port((InstanceKind.PIPELINE, pipeline.alias), vertex)
        return tuple(self._readers[pipeline.alias, vertex])

    def _behind_port(self, key: InstanceKey, port: str) -> tuple[Target, ...]:
        """In the order of the connects; in a pipeline behind one, in the order of its selects."""
        targets: list[Target] = []
        for link in self._leaving[key, port]:
            kind, alias = link.end
            if kind is InstanceKind.CONNECTOR:
                targets.append(Target(node=name_of(link.end), port=link.in_port))
            else:
                targets += self._readers[alias, link.in_port]
        return tuple(targets)


def _prune(nodes: StageGraph, pipeline_of: dict[str, InstanceKey]) -> FlowGraph:
    """Leaves what is fed by a source and leads to a sink.  Only errors to put out are nothing to run for."""
    selects = {select.name: select for select in nodes.selects}
    fruitful = {sink.name for sink in nodes.sinks}
    while found := {
        name for name, select in selects.items() if name not in fruitful and _leads_to(fruitful, select.targets)
    }:
        fruitful |= found
    fed: set[str] = set()
    pending = [target.node for source in nodes.sources for outlet in source.outlets.values() for target in outlet]
    while pending:
        name = pending.pop()
        if name in fed or name not in fruitful:
            continue
        fed.add(name)
        if name in selects:
            pending += [target.node for target in (*selects[name].targets, *selects[name].errors)]
    live_sources = []
    for source in nodes.sources:
        outlets = {port: _only(targets, fed) for port, targets in source.outlets.items()}
        if any(outlets.values()):
            live_sources.append(SourceNode(name=source.name, outlets={p: t for p, t in outlets.items() if t}))
    live = StageGraph(
        sources=tuple(live_sources),
        selects=tuple(_pruned_select(select, fed) for select in nodes.selects if select.name in fed),
        sinks=tuple(sink for sink in nodes.sinks if sink.name in fed),
    )
    return FlowGraph(nodes=live, pipeline_of={name: key for name, key in pipeline_of.items() if name in fed})


def _leads_to(names: set[str], targets: Iterable[Target]) -> bool:
    return any(target.node in names for target in targets)


def _only(targets: Iterable[Target], names: set[str]) -> tuple[Target, ...]:
    return tuple(target for target in targets if target.node in names)


def _pruned_select(select: SelectNode, live: set[str]) -> SelectNode:
    return SelectNode(
        name=select.name,
        target=select.target,
        where=select.where,
        having=select.having,
        args=select.args,
        targets=_only(select.targets, live),
        errors=_only(select.errors, live),
        span=select.span,
    )
