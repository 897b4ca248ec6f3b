"""What happens inside a stage, exclusive or shared, whatever becomes of its workers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from metronome_worker.broker.letters import letter_of
from tests.harness.virtual_clock import run_virtual
from tests.simulation.stage_flows import (
    EXCLUSIVE,
    FAILING,
    SHARED,
    beside,
    letter_ids,
    slow_down,
)
from tests.simulation.stages import KEYS, Bench

if TYPE_CHECKING:
    from pathlib import Path


def test_workers_compete_and_each_event_has_its_effect_once(tmp_path: Path) -> None:
    async def do() -> tuple[list[str], int]:
        async with Bench(SHARED, tmp_path) as bench:
            bench.start(3)
            await asyncio.sleep(1)
            for chunk in range(60):
                await bench.add(range(chunk * 5, chunk * 5 + 5))
                await asyncio.sleep(0.02)
            await bench.settle()
            consumers = await bench.client.xinfo_consumers(KEYS.events("tick"), "workers")
            return letter_ids(await bench.letters()), len(consumers)

    ids, consumers = run_virtual(do)
    assert sorted(map(int, ids)) == list(range(300))
    assert consumers == 3, "more than one of them worked"


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("text", [SHARED, FAILING], ids=["shared", "exclusive"])
def test_each_event_has_its_effect_once_whatever_becomes_of_the_workers(text: str, seed: int, tmp_path: Path) -> None:
    async def do() -> tuple[list[str], dict[bytes, bytes]]:
        async with Bench(text, tmp_path, seed) as bench:
            keeper = bench.keep_alive(3)
            for n in range(0, 120, 4):
                await bench.add(range(n, n + 4))
                await asyncio.sleep(bench.random.uniform(0, 0.3))
                alive = [worker for worker in bench.workers if not worker.line.is_over]
                victim = bench.random.choice(alive) if alive and bench.random.random() < 0.4 else None
                if victim is not None and bench.random.random() < 0.6:
                    victim.line.die_after(bench.random.randint(1, 12))
                elif victim is not None:
                    victim.line.pause_after(bench.random.randint(1, 12), bench.random.uniform(0.5, 4))
                if bench.random.random() < 0.05:
                    bench.network.cut(bench.random.uniform(0.1, 2))
            await bench.settle()
            keeper.cancel()
            assert await bench.violations() == []
            return letter_ids(await bench.letters()), await bench.client.hgetall(KEYS.state("tick"))

    ids, state = run_virtual(do)
    assert sorted(map(int, ids)) == list(range(120))
    assert state[b"read:tick"] == b"120"


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_lost_or_done_twice_when_a_stage_becomes_shared_and_exclusive_again(
    seed: int, tmp_path: Path
) -> None:
    async def do() -> list[str]:
        async with Bench(SHARED, tmp_path, seed) as bench:
            keeper = bench.keep_alive(3)
            for n in range(0, 160, 4):
                await bench.add(range(n, n + 4))
                await asyncio.sleep(bench.random.uniform(0, 0.2))
                if bench.random.random() < 0.2:
                    # A comment, so that it is another source each time.
                    await bench.deploy((SHARED, FAILING)[n // 4 % 2] + f"# {n}\n")
                if bench.random.random() < 0.2:
                    bench.random.choice(bench.workers).line.die_after(bench.random.randint(1, 8))
            await bench.settle()
            keeper.cancel()
            assert await bench.violations() == []
            return letter_ids(await bench.letters())

    assert sorted(map(int, run_virtual(do))) == list(range(160))


@pytest.mark.parametrize("text", [SHARED, EXCLUSIVE], ids=["shared", "exclusive"])
def test_event_that_kills_is_put_aside_and_all_others_are_done_once(text: str, tmp_path: Path) -> None:
    async def do() -> tuple[list[dict[str, str]], list[str], int, dict[bytes, bytes]]:
        async with Bench(text, tmp_path) as bench:
            await bench.add([*range(50), {"id": 50, "kill": True}, *range(51, 100)])
            keeper = bench.keep_alive(2)
            await bench.settle()
            keeper.cancel()
            assert await bench.violations() == []
            killed = sum(worker.line.is_over for worker in bench.workers)
            return await bench.letters(), bench.lines(), killed, await bench.client.hgetall(KEYS.state("tick"))

    letters, lines, killed, state = run_virtual(do)
    [aside] = [letter for letter in letters if "deaths" in letter]
    assert (aside["event"], aside["deaths"], aside["node"]) == ('{"id":50,"kill":true}', "5", "/connector/tick")
    assert aside["meta"] == '{"metronome":{"epoch":1}}'
    done = lines if text is EXCLUSIVE else letter_ids([letter for letter in letters if letter is not aside])
    assert sorted(map(int, done)) == [n for n in range(100) if n != 50]
    assert killed <= 7
    assert b"attempt" not in state


@pytest.mark.parametrize("sink", ["file", "null"])
@pytest.mark.parametrize("seed", range(2))
def test_event_that_kills_takes_no_event_of_another_stage_with_it(
    sink: str, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [f"source{number}" for number in range(10)]
    slow_down(monkeypatch, 0.05)  # whatever else was begun is in hand when the process dies

    async def do() -> list[dict[str, str]]:
        async with Bench(beside(len(others), sink), tmp_path, seed) as bench:
            await bench.add([0, {"id": 1, "kill": True}, 2])
            for name in others:
                await bench.add(range(3), name)
            keeper = bench.keep_alive(1)
            await bench.settle()
            await asyncio.sleep(10)
            keeper.cancel()
            return await bench.letters()

    letters = run_virtual(do)
    assert [letter["node"] for letter in letters if "deaths" in letter] == ["/connector/tick"]
    if sink == "file":
        assert {(tmp_path / f"{name}.txt").read_text() for name in others} == {"0\n1\n2\n"}


def test_failure_of_a_living_worker_is_no_death(tmp_path: Path) -> None:
    async def do() -> tuple[list[dict[str, str]], list[str]]:
        async with Bench(EXCLUSIVE, tmp_path) as bench:
            bench.start(2)
            for n in range(12):
                await bench.add([n])
                await asyncio.sleep(0.001)
                # Whoever has the stage loses it in the middle of its work.
                await bench.client.delete(KEYS.lease("tick"))
                await asyncio.sleep(0.5)
            await bench.settle()
            return await bench.letters(), bench.lines()

    letters, lines = run_virtual(do)
    assert letters == []
    assert lines == [str(n) for n in range(12)]


def test_event_that_failed_is_put_back_into_a_better_flow_and_is_done_once(tmp_path: Path) -> None:
    async def do() -> tuple[list[str], list[str], list[dict[str, str]]]:
        async with Bench(FAILING, tmp_path) as bench:
            bench.start(2)
            await bench.add(range(5))
            await bench.settle()
            assert len(await bench.letters()) == 5
            await bench.deploy(EXCLUSIVE)
            refused = [*await bench.replay_all(), *await bench.replay_all()]
            await bench.add([5])
            await bench.settle()
            return bench.lines(), refused, await bench.letters()

    lines, refused, letters = run_virtual(do)
    assert sorted(map(int, lines)) == list(range(6))
    assert (refused, letters) == ([], [])


def test_event_that_fails_again_is_a_dead_letter_again(tmp_path: Path) -> None:
    async def do() -> list[dict[str, str]]:
        async with Bench(SHARED, tmp_path) as bench:
            bench.start(2)
            await bench.add(range(3))
            await bench.settle()
            await bench.replay_all()
            await bench.settle()
            assert await bench.violations() == []
            [letter, *_] = await bench.client.xrange(KEYS.dead)
            await bench.client.xdel(KEYS.dead, letter[0])
            assert await bench.violations() == [], "what somebody has deleted is not missing"
            return [letter_of(*letter).fields, *await bench.letters()]

    assert sorted(letter_ids(run_virtual(do))) == ["0", "1", "2"]


def test_letter_that_holds_no_event_or_whose_source_is_gone_stays(tmp_path: Path) -> None:
    async def do() -> tuple[list[str], int]:
        async with Bench(SHARED, tmp_path) as bench:
            bench.start()
            await bench.client.xadd(KEYS.events("tick"), {"hello": "world"})
            await bench.add([0])
            while len(await bench.letters()) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            await bench.deploy(SHARED.replace("connector tick", "connector tock").replace("/tick", "/tock"))
            return await bench.replay_all(), len(await bench.letters())

    refused, left = run_virtual(do)
    assert left == 2
    assert refused == [
        "it holds no event: what it shows was damaged or foreign, or no sink can write it",
        "the flow no longer has /connector/tick",
    ]
