"""What comes next for a flow that leaves.  Pure: whoever takes over goes on where the last one stopped.

A request is made; after its delay the barrier stops all sources; the stages drain to the barrier; then, or when the
deadline passes, the end is written.  All times are the server's, taken from the IDs of the exit stream's entries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from metronome_worker.broker.exits import ExitState


class Wait(Struct, frozen=True):
    """Nothing to do until there is news, or until ``until_ms`` (server's clock)."""

    until_ms: int | None = None


class WriteBarrier(Struct, frozen=True):
    """``due_ms``: when the sources stop (server's clock); ticks that are due before it are still published."""

    code: int
    due_ms: int


class WriteEnd(Struct, frozen=True):
    """``reason``: drained, deadline or abrupt."""

    reason: str


class Done(Struct, frozen=True):
    pass


Step = Wait | WriteBarrier | WriteEnd | Done


def next_step(state: ExitState, now_ms: int, stages: frozenset[str], drain_ms: int) -> Step:
    """What comes next for a flow with these ``stages``, at ``now_ms`` by the server's clock."""
    if state.end is not None:
        return Done()
    if state.barrier is None:
        if state.request is None:
            return Wait()
        due_ms = state.request.at_ms + state.request.delay_ms
        return WriteBarrier(state.request.code, due_ms) if now_ms >= due_ms else Wait(due_ms)
    if state.request is not None and not state.request.is_graceful:
        return WriteEnd("abrupt")
    if state.drained >= stages:
        return WriteEnd("drained")
    deadline_ms = state.barrier_ms + drain_ms
    return WriteEnd("deadline") if now_ms >= deadline_ms else Wait(deadline_ms)
