"""`metronome dead`: events that failed where nothing was connected to take the error."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click
import msgspec

from metronome_worker.cli.options import json_option, redis_option
from metronome_worker.cli.short import deployed, with_host
from metronome_worker.errors import UsageError

if TYPE_CHECKING:
    from metronome_worker.host import Host


@click.group()
def dead() -> None:
    """Look at dead letters."""


@dead.command(name="list")
@click.argument("flow")
@click.option("--last", type=click.IntRange(1), default=20, show_default=True, help="How many, the newest first.")
@redis_option
@json_option
def list_(flow: str, *, last: int, redis_url: str | None, as_json: bool) -> int:
    """List the dead letters of a flow: where each failed, and why."""

    async def do(host: Host) -> int:
        keys, _ = await deployed(host, flow)
        found = [_letter(*entry) for entry in await host.client.xrevrange(keys.dead, count=last)]
        total = await host.client.xlen(keys.dead)
        if as_json:
            click.echo(msgspec.json.encode(found).decode())
            return 0
        from rich.console import Console
        from rich.table import Table

        table = Table("id", "node", "entry", "error")
        for letter in found:
            table.add_row(letter["id"], letter.get("node", ""), letter.get("entry", ""), letter.get("error", ""))
        Console(file=sys.stdout).print(table if found else f"{flow} has no dead letters")
        if total > len(found):
            click.echo(f"{total - len(found)} older ones: --last {total}")
        return 0

    return with_host(redis_url, do)


@dead.command()
@click.argument("flow")
@click.argument("letter_id", metavar="ID")
@redis_option
def show(flow: str, letter_id: str, *, redis_url: str | None) -> int:
    """Show one dead letter whole, as JSON."""

    async def do(host: Host) -> int:
        keys, _ = await deployed(host, flow)
        found = await host.client.xrange(keys.dead, letter_id, letter_id) if _is_id(letter_id) else []
        if not found:
            raise UsageError(f"{flow} has no dead letter {letter_id}\n  metronome dead list {flow} shows those it has")
        click.echo(msgspec.json.format(msgspec.json.encode(_letter(*found[0]))).decode())
        return 0

    return with_host(redis_url, do)


def _is_id(text: str) -> bool:
    return all(part.isdecimal() for part in text.split("-", 1))


def _letter(entry_id: bytes, fields: dict[bytes, bytes]) -> dict[str, Any]:
    letter: dict[str, Any] = {"id": entry_id.decode()}
    for name, value in fields.items():
        text = value.decode(errors="backslashreplace")
        letter[name.decode(errors="backslashreplace")] = _value(text) if name == b"event" else text
    return letter


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
