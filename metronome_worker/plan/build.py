"""Builds the plans of a program: instances, links, graph, stages.  Pure; every problem is reported, not the first.

What the plan must know of connectors, codecs and expressions is passed in: it imports none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from metronome_worker.language.syntax import InstanceKind
from metronome_worker.plan.arguments import Asked, Toolbox, bind_arguments
from metronome_worker.plan.graph import FlowGraph, build_graph
from metronome_worker.plan.instances import Instances, make_instances, name_of
from metronome_worker.plan.model import FlowPlan
from metronome_worker.plan.report import Report
from metronome_worker.plan.stages import cut_stages
from metronome_worker.plan.wiring import Link, make_links

if TYPE_CHECKING:
    from collections.abc import Mapping

    from metronome_worker.language.diagnostics import Diagnostic
    from metronome_worker.language.program import Deployment, Program
    from metronome_worker.plan.arguments import Evaluate, ProcessorsCheck
    from metronome_worker.plan.model import ConnectorKind


def build_plans(
    program: Program,
    kinds: Mapping[str, ConnectorKind],
    check_processor: ProcessorsCheck,
    evaluate: Evaluate,
    *,
    strict: bool = False,
) -> tuple[tuple[FlowPlan, ...], list[Diagnostic]]:
    """One plan for each deployed flow without errors, in source order, and all diagnostics.

    ``strict`` turns the corrections of a flow (an instance created on the author's behalf, or left out) into errors.
    """
    tools = Toolbox(kinds=kinds, check_processor=check_processor, evaluate=evaluate)
    report = Report(is_strict=strict)
    plans: dict[str, FlowPlan] = {}
    seen: set[str] = set()
    if not program.deployments:
        report.error("nothing-deployed", "no flow is deployed", None, hint="end the file with `deploy flow main;`")
    for deployment in program.deployments:
        name = deployment.name.text
        if name in seen:
            message = f"a flow called `{name}` is deployed already"
            report.error("repeated-deploy", message, deployment.name.span, hint="give one of them another name")
            continue
        seen.add(name)
        own = Report(is_strict=strict)
        plan = _build_plan(deployment, tools, own)
        if plan is not None:
            plans[name] = plan
        report.include(own)
    return tuple(plans.values()), report.in_order()


def _build_plan(deployment: Deployment, tools: Toolbox, report: Report) -> FlowPlan | None:
    flow = deployment.flow
    asked = Asked(
        what=f"flow `{flow.name.text}`", parameters=flow.parameters, created=deployment.span, definition=flow.span
    )
    args = bind_arguments(asked, deployment.settings, {}, tools, report)
    if args is None:
        return None  # whatever else could be said would be about values that are not known
    instances = make_instances(flow, args, tools, report)
    links = make_links(flow.connects, instances, tools.kinds, report)
    graph = build_graph(instances, links, report)
    if graph is None or report.has_errors:
        return None
    _report_unused(instances, links, graph, report)
    if not graph.nodes.sources:
        message = f"flow `{flow.name.text}` does nothing: no source leads through a pipeline to a sink"
        hint = "connect a source such as a metronome to a pipeline, and the pipeline to a sink such as a file"
        report.error("idle-flow", message, deployment.span, label="deployed here", hint=hint)
        return None
    nodes = _connector_nodes(graph)
    used = {alias: made for alias, made in instances.connectors.items() if made.node in nodes}
    return FlowPlan(flow=deployment.name.text, connectors=used, stages=cut_stages(graph, used, tools.kinds))


def _connector_nodes(graph: FlowGraph) -> set[str]:
    return {source.name for source in graph.nodes.sources} | {sink.name for sink in graph.nodes.sinks}


def _report_unused(instances: Instances, links: tuple[Link, ...], graph: FlowGraph, report: Report) -> None:
    live = _connector_nodes(graph) | {name_of(key) for key in graph.pipeline_of.values()}
    started = {link.start for link in links}
    ended = {link.end for link in links}
    for key, span in instances.created.items():
        name = name_of(key)
        if name in live:
            continue
        if key not in started | ended:
            why = "nothing connects it"
        elif key not in ended and key[0] is InstanceKind.PIPELINE:
            why = "nothing is connected to it"
        elif key not in started and key[0] is InstanceKind.PIPELINE:
            why = "it is connected to nothing"
        else:
            why = "no event can come from a source through it to a sink"
        message = f"{name} is created but never used: {why}"
        report.warning("unused-instance", message, span, label="left out", hint="connect it, or leave it out")
