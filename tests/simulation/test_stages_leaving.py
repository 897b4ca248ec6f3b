"""How the workers of a flow leave it: drained, told to stop, or finding that it is over."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from metronome_worker.broker.exits import write_barrier, write_end
from metronome_worker.broker.flows import load_flow, remove_flow
from metronome_worker.connectors.schedules import layout_of
from tests.harness.virtual_clock import run_virtual
from tests.simulation.stage_flows import (
    EXCLUSIVE,
    SHARED,
    letter_ids,
)
from tests.simulation.stages import KEYS, LIMIT_S, Bench

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("has_paused_worker", [False, True])
def test_shared_stage_drains_to_the_barrier_and_all_leave_with_one_code(
    has_paused_worker: bool, tmp_path: Path
) -> None:
    async def do() -> tuple[list[int | None], list[str], list[dict[str, Any]]]:
        async with Bench(SHARED, tmp_path) as bench:
            workers = bench.start(3)
            await asyncio.sleep(1)
            await bench.add(range(50))
            if has_paused_worker:
                workers[0].line.pause_after(2, 6.0)
            await asyncio.sleep(0.002)
            record = await load_flow(bench.client, KEYS)
            assert record is not None
            await bench.request_exit(9)
            ticker = await bench.take_lease("ticker")
            await write_barrier(bench.client, KEYS, ticker, record.token, 9, ["tick", "replay:tick"])
            await bench.client.delete(KEYS.lease("ticker"))  # a worker stands in for it
            late = bench.start(1)
            async with asyncio.timeout(LIMIT_S):
                codes = await asyncio.gather(*(worker.task for worker in (*workers, *late)))
            exits = [
                {name.decode(): value.decode() for name, value in fields.items()}
                for _, fields in await bench.client.xrange(KEYS.exit)
            ]
            return codes, letter_ids(await bench.letters()), exits

    codes, ids, exits = run_virtual(do)
    assert codes == [9] * 4
    assert sorted(map(int, ids)) == list(range(50))
    assert [entry["drained"] for entry in exits if "drained" in entry] == ["tick"]
    assert exits[-1]["end"] == "9"


def test_flow_whose_exit_stream_is_deleted_while_it_leaves_is_led_out_all_the_same(tmp_path: Path) -> None:
    async def do() -> list[int | None]:
        async with Bench(EXCLUSIVE, tmp_path) as bench:
            await bench.add(range(5))
            record = await load_flow(bench.client, KEYS)
            assert record is not None
            ticker = await bench.take_lease("ticker")
            await write_barrier(bench.client, KEYS, ticker, record.token, 9, ["tick", "replay:tick"])
            await bench.client.delete(KEYS.lease("ticker"), KEYS.exit)
            workers = bench.start(2)
            async with asyncio.timeout(LIMIT_S):
                return await asyncio.gather(*(worker.task for worker in workers))

    assert run_virtual(do) == [9, 9]


def test_worker_that_missed_an_end_which_was_then_deleted_leaves_with_its_code(tmp_path: Path) -> None:
    async def do() -> int | None:
        async with Bench(SHARED, tmp_path) as bench:
            [worker] = bench.start()
            await asyncio.sleep(1)
            record = await load_flow(bench.client, KEYS)
            assert record is not None
            worker.line.pause(4.0)
            await asyncio.sleep(2.5)  # its reads have come back empty by then
            lease = await bench.take_lease("ticker")
            await write_barrier(bench.client, KEYS, lease, record.token, 9, ["tick", "replay:tick"])
            await write_end(bench.client, KEYS, lease, record.token, "deadline")
            await bench.client.delete(KEYS.lease("ticker"), KEYS.exit)
            async with asyncio.timeout(LIMIT_S):
                return await worker.task

    assert run_virtual(do) == 9


def test_worker_that_is_told_to_stop_leaves_nothing_behind(tmp_path: Path) -> None:
    async def do() -> tuple[int, list[Any]]:
        async with Bench(SHARED, tmp_path) as bench:
            [worker] = bench.start()
            await asyncio.sleep(1)
            await bench.add(range(500))
            await asyncio.sleep(0.001)
            worker.stopping.set()
            assert await worker.task is None
            pending = await bench.client.xpending(KEYS.events("tick"), "workers")
            return pending["pending"], await bench.client.xinfo_consumers(KEYS.events("tick"), "workers")

    assert run_virtual(do) == (0, [])


async def end_and_remove(bench: Bench, code: int) -> None:
    """What `metronome exit` and `metronome undeploy` do, with a ticker of the test's own."""
    record = await load_flow(bench.client, KEYS)
    assert record is not None
    lease = await bench.take_lease("ticker")
    await write_barrier(bench.client, KEYS, lease, record.token, code, ["tick"])
    await write_end(bench.client, KEYS, lease, record.token, "drained")
    await bench.client.delete(KEYS.lease("ticker"))
    assert await remove_flow(bench.client, KEYS, layout_of(bench.plan))


@pytest.mark.parametrize("sleeps_s", [4.0, 8.0], ids=["connected", "cut off"])
def test_worker_that_sleeps_over_the_removal_of_its_flow_leaves_with_its_code(tmp_path: Path, sleeps_s: float) -> None:
    async def do() -> int | None:
        async with Bench(SHARED, tmp_path) as bench:
            (worker,) = bench.start()
            await asyncio.sleep(1)
            worker.line.pause_after(0, sleeps_s)
            await asyncio.sleep(2.5)
            await end_and_remove(bench, 7)
            async with asyncio.timeout(LIMIT_S):
                return await worker.task

    assert run_virtual(do) == 7
