"""What somebody else has written, or changed by hand: told with its key, never lost over, healed by a deployment."""

from __future__ import annotations

import msgspec
import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from metronome_worker.broker.commits import load_state, position_of, state_fields, trim_stream
from metronome_worker.broker.damage import index_refusal_of, refusal_of
from metronome_worker.broker.flows import Status, load_flow, load_standing
from metronome_worker.broker.keys import FlowKeys, flow_index
from metronome_worker.broker.members import Member, announce
from metronome_worker.broker.scripts import run_script
from metronome_worker.broker.ticks import Outcome, load_schedule, server_us
from metronome_worker.errors import OperatorError
from tests.contract.flowkit import deployed

FUTURE = "99999999999999-0"


async def test_ticks_behind_an_entry_of_the_future_wait_and_are_not_counted(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    lease = await flow.take()
    await flow.make_due(2)
    before = await load_schedule(client, flow.keys, "tick")
    await client.xadd(flow.keys.events("tick"), {"foo": "bar"}, id=FUTURE)
    reply = await flow.publish(lease, count=2)
    assert (reply.outcome, reply.blocked_by) == (Outcome.BLOCKED, FUTURE)
    assert await load_schedule(client, flow.keys, "tick") == before
    await client.rename(flow.keys.events("tick"), flow.keys.events("tick") + ":aside")
    assert (await flow.publish(lease, count=2)).outcome is Outcome.PUBLISHED


async def test_a_stream_of_another_type_is_no_duplicate(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    lease = await flow.take()
    await flow.make_due(1)
    await client.set(flow.keys.events("tick"), "foreign")
    with pytest.raises(ResponseError) as refused:
        await flow.publish(lease)
    told = await refusal_of(client, flow.keys, refused.value)
    assert isinstance(told, OperatorError)
    assert told.value == flow.keys.events("tick")
    assert told.reason == "a string where a stream belongs"
    schedule = await load_schedule(client, flow.keys, "tick")
    assert schedule is not None
    assert schedule.published == 0


@pytest.mark.parametrize("fields", [{"next": "x"}, {"published": ""}, {"gap": "-1"}])
async def test_a_damaged_schedule_is_told_with_its_field(client: Redis, namespace: str, fields: dict[str, str]) -> None:
    flow = await deployed(client, namespace)
    await client.hset(flow.keys.schedule("tick"), mapping=fields)
    [(name, _)] = fields.items()
    with pytest.raises(OperatorError, match=f"schedule:tick: {name} is "):
        await load_schedule(client, flow.keys, "tick")


async def test_a_state_that_is_gone_is_not_begun_anew(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    state = await load_state(client, flow.keys.state("tick"))
    with pytest.raises(OperatorError, match="no events:other"):
        position_of(state, "other", flow.keys.state("tick"))
    await client.delete(flow.keys.state("tick"))
    with pytest.raises(OperatorError, match="gone"):
        await load_state(client, flow.keys.state("tick"))


@pytest.mark.parametrize(
    ("field", "value"), [("events:tick", "x"), ("read:tick", "-"), ("commits", ""), ("/connector/file", "[1]")]
)
async def test_a_damaged_state_is_told_with_its_field(client: Redis, namespace: str, field: str, value: str) -> None:
    flow = await deployed(client, namespace)
    await client.hset(flow.keys.state("tick"), field, value)
    with pytest.raises(OperatorError, match=f"{field} is '"):
        await load_state(client, flow.keys.state("tick"))


async def test_the_same_source_repairs_what_is_stored(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    assert (await flow.deploy()).outcome == "unchanged"
    record = await load_flow(client, flow.keys)
    assert record is not None
    edited = msgspec.json.encode({"main": "flow.troy", "flow": "main", "sources": {}})
    for revision, (field, value) in enumerate(
        [("bundle", b"{"), ("bundle", edited), ("layout", b"{"), ("exit_from", b"x"), ("superseded", b"{")], 2
    ):
        await client.hset(flow.keys.flow, field, value)
        outcome = await flow.deploy()
        if field == "superseded":
            assert outcome.outcome == "unchanged", "what is not needed is left alone"
        else:
            assert (outcome.outcome, outcome.run, outcome.revision) == ("changed", 1, revision)
        again = await load_flow(client, flow.keys)
        assert again is not None
        assert again.bundle == record.bundle


@pytest.mark.parametrize(("field", "value"), [("run", b"x"), ("revision", b"x")])
async def test_a_run_goes_on_whose_record_is_repaired(client: Redis, namespace: str, field: str, value: bytes) -> None:
    flow = await deployed(client, namespace)
    lease = await flow.take("tick")
    await flow.commit(lease, 0, state_fields({"tick": "5-0"}, {"tick": 1}, {}))
    await client.hset(flow.keys.flow, field, value)
    with pytest.raises(OperatorError, match=f"{field} in .*it is 'x'"):
        await load_standing(client, flow.keys)
    assert (await flow.deploy()).outcome == "changed"
    assert (await load_state(client, flow.keys.state("tick"))).positions == {"tick": "5-0"}


async def test_an_unknown_status_begins_a_new_run(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    await client.hset(flow.keys.flow, "status", "asleep")
    assert (await flow.deploy()).outcome == "started"
    standing = await load_standing(client, flow.keys)
    assert standing is not None
    assert (standing.status, standing.run) == (Status.RUNNING, 2)


async def test_what_took_the_place_of_what_is_told(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    assert (await flow.deploy("two")).replaces == "flow.troy, revision 1"
    assert (await flow.deploy("two")).replaces == ""
    assert (await flow.deploy("one")).replaces == "", "it is superseded, and replaces nothing"


async def test_an_epoch_that_is_no_number_is_told_with_what_to_do(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    await client.set(flow.keys.epoch, "many")
    with pytest.raises(ResponseError) as refused:
        await flow.take()
    told = await refusal_of(client, flow.keys, refused.value)
    assert isinstance(told, OperatorError)
    assert f"SET '{flow.keys.epoch}'" in told.advice


async def test_a_refusal_whose_cause_is_put_right_already_is_no_bug(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    await client.set(flow.keys.epoch, "many")
    with pytest.raises(ResponseError) as refused:
        await flow.take()
    await client.set(flow.keys.epoch, "1000")
    told = await refusal_of(client, flow.keys, refused.value)
    assert isinstance(told, OperatorError)
    assert (told.value, told.reason) == (flow.keys.flow, str(refused.value))
    assert "put right a moment ago" in told.advice
    told = await index_refusal_of(client, namespace, refused.value)
    assert isinstance(told, OperatorError)
    assert told.value == flow_index(namespace)


async def test_a_refusal_that_cannot_be_looked_into_is_no_bug(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    await client.set(flow.keys.epoch, "many")
    with pytest.raises(ResponseError) as refused:
        await flow.take()
    gone = FlowKeys("main", namespace)
    async with Redis.from_url("redis://127.0.0.1:1") as unreachable:
        assert isinstance(await refusal_of(unreachable, gone, refused.value), OperatorError)
        assert isinstance(await index_refusal_of(unreachable, namespace, refused.value), OperatorError)


async def test_a_member_of_the_future_does_not_stay_for_ever(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    now_ms = await server_us(client) // 1000
    await client.hset(flow.keys.members, mapping={"later": f"{now_ms + 60_000} {{}}", "not": "ours"})
    me = Member(role="worker", host="here", pid=1, since="now")
    assert await announce(client, flow.keys, "me", me) == {"me": me}
    assert await client.hkeys(flow.keys.members) == [b"me"]


async def test_a_stream_that_was_made_anew_keeps_what_waits(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    lease = await flow.take("tick")
    await flow.commit(lease, 0, state_fields({"tick": "5-0"}, {"tick": 1_000}, {}))
    for _ in range(300):
        await client.xadd(flow.keys.events("tick"), {"data": "1"})
    assert await trim_stream(client, flow.keys, lease, "tick", 0, 3_600_000) == 0
    assert await client.xlen(flow.keys.events("tick")) == 300


@pytest.mark.parametrize("state", [{"events:tick": FUTURE}, {"open:tick": '["1-0"]'}])
async def test_what_is_not_done_is_not_trimmed_however_far_the_position_is(
    client: Redis, namespace: str, state: dict[str, str]
) -> None:
    flow = await deployed(client, namespace)
    lease = await flow.take("tick")
    for n in range(300):
        await client.xadd(flow.keys.events("tick"), {"data": "1"}, id=f"{n + 1}-0")
    await client.hset(flow.keys.state("tick"), mapping={"events:tick": "300-0", "read:tick": 300} | state)
    assert await trim_stream(client, flow.keys, lease, "tick", 0, 0) == 0
    assert await client.xlen(flow.keys.events("tick")) == 300


async def test_a_damaged_schedule_does_not_keep_a_flow_from_going_on(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    await run_script(client, "pause_flow", [flow.keys.flow], [])
    await client.hset(flow.keys.schedule("tick"), mapping={"next": "x", "settings": "{"})
    names = [flow.keys.flow, flow.keys.schedule("tick")]
    assert await run_script(client, "resume_flow", names, [flow.keys.news]) == 1
    assert await client.hget(flow.keys.flow, "paused") is None


async def test_a_tick_behind_an_entry_by_hand_is_published_behind_it(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    lease = await flow.take()
    first_ms = await flow.make_due(3)
    await client.xadd(flow.keys.events("tick"), {"foo": "bar"}, id=f"{first_ms + 11}-3")
    assert (await flow.publish(lease, count=3)).outcome is Outcome.PUBLISHED
    ids = [entry_id for entry_id, _ in await flow.entries()]
    assert ids == [f"{first_ms + 11}-3", f"{first_ms + 11}-4", f"{first_ms + 11}-5", f"{first_ms + 20}-0"]
    events = [msgspec.json.decode(fields[b"data"])["id"] for _, fields in (await flow.entries())[1:]]
    assert events == [0, 1, 2]


async def test_a_tick_whose_very_id_somebody_else_has_used_is_published_behind_it(
    client: Redis, namespace: str
) -> None:
    flow = await deployed(client, namespace)
    lease = await flow.take()
    first_ms = await flow.make_due(1)
    await client.xadd(flow.keys.events("tick"), {"data": "1", "ingest_ns": "1"}, id=f"{first_ms}-0")
    assert (await flow.publish(lease)).outcome is Outcome.PUBLISHED
    assert [entry_id for entry_id, _ in await flow.entries()] == [f"{first_ms}-0", f"{first_ms}-1"]
