"""Dead letters: events that failed where nothing took the error, kept until somebody looks or puts them back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from metronome_worker.broker.scripts import run_script
from metronome_worker.errors import OperatorError, SupersededError
from metronome_worker.plan.model import replay_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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


class Destination(Struct, frozen=True, kw_only=True):
    """Where a letter's event goes on: into an input of a stage, or with ``sink`` to that node straight away."""

    stage_input: str
    sink: str = ""


def letter_of(entry_id: bytes, fields: Mapping[bytes, bytes]) -> Letter:
    """An entry of the stream, whatever it holds."""
    return Letter(
        letter_id=entry_id.decode(),
        fields={_text(name): _text(value) for name, value in fields.items()},
    )


def destination_of(plan: FlowPlan, letter: Letter) -> Destination | str:
    """Where the event of a letter goes on in a flow as it is now; a text says why it cannot.  Pure.

    An event that a sink had no way to put out goes to that sink alone: what else came of it is done already.
    """
    if "event" not in letter.fields:
        return "it holds no event: what it shows was damaged, foreign, or cannot be written as JSON"
    node, source = letter.fields.get("node", ""), letter.fields.get("source", "")
    for stage in plan.stages:
        if node in {sink.name for sink in stage.graph.sinks}:
            return Destination(stage_input=replay_of(stage.sources[0]), sink=node)
        if source in {found.name for found in stage.graph.sources}:
            return Destination(stage_input=replay_of(source.removeprefix("/connector/")))
    return f"the flow no longer has {source if source.startswith('/connector/') else node}"


async def put_back(
    client: Redis, keys: FlowKeys, token: str, letters: Sequence[tuple[str, Destination]]
) -> frozenset[str]:
    """Have the events of letters (by ID) worked on again, each once (``replay_letters.lua``).

    Returns which were put back: not those that are gone.  Raises ``SupersededError`` when the flow was deployed anew,
    ``OperatorError`` when it is leaving or has ended.
    """
    inputs = sorted({destination.stage_input for _, destination in letters})
    names = [keys.flow, keys.dead, *(keys.events(name) for name in inputs)]
    args: list[Argument] = [token]
    for letter_id, destination in letters:
        args += [letter_id, inputs.index(destination.stage_input) + 3, destination.sink]
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
