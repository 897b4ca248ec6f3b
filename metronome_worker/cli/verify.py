"""`metronome verify`: whether what a flow has promised is what Redis and the files hold."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click
import msgspec

from metronome_worker.cli.options import json_option, redis_option
from metronome_worker.cli.short import deployed, with_host
from metronome_worker.observe.history import examine
from metronome_worker.observe.recording import record

if TYPE_CHECKING:
    from metronome_worker.host import Host
    from metronome_worker.observe.history import Check
    from metronome_worker.observe.recording import Recording

_STYLES = {"ok": "green", "violated": "red", "not checked": "yellow"}


@click.command()
@click.argument("flow")
@redis_option
@json_option
def verify(flow: str, *, redis_url: str | None, as_json: bool) -> int:
    """Check a flow's ticks, positions, files and exit against its schedule and source; status 1 when one is wrong.

    The flow may be running: it is judged as it stands in one moment.  Files are read where the worker wrote them, or
    in the current folder.
    """

    async def do(host: Host) -> int:
        keys, _ = await deployed(host, flow)
        recording = await record(host, keys)
        checks = examine(recording.history)
        if as_json:
            click.echo(msgspec.json.encode(_page(recording, checks)).decode())
        else:
            _show(recording, checks)
        return int(any(check.violations for check in checks))

    return with_host(redis_url, do, flow)


def _page(recording: Recording, checks: tuple[Check, ...]) -> dict[str, object]:
    return {
        "flow": recording.flow,
        "run": recording.run,
        "revision": recording.revision,
        "status": recording.status,
        "verdict": "violated" if any(check.violations for check in checks) else "ok",
        "checks": [{"verdict": check.verdict, **msgspec.to_builtins(check)} for check in checks],
    }


def _show(recording: Recording, checks: tuple[Check, ...]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False)
    table = Table("check", "of", "count", "verdict", "remarks")
    for check in checks:
        count = str(check.count) if check.count else ""
        verdict = Text(check.verdict, style=_STYLES[check.verdict])
        table.add_row(check.name, check.about, count, verdict, escape(check.unchecked or check.note))
    console.print(f"{recording.flow}: {recording.status} (run {recording.run}, revision {recording.revision})")
    console.print(table)
    violations = [violation for check in checks for violation in check.violations]
    for violation in violations:
        click.echo(violation)
    unchecked = sum(check.verdict == "not checked" for check in checks)
    judged = f"{len(checks) - unchecked} checks, {unchecked} not made"
    click.echo(f"{len(violations)} violations in {judged}" if violations else f"no violation in {judged}")
