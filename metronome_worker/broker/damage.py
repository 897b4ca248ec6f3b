"""What stands in Redis and is not as we write it, told so that an operator can act: which key, what is in it, what now.

A server that refuses a command with WRONGTYPE does not say for which key; ``refusal_of`` looks.  What it looks for may
be put right by then, so that a refusal without a cause that is found is no reason to end a process either.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec
from redis.exceptions import RedisError, ResponseError

from metronome_worker.broker.flows import Layout
from metronome_worker.broker.keys import TICKER, flow_in, flow_index, source_owner
from metronome_worker.broker.outages import is_outage
from metronome_worker.errors import OperatorError, shown

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from metronome_worker.broker.keys import FlowKeys

_ARTICLES: Final = {"hash": "a hash", "list": "a list", "set": "a set", "stream": "a stream", "string": "a string"}


def mistyped(key: str, found: str, wanted: str) -> OperatorError:
    """Somebody else writes under one of our names; ``found`` and ``wanted`` are types as the server calls them."""
    return OperatorError(
        "a key holds something of another type:",
        value=key,
        reason=f"{_ARTICLES.get(found, found)} where {_ARTICLES[wanted]} belongs",
        advice=f"somebody else writes under this name; put it aside: `redis-cli RENAME '{key}' '{key}:aside'`, "
        + _then(key),
    )


def _then(key: str) -> str:
    """What is still to do when a key that held something else is gone."""
    flow = flow_in(key)
    match key.partition("}:")[2].partition(":")[0]:
        case "flow" | "":
            return "then deploy again what was deployed: `metronome deploy FILE`"
        case "state" | "schedule":
            return f"then begin a new run: `metronome exit --flow {flow}`, and deploy the flow again"
        case _:
            return "and it is made anew"


class UnexplainedRefusal(OperatorError):
    """The server refused a command, and nothing is, or can be, found that is wrong now."""


async def refusal_of(client: Redis, keys: FlowKeys, error: BaseException) -> BaseException:
    """What to tell, an ``OperatorError``, when the server refused a command of a flow; any other error is returned."""
    if not isinstance(error, ResponseError) or is_outage(error):
        return error
    with suppress(RedisError):  # it went away, or a key was changed meanwhile
        found = await _look(client, keys)
        if found is not None:
            return found
    return _unexplained(keys.flow, error)


def _unexplained(key: str, error: ResponseError) -> UnexplainedRefusal:
    return UnexplainedRefusal(
        "Redis refused what was asked of",
        value=key,
        reason=str(error),
        advice="nothing is found that is wrong now: most likely it was put right a moment ago, so try again; "
        "if it is said again, it is a bug: please report it with this message",
    )


async def _look(client: Redis, keys: FlowKeys) -> OperatorError | None:
    """The first key of a flow that is not as it should be."""
    expected = {keys.flow: "hash"}
    if await _type(client, keys.flow) == "hash":
        expected = await _keys_of(client, keys)
    for key, wanted in expected.items():
        if (found := await _type(client, key)) not in (wanted, "none"):
            return mistyped(key, found, wanted)
    epoch: bytes | None = await client.get(keys.epoch)
    if epoch is not None and not (epoch.isdigit() and len(epoch) < 16):
        return OperatorError(
            "the counter of epochs is damaged:",
            value=keys.epoch,
            reason=f"it is {shown(epoch)}, no whole number",
            advice=f"set it above every epoch that was given out: `redis-cli SET '{keys.epoch}' 1000000`, or more",
        )
    return None


async def index_refusal_of(client: Redis, namespace: str, error: BaseException) -> BaseException:
    """The same for the index of flows."""
    if not isinstance(error, ResponseError) or is_outage(error):
        return error
    key = flow_index(namespace)
    with suppress(RedisError):
        found = await _type(client, key)
        if found not in ("hash", "none"):
            return mistyped(key, found, "hash")
    return _unexplained(key, error)


async def _type(client: Redis, key: str) -> str:
    found: bytes = await client.type(key)
    return found.decode()


async def _keys_of(client: Redis, keys: FlowKeys) -> dict[str, str]:
    """What each key of a flow must hold; of a flow whose layout cannot be read, those that every flow has."""
    try:
        layout = msgspec.json.decode(await client.hget(keys.flow, "layout") or b"", type=Layout)  # type: ignore[misc]
    except msgspec.DecodeError:
        layout = Layout(schedules=(), stages={}, readers=())
    owners = [*layout.stages, *map(source_owner, layout.readers)]
    return {
        **{keys.events(source): "stream" for sources in layout.stages.values() for source in sources},
        **{keys.schedule(schedule.connector): "hash" for schedule in layout.schedules},
        **{keys.state(owner): "hash" for owner in owners},
        **{keys.lease(name): "string" for name in (TICKER, *owners)},
        keys.epoch: "string",
        keys.exit: "stream",
        keys.dead: "stream",
        keys.members: "hash",
    }
