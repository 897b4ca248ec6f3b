"""Reads from Redis and from the files what a run did, for the judge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from metronome_worker.broker.commits import load_state
from metronome_worker.broker.ticks import load_schedule, server_us
from metronome_worker.connectors.schedules import ticked_sources
from metronome_worker.observe.history import (
    ExitEntry,
    History,
    OutputHistory,
    ScheduleHistory,
    StageHistory,
    tick_record,
)

if TYPE_CHECKING:
    from pathlib import Path

    from metronome_worker.broker.keys import FlowKeys
    from metronome_worker.observe.history import TickRecord
    from metronome_worker.plan.model import ConnectorInstance, FlowPlan, Stage

#: How long before the end a tick may have been due that is not published yet: it may be on its way.
_ON_ITS_WAY_MS = 50


async def record(client: Any, keys: FlowKeys, plan: FlowPlan, folder: Path, exit_codes: tuple[int, ...]) -> History:
    """The history of the run under way, or of the last one.  Sinks are files that hold the ``id`` of each tick."""
    schedules = [await _schedule(client, keys, connector) for connector in ticked_sources(plan)]
    exits = tuple(
        ExitEntry(entry_id=entry_id.decode(), fields={k.decode(): v.decode() for k, v in fields.items()})
        for entry_id, fields in await client.xrange(keys.exit)
    )
    ticks = {schedule.connector: schedule.ticks for schedule in schedules}
    outputs = [await _output(client, keys, stage, plan, ticks) for stage in plan.stages]
    return History(
        schedules=tuple(schedules),
        until_ms=_until_ms(exits, await server_us(client) // 1000),
        last_ids={name: ids[-1].entry_id for name, ids in ticks.items() if ids},
        exits=exits,
        stages=tuple([await _stage(client, keys, stage) for stage in plan.stages]),
        outputs=tuple(output for output in outputs if output is not None),
        exit_codes=exit_codes,
    )


def _until_ms(exits: tuple[ExitEntry, ...], now_ms: int) -> int:
    """Up to when due ticks must be decided: until now, or until the flow was to stop."""
    for entry in exits:
        if "exit" in entry.fields:
            return int(entry.entry_id.partition("-")[0]) + int(entry.fields["delay"])
    return now_ms - _ON_ITS_WAY_MS


async def _schedule(client: Any, keys: FlowKeys, connector: ConnectorInstance) -> ScheduleHistory:
    schedule = await load_schedule(client, keys, connector.alias)
    assert schedule is not None
    entries = [
        (entry_id.decode(), {name.decode(): value for name, value in fields.items()})
        for entry_id, fields in await client.xrange(keys.events(connector.alias))
    ]
    return ScheduleHistory(
        connector=connector.alias,
        interval_ms=connector.config.interval,
        missed=connector.config.missed,
        catch_up_ms=connector.config.catch_up,
        anchor_ms=schedule.anchor_ms,
        next_ms=schedule.next_ms,
        published=schedule.published,
        skipped=schedule.skipped,
        gap=schedule.gap,
        ticks=tuple(tick_record(entry_id, fields, connector.kind) for entry_id, fields in entries),
    )


async def _stage(client: Any, keys: FlowKeys, stage: Stage) -> StageHistory:
    state = await load_state(client, keys.state(stage.name))
    epoch = await client.hget(keys.state(stage.name), "epoch")
    return StageHistory(name=stage.name, positions=state.positions, epoch=int(epoch or 0))


async def _output(
    client: Any, keys: FlowKeys, stage: Stage, plan: FlowPlan, ticks: dict[str, tuple[TickRecord, ...]]
) -> OutputHistory | None:
    """The file of a stage against the ticks that the stage has committed."""
    state = await load_state(client, keys.state(stage.name))
    (source,) = stage.sources
    node = next(plan.connectors[alias].node for alias in stage.sinks if plan.connectors[alias].kind == "file")
    if node not in state.nodes:
        return None  # no worker ever opened it
    path, length = state.nodes[node]["path"], state.nodes[node]["length"]
    with open(path, "rb") as file:  # noqa: ASYNC230, PTH123
        content = file.read()
    done = _number(state.positions[source])
    return OutputHistory(
        name=node,
        expected=tuple(str(tick.n) for tick in ticks[source] if _number(tick.entry_id) <= done),
        found=tuple(content[:length].decode().splitlines()),
        tail_bytes=len(content) - length,
    )


def _number(entry_id: str) -> tuple[int, int]:
    milliseconds, _, index = entry_id.partition("-")
    return int(milliseconds), int(index)
