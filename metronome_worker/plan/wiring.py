"""Connects to links: both ends exist, the ports are there, and nothing runs in a circle.  Pure."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from msgspec import Struct

from metronome_worker.language.source import Span
from metronome_worker.language.syntax import Connect, Endpoint, InstanceKind
from metronome_worker.plan.instances import InstanceKey, Instances, name_of
from metronome_worker.plan.report import Report, hint_for

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from metronome_worker.plan.model import ConnectorInstance, ConnectorKind


class Link(Struct, frozen=True, kw_only=True):
    """Events go from the port ``out_port`` of ``start`` to the port ``in_port`` of ``end``."""

    start: InstanceKey
    out_port: str
    end: InstanceKey
    in_port: str
    span: Span


def make_links(
    connects: Sequence[Connect], instances: Instances, kinds: Mapping[str, ConnectorKind], report: Report
) -> tuple[Link, ...]:
    """The links in source order; a faulty ``connect`` is reported and left out."""
    ports = _Ports(instances, kinds, report)
    links: dict[tuple[InstanceKey, str, InstanceKey, str], Link] = {}
    for connect in connects:
        link = _make_link(connect, ports, report)
        if link is None:
            continue
        wire = (link.start, link.out_port, link.end, link.in_port)
        if wire in links:
            hint = "leave it out; it counts once"
            report.warning("repeated-connect", "this is connected already", connect.span, label="again", hint=hint)
        links.setdefault(wire, link)
    _check_cycles(tuple(links.values()), report)
    return tuple(links.values())


def _make_link(connect: Connect, ports: _Ports, report: Report) -> Link | None:
    start, end = _key(connect.start), _key(connect.end)
    if start[0] is end[0] is InstanceKind.CONNECTOR:
        report.error(
            "connector-to-connector",
            f"{name_of(start)} cannot be connected to {name_of(end)} without a pipeline between them",
            connect.span,
            label="two connectors",
            hint="`use tremor::pipelines;`, `create pipeline passthrough from pipelines::passthrough;`, "
            f"then `connect {name_of(start)} to /pipeline/passthrough;` "
            f"and `connect /pipeline/passthrough to {name_of(end)};`",
        )
        return None
    out_port = ports.out_port(start, connect.start)
    in_port = ports.in_port(end, connect.end)
    if out_port is None or in_port is None:
        return None
    return Link(start=start, out_port=out_port, end=end, in_port=in_port, span=connect.span)


def _key(endpoint: Endpoint) -> InstanceKey:
    return endpoint.kind, endpoint.name.text


class _Ports:
    """Looks up ports; None stands for what is reported, here or where the instance was made."""

    def __init__(self, instances: Instances, kinds: Mapping[str, ConnectorKind], report: Report) -> None:
        self._instances, self._kinds, self._report = instances, kinds, report

    def out_port(self, key: InstanceKey, endpoint: Endpoint) -> str | None:
        kind, alias = key
        if key in self._instances.broken:
            return None
        if kind is InstanceKind.PIPELINE:
            return self._choose(endpoint, self._instances.pipelines[alias].definition.into_ports, "out")
        connector = self._instances.connectors[alias]
        known = self._kinds[connector.kind]
        if not known.is_source(connector.config):
            self._refuse_direction(endpoint, connector, f"no events come out of {name_of(key)}", "only takes events")
            return None
        return self._choose(endpoint, known.output_ports, known.output_ports[0])

    def in_port(self, key: InstanceKey, endpoint: Endpoint) -> str | None:
        kind, alias = key
        if key in self._instances.broken:
            return None
        if kind is InstanceKind.PIPELINE:
            return self._choose(endpoint, self._instances.pipelines[alias].definition.from_ports, "in")
        connector = self._instances.connectors[alias]
        known = self._kinds[connector.kind]
        if not known.is_sink(connector.config):
            self._refuse_direction(endpoint, connector, f"{name_of(key)} takes no events", "only emits events")
            return None
        return self._choose(endpoint, known.input_ports, known.input_ports[0])

    def _choose(self, endpoint: Endpoint, ports: tuple[str, ...], default: str) -> str | None:
        if endpoint.port is None:
            return default if default in ports else ports[0] if ports else None
        port = endpoint.port.text
        if port in ports:
            return port
        message = f"{name_of(_key(endpoint))} has no port `{port}` at this end"
        hint = hint_for(port, ports)
        self._report.error("unknown-port", message, endpoint.port.span, label="no such port", hint=hint)
        return None

    def _refuse_direction(self, endpoint: Endpoint, connector: ConnectorInstance, message: str, nature: str) -> None:
        hint = f"a `{connector.kind}` connector with this config {nature}: is the `connect` the wrong way round?"
        self._report.error("wrong-direction", message, endpoint.span, hint=hint)


def _check_cycles(links: tuple[Link, ...], report: Report) -> None:
    follows: dict[str, list[str]] = {}
    for link in links:
        if link.start[0] is link.end[0] is InstanceKind.PIPELINE:
            follows.setdefault(name_of(link.start), []).append(name_of(link.end))
    cycle = find_cycle(follows)
    if cycle is None:
        return
    closing = next(link for link in links if (name_of(link.start), name_of(link.end)) == (cycle[-2], cycle[-1]))
    report.error(
        "pipeline-cycle",
        f"the pipelines feed each other in a circle: {' → '.join(cycle)}",
        closing.span,
        label="closes the circle",
        hint="a feedback loop is not supported: leave out one of these connects",
    )


def find_cycle(follows: Mapping[str, Sequence[str]]) -> list[str] | None:
    """The names along a cycle, its start repeated at the end; None when there is none."""
    precedes: dict[str, list[str]] = {}
    for name, followers in follows.items():
        for follower in followers:
            precedes.setdefault(follower, []).append(name)
    try:
        TopologicalSorter(precedes).prepare()
    except CycleError as error:
        cycle: list[str] = error.args[1]
        return cycle
    return None
