"""What a connector does when it runs.  (What the plan must know of it is ``plan.model.ConnectorKind``.)

Writers and readers know nothing of leases and epochs.  A stage hands a writer its outputs *before* the commit; what
the writer returns is committed together with the stage's position, in one script.  So after a crash a writer is
opened with the last state that was committed, and must go back to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from msgspec import Struct

from metronome_worker.broker.commits import Command, SourceBatch
from metronome_worker.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from metronome_worker.runtime.effects import Output

__all__ = ["Command", "NodeState", "SinkWriter", "SourceBatch", "SourceReader", "Undeliverable", "Written", "count_in"]

#: What a writer or reader wants to find again after a crash; JSON, readable for people.
NodeState = dict[str, Any]


def count_in(node: str, state: NodeState, name: str) -> int:
    """A number of bytes in a committed state.  Raises ``OperatorError`` when somebody has damaged it."""
    found = state.get(name)
    if type(found) is int and found >= 0:
        return found
    raise OperatorError(
        f"the committed state of {node} is damaged:",
        value=msgspec.json.encode(state).decode(),
        reason=f'"{name}" must be a number of bytes',
        advice="put it right with redis-cli, or begin a new run: `metronome exit --flow F`, then deploy the flow again",
    )


class Undeliverable(Struct, frozen=True, kw_only=True):
    """An event that a sink has no way to put out, such as a value that its codec has no bytes for."""

    entry_id: str
    value: Any
    meta: dict[str, Any]
    error: str


class Written(Struct, frozen=True, kw_only=True):
    """What the commit must hold: the writer's new state (None: unchanged) and commands (in order).

    ``dead``: events that could not be put out, whatever is tried, and why.
    """

    state: NodeState | None = None
    commands: tuple[Command, ...] = ()
    dead: tuple[Undeliverable, ...] = ()


class SinkWriter(Protocol):
    async def open(self, committed: NodeState | None) -> NodeState | None:
        """Take over: undo what was written after ``committed`` (None: nothing was ever committed in this run).

        Returns a state that must be committed before the first ``write``, or None if nothing needs to be.
        Raises ``OperatorError`` when the environment refuses.
        """
        ...

    async def write(self, outputs: Mapping[str, Sequence[Output]]) -> Written:
        """Put out a batch, by input port.  All of it has left this process when this returns.

        Raises ``OperatorError`` when the environment refuses (a full disk).
        """
        ...

    async def close(self) -> None:
        """Let go of resources.  Never raises, never blocks for long."""
        ...


class SourceReader(Protocol):
    """A source that reads from outside (a file, standard input); ticks come from the ticker instead.

    ``is_repeatable``: what was read and not published is read again by whoever opens it next.
    """

    is_repeatable: bool

    async def open(self, cursor: NodeState | None) -> None:
        """Go on behind ``cursor`` (None: from the beginning)."""
        ...

    async def read(self) -> SourceBatch | None:
        """The next events, waiting for them if need be; None when there will never be more."""
        ...

    async def close(self) -> None: ...
