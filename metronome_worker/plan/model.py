"""The plan: what a flow becomes before anything runs.  Pure data; the same source gives the same plan in every process.

A flow is cut into *stages*.  Inside a stage nothing crosses Redis: a ``StageGraph`` is a graph of source, select
and sink nodes, with pipelines inlined, dead nodes pruned and all arguments resolved to values.
"""

from __future__ import annotations

from typing import Any, Protocol

from msgspec import Struct

from metronome_worker.language.source import Span
from metronome_worker.language.syntax import Expression

#: A value of the language: null, bool, integer within 64 bits, float, string, list, record.  Never changed in place.
Value = Any


class Target(Struct, frozen=True, kw_only=True):
    """The input ``port`` of the node called ``node``."""

    node: str
    port: str = "in"


class SourceNode(Struct, frozen=True, kw_only=True):
    """Where events of a connector's stream enter.  ``name`` is ``/connector/<alias>``."""

    name: str
    outlets: dict[str, tuple[Target, ...]]

    @property
    def followers(self) -> frozenset[str]:
        """The nodes that it hands events to."""
        return frozenset(target.node for targets in self.outlets.values() for target in targets)


class SelectNode(Struct, frozen=True, kw_only=True):
    """One ``select``.  ``name`` is ``/pipeline/<alias>/select-<n>``, n counting from 1 in source order.

    ``targets`` get what it selects, in source order; ``errors`` get ``{"error", "event"}`` when the select fails
    (what the pipeline's ``err`` port is connected to); where ``errors`` is empty, the event becomes a dead letter.
    """

    name: str
    target: Expression
    where: Expression | None
    having: Expression | None
    args: Value
    targets: tuple[Target, ...]
    errors: tuple[Target, ...]
    span: Span

    @property
    def followers(self) -> frozenset[str]:
        """The nodes that it hands events to."""
        return frozenset(target.node for target in (*self.targets, *self.errors))


class SinkNode(Struct, frozen=True, kw_only=True):
    """Where events leave to a connector.  ``name`` is ``/connector/<alias>``; ports are the connector's inputs."""

    name: str


class StageGraph(Struct, frozen=True, kw_only=True):
    sources: tuple[SourceNode, ...]
    selects: tuple[SelectNode, ...]
    sinks: tuple[SinkNode, ...]

    def sources_of(self, node: str) -> frozenset[str]:
        """The sources whose events may come to a node, by name."""
        nodes: tuple[SourceNode | SelectNode, ...] = (*self.sources, *self.selects)
        feeding = {node}
        while more := {one.name for one in nodes if one.name not in feeding and one.followers & feeding}:
            feeding |= more
        return frozenset(source.name for source in self.sources if source.name in feeding)


class ProcessorSettings(Struct, frozen=True, kw_only=True):
    """A codec, preprocessor or postprocessor: its name and its configuration, as written."""

    name: str
    config: dict[str, Value] = {}


class ConnectorInstance(Struct, frozen=True, kw_only=True):
    """A connector as created: ``config`` is the kind's own settings struct, already checked."""

    alias: str
    kind: str
    config: Any
    codec: ProcessorSettings | None
    preprocessors: tuple[ProcessorSettings, ...]
    postprocessors: tuple[ProcessorSettings, ...]
    span: Span

    @property
    def node(self) -> str:
        return f"/connector/{self.alias}"


class Stage(Struct, frozen=True, kw_only=True):
    """A connected set of instances: exclusive (one worker at a time, in order) or shared (all compete for its events).

    ``sources`` and ``sinks`` are aliases of connectors, sorted.  ``reasons`` says for people why it is exclusive; it is
    empty for a shared stage, in which nothing keeps a state or an order.
    """

    name: str
    sources: tuple[str, ...]
    sinks: tuple[str, ...]
    graph: StageGraph
    reasons: tuple[str, ...]

    @property
    def is_shared(self) -> bool:
        return not self.reasons

    @property
    def inputs(self) -> tuple[str, ...]:
        """The streams that the stage reads: those of its sources, and one for each of what is put back of it."""
        return (*self.sources, *(replay_of(source) for source in self.sources))


_REPLAY = "replay:"


def replay_of(source: str) -> str:
    """The input that holds the dead letters of a source's events that somebody put back; no connector has a colon."""
    return _REPLAY + source


def source_of(stage_input: str) -> str:
    """The source whose events an input holds."""
    return stage_input.removeprefix(_REPLAY)


class FlowPlan(Struct, frozen=True, kw_only=True):
    """``connectors`` holds every instance that is used, by alias, in source order."""

    flow: str
    connectors: dict[str, ConnectorInstance]
    stages: tuple[Stage, ...]


class ConnectorKind(Protocol):
    """What the plan must know of a kind of connector.  The kinds themselves live in ``connectors/``."""

    @property
    def name(self) -> str: ...

    @property
    def config_type(self) -> type[Struct]:
        """The settings, with ``forbid_unknown_fields=True``; what msgspec cannot say is said in ``check``."""
        ...

    @property
    def output_ports(self) -> tuple[str, ...]:
        """Ports that events leave by, the first is the default; empty for a pure sink."""
        ...

    @property
    def input_ports(self) -> tuple[str, ...]:
        """Ports that take events, the first is the default; empty for a pure source."""
        ...

    @property
    def is_ordered(self) -> bool:
        """Whether two stages must not write to one instance of it, as their order would be lost."""
        ...

    def needs_codec(self, config: Any) -> bool: ...

    def is_source(self, config: Any) -> bool: ...

    def is_sink(self, config: Any) -> bool: ...

    def check(self, config: Any) -> tuple[SettingProblem, ...]:
        """What is wrong, or doubtful, in a decoded ``config``.  Pure."""
        ...


class SettingProblem(Struct, frozen=True, kw_only=True):
    """``path`` names the setting below ``config``, as in ``("interval",)``.

    With ``is_unknown`` it is the name that is wrong, not its value, and people are shown the name.
    """

    path: tuple[str, ...]
    message: str
    hint: str = ""
    is_warning: bool = False
    is_unknown: bool = False
