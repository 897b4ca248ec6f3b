"""Lateness of ticks: publication against due time, by the server's clock, next to a bare precise loop.

What is measured.  The real ticker role (``run_ticker``: lease and its renewal, schedule, fenced script, exit watch)
publishes the ticks of a flow with one metronome.  A tick's stream ID is its due time, and ``ingest_ns`` in it is the
server's clock inside the script that published it: their difference is the lateness, by one clock, with no clock of
ours in it.  In turns with it, a bare loop does the least that publishes on time: it learns the server's offset the
same way, waits for the due time with a timer that ends 2 ms early and then in a thread, and runs a script of two
lines that adds the entry and returns the time.  Both run on uvloop and redis-py against the same embedded server.

How.  Turns are short and alternate, so that what else the machine does falls on both; which goes first changes.  The
first ticks of a turn are left out (starting takes longer than 10 ms), then the lateness of all ticks of all turns is
taken together.  A p99 needs hundreds of ticks to say anything: below a hundred it is the one worst of them.

What it means.  The bare loop is what this machine, its timers and one round trip allow; what the role has on top is
ours.  A p99 of at most twice the loop's is required.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import uvloop
from msgspec import Struct
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rig import caption, check, console, deploy, machine, make_host, settle, write_json

from metronome_worker.broker.connection import open_client
from metronome_worker.broker.embedded import EmbeddedServer
from metronome_worker.settings import WorkerSettings
from metronome_worker.ticker.role import run_ticker

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio import Redis

REQUIRED_RATIO = 2.0

INTERVALS_MS = (10, 100)

#: How much of each turn is left out, seconds.
WARM_UP_S = 0.5

#: ``null`` takes what is not read here: there is no worker.
FLOW = """
define flow main
flow
  define connector nowhere from `null`;
  use tremor::pipelines;
  define connector clock from metronome
  with config = {{"interval": {interval_ms}}}
  end;
  create connector clock;
  create connector nowhere;
  create pipeline pass from pipelines::passthrough;
  connect /connector/clock to /pipeline/pass;
  connect /pipeline/pass to /connector/nowhere;
end;
deploy flow main;
"""

#: KEYS: stream.  ARGV: due time in ms, number of the tick.
BARE_PUBLISH = """
local time = redis.call('TIME')
local now_us = time[1] .. string.format('%06d', time[2])
redis.call('XADD', KEYS[1], ARGV[1] .. '-0', 'data', ARGV[2], 'ingest_ns', now_us .. '000')
return now_us
"""

_FINE_WAIT_S = 0.002

#: How long a cancelled ticker may take to give back its lease.
_END_LIMIT_S = 5.0


class Bench(Struct, frozen=True, kw_only=True):
    """What stays the same over all turns of an interval."""

    client: Redis
    url: str
    folder: Path
    interval_ms: int
    turn_s: float


async def run_real(bench: Bench, namespace: str) -> str:
    """The ticker role for one turn; returns the key of the stream that it published to."""
    flow = check(FLOW.format(interval_ms=bench.interval_ms), bench.folder)
    host = make_host(bench.url, namespace, bench.folder, WorkerSettings())
    try:
        keys = await deploy(host, flow)
        ticking = asyncio.create_task(run_ticker(host, keys.flow_name))
        await asyncio.wait({ticking}, timeout=bench.turn_s)
        ticking.cancel()
        await asyncio.wait({ticking}, timeout=_END_LIMIT_S)
        if not ticking.done():
            raise SystemExit(f"the ticker had not ended {_END_LIMIT_S} s after it was cancelled")
        if not ticking.cancelled():
            raise SystemExit(f"the ticker ended by itself: {ticking.exception() or ticking.result()}")
    finally:
        await host.client.aclose()
    return keys.events("clock")


async def run_bare(bench: Bench, namespace: str) -> str:
    """The precise loop for one turn; returns the key of the stream that it published to."""
    client = open_client(bench.url, name="bare")
    stream = f"{namespace}:events"
    try:
        await bare_loop(client, stream, bench.interval_ms, round(bench.turn_s * 1000) // bench.interval_ms)
    finally:
        await client.aclose()
    return stream


async def bare_loop(client: Redis, stream: str, interval_ms: int, ticks: int) -> None:
    """Wait, publish; again.  The shortest of the last 64 round trips tells the offset of the server's clock."""
    loop, now_us = asyncio.get_running_loop(), lambda: time.monotonic_ns() // 1000
    sha = await client.script_load(BARE_PUBLISH)
    trips: list[tuple[int, int]] = []

    def observe(sent_us: int, server_us: int) -> int:
        received_us = now_us()
        trips.append((received_us - sent_us, server_us - (sent_us + received_us) // 2))
        del trips[:-64]
        return min(trips)[1]

    for _ in range(3):
        sent_us = now_us()
        seconds, micros = await client.time()
        offset_us = observe(sent_us, seconds * 1_000_000 + micros)
    due_ms, n = (now_us() + offset_us) // 1000 + interval_ms, 0
    while n < ticks:
        while (left_s := (due_ms * 1000 - offset_us - now_us()) / 1_000_000) > 0:
            if left_s > _FINE_WAIT_S:
                await asyncio.sleep(left_s - _FINE_WAIT_S)
            else:
                await loop.run_in_executor(None, time.sleep, left_s)
        sent_us = now_us()
        offset_us = observe(sent_us, int(await client.evalsha(sha, 1, stream, due_ms, n)))
        due_ms, n = due_ms + interval_ms, n + 1


async def lateness_of(client: Redis, stream: str, interval_ms: int) -> list[float]:
    """Milliseconds from due time to publication of each tick of a turn, without its first ones."""
    entries = await client.xrange(stream)
    await client.unlink(stream)
    dues = [int(entry_id.partition(b"-")[0]) for entry_id, _ in entries]
    if dues != list(range(dues[0], dues[-1] + 1, interval_ms)):
        raise SystemExit(f"{stream}: there is a gap in the ticks")
    late = [int(fields[b"ingest_ns"]) / 1e6 - due for due, (_, fields) in zip(dues, entries, strict=True)]
    return late[min(len(late) - 1, int(WARM_UP_S * 1000) // interval_ms) :]


async def compare(turn_s: float, rounds: int, progress: Progress | None) -> dict[str, Any]:
    """All turns of all intervals; returns the result as it is written to JSON."""
    before = machine()
    intervals = []
    with tempfile.TemporaryDirectory(prefix="metronome-benchmark-") as name:
        async with EmbeddedServer() as server:
            client = open_client(server.url, name="benchmark")
            settle()
            try:
                for interval_ms in INTERVALS_MS:
                    bench = Bench(
                        client=client, url=server.url, folder=Path(name), interval_ms=interval_ms, turn_s=turn_s
                    )
                    intervals.append(await _interval(bench, rounds, _show(progress, interval_ms, rounds)))
            finally:
                await client.aclose()
    return {
        "benchmark": "lateness",
        "machine": before,
        "turn_s": turn_s,
        "rounds": rounds,
        "intervals": intervals,
        "required_ratio": REQUIRED_RATIO,
        "is_met": all(each["p99_ratio"] <= REQUIRED_RATIO for each in intervals),
    }


async def _interval(bench: Bench, rounds: int, show: Callable[[], None]) -> dict[str, Any]:
    contenders = [("ticker", run_real), ("bare", run_bare)]
    late: dict[str, list[float]] = {label: [] for label, _ in contenders}
    for number in range(1, rounds + 1):
        for label, run in contenders if number % 2 else reversed(contenders):
            gc.collect()
            stream = await run(bench, f"{label}{bench.interval_ms}.{number}")
            late[label] += await lateness_of(bench.client, stream, bench.interval_ms)
            show()
    found = {label: summary(values) for label, values in late.items()}
    return {"interval_ms": bench.interval_ms, **found, "p99_ratio": found["ticker"]["p99"] / found["bare"]["p99"]}


def summary(late_ms: list[float]) -> dict[str, float]:
    """Percentiles, in milliseconds: the smallest value that so many of all are not above."""
    values = sorted(late_ms)

    def at(share: float) -> float:
        return round(values[max(0, -int(-len(values) * share // 1) - 1)], 3)

    return {
        "ticks": len(values),
        "min": round(values[0], 3),
        "p50": at(0.5),
        "p90": at(0.9),
        "p99": at(0.99),
        "max": at(1),
    }


def _show(progress: Progress | None, interval_ms: int, rounds: int) -> Callable[[], None]:
    if progress is None:
        return lambda: None
    task = progress.add_task(f"{interval_ms} ms", total=2 * rounds)

    def show() -> None:
        progress.advance(task)
        progress.refresh()

    return show


def show_table(result: dict[str, Any]) -> None:
    """The result as a table."""
    table = Table(title="lateness of ticks by the server's clock, ms")
    for heading in ("interval", "", "ticks", "min", "p50", "p90", "p99", "max", "p99, ticker / bare"):
        table.add_column(heading, justify="left" if not heading else "right")
    for each in result["intervals"]:
        for label, key in (("ticker", "ticker"), ("bare loop", "bare")):
            figures = each[key]
            values = [f"{figures[name]:.2f}" for name in ("min", "p50", "p90", "p99", "max")]
            is_ours = key == "ticker"
            first, last = (f"{each['interval_ms']} ms", f"{each['p99_ratio']:.2f}") if is_ours else ("", "")
            table.add_row(first, label, str(figures["ticks"]), *values, last)
        table.add_section()
    verdict = "met" if result["is_met"] else "NOT met"
    table.caption = f"required: at most {REQUIRED_RATIO}: {verdict}\n{caption(result['machine'])}"
    console.print(table)


@click.command(help=__doc__.partition("\n")[0])
@click.option("--duration", type=click.FloatRange(min=1), default=10.0, show_default=True, help="Seconds a turn.")
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Turns of each, per interval.")
@click.option("--quick", is_flag=True, help="One short turn of each: shows that it runs, measures nothing.")
@click.option("--json", "target", metavar="FILE|-", help="Write the result as JSON.")
def main(*, duration: float, rounds: int, quick: bool, target: str | None) -> None:
    if quick:
        duration, rounds = 1.0, 1
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed} of {task.total} turns"))
    progress = Progress(*columns, TimeElapsedColumn(), console=console, auto_refresh=False)
    with progress if console.is_terminal else nullcontext():
        result = uvloop.run(compare(duration, rounds, progress if console.is_terminal else None))
    show_table(result)
    write_json(target, result)


if __name__ == "__main__":
    main()
