"""`metronome dead`: events that failed where nothing was connected to take the error."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import click
import msgspec

from metronome_worker.broker.letters import Letter, Unfit, input_for, letter_of, put_back
from metronome_worker.cli.options import json_option, redis_option
from metronome_worker.cli.short import deployed, found, with_host
from metronome_worker.errors import SupersededError, UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from metronome_worker.broker.keys import FlowKeys
    from metronome_worker.host import Host

#: How many letters are read, and put back in one step, at a time.
_PAGE = 500

_ID = re.compile(r"\d{1,20}-\d{1,20}")


@click.group()
def dead() -> None:
    """Look at dead letters, and put them back."""


@dead.command(name="list")
@click.argument("flow")
@click.option("--last", type=click.IntRange(1), default=20, show_default=True, help="How many, the newest first.")
@redis_option
@json_option
def list_(flow: str, *, last: int, redis_url: str | None, as_json: bool) -> int:
    """List the dead letters of a flow: where each failed, and why."""

    async def do(host: Host) -> int:
        keys = await found(host, flow)
        letters = [letter_of(*entry) for entry in await host.client.xrevrange(keys.dead, count=last)]
        total = await host.client.xlen(keys.dead)
        if as_json:
            click.echo(msgspec.json.encode([letter.shown() for letter in letters]).decode())
            return 0
        from rich.console import Console
        from rich.table import Table

        table = Table()
        for title in ("id", "node", "entry", "error"):
            table.add_column(title, overflow="fold")  # a name is looked for: nothing of it is left out
        for letter in letters:
            table.add_row(letter.letter_id, *(letter.fields.get(name, "") for name in ("node", "entry", "error")))
        Console(file=sys.stdout).print(table if letters else f"{flow} has no dead letters")
        if total > len(letters):
            click.echo(f"{total - len(letters)} older ones: --last {total}")
        return 0

    return with_host(redis_url, do, flow)


@dead.command()
@click.argument("flow")
@click.argument("letter_id", metavar="ID")
@redis_option
def show(flow: str, letter_id: str, *, redis_url: str | None) -> int:
    """Show one dead letter whole, as JSON."""

    async def do(host: Host) -> int:
        keys = await found(host, flow)
        [letter] = await _named(host, keys, [letter_id])
        click.echo(msgspec.json.format(msgspec.json.encode(letter.shown())).decode())
        return 0

    return with_host(redis_url, do, flow)


@dead.command()
@click.argument("flow")
@click.argument("letter_ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "is_all", is_flag=True, help="Every dead letter that there is now.")
@redis_option
@json_option
def replay(flow: str, letter_ids: tuple[str, ...], *, is_all: bool, redis_url: str | None, as_json: bool) -> int:
    """Put dead letters back, to be worked on again by the flow as it is now; each once.

    An event goes through the flow from its source on; what was put back is a dead letter no more.  Leaves with 1 when
    one could not be put back.
    """
    if is_all == bool(letter_ids):
        raise click.UsageError("name the dead letters, or say --all")

    async def do(host: Host) -> int:
        keys, _ = await deployed(host, flow)
        pages = _pages(host, keys) if is_all else _one_page(await _named(host, keys, letter_ids))
        done: list[str] = []
        refused: dict[str, str] = {}
        async for page in pages:
            more, why = await _put_back(host, flow, page)
            done += more
            refused |= why
        if as_json:
            click.echo(msgspec.json.encode({"replayed": done, "refused": refused}).decode())
        else:
            click.echo(f"{flow}: put back {len(done)} of {len(done) + len(refused)}")
            for letter_id, reason in refused.items():
                click.echo(f"  {letter_id} stays: {reason}")
        return 1 if refused else 0

    return with_host(redis_url, do, flow)


async def _put_back(host: Host, flow: str, letters: Sequence[Letter]) -> tuple[list[str], dict[str, str]]:
    """Which letters were put back, and why the others were not."""
    while True:
        keys, record = await deployed(host, flow)
        plan = host.workshop.plan_of(record.bundle)
        going, refused = dict[str, str](), dict[str, str]()
        for letter in letters:
            try:
                going[letter.letter_id] = input_for(plan, letter)
            except Unfit as unfit:
                refused[letter.letter_id] = str(unfit)
        try:
            done = await put_back(host.client, keys, record.token, going)
        except SupersededError:
            continue  # deployed anew this very moment: where the events belong may be elsewhere now
        gone = {letter_id: "somebody else has just put it back" for letter_id in going if letter_id not in done}
        return [letter_id for letter_id in going if letter_id in done], refused | gone


async def _named(host: Host, keys: FlowKeys, letter_ids: Sequence[str]) -> list[Letter]:
    """The letters of these IDs, each once.  Raises ``UsageError`` when one is not there."""
    found = []
    for letter_id in dict.fromkeys(letter_ids):
        entries = await host.client.xrange(keys.dead, letter_id, letter_id) if _ID.fullmatch(letter_id) else []
        if not entries:
            advice = f"metronome dead list {keys.flow_name} shows those it has"
            raise UsageError(f"{keys.flow_name} has no dead letter {letter_id}\n  {advice}")
        found += [letter_of(*entry) for entry in entries]
    return found


async def _one_page(letters: list[Letter]) -> AsyncIterator[list[Letter]]:
    yield letters


async def _pages(host: Host, keys: FlowKeys) -> AsyncIterator[list[Letter]]:
    """All that are there now, the oldest first; what fails anew meanwhile is not among them."""
    newest = await host.client.xrevrange(keys.dead, count=1)
    start = "-"
    while newest and (entries := await host.client.xrange(keys.dead, start, newest[0][0].decode(), count=_PAGE)):
        yield [letter_of(*entry) for entry in entries]
        start = f"({entries[-1][0].decode()}"
