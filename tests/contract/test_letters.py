"""Dead letters that are put back: worked on once, whoever puts them back how often."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from metronome_worker.broker.letters import put_back
from metronome_worker.errors import OperatorError, SupersededError
from tests.contract.flowkit import deployed

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from tests.contract.flowkit import Flow


async def letter(flow: Flow, **fields: str) -> str:
    known = {"event": '{"id":1}', "error": "no", "node": "/pipeline/a/select-1", "entry": "7-0"}
    return (await flow.client.xadd(flow.keys.dead, known | fields)).decode()  # type: ignore[arg-type]


async def test_letter_becomes_an_entry_of_its_input_and_is_no_letter_any_more(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    first, second = await letter(flow, meta='{"metronome":{}}'), await letter(flow)
    back = {first: "replay:tick", second: "replay:tick"}
    assert await put_back(client, flow.keys, flow.token, back) == {first, second}
    entries = [list(fields.items()) for _, fields in await flow.entries("replay:tick")]
    assert [[name for name, _ in fields] for fields in entries] == [[b"data", b"ingest_ns", b"meta", b"of"]] * 2
    assert [dict(fields)[b"meta"] for fields in entries] == [b'{"metronome":{}}', b"{}"]
    assert dict(entries[0])[b"of"] == b"7-0 at /pipeline/a/select-1"
    assert await client.xlen(flow.keys.dead) == 0


async def test_letter_is_put_back_once(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    name = await letter(flow)
    assert await put_back(client, flow.keys, flow.token, {name: "replay:tick"}) == {name}
    assert await put_back(client, flow.keys, flow.token, {name: "replay:tick"}) == frozenset()
    assert len(await flow.entries("replay:tick")) == 1


async def test_nothing_is_put_back_into_what_leaves_or_was_deployed_anew(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    name = await letter(flow)
    with pytest.raises(SupersededError):
        await put_back(client, flow.keys, "1.99", {name: "replay:tick"})
    await client.hset(flow.keys.flow, "status", "leaving")
    with pytest.raises(OperatorError, match="leaving or has ended"):
        await put_back(client, flow.keys, flow.token, {name: "replay:tick"})
    assert await client.xlen(flow.keys.dead) == 1
    assert await flow.entries("replay:tick") == []
