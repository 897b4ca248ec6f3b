"""A leading ticker: how late ticks are that are far apart, and what is still published before a flow leaves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from metronome_worker.broker.scripts import run_script
from metronome_worker.clock import NS_PER_MS
from metronome_worker.ticker.role import run_ticker
from tests.harness.virtual_clock import run_virtual
from tests.simulation.stages import KEYS, Bench
from tests.simulation.test_stages import SHARED

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: A way to the server takes up to 2 ms, and so much may the estimate of its time be wrong, and some drift.
_MOST_MS = 6


async def lateness(folder: Path, every_s: int, ticks: int, meanwhile: Callable[[Bench], None]) -> list[float]:
    """By how many ms so many ticks were late; ``meanwhile`` is called every ten seconds."""
    text = SHARED.replace("3600000", str(every_s * 1000))
    async with Bench(text, folder) as bench:
        [worker] = bench.start()
        ticking = asyncio.create_task(run_ticker(worker.host, KEYS.flow_name))
        while len(found := await bench.client.xrange(KEYS.events("tick"))) < ticks:
            await asyncio.sleep(10)
            meanwhile(bench)
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)
        return [int(fields[b"ingest_ns"]) / NS_PER_MS - int(entry.split(b"-")[0]) for entry, fields in found]


def test_ticks_that_are_far_apart_are_not_late_by_what_clocks_run_apart(tmp_path: Path) -> None:
    def run_apart(bench: Bench) -> None:
        bench.clock.step(4 * NS_PER_MS)  # 400 ppm

    late = run_virtual(lambda: lateness(tmp_path, 120, 5, run_apart))
    assert min(late) >= 0 and max(late) < _MOST_MS, late


def test_a_clock_that_is_set_forward_by_a_moment_does_not_make_a_far_tick_late(tmp_path: Path) -> None:
    steps = [400 * NS_PER_MS]  # by more, and the lease lapses: the next leader asks for the time anyway

    def set_forward(bench: Bench) -> None:
        if steps:
            bench.clock.step(steps.pop())

    late = run_virtual(lambda: lateness(tmp_path, 60, 2, set_forward))
    assert min(late) >= 0 and max(late) < _MOST_MS, late


def test_for_ticks_that_are_close_nothing_more_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def not_asked(*_: object) -> None:
        raise AssertionError("the server's time was asked for")

    monkeypatch.setattr("metronome_worker.ticker.publisher.ask_time", not_asked)
    assert len(run_virtual(lambda: lateness(tmp_path, 10, 5, lambda _: None))) >= 5


async def next_and_exit(folder: Path, paused_s: float) -> tuple[int, int]:
    """The first slot that is not decided, and when the exit was asked for, ms: 30 ms after the flow was resumed."""
    async with Bench(SHARED.replace("3600000", "10"), folder) as bench:
        [worker] = bench.start()
        ticking = asyncio.create_task(run_ticker(worker.host, KEYS.flow_name))
        await asyncio.sleep(1)
        await run_script(bench.client, "pause_flow", [KEYS.flow], [])
        await asyncio.sleep(paused_s)
        await run_script(bench.client, "resume_flow", [KEYS.flow, KEYS.schedule("tick")], [KEYS.news])
        await asyncio.sleep(0.03)
        asked: bytes = await bench.client.xadd(KEYS.exit, {"exit": "0"})
        assert await ticking == 0
        return int(await bench.client.hget(KEYS.schedule("tick"), "next") or 0), int(asked.split(b"-")[0])


@pytest.mark.parametrize("paused_ms", range(500, 600, 20))
def test_what_came_due_after_a_pause_is_published_before_the_flow_leaves(paused_ms: int, tmp_path: Path) -> None:
    # A ticker looks every 100 ms whether the flow is still paused: the exit may come before it has looked again.
    next_ms, asked_ms = run_virtual(lambda: next_and_exit(tmp_path, paused_ms / 1000))
    assert next_ms >= asked_ms
