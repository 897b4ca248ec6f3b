"""A flow as it stands in Redis: its source, its run, its revision."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from metronome_worker.broker.keys import FlowKeys, flow_index
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
    """The keys that a run of a flow needs: schedules, stages with their sources, sources that read from outside."""

    schedules: tuple[ScheduleLayout, ...]
    stages: dict[str, tuple[str, ...]]
    readers: tuple[str, ...]


class Deployed(Struct, frozen=True):
    """``outcome``: started, changed, unchanged or leaving (see ``deploy_flow.lua``)."""

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


async def deploy_flow(client: Redis, keys: FlowKeys, digest: str, bundle: Bundle, layout: Layout) -> Deployed:
    """Store the source and start a run, in one step (``deploy_flow.lua``).  Running it again does no harm."""
    names = [keys.flow, keys.exit]
    for schedule in layout.schedules:
        names += [keys.schedule(schedule.connector), keys.events(schedule.connector)]
    names += [keys.state(stage) for stage in layout.stages]
    names += [keys.events(source) for sources in layout.stages.values() for source in sources]
    names += [keys.source_state(reader) for reader in layout.readers]
    shape = {
        "schedules": [{"kind": s.kind, "settings": s.settings, "interval": s.interval} for s in layout.schedules],
        "stages": list(layout.stages.values()),
        "readers": len(layout.readers),
    }
    args: list[Argument] = [digest, msgspec.json.encode(bundle), msgspec.json.encode(shape)]
    outcome, run, revision = await run_script(client, "deploy_flow", names, args)
    await client.hset(flow_index(keys.namespace), keys.flow_name, str(revision))  # type: ignore[misc]
    return Deployed(outcome.decode(), run, revision)


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
