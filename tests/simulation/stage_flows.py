"""The flows that tests of a stage run, and what is done to their work."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from metronome_worker.worker.workbench import Workbench
from tests.system.flows import flow_of

if TYPE_CHECKING:
    import pytest

TICK = ('define connector tick from metronome with config = {"interval": 3600000} end;', "create connector tick;")
FILE = (
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
EXCLUSIVE = flow_of(*TICK, *FILE, pipeline("event.id"), *wires("out"))


#: The same, but no event can be divided: each is a dead letter, and nothing is written.
FAILING = flow_of(*TICK, *FILE, pipeline("event.id / 0"), *wires("out"))


#: Nothing keeps an order; that an event was worked on is seen by its dead letter.
SHARED = flow_of(
    *TICK, "define connector gone from null;", "create connector gone;", pipeline("event.id / 0"), *wires("gone")
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
