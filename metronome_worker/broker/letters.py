"""Dead letters: events that failed where nothing took the error, kept until somebody looks or puts them back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from metronome_worker.broker.scripts import run_script
from metronome_worker.errors import OperatorError, SupersededError
from metronome_worker.plan.model import replay_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis.asyncio import Redis

    from metronome_worker.broker.keys import FlowKeys
    from metronome_worker.broker.scripts import Argument
    from metronome_worker.plan.model import FlowPlan


class Letter(Struct, frozen=True, kw_only=True):
    """One dead letter as it is in the stream: ``fields`` are texts, whatever somebody may have written there."""

    letter_id: str
    fields: dict[str, str]

    def shown(self) -> dict[str, Any]:
        """The letter as JSON: what was an event is one again."""
        return {
            "id": self.letter_id,
            **{name: _value(text) if name in ("event", "meta") else text for name, text in self.fields.items()},
        }


def letter_of(entry_id: bytes, fields: Mapping[bytes, bytes]) -> Letter:
    """An entry of the stream, whatever it holds."""
    return Letter(
        letter_id=entry_id.decode(),
        fields={_text(name): _text(value) for name, value in fields.items()},
    )


class Unfit(ValueError):
    """A letter that cannot be put back, and why."""


def input_for(plan: FlowPlan, letter: Letter) -> str:
    """The input in which the event of a letter goes on, in a flow as it is now.  Pure.  Raises ``Unfit``."""
    if "event" not in letter.fields:
        raise Unfit("it holds no event: what it shows was damaged or foreign, or no sink can write it")
    source = letter.fields.get("source", "")
    if source not in {node.name for stage in plan.stages for node in stage.graph.sources}:
        raise Unfit(f"the flow no longer has {source}")
    return replay_of(source.removeprefix("/connector/"))


async def put_back(client: Redis, keys: FlowKeys, token: str, letters: Mapping[str, str]) -> frozenset[str]:
    """Have the events of ``letters``, ID to input, worked on again, each once (``replay_letters.lua``).

    Returns which were put back: not those that are gone.  Raises ``SupersededError`` when the flow was deployed anew,
    ``OperatorError`` when it is leaving or has ended.
    """
    inputs = sorted(set(letters.values()))
    names = [keys.flow, keys.dead, *(keys.events(name) for name in inputs)]
    args: list[Argument] = [token]
    for letter_id, name in letters.items():
        args += [letter_id, inputs.index(name) + 3]
    outcome, *done = await run_script(client, "replay_letters", names, args)
    if outcome == b"stopped":
        raise SupersededError(f"{keys.flow_name} was deployed anew")
    if outcome == b"leaving":
        raise OperatorError(
            "the flow is leaving or has ended:",
            value=keys.flow_name,
            reason="nobody would work on what is put back",
            advice="deploy it again first",
        )
    return frozenset(letter_id.decode() for letter_id in done)


def _text(value: bytes) -> str:
    return value.decode(errors="backslashreplace")


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
