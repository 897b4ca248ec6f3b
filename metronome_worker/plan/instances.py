"""Creations to instances: which connectors and pipelines a flow has, with all arguments as values.  Pure.

A flow that connects an instance which it defines but never creates means to create it, and a ``create`` that names
no definition and that nothing connects is left out.  Both are said as warnings (errors in strict mode): the
documentation's own example has both slips, and people paste it as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from metronome_worker.language.diagnostics import suggest
from metronome_worker.language.program import ConnectorDefinition, Creation, FlowDefinition, PipelineDefinition
from metronome_worker.language.source import Span
from metronome_worker.language.syntax import Endpoint, InstanceKind
from metronome_worker.plan.arguments import Asked, Toolbox, bind_arguments
from metronome_worker.plan.model import ConnectorInstance, Value
from metronome_worker.plan.report import Report, hint_for
from metronome_worker.plan.settings import ConnectorRequest, make_connector

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: An instance within its flow; connectors and pipelines have namespaces of their own.
InstanceKey = tuple[InstanceKind, str]


class PipelineInstance(Struct, frozen=True, kw_only=True):
    alias: str
    definition: PipelineDefinition
    args: Value
    span: Span


class Instances(Struct, frozen=True, kw_only=True):
    """What a flow has, in source order.  ``broken`` are those with reported errors; ``created`` where each stands."""

    connectors: dict[str, ConnectorInstance]
    pipelines: dict[str, PipelineInstance]
    broken: frozenset[InstanceKey]
    created: dict[InstanceKey, Span]


def name_of(key: InstanceKey) -> str:
    """``/connector/<alias>`` or ``/pipeline/<alias>``, as in a ``connect``."""
    kind, alias = key
    return f"/{kind.value}/{alias}"


def make_instances(flow: FlowDefinition, args: Value, tools: Toolbox, report: Report) -> Instances:
    """Makes every instance that the flow creates, or means to create; ``args`` are the flow's own."""
    endpoints = _endpoints(flow)
    implied = _implied_creations(flow, endpoints)
    made = _Making(args, tools, report)
    for creation in flow.creations:
        key = (creation.kind, creation.name.text)
        if key in made.created:
            message = f"{name_of(key)} is created twice"
            report.error("repeated-create", message, creation.span, label="again", hint="give one another name")
        elif creation.definition is not None:
            made.make(creation, creation.definition)
        elif key in endpoints:
            made.refuse(key, creation.span)
            _report_undefined(creation, flow, report)
        else:
            _report_left_out(creation, implied, report)
    for key, creation in implied.items():
        assert creation.definition is not None
        made.make(creation, creation.definition)
        _report_implied(creation, endpoints[key], report)
    for key, endpoint in endpoints.items():
        if key not in made.created:
            made.refuse(key, endpoint.span)
            _report_unknown(key, endpoint, flow, report)
    return made.result()


class _Making:
    def __init__(self, args: Value, tools: Toolbox, report: Report) -> None:
        self._args, self._tools, self._report = args, tools, report
        self._connectors: dict[str, ConnectorInstance] = {}
        self._pipelines: dict[str, PipelineInstance] = {}
        self._broken: set[InstanceKey] = set()
        self.created: dict[InstanceKey, Span] = {}

    def refuse(self, key: InstanceKey, span: Span) -> None:
        self.created[key] = span
        self._broken.add(key)

    def make(self, creation: Creation, definition: ConnectorDefinition | PipelineDefinition) -> None:
        kind, alias = key = (creation.kind, creation.name.text)
        self.created[key] = creation.span
        asked = Asked(
            what=f"{kind.value} `{definition.name.text}`",
            parameters=definition.parameters,
            created=creation.span,
            definition=definition.span,
        )
        args = bind_arguments(asked, creation.settings, self._args, self._tools, self._report)
        if args is None:
            self._broken.add(key)
        elif isinstance(definition, PipelineDefinition):
            made = PipelineInstance(alias=alias, definition=definition, args=args, span=creation.span)
            self._pipelines[alias] = made
        else:
            self._make_connector(creation, definition, args)

    def _make_connector(self, creation: Creation, definition: ConnectorDefinition, args: Value) -> None:
        alias = creation.name.text
        request = ConnectorRequest(
            alias=alias, definition=definition, args=args, given=creation.settings, span=creation.span
        )
        connector = make_connector(request, self._tools, self._report)
        if connector is None:
            self._broken.add((InstanceKind.CONNECTOR, alias))
        else:
            self._connectors[alias] = connector

    def result(self) -> Instances:
        return Instances(
            connectors=self._connectors,
            pipelines=self._pipelines,
            broken=frozenset(self._broken),
            created=self.created,
        )


def _endpoints(flow: FlowDefinition) -> dict[InstanceKey, Endpoint]:
    """Every instance that a ``connect`` names, with the first place that does."""
    found: dict[InstanceKey, Endpoint] = {}
    for connect in flow.connects:
        for endpoint in (connect.start, connect.end):
            found.setdefault((endpoint.kind, endpoint.name.text), endpoint)
    return found


def _definitions(flow: FlowDefinition, kind: InstanceKind) -> Mapping[str, ConnectorDefinition | PipelineDefinition]:
    return flow.connectors if kind is InstanceKind.CONNECTOR else flow.pipelines


def _implied_creations(flow: FlowDefinition, endpoints: Mapping[InstanceKey, Endpoint]) -> dict[InstanceKey, Creation]:
    """The creations that the author left out: of what is connected and defined under the same name."""
    created = {(creation.kind, creation.name.text) for creation in flow.creations}
    implied: dict[InstanceKey, Creation] = {}
    for key, endpoint in endpoints.items():
        kind, alias = key
        definition = _definitions(flow, kind).get(alias)
        if key not in created and definition is not None:
            implied[key] = Creation(
                kind=kind,
                name=endpoint.name,
                definition=definition,
                definition_name=alias,
                settings=(),
                span=endpoint.span,
            )
    return implied


def _create_statement(kind: InstanceKind, alias: str) -> str:
    return f"create {kind.value} {alias};"


def _report_implied(creation: Creation, endpoint: Endpoint, report: Report) -> None:
    alias = creation.name.text
    report.correction(
        "missing-create",
        f"{name_of((creation.kind, alias))} is defined and connected, but never created: it is created here",
        endpoint.span,
        label="never created",
        hint=f"write `{_create_statement(creation.kind, alias)}` before it",
    )


def _report_left_out(creation: Creation, implied: Iterable[InstanceKey], report: Report) -> None:
    candidates = [alias for kind, alias in implied if kind is creation.kind]
    meant = candidates[0] if len(candidates) == 1 else suggest(creation.definition_name, candidates)
    hint = f"write `{_create_statement(creation.kind, meant)}` instead" if meant else "leave it out"
    report.correction(
        "needless-create",
        f"no {creation.kind.value} definition is called `{creation.definition_name}`, and nothing connects "
        f"{name_of((creation.kind, creation.name.text))}: it is left out",
        creation.span,
        label="left out",
        hint=hint,
    )


def _report_undefined(creation: Creation, flow: FlowDefinition, report: Report) -> None:
    known = [*_definitions(flow, creation.kind)]
    known += [c.definition_name for c in flow.creations if c.kind is creation.kind and c.definition is not None]
    report.error(
        "undefined",
        f"no {creation.kind.value} definition is called `{creation.definition_name}`",
        creation.span,
        label="not defined",
        hint=hint_for(creation.definition_name, dict.fromkeys(known)),
    )


def _report_unknown(key: InstanceKey, endpoint: Endpoint, flow: FlowDefinition, report: Report) -> None:
    kind, alias = key
    known = [c.name.text for c in flow.creations if c.kind is kind and c.name.text != alias]
    known += _definitions(flow, kind)
    other = InstanceKind.PIPELINE if kind is InstanceKind.CONNECTOR else InstanceKind.CONNECTOR
    close = suggest(alias, known)
    if close is not None:
        hint = f"did you mean `{name_of((kind, close))}`?"
    elif any(created.kind is other and created.name.text == alias for created in flow.creations):
        hint = f"there is a {other.value} of that name: {name_of((other, alias))}"
    else:
        hint = hint_for(alias, [name_of((kind, one)) for one in dict.fromkeys(known)])
    message = f"there is no {kind.value} called `{alias}` in this flow"
    report.error("unknown-instance", message, endpoint.span, label="not created, not defined", hint=hint)
