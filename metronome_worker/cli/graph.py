"""`metronome graph`: the plan of a flow, for people to read or to draw."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from metronome_worker.cli.options import redis_option, strict_option
from metronome_worker.plan.explain import plan_as_dict, plan_as_dot, plan_as_mermaid, run_by
from metronome_worker.settings import read_environment

if TYPE_CHECKING:
    from rich.tree import Tree

    from metronome_worker.host import Host
    from metronome_worker.plan.model import FlowPlan


@click.command()
@click.argument("flow")
@click.option(
    "--format", "form", type=click.Choice(("text", "mermaid", "dot", "json")), default="text", show_default=True
)
@redis_option
@strict_option
def graph(flow: str, *, form: str, redis_url: str | None, strict: bool) -> int:
    """Show the plan of a flow file, or of a flow that is deployed: its stages, what is in them, and why.

    FLOW is a file, or else the name of a deployed flow.
    """
    for plan in _plans(flow, redis_url, strict=strict):
        match form:
            case "json":
                click.echo(msgspec.json.encode(plan_as_dict(plan)).decode())
            case "mermaid":
                click.echo(plan_as_mermaid(plan))
            case "dot":
                click.echo(plan_as_dot(plan))
            case _:
                from rich.console import Console

                Console(file=sys.stdout).print(_tree(plan))
    return 0


def _plans(flow: str, redis_url: str | None, *, strict: bool) -> list[FlowPlan]:
    if _is_file(flow):
        from metronome_worker.cli.flow_files import checked_flows

        module_path = read_environment(os.environ).module_path
        return [checked.plan for checked in checked_flows([Path(flow)], module_path, strict=strict)]
    from metronome_worker.cli.short import deployed, with_host

    async def do(host: Host) -> list[FlowPlan]:
        _, record = await deployed(host, flow)
        return [host.workshop.plan_of(record.bundle)]

    return with_host(redis_url, do, flow)


def _is_file(flow: str) -> bool:
    """Whether a file is meant: a name with a suffix or a slash, or that of a file that is there."""
    return flow != "" and (bool(Path(flow).suffix) or "/" in flow or os.path.exists(flow))  # noqa: PTH110  never raises


def _tree(plan: FlowPlan) -> Tree:
    from rich.tree import Tree

    root = Tree(f"flow {plan.flow}")
    nodes = {name: shown["nodes"] for name, shown in plan_as_dict(plan)["stages"].items()}
    for stage in plan.stages:
        how, reasons = run_by(stage)
        branch = root.add(f"stage {stage.name}: {how}")
        for reason in reasons:
            branch.add(f"because {reason}")
        for node, ports in nodes[stage.name].items():
            for port, places in ports.items():
                for place in places:
                    branch.add(f"{node} -> {place}" if port == "out" else f"{node} ({port}) -> {place}")
    return root
