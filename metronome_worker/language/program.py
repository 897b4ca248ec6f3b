"""The checked program: what the resolver makes of the syntax trees of a deployment and its modules.  Pure data.

All names are resolved: creations and deployments hold their definitions, calls hold full function names
(``std::string::uppercase``), so that nothing behind this needs scopes or modules.
"""

from __future__ import annotations

from msgspec import Struct

from metronome_worker.language.source import Span
from metronome_worker.language.syntax import (
    Connect,
    CreateStream,
    InstanceKind,
    Name,
    Parameter,
    Select,
    Setting,
)


class ConnectorDefinition(Struct, frozen=True, kw_only=True):
    name: Name
    kind: Name
    parameters: tuple[Parameter, ...]
    settings: tuple[Setting, ...]
    span: Span


class PipelineDefinition(Struct, frozen=True, kw_only=True):
    name: Name
    from_ports: tuple[str, ...]
    into_ports: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    streams: tuple[CreateStream, ...]
    selects: tuple[Select, ...]
    span: Span


class Creation(Struct, frozen=True, kw_only=True):
    """An instance to be made.  ``definition`` is None where no definition matches: the plan decides what that means."""

    kind: InstanceKind
    name: Name
    definition: ConnectorDefinition | PipelineDefinition | None
    definition_name: str
    settings: tuple[Setting, ...]
    span: Span


class FlowDefinition(Struct, frozen=True, kw_only=True):
    """``connectors`` and ``pipelines`` are the definitions made in the flow itself, by name."""

    name: Name
    parameters: tuple[Parameter, ...]
    connectors: dict[str, ConnectorDefinition]
    pipelines: dict[str, PipelineDefinition]
    creations: tuple[Creation, ...]
    connects: tuple[Connect, ...]
    span: Span


class Deployment(Struct, frozen=True, kw_only=True):
    name: Name
    flow: FlowDefinition
    settings: tuple[Setting, ...]
    span: Span


class Program(Struct, frozen=True, kw_only=True):
    """``sources`` maps the name of every file used (as in spans) to its text, library modules included."""

    deployments: tuple[Deployment, ...]
    sources: dict[str, str]
    settings: tuple[Setting, ...] = ()
