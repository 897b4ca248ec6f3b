"""`metronome status`: who leads, who runs what, how far behind, what is wrong."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import click
import msgspec

from metronome_worker.broker.keys import FlowKeys
from metronome_worker.cli.options import json_option, redis_option
from metronome_worker.cli.short import deployed, found, one_by_one, with_host
from metronome_worker.observe.status import FlowStatus, deployed_flows, flow_status

if TYPE_CHECKING:
    from rich.console import RenderableType

    from metronome_worker.host import Host
    from metronome_worker.observe.status import LeaseStatus, StageStatus

_WATCH_S = 1.0


@click.command()
@click.argument("flow", required=False)
@redis_option
@click.option("--watch", is_flag=True, help="Show it anew every second, until Ctrl-C.")
@json_option
def status(flow: str | None, *, redis_url: str | None, watch: bool, as_json: bool) -> int:
    """Show how each flow (or one) stands."""

    async def look(host: Host) -> tuple[list[FlowStatus], int]:
        if flow is not None:
            await found(host, flow)
        names = [flow] if flow is not None else await deployed_flows(host.client, host.namespace)

        async def look_at(name: str) -> FlowStatus | None:
            return await flow_status(host.client, FlowKeys(name, host.namespace))

        async def try_to_plan(name: str) -> None:
            _, record = await deployed(host, name)
            host.workshop.plan_of(record.bundle)

        seen, status = await one_by_one(host, names, look_at)
        stand = [one for one in seen if one is not None]
        # Where nobody leads, the reason may be that nobody can.
        idle = [one.flow for one in stand if one.ticker.epoch is None and one.status != "ended"]
        return stand, (await one_by_one(host, idle, try_to_plan))[1] or status

    async def do(host: Host) -> int:
        if as_json:
            stand, status = await look(host)
            click.echo(msgspec.json.encode(stand).decode())
            while watch:
                await host.clock.sleep(_WATCH_S)
                click.echo(msgspec.json.encode((await look(host))[0]).decode())
            return status
        from rich.console import Console
        from rich.live import Live

        console = Console(file=sys.stdout)
        if not (watch and console.is_terminal):
            stand, status = await look(host)
            console.print(_page(stand, status))
            while watch:  # one page after the other: there is no screen to show it anew on
                await host.clock.sleep(_WATCH_S)
                console.print(_page(*await look(host)))
            return status
        with Live(console=console, auto_refresh=False) as live:
            while True:
                live.update(_page(*await look(host)), refresh=True)
                await host.clock.sleep(_WATCH_S)

    try:
        return with_host(redis_url, do, flow)
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130


def _page(stand: list[FlowStatus], status: int) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    if not stand:
        return Text("nothing is deployed" if status == 0 else "nothing else is deployed")
    return Group(*(part for one in stand for part in _flow(one)))


def _flow(one: FlowStatus) -> list[RenderableType]:
    from rich.table import Table
    from rich.text import Text

    code = f", code {one.code}" if one.code is not None else ""
    head = f"{one.flow}: {one.status}{code} (run {one.run}, revision {one.revision})"
    led = f"led by {_who(one.leader, one.ticker)}"
    ticks = Table("schedule", "published", "skipped", "last late ms", title_justify="left")
    for s in one.schedules:
        late = "" if s.last_late_ms is None else f"{s.last_late_ms:.3f}"
        ticks.add_row(s.connector, str(s.published), str(s.skipped), late)
    stages = Table("stage", "worker", "waiting", "commits")
    for stage in one.stages:
        stages.add_row(stage.stage, _workers(stage), str(stage.lag), str(stage.commits))
    parts: list[RenderableType] = [Text(f"{head}, {led}"), ticks, stages]
    for s in one.schedules:
        if s.blocked_by is not None:
            what = f"no tick can be added behind {s.blocked_by}, which lies in the future"
            parts.append(Text(f"{s.connector}: {what}; the ticker's log says what to do"))
    if one.dead:
        letters = "dead letter" if one.dead == 1 else "dead letters"
        parts.append(Text(f"{one.dead} {letters}: metronome dead list {one.flow}"))
    return parts


def _workers(stage: StageStatus) -> str:
    if stage.is_shared:
        return f"shared: {', '.join(stage.workers)}" if stage.workers else "nobody"
    return _who(next(iter(stage.workers), None), stage.lease)


def _who(name: str | None, lease: LeaseStatus) -> str:
    if lease.epoch is None:
        return "nobody"
    return f"{name or lease.holder} (epoch {lease.epoch})"
