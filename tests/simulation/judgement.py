"""What is asked of a simulated run: all that ``metronome verify`` asks, by its recorder and its judge, and more.

The simulation knows what a command that looks at a deployment cannot: that nothing goes wrong any more, what each
process ended with, and what its flows put into their files.
"""

from __future__ import annotations

import io
from random import Random
from typing import TYPE_CHECKING

from msgspec.structs import replace

from metronome_worker.broker.connection import Patience
from metronome_worker.broker.ticks import server_us
from metronome_worker.host import Host
from metronome_worker.observe.history import end_reason, examine, exit_state
from metronome_worker.observe.log import make_log
from metronome_worker.observe.recording import record
from tests.harness.virtual_clock import VirtualClock, virtual_loop
from tests.simulation.world import NAMESPACE, keys_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from metronome_worker.observe.history import Check, History
    from metronome_worker.observe.recording import Recording
    from tests.simulation.world import Deployed, World

CODES = "processes left with a code"

#: How long before the end of a run without exit a tick may have been due that is not published yet, or be published
#: and not worked on: whoever has more than its share hands over, and may wait for 2 s before it takes that back.
_HANDED_OVER_MS = 2_200
#: After so long an ended flow is none that a process which starts late belongs to.
_LATE_START_S = 30.0


async def recorded(world: World, flow: str, exit_codes: tuple[int, ...]) -> Recording:
    """The history that ``metronome verify`` would take now; what it must be lenient about is asked for in full."""
    clock = VirtualClock(virtual_loop())
    log = make_log(io.StringIO(), "error")
    host = Host(
        client=world.witness,
        namespace=NAMESPACE,
        clock=clock,
        random=Random(0),
        log=log,
        patience=Patience("redis://simulated:6379", clock, Random(0), log),
        workshop=world.workshop,
        folder=world.folder,
        stdin=io.BytesIO(),
        stdout=io.BytesIO(),
        stderr=io.BytesIO(),
    )
    found = await record(host, keys_of(flow), exit_codes if len(world.flows) == 1 else ())
    now_ms = world.over_ms or await server_us(world.witness) // 1000
    return replace(found, history=replace(found.history, until_ms=_until_ms(found.history, now_ms)))


def _until_ms(history: History, now_ms: int) -> int:
    """Up to when due ticks must be decided.  ``verify`` allows for the time that it takes to notice a dead leader."""
    request = exit_state(history).request
    return now_ms - _HANDED_OVER_MS if request is None else request.at_ms + request.delay_ms


def findings(world: World, recordings: Sequence[Recording], exit_codes: tuple[int, ...]) -> list[str]:
    """What was promised and did not hold; counts what was judged."""
    found: list[str] = []
    for recording, flow in zip(recordings, world.flows, strict=True):
        history = recording.history
        where = f" ({flow.spec.name})" if len(world.flows) > 1 else ""
        checks = examine(history)
        found += [
            f"{violation}{where}"
            for check in checks
            for violation in check.violations
            if not _is_excused(world, violation)
        ]
        found += [f"{violation}{where}" for violation in _unjudged(checks, recording.revision)]
        found += [f"{violation}{where}" for violation in _unsettled(world, history)]
        found += [f"{violation}{where}" for violation in _numbers(flow, recording)]
        _count(world, history, checks)
    return found + list(_codes(world, exit_codes))


def _is_excused(world: World, violation: str) -> bool:
    """A leader knows what the server's clock shows up to half a round trip, and gives up ticks by that."""
    return violation.startswith("skipped too soon") and world.counts["delays of all connections"] > 0


def _unjudged(checks: Sequence[Check], revision: int) -> Iterator[str]:
    """What can be judged must be: a judge who says nothing must not pass for one who is content."""
    allowed = ("its settings were changed under way", "there are none", "nobody has asked it to leave")
    lenient = ("no worker has opened it yet", "several sources feed it, and some of their events are gone")
    for check in checks:
        if revision > 1 and check.name in ("counters", "outputs"):
            continue  # of the revision before there may be entries that wait, and states of sinks that are no more
        if check.unchecked and not check.unchecked.startswith((*allowed, *lenient)):
            yield f"not judged: {check.name} of {check.about}, as {check.unchecked}"


def _unsettled(world: World, history: History) -> Iterator[str]:
    """Where all is calm, no stage is behind."""
    if world.scenario.has_exit or not world.scenario.workers:
        return
    for stage in history.stages:
        for source, position in stage.positions.items():
            behind_ms = _ms(history.last_ids[source]) - _ms(position)
            if behind_ms > _HANDED_OVER_MS:
                yield f"backlog does not end: {stage.name} is {behind_ms} ms behind in {source}"


def _numbers(flow: Deployed, recording: Recording) -> Iterator[str]:
    """The file of a source of numbers holds them from 0 on without a gap, whatever the program would make of events.

    This believes nothing that the product's own compiler says, as the judge of a deployment must.
    """
    for output in recording.history.outputs:
        if not output.name.endswith(("fast_file", "slow_file", "lines_file")) or output.note:
            continue
        if output.is_ordered and recording.revision == 1 and output.found != _count_up(len(output.found)):
            yield f"not counted up: {output.name} of {flow.spec.name} holds {output.found[:3]}…"


def _count_up(count: int) -> tuple[str, ...]:
    return tuple(str(n) for n in range(count))


def _codes(world: World, exit_codes: tuple[int, ...]) -> Iterator[str]:
    """Of several flows a process leaves with the largest code of those that it has followed."""
    if not world.scenario.has_exit:
        if exit_codes:
            yield f"left without being asked: with {sorted(exit_codes)}"
        return
    codes = {flow.spec.code for flow in world.flows}
    is_known = not world.counts["Redis's clock moved"] and virtual_loop().time() < _LATE_START_S
    if wrong := set(exit_codes) - ({max(codes)} if is_known else codes):
        yield f"wrong exit code: {sorted(wrong)}, the flows have {sorted(codes)}"


def _count(world: World, history: History, checks: Sequence[Check]) -> None:
    world.count("flows")
    for schedule in history.schedules:
        world.count("ticks published", schedule.published)
        world.count("ticks skipped", schedule.skipped)
    for output in history.outputs:
        world.count(f"{output.what} judged", len(output.found))
    if reason := end_reason(history):
        world.count(f"exits: {reason}")
    world.count("checks made", sum(not check.unchecked for check in checks))
    world.count("checks that could not be made", sum(bool(check.unchecked) for check in checks))


def _ms(entry_id: str) -> int:
    return int(entry_id.partition("-")[0])
