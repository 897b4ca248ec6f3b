"""`metronome deploy|undeploy|pause|resume|flows|exit`: what is deployed, and whether it runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from metronome_worker.broker.flows import Status, deploy_flow, layout_in, remove_flow
from metronome_worker.broker.keys import FlowKeys
from metronome_worker.broker.scripts import run_script
from metronome_worker.cli.flow_files import checked_flows
from metronome_worker.cli.options import json_option, redis_option, strict_option
from metronome_worker.cli.short import found, one_by_one, standing, with_host
from metronome_worker.connectors.schedules import layout_of
from metronome_worker.errors import UsageError
from metronome_worker.observe.status import deployed_flows, flow_status
from metronome_worker.settings import read_environment

if TYPE_CHECKING:
    from metronome_worker.broker.flows import Deployed, Layout
    from metronome_worker.host import Host


@click.command()
@click.argument("flows", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FLOW...")
@redis_option
@strict_option
@click.option("--force", is_flag=True, help="Bring back a source that another has superseded.")
def deploy(flows: tuple[Path, ...], *, redis_url: str | None, strict: bool, force: bool) -> int:
    """Deploy flow files: tickers and workers take them up, between two batches where an older revision runs."""
    checked = checked_flows(flows, read_environment(os.environ).module_path, strict=strict)

    async def do(host: Host) -> int:
        flows = {flow.plan.flow: flow for flow in checked}

        async def deploy_one(name: str) -> int:
            flow, keys = flows[name], FlowKeys(name, host.namespace)
            done = await deploy_flow(host.client, keys, flow.digest, flow.bundle, layout_of(flow.plan), force=force)
            click.echo(_deployed(name, flow.bundle.main, done))
            return int(done.outcome in ("superseded", "leaving"))

        undone, status = await one_by_one(host, flows, deploy_one)
        return status or max(undone)

    return with_host(redis_url, do)


def _deployed(flow: str, file: str, done: Deployed) -> str:
    """What to say of a deployment: what happened, and what it means for what was there before."""
    said = f"{flow}: {done.outcome} (run {done.run}, revision {done.revision})"
    if done.outcome == "superseded":
        return f"{said}\n  another source has taken its place; --force brings it back"
    if done.outcome == "leaving":
        return f"{said}\n  it is leaving just now; deploy it again when it has ended"
    if not done.replaces:
        return said
    said += f"\n  {file} takes the place of {done.replaces}"
    if done.replaces.rsplit(", revision ", 1)[0] != file:
        said += ", another file with a flow of this name; were two flows meant, give one of them another name"
    return said


@click.command()
@click.argument("flow")
@redis_option
def undeploy(flow: str, *, redis_url: str | None) -> int:
    """Forget a flow that has ended: its source, schedules, events, states and dead letters."""

    async def do(host: Host) -> int:
        keys = await found(host, flow)
        if not await remove_flow(host.client, keys, await _layout(host, keys)):
            raise UsageError(f"flow {flow} is running\n  end it first: metronome exit --flow {flow}")
        click.echo(f"{flow}: removed")
        return 0

    return with_host(redis_url, do, flow)


async def _layout(host: Host, keys: FlowKeys) -> Layout:
    return layout_in(keys, await host.client.hget(keys.flow, "layout"))  # type: ignore[misc]


@click.command()
@click.argument("flow")
@redis_option
def pause(flow: str, *, redis_url: str | None) -> int:
    """Stop a flow's sources for the time being; what is published is still worked on."""

    async def do(host: Host) -> int:
        keys, stands = await standing(host, flow)
        if not await run_script(host.client, "pause_flow", [keys.flow], []):
            raise UsageError(f"flow {flow} is not running: it is {stands.status.value}")
        click.echo(f"{flow}: paused")
        return 0

    return with_host(redis_url, do, flow)


@click.command()
@click.argument("flow")
@redis_option
def resume(flow: str, *, redis_url: str | None) -> int:
    """Let a paused flow go on; ticks that came due meanwhile are skipped, and counted."""

    async def do(host: Host) -> int:
        keys = await found(host, flow)
        layout = await _layout(host, keys)
        names = [keys.flow, *(keys.schedule(schedule.connector) for schedule in layout.schedules)]
        was_paused = await run_script(host.client, "resume_flow", names, [keys.news])
        click.echo(f"{flow}: {'resumed' if was_paused else 'was not paused'}")
        return 0

    return with_host(redis_url, do, flow)


@click.command(name="exit")
@click.option("--flow", metavar="F", help="Only this flow; else every flow that runs.")
@click.option("--code", type=click.IntRange(0, 255), default=0, show_default=True, help="What to leave with.")
@redis_option
def exit_(*, flow: str | None, code: int, redis_url: str | None) -> int:
    """Ask a deployment to leave in order: sources stop, stages drain, all processes leave with one code."""

    async def do(host: Host) -> int:
        names = [flow] if flow is not None else await deployed_flows(host.client, host.namespace)
        if not names:
            click.echo("nothing is deployed")

        async def ask(name: str) -> None:
            keys, stands = await standing(host, name)
            if stands.status is Status.ENDED:
                click.echo(f"{name}: has ended already (code {stands.code})")
                return
            await host.client.xadd(keys.exit, {"exit": code, "by": "metronome exit"})
            click.echo(f"{name}: asked to leave with code {code}")

        return (await one_by_one(host, names, ask))[1]

    return with_host(redis_url, do, flow)


@click.command()
@redis_option
@json_option
def flows(*, redis_url: str | None, as_json: bool) -> int:
    """List what is deployed."""

    async def do(host: Host) -> int:
        names = await deployed_flows(host.client, host.namespace)
        seen, status = await one_by_one(
            host, names, lambda name: flow_status(host.client, FlowKeys(name, host.namespace))
        )
        stand = [one for one in seen if one is not None]
        if as_json:
            click.echo(msgspec.json.encode(stand).decode())
            return status
        if not stand:
            click.echo("nothing is deployed" if status == 0 else "nothing else is deployed")
            return status
        from rich.console import Console
        from rich.table import Table

        table = Table("flow", "status", "run", "revision", "stages", "published", "waiting", "dead")
        for s in stand:
            published, lag = sum(x.published for x in s.schedules), sum(x.lag for x in s.stages)
            row = (s.flow, s.status, s.run, s.revision, len(s.stages), published, lag, s.dead)
            table.add_row(*map(str, row))
        Console(file=sys.stdout).print(table)
        return status

    return with_host(redis_url, do)
