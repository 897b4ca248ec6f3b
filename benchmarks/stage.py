"""Throughput of an exclusive stage: events a second, next to a bare loop that does the same by hand.

What is measured.  A flow's event stream is filled with prepared entries, under the flow's own key and as a source
writes them.  Then the real worker role (``run_worker``: lease, read-ahead, compiled select, file sink, fenced commit,
trimming) takes them through ``select {"id": event.id, "name": event.name} from in where event.id % 2 == 0 into out``
into a file, exactly once.  In turns with it, a bare loop does that by hand: XREAD by position with the reply left
raw, msgspec, a list comprehension, one write, and one script that stores position and length; nothing else, no lease,
no check, no read-ahead (``--ahead`` gives it one).  Both run on uvloop and redis-py against the same embedded server,
read the same number of entries at a time, and start on a fresh copy of the same stream; which of them goes first
changes from round to round.

How.  The clock starts before the role (or the loop) and stops when the last position is committed, which one watcher
sees for both by looking at Redis.  Figures compare only within one machine and one moment, so what counts is the
ratio within a round.  Both files must be the same, byte for byte, in every round; else the status is 1.

What it means.  The ratio is what is left of the speed of code written for one flow when the flow is written in the
language, with every guarantee: 1.0 is all of it.  At least 0.5 is required.  The same ratio by this process's CPU time
stands beside it: it leaves out what is waited for, and suffers less from what else the machine does.
"""

from __future__ import annotations

import asyncio
import filecmp
import gc
import os
import statistics
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
import uvloop
from msgspec import Struct
from msgspec.structs import replace
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rig import caption, check, console, deploy, machine, make_host, settle, write_json

from metronome_worker.broker.connection import open_client
from metronome_worker.broker.embedded import EmbeddedServer
from metronome_worker.settings import WorkerSettings
from metronome_worker.worker.role import run_worker

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from redis.asyncio import Redis

    from metronome_worker.assembly import CheckedFlow

REQUIRED_RATIO = 0.5

#: Its metronome has a day to its first tick: what is in its stream is what was put there.
FLOW = """
define flow main
flow
  define connector events from metronome
  with config = {"interval": 86400000}
  end;
  define connector file from file
  with
    codec = "json",
    postprocessors = ["separate"],
    config = {"path": "worker.jsonl", "mode": "truncate"}
  end;
  define pipeline project
  pipeline
    select {"id": event.id, "name": event.name} from in where event.id % 2 == 0 into out;
  end;
  create connector events;
  create connector file;
  create pipeline project;
  connect /connector/events to /pipeline/project;
  connect /pipeline/project to /connector/file;
end;
deploy flow main;
"""

#: KEYS: state.  ARGV: position, how many entries are done, length of the file.
BARE_COMMIT = "return redis.call('HSET', KEYS[1], 'events:events', ARGV[1], 'read:events', ARGV[2], 'length', ARGV[3])"

#: How long a worker that was told to stop may take to give back its lease.
_END_LIMIT_S = 10.0

_PREPARED, _PIPELINED = "prepared", 2_000


class Turn(Struct, frozen=True):
    """One contender, once: seconds by the clock, and of the processor in this process."""

    seconds: float
    cpu_s: float
    output: Path


class Bench(Struct, frozen=True, kw_only=True):
    """What stays the same over all turns.  ``show`` is told how many entries are done."""

    client: Redis
    url: str
    folder: Path
    flow: CheckedFlow
    entries: int
    batch: int
    is_ahead: bool
    show: Callable[[int], None]


async def prepare(bench: Bench) -> None:
    """Write the entries once, as a busy source would; each turn gets a copy."""
    start_ms = time.time_ns() // 1_000_000
    ingest_ns = str(start_ms * 1_000_000)
    encode = msgspec.json.encode
    for first in range(0, bench.entries, _PIPELINED):
        pipeline = bench.client.pipeline(transaction=False)
        for n in range(first, min(first + _PIPELINED, bench.entries)):
            event = {"id": n, "name": f"sensor {n % 1000}", "value": n / 8, "unit": "°C", "tags": ["indoor", "a"]}
            fields = {"data": encode(event), "ingest_ns": ingest_ns}
            pipeline.xadd(_PREPARED, fields, id=f"{start_ms + n // 100}-{n % 100}")
        await pipeline.execute()
        bench.show(min(first + _PIPELINED, bench.entries))


async def run_real(bench: Bench, namespace: str) -> Turn:
    """The worker role, from its start to the commit of the last entry."""
    host = make_host(bench.url, namespace, bench.folder, WorkerSettings(batch=bench.batch))
    try:
        keys = await deploy(host, bench.flow)
        [stage] = bench.flow.plan.stages
        await bench.client.copy(_PREPARED, keys.events("events"))
        stopping = asyncio.Event()
        turn = await _timed(bench, run_worker(host, keys.flow_name, stopping), keys.state(stage.name), stopping.set)
        await bench.client.unlink(keys.events("events"))
    finally:
        await host.client.aclose()
    return Turn(*turn, bench.folder / "worker.jsonl")


async def run_bare(bench: Bench, namespace: str) -> Turn:
    """The loop by hand, from its start to the commit of the last entry."""
    stream, state = f"{namespace}:events", f"{namespace}:state"
    output = bench.folder / "bare.jsonl"
    client = open_client(bench.url, name="bare")
    try:
        await bench.client.copy(_PREPARED, stream)
        turn = await _timed(bench, bare_loop(client, stream, state, output, bench), state, lambda: None)
        await bench.client.unlink(stream)
    finally:
        await client.aclose()
    return Turn(*turn, output)


async def bare_loop(client: Redis, stream: str, state: str, output: Path, bench: Bench) -> None:
    """Read, decode, filter, project, encode, write, commit."""
    decode, encode_lines = msgspec.json.Decoder().decode, msgspec.json.Encoder().encode_lines
    sha = await client.script_load(BARE_COMMIT)
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def read(position: bytes) -> Coroutine[Any, Any, Any]:
        # In bytes, so that redis-py finds no parser for the reply and leaves it as it is.
        command = (b"XREAD", "COUNT", bench.batch, "BLOCK", 2_000, "STREAMS", stream, position)
        return client.execute_command(*command)

    try:
        position, done, length = b"0-0", 0, 0
        reading = asyncio.create_task(read(position)) if bench.is_ahead else None
        while done < bench.entries:
            reply = await (reading or read(position))
            raw = reply[0][1]
            position, done = raw[-1][0], done + len(raw)
            if bench.is_ahead and done < bench.entries:
                reading = asyncio.create_task(read(position))
            kept = [
                {"id": event["id"], "name": event["name"]}
                for _, fields in raw
                if (event := decode(fields[1]))["id"] % 2 == 0
            ]
            data = encode_lines(kept)
            if data:
                length += os.write(descriptor, data)
            await client.evalsha(sha, 1, state, position, done, length)
    finally:
        os.close(descriptor)


async def _timed(
    bench: Bench, work: Coroutine[Any, Any, Any], state: str, stop: Callable[[], None]
) -> tuple[float, float]:
    """Seconds, by the clock and of the processor, until the last entry is committed; then stops the work."""
    gc.collect()
    started, cpu_started = time.perf_counter(), time.process_time()
    working = asyncio.create_task(work)
    seconds = await _watch(bench, working, state, started)
    cpu_s = time.process_time() - cpu_started
    stop()
    await asyncio.wait({working}, timeout=_END_LIMIT_S)
    if not working.done():
        raise SystemExit(f"the work had not ended {_END_LIMIT_S} s after it was told to")
    working.result()
    return seconds, cpu_s


async def _watch(bench: Bench, working: asyncio.Task[Any], state: str, started: float) -> float:
    """Looks rarely, and more often towards the end: a look costs what one command costs."""
    pause_s = 0.02
    while True:
        await asyncio.sleep(pause_s)
        is_over = working.done()  # before the look, so that the look sees all that was committed
        done = int(await bench.client.hget(state, "read:events") or 0)
        passed_s = time.perf_counter() - started
        bench.show(done)
        if done >= bench.entries:
            return passed_s
        if is_over:
            working.result()
            raise SystemExit(f"the work ended after {done} of {bench.entries} entries")
        left_s = passed_s / done * (bench.entries - done) if done else pause_s
        pause_s = min(0.1, max(0.002, left_s / 2))


async def compare(entries: int, rounds: int, batch: int, is_ahead: bool, progress: Progress | None) -> dict[str, Any]:
    """All rounds; returns the result as it is written to JSON."""
    before = machine()
    with tempfile.TemporaryDirectory(prefix="metronome-benchmark-") as name:
        folder = Path(name)
        async with EmbeddedServer() as server:
            client = open_client(server.url, name="benchmark")
            bench = Bench(
                client=client,
                url=server.url,
                folder=folder,
                flow=check(FLOW, folder),
                entries=entries,
                batch=batch,
                is_ahead=is_ahead,
                show=lambda done: None,
            )
            try:
                await prepare(_shown(bench, progress, "entries prepared"))
                settle()
                turns = await _rounds(bench, rounds, progress)
            finally:
                await client.aclose()
    return _result(before, bench, turns)


async def _rounds(bench: Bench, rounds: int, progress: Progress | None) -> list[dict[str, float]]:
    contenders = [("worker", run_real), ("bare loop", run_bare)]
    found = []
    for number in range(1, rounds + 1):
        turns: dict[str, Turn] = {}
        for label, run in contenders if number % 2 else reversed(contenders):
            shown = _shown(bench, progress, f"round {number}: {label}")
            turns[label] = await run(shown, f"{label.partition(' ')[0]}{number}")
        ours, bare = turns["worker"], turns["bare loop"]
        if not filecmp.cmp(ours.output, bare.output, shallow=False):
            raise SystemExit(f"round {number}: the two outputs differ")
        if _lines(ours.output) != (bench.entries + 1) // 2:
            raise SystemExit(f"round {number}: the output does not hold one line for every other entry")
        rates = {"worker": bench.entries / ours.seconds, "bare": bench.entries / bare.seconds}
        ratios = {"ratio": bare.seconds / ours.seconds, "cpu_ratio": bare.cpu_s / ours.cpu_s}
        found.append(rates | ratios | {"bytes": ours.output.stat().st_size})
    return found


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))


def _shown(bench: Bench, progress: Progress | None, label: str) -> Bench:
    if progress is None:
        return bench
    task = progress.add_task(label, total=bench.entries)

    def show(done: int) -> None:
        progress.update(task, completed=done)
        progress.refresh()

    return replace(bench, show=show)


def _result(before: dict[str, Any], bench: Bench, rounds: list[dict[str, float]]) -> dict[str, Any]:
    ratio = _spread([each["ratio"] for each in rounds])
    return {
        "benchmark": "stage",
        "machine": before,
        "entries": bench.entries,
        "batch": bench.batch,
        "bare_reads_ahead": bench.is_ahead,
        "rounds": rounds,
        "worker_events_per_s": _spread([each["worker"] for each in rounds]),
        "bare_events_per_s": _spread([each["bare"] for each in rounds]),
        "ratio": ratio,
        "cpu_ratio": _spread([each["cpu_ratio"] for each in rounds]),
        "is_output_identical": True,
        "required_ratio": REQUIRED_RATIO,
        "is_met": ratio["median"] >= REQUIRED_RATIO,
    }


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def show(result: dict[str, Any]) -> None:
    """The result as a table."""
    table = Table(title=f"a stage, {result['entries']:,} entries, {result['batch']:,} at a time")
    for heading in ("round", "worker, events/s", "bare loop, events/s", "worker / bare", "by CPU time"):
        table.add_column(heading, justify="right")
    for number, each in enumerate(result["rounds"], 1):
        rates = (f"{each['worker']:,.0f}", f"{each['bare']:,.0f}")
        table.add_row(str(number), *rates, f"{each['ratio']:.2f}", f"{each['cpu_ratio']:.2f}")
    table.add_section()
    columns = [
        (result["worker_events_per_s"], ",.0f"),
        (result["bare_events_per_s"], ",.0f"),
        (result["ratio"], ".2f"),
        (result["cpu_ratio"], ".2f"),
    ]
    table.add_row("median", *(format(each["median"], spec) for each, spec in columns), style="bold")
    table.add_row("range", *(f"{each['min']:{spec}}–{each['max']:{spec}}" for each, spec in columns))
    verdict = "met" if result["is_met"] else "NOT met"
    table.caption = f"outputs identical; required {REQUIRED_RATIO}: {verdict}\n{caption(result['machine'])}"
    console.print(table)


@click.command(help=__doc__.partition("\n")[0])
@click.option("--entries", type=click.IntRange(min=1), default=1_000_000, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--batch", type=click.IntRange(min=1), default=WorkerSettings().batch, show_default=True)
@click.option("--ahead", is_flag=True, help="Let the bare loop read ahead too.")
@click.option("--quick", is_flag=True, help="20,000 entries, one round: shows that it runs, measures nothing.")
@click.option("--json", "target", metavar="FILE|-", help="Write the result as JSON.")
def main(*, entries: int, rounds: int, batch: int, ahead: bool, quick: bool, target: str | None) -> None:
    if quick:
        entries, rounds = 20_000, 1
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    progress = Progress(*columns, console=console, auto_refresh=False) if console.is_terminal else None
    with progress or nullcontext():
        result = uvloop.run(compare(entries, rounds, batch, ahead, progress))
    show(result)
    write_json(target, result)


if __name__ == "__main__":
    main()
