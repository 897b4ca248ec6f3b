"""Runs: a flow is deployed, runs, leaves and ends; then the next run begins afresh."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from metronome_worker.broker.commits import load_state, state_fields
from metronome_worker.broker.exits import ExitWatch, write_barrier, write_end
from metronome_worker.broker.flows import Layout, ScheduleLayout, Status, load_flow
from metronome_worker.broker.ticks import load_schedule, server_us
from metronome_worker.errors import FencedError, SupersededError
from tests.contract.flowkit import LAYOUT, Flow, deployed

if TYPE_CHECKING:
    from redis.asyncio import Redis


async def test_the_first_tick_is_due_one_interval_after_the_start(client: Redis, namespace: str) -> None:
    before_ms = await server_us(client) // 1000
    flow = await deployed(client, namespace)
    after_ms = await server_us(client) // 1000
    schedule = await load_schedule(client, flow.keys, "tick")
    assert schedule is not None
    assert before_ms + 10 <= schedule.next_ms <= after_ms + 10
    assert (schedule.anchor_ms, schedule.published, schedule.skipped) == (schedule.next_ms, 0, 0)


async def test_the_same_source_deploys_to_nothing(client: Redis, namespace: str) -> None:
    flow = Flow(client, namespace)
    assert (await flow.deploy()).outcome == "started"
    schedule = await load_schedule(client, flow.keys, "tick")
    again = await flow.deploy()
    assert (again.outcome, again.run, again.revision) == ("unchanged", 1, 1)
    assert await load_schedule(client, flow.keys, "tick") == schedule


async def test_another_source_is_a_new_revision_that_keeps_schedule_and_positions(
    client: Redis, namespace: str
) -> None:
    flow = await deployed(client, namespace)
    lease = await flow.take("tick")
    await flow.commit(lease, 0, state_fields({"tick": "5-0"}, {"tick": 1}, {}))
    schedule = await load_schedule(client, flow.keys, "tick")
    changed = await flow.deploy("two")
    assert (changed.outcome, changed.run, changed.revision) == ("changed", 1, 2)
    assert await load_schedule(client, flow.keys, "tick") == schedule
    assert (await load_state(client, flow.keys.state("tick"))).positions == {"tick": "5-0"}


async def test_another_interval_starts_anew_but_the_numbers_go_on(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    lease = await flow.take()
    await flow.make_due(2)
    await flow.publish(lease, count=2)
    slower = ScheduleLayout(connector="tick", kind="metronome", settings='{"interval":5000}', interval=5000)
    now_ms = await server_us(client) // 1000
    await flow.deploy("two", Layout(schedules=(slower,), stages=LAYOUT.stages, readers=LAYOUT.readers))
    schedule = await load_schedule(client, flow.keys, "tick")
    assert schedule is not None
    assert schedule.published == 2
    assert now_ms + 5000 <= schedule.next_ms < now_ms + 10_000


async def leave(flow: Flow, code: int) -> None:
    ticker = await flow.take()
    await write_barrier(flow.client, flow.keys, ticker, flow.token, code, ["tick"])
    await write_end(flow.client, flow.keys, ticker, flow.token, "drained")
    await flow.leases.release(ticker)


async def test_the_barrier_holds_where_each_stream_ends_and_is_written_once(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    ticker = await flow.take()
    first_ms = await flow.make_due(2)
    await flow.publish(ticker, count=2)
    await write_barrier(client, flow.keys, ticker, flow.token, 4, ["tick", "lines"])
    await write_barrier(client, flow.keys, ticker, flow.token, 9, ["tick", "lines"])
    watch = ExitWatch(client, flow.keys, "0-0")
    await watch.poll()
    assert watch.state.barrier == {"tick": f"{first_ms + 10}-0", "lines": "0-0"}
    assert await client.xlen(flow.keys.exit) == 1
    record = await load_flow(client, flow.keys)
    assert record is not None
    assert (record.status, record.code) == (Status.LEAVING, 4)


async def test_the_end_carries_the_code_of_the_barrier_and_is_written_once(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    await leave(flow, 7)
    ticker = await flow.take()
    await write_end(client, flow.keys, ticker, flow.token, "deadline")
    watch = ExitWatch(client, flow.keys, "0-0")
    await watch.poll()
    assert watch.state.end == 7
    assert await client.xlen(flow.keys.exit) == 2


@pytest.mark.parametrize("is_trimmed", [False, True])
async def test_a_barrier_that_somebody_took_out_of_the_exit_stream_is_written_again(
    is_trimmed: bool, client: Redis, namespace: str
) -> None:
    flow = await deployed(client, namespace)
    ticker = await flow.take()
    await write_barrier(client, flow.keys, ticker, flow.token, 4, ["tick"])
    if is_trimmed:
        await client.xtrim(flow.keys.exit, maxlen=0)
    else:
        await client.delete(flow.keys.exit)
    for n in range(1_500):
        await client.xadd(flow.keys.exit, {"exit": n, "barrier": "forged"})
    await flow.publish(ticker)  # refused, as the flow leaves
    for code in (9, 9):
        await write_barrier(client, flow.keys, ticker, flow.token, code, ["tick"])
    written = [fields for _, fields in await client.xrange(flow.keys.exit) if b"epoch" in fields]
    assert written == [{b"barrier": b'{"tick":"0-0"}', b"code": b"4", b"epoch": b"1"}]


async def test_an_end_that_somebody_took_out_of_the_exit_stream_is_written_again(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    await leave(flow, 7)
    await client.delete(flow.keys.exit)
    ticker = await flow.take()
    for _ in range(2):
        await write_end(client, flow.keys, ticker, flow.token, "deadline")
    assert [fields[b"end"] for _, fields in await client.xrange(flow.keys.exit)] == [b"7"]


async def test_the_barrier_of_the_run_before_is_not_taken_for_this_ones(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    await leave(flow, 0)
    await flow.deploy()
    ticker = await flow.take()
    await write_barrier(client, flow.keys, ticker, flow.token, 0, ["tick"])
    [*_, (barrier, _)] = await client.xrange(flow.keys.exit)
    await client.xdel(flow.keys.exit, barrier)
    await write_barrier(client, flow.keys, ticker, flow.token, 0, ["tick"])
    assert [b"barrier" in fields for _, fields in await client.xrange(flow.keys.exit)] == [True, False, True]


async def test_a_fenced_ticker_writes_neither_barrier_nor_end(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    old = await flow.take()
    await flow.expire()
    with pytest.raises(FencedError):
        await write_barrier(client, flow.keys, old, flow.token, 0, ["tick"])
    with pytest.raises(FencedError):
        await write_end(client, flow.keys, old, flow.token, "drained")
    assert await client.xlen(flow.keys.exit) == 0


async def test_there_is_no_end_without_a_barrier(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    ticker = await flow.take()
    with pytest.raises(SupersededError):
        await write_end(client, flow.keys, ticker, flow.token, "drained")


async def test_an_exit_of_an_older_revision_is_refused(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    ticker, old_token = await flow.take(), flow.token
    await flow.deploy("two")
    with pytest.raises(SupersededError):
        await write_barrier(client, flow.keys, ticker, old_token, 0, ["tick"])


async def test_deploying_while_the_flow_leaves_is_put_off(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    ticker = await flow.take()
    await write_barrier(client, flow.keys, ticker, flow.token, 0, ["tick"])
    assert (await flow.deploy()).outcome == "leaving"
    assert (await flow.deploy("two")).outcome == "leaving"


async def test_the_next_run_begins_behind_the_one_before(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    ticker, stage = await flow.take(), await flow.take("tick")
    first_ms = await flow.make_due(3)
    await flow.publish(ticker, count=3)
    fields = state_fields({"tick": f"{first_ms}-0"}, {"tick": 1}, {"/connector/file": {"length": 9}})
    await flow.commit(stage, 0, fields)
    await flow.leases.release(ticker)
    await leave(flow, 0)
    old_token = flow.token
    assert (await flow.deploy()).outcome == "started"
    state = await load_state(client, flow.keys.state("tick"))
    assert (state.commits, state.nodes) == (0, {})
    assert state.positions == {"tick": f"{first_ms + 20}-0"}, "what the last run has left is not this one's"
    assert state.read == {"tick": 3}
    schedule = await load_schedule(client, flow.keys, "tick")
    assert schedule is not None
    assert schedule.published == 0
    record = await load_flow(client, flow.keys)
    assert record is not None
    watch = ExitWatch(client, flow.keys, record.exit_from)
    await watch.poll()
    assert watch.state.request is None
    assert watch.state.end is None, "the end of the last run is not this one's"
    assert flow.token != old_token
