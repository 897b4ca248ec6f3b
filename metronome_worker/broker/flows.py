"""A flow as it stands in Redis: its source, its run, its revision."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from metronome_worker.broker.keys import GROUP, FlowKeys, flow_index
from metronome_worker.broker.scripts import run_script

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from metronome_worker.broker.scripts import Argument


class Bundle(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that a worker needs to know of a flow: every source file that it uses, by name, and which one is the main."""

    main: str
    flow: str
    sources: dict[str, str]


class ScheduleLayout(Struct, frozen=True, kw_only=True):
    """A schedule to be set up: ``settings`` is JSON; the first tick is due ``interval`` ms after the start."""

    connector: str
    kind: str
    settings: str
    interval: int


class Layout(Struct, frozen=True, kw_only=True):
    """The keys that a run of a flow needs: schedules, stages with their inputs, sources that read from outside.

    ``nodes``: stage to the nodes that may keep a state.  ``shared``: the stages that all workers compete for.
    """

    schedules: tuple[ScheduleLayout, ...]
    stages: dict[str, tuple[str, ...]]
    readers: tuple[str, ...]
    nodes: dict[str, tuple[str, ...]] = {}
    shared: tuple[str, ...] = ()


class Deployed(Struct, frozen=True):
    """``outcome``: started, changed, unchanged, leaving, ended or superseded (see ``deploy_flow.lua``)."""

    outcome: str
    run: int
    revision: int


class Status(Enum):
    RUNNING = "running"
    LEAVING = "leaving"
    ENDED = "ended"


class FlowRecord(Struct, frozen=True, kw_only=True):
    """The hash ``<namespace>:{F}:flow``.  ``exit_from``: the exit stream's last ID before this run.

    ``code``: what the run ends, or ended, with; None while nobody has asked it to leave.
    """

    run: int
    revision: int
    digest: str
    status: Status
    bundle: Bundle
    exit_from: str
    code: int | None

    @property
    def token(self) -> str:
        """What every write of this run carries."""
        return f"{self.run}.{self.revision}"


async def deploy_flow(
    client: Redis,
    keys: FlowKeys,
    digest: str,
    bundle: Bundle,
    layout: Layout,
    *,
    force: bool = False,
    grace_ms: int = 0,
) -> Deployed:
    """Store the source and start a run, in one step (``deploy_flow.lua``).  Running it again does no harm.

    ``force`` brings back a source that another has superseded; within ``grace_ms`` after its end the same source
    does not begin a new run.
    """
    while True:
        before: list[bytes | None] = await client.hmget(keys.flow, ["revision", "layout"])  # type: ignore[misc]
        old = msgspec.json.decode(before[1], type=Layout) if before[1] else None
        places = Places(keys)
        plan = msgspec.json.encode(deployment_plan(places, old, layout))
        args: list[Argument] = [digest, msgspec.json.encode(bundle), msgspec.json.encode(layout), plan]
        args += [before[0] or 0, grace_ms, int(force), keys.news, GROUP]
        outcome, run, revision = await run_script(client, "deploy_flow", places.names, args)
        if outcome != b"moved":
            break
    await client.hset(flow_index(keys.namespace), keys.flow_name, str(revision))  # type: ignore[misc]
    return Deployed(outcome.decode(), run, revision)


class Places:
    """Keys of a flow, and the place (from 1) of each in a script's KEYS."""

    def __init__(self, keys: FlowKeys) -> None:
        self.keys = keys
        self.names = [keys.flow, keys.exit]

    def of(self, name: str) -> int:
        """The place of a key, the same each time."""
        if name not in self.names:
            self.names.append(name)
        return self.names.index(name) + 1


def deployment_plan(places: Places, old: Layout | None, new: Layout) -> dict[str, object]:
    """What ``deploy_flow.lua`` must set up, take along and remove so that ``new`` takes the place of ``old``.  Pure."""
    keys = places.keys
    was_shared = {name for stage in old.shared for name in old.stages[stage]} if old is not None else set()
    return {
        "schedules": [
            {
                "key": places.of(keys.schedule(schedule.connector)),
                "kind": schedule.kind,
                "settings": schedule.settings,
                "interval": schedule.interval,
            }
            for schedule in new.schedules
        ],
        "stages": [
            {
                "key": places.of(keys.state(stage)),
                "is_shared": stage in new.shared,
                "inputs": [
                    {"name": name, "events": places.of(keys.events(name)), "was_shared": name in was_shared}
                    for name in inputs
                ],
            }
            for stage, inputs in new.stages.items()
        ],
        "readers": [places.of(keys.source_state(reader)) for reader in new.readers],
        "moves": [
            {"from": places.of(keys.state(start)), "to": places.of(keys.state(end)), "field": field}
            for start, end, field in (moves(old, new) if old is not None else ())
        ],
        "gone": [places.of(name) for name in (_gone(keys, old, new) if old is not None else ())],
    }


def moves(old: Layout, new: Layout) -> list[tuple[str, str, str]]:
    """What must be taken along from one stage's state to another's: old stage, new stage, field.

    An input takes its position along, and a node its state, wherever it belongs now.
    """
    home = {field: stage for stage in old.stages for field in _fields(old, stage)}
    return [
        (home[field], stage, field)
        for stage in new.stages
        for field in _fields(new, stage)
        if field in home and home[field] != stage
    ]


def _fields(layout: Layout, stage: str) -> list[str]:
    positions = [f"{kind}:{name}" for name in layout.stages[stage] for kind in ("events", "read", "open")]
    return [*positions, *layout.nodes.get(stage, ())]


def _gone(keys: FlowKeys, old: Layout, new: Layout) -> list[str]:
    """Keys of what is in no flow any more; if it comes back one day, it begins anew."""
    ticked = {s.connector for s in old.schedules} - {s.connector for s in new.schedules}
    return [
        *(keys.schedule(connector) for connector in sorted(ticked)),
        *(keys.state(stage) for stage in old.stages if stage not in new.stages),
        *(keys.source_state(reader) for reader in old.readers if reader not in new.readers),
    ]


async def load_flow(client: Redis, keys: FlowKeys) -> FlowRecord | None:
    """The flow's record, or None when it was never deployed."""
    fields: dict[bytes, bytes] = await client.hgetall(keys.flow)  # type: ignore[misc]
    if b"bundle" not in fields:
        return None
    return FlowRecord(
        run=int(fields[b"run"]),
        revision=int(fields[b"revision"]),
        digest=fields[b"digest"].decode(),
        status=Status(fields[b"status"].decode()),
        bundle=msgspec.json.decode(fields[b"bundle"], type=Bundle),
        exit_from=fields[b"exit_from"].decode(),
        code=int(fields[b"code"]) if b"code" in fields else None,
    )
