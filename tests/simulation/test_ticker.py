"""How late ticks are that are far apart, whatever the server's clock does meanwhile."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from metronome_worker.clock import NS_PER_MS
from metronome_worker.ticker.role import run_ticker
from tests.harness.virtual_clock import run_virtual
from tests.simulation.stages import KEYS, Bench
from tests.simulation.test_stages import SHARED

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

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
