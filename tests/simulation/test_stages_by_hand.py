"""What somebody has put aside or deleted in Redis: nothing else is lost by it, and what is there is worked on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.harness.virtual_clock import run_virtual
from tests.simulation.stage_flows import (
    EXCLUSIVE,
    FAILING,
    FILE,
    SHARED,
    TICK,
    letter_ids,
    pipeline,
    slow_down,
    wires,
)
from tests.simulation.stages import KEYS, Bench
from tests.system.flows import flow_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("text", [SHARED, FAILING], ids=["shared", "exclusive"])
def test_stream_that_is_put_aside_is_made_anew_and_worked_on_from_its_beginning(text: str, tmp_path: Path) -> None:
    async def do() -> list[str]:
        async with Bench(text, tmp_path) as bench:
            bench.start(3)
            await bench.add(range(20))
            await bench.settle()
            await bench.client.rename(KEYS.events("tick"), "aside")
            for n in range(20, 40):
                await bench.add([n])
                await asyncio.sleep(0.3)
            await asyncio.sleep(15)
            return letter_ids(await bench.letters())

    ids = [int(one) for one in run_virtual(do)]
    assert sorted(ids) == list(range(40))


def test_stream_that_is_put_aside_is_noticed_however_busy_another_input_is(tmp_path: Path) -> None:
    text = flow_of(
        *TICK,
        *(line.replace("tick", "tock") for line in TICK),
        *FILE,
        pipeline("event.id"),
        *wires("out"),
        "connect /connector/tock to /pipeline/main;",
    )

    async def do() -> list[int]:
        async with Bench(text, tmp_path) as bench:
            bench.start(1)
            await bench.client.xadd(KEYS.events("tick"), {"data": b'{"id":-1}', "ingest_ns": 1}, id="9999999999999-0")
            await asyncio.sleep(5)
            await bench.client.rename(KEYS.events("tick"), "aside")

            async def be_busy() -> None:
                while True:
                    await bench.add([1_000], "tock")
                    await asyncio.sleep(1)

            busy = asyncio.create_task(be_busy())
            await bench.add(range(10))
            await asyncio.sleep(10)
            busy.cancel()
            return [int(line) for line in bench.lines()]

    assert [n for n in run_virtual(do) if 0 <= n < 1_000] == list(range(10))


def test_flow_that_leaves_right_after_a_stream_was_put_aside_works_on_the_new_one(tmp_path: Path) -> None:
    async def do() -> tuple[list[str], int | None]:
        async with Bench(EXCLUSIVE, tmp_path) as bench:
            [worker] = bench.start(1)
            await bench.client.xadd(KEYS.events("tick"), {"data": b'{"id":-1}', "ingest_ns": 1}, id="9999999999999-0")
            await asyncio.sleep(5)
            await bench.client.rename(KEYS.events("tick"), "aside")
            await bench.add(range(3))
            await bench.request_exit(5)
            code = await worker.task
            return bench.lines(), code

    assert run_virtual(do) == (["-1", "0", "1", "2"], 5)


def test_entries_left_open_are_never_trimmed_however_old_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_down(monkeypatch, 1.2)

    async def do() -> list[str]:
        async with Bench(SHARED, tmp_path) as bench:
            for first in range(0, 6_000, 10):
                await bench.add(range(first, first + 10))
                await asyncio.sleep(0.1)
            for dead in range(3):
                await bench.client.xreadgroup("workers", f"dead{dead}", {KEYS.events("tick"): ">"}, count=2_000)
            await asyncio.sleep(2 * 3_600)
            await bench.deploy(FAILING)
            bench.start(1)
            await asyncio.sleep(60)
            return letter_ids(await bench.letters())

    assert sorted(map(int, run_virtual(do))) == list(range(6_000))


def test_open_entries_behind_one_that_was_deleted_are_worked_on_and_the_deleted_one_is_told(tmp_path: Path) -> None:
    async def do() -> tuple[list[str], list[str]]:
        async with Bench(EXCLUSIVE, tmp_path) as bench:
            await bench.add(range(3_000))  # more than are read at a time
            ids = [entry_id.decode() for entry_id, _ in await bench.client.xrange(KEYS.events("tick"))]
            state = {"events:tick": ids[-1], "read:tick": "2998", "open:tick": msgspec.json.encode([ids[0], ids[-1]])}
            await bench.client.hset(KEYS.state("tick"), mapping=state)
            await bench.client.xdel(KEYS.events("tick"), ids[0])
            [worker] = bench.start(1)
            await asyncio.sleep(5)
            return bench.lines(), worker.said

    lines, said = run_virtual(do)
    assert lines == ["2999"]
    assert said.count("entries_deleted") == 1
