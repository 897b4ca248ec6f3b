"""What happens inside a stage, exclusive or shared, whatever becomes of its workers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from metronome_worker.broker.exits import write_barrier, write_end
from metronome_worker.broker.flows import load_flow, remove_flow
from metronome_worker.broker.letters import letter_of
from metronome_worker.connectors.schedules import layout_of
from metronome_worker.worker.workbench import Workbench
from tests.harness.virtual_clock import run_virtual
from tests.simulation.stages import KEYS, LIMIT_S, Bench
from tests.system.flows import flow_of

if TYPE_CHECKING:
    from pathlib import Path

_TICK = ('define connector tick from metronome with config = {"interval": 3600000} end;', "create connector tick;")
_FILE = (
    'define connector out from file with codec = "json", postprocessors = ["separate"], '
    'config = {"path": "out.txt", "mode": "append"} end;',
    "create connector out;",
)
_WIRES = ("create pipeline main;", "connect /connector/tick to /pipeline/main;", "connect /pipeline/main to {};")


def pipeline(select: str) -> str:
    return f"define pipeline main pipeline select {select} from in into out; end;"


def wires(sink: str) -> tuple[str, ...]:
    return (*_WIRES[:2], _WIRES[2].format(f"/connector/{sink}"))


#: One worker at a time: the ids go to a file.
EXCLUSIVE = flow_of(*_TICK, *_FILE, pipeline("event.id"), *wires("out"))

#: The same, but no event can be divided: each is a dead letter, and nothing is written.
FAILING = flow_of(*_TICK, *_FILE, pipeline("event.id / 0"), *wires("out"))

#: Nothing keeps an order; that an event was worked on is seen by its dead letter.
SHARED = flow_of(
    *_TICK, "define connector gone from null;", "create connector gone;", pipeline("event.id / 0"), *wires("gone")
)


def beside(count: int, sink: str) -> str:
    """``tick`` and so many sources more, each with a stage of its own; one with a null sink is shared."""
    statements = list[str]()
    for name in ("tick", *(f"source{number}" for number in range(count))):
        definition = (
            f'define connector {name}_out from file with codec = "json", postprocessors = ["separate"], '
            f'config = {{"path": "{name}.txt", "mode": "append"}} end;'
            if sink == "file"
            else f"define connector {name}_out from null;"
        )
        statements += [
            f'define connector {name} from metronome with config = {{"interval": 3600000}} end;',
            f"create connector {name};",
            definition,
            f"create connector {name}_out;",
            f"define pipeline {name} pipeline select event.id{'' if sink == 'file' else ' / 0'} from in into out; end;",
            f"create pipeline {name};",
            f"connect /connector/{name} to /pipeline/{name};",
            f"connect /pipeline/{name} to /connector/{name}_out;",
        ]
    return flow_of(*statements)


def slow_down(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """So long takes each batch, as on a slow disk; not one with an event that kills."""
    work = Workbench.work

    async def work_slowly(bench: Workbench, reply: Any) -> Any:
        if b'"kill"' not in b"".join(fields[1] for _, entries in reply for _, fields in entries):
            await asyncio.sleep(seconds)
        return await work(bench, reply)

    monkeypatch.setattr(Workbench, "work", work_slowly)


def letter_ids(letters: list[dict[str, str]]) -> list[str]:
    return [letter["event"].partition(":")[2].rstrip("}") for letter in letters]


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
        *_TICK,
        *(line.replace("tick", "tock") for line in _TICK),
        *_FILE,
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
