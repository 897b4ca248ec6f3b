"""A flow as it stands in Redis: its source, its run, its revision."""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from metronome_worker.broker.keys import GROUP, FlowKeys, flow_index
from metronome_worker.broker.scripts import run_script
from metronome_worker.errors import OperatorError, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    """``outcome``: started, changed, unchanged, leaving, ended or superseded (see ``deploy_flow.lua``).

    ``replaces``: the file of the source whose place was taken, and its revision; empty when there was none.
    """

    outcome: str
    run: int
    revision: int
    replaces: str = ""


class Status(Enum):
    RUNNING = "running"
    LEAVING = "leaving"
    ENDED = "ended"


class Standing(Struct, frozen=True, kw_only=True):
    """How a flow stands.  ``exit_from``: the exit stream's last ID before this run.

    ``code``: what the run ends, or ended, with; None while nobody has asked it to leave.
    """

    run: int
    revision: int
    status: Status
    exit_from: str
    code: int | None

    @property
    def token(self) -> str:
        """What every write of this run carries."""
        return f"{self.run}.{self.revision}"


class FlowRecord(Standing, frozen=True, kw_only=True):
    """The hash ``<namespace>:{F}:flow``: how the flow stands, and its source."""

    digest: str
    bundle: Bundle


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
        before: dict[bytes, bytes] = await client.hgetall(keys.flow)  # type: ignore[misc]
        is_whole = not _is_there(before) or _is_whole(keys, before, digest, bundle)
        places = Places(keys)
        old = _layout_before(before)
        if old is None and before.get(b"digest") == digest.encode():
            old = layout  # the same source needs the same
        plan = msgspec.json.encode(deployment_plan(places, old, layout))
        args: list[Argument] = [digest, msgspec.json.encode(bundle), msgspec.json.encode(layout), plan]
        args += [
            before.get(b"run", b"") + b"." + before.get(b"revision", b""),
            grace_ms,
            int(force),
            keys.news,
            GROUP,
            int(not is_whole),
        ]
        outcome, run, revision = await run_script(client, "deploy_flow", places.names, args)
        if outcome != b"moved":
            break
    await client.hset(flow_index(keys.namespace), keys.flow_name, str(revision))  # type: ignore[misc]
    is_other = outcome in (b"started", b"changed") and before.get(b"digest", digest.encode()) != digest.encode()
    return Deployed(outcome.decode(), run, revision, _source_name(before) if is_other else "")


def _is_there(fields: Mapping[bytes, bytes]) -> bool:
    """Whether these are of a flow; of one that was removed there are its last numbers alone (``remove_flow.lua``)."""
    return bool(fields) and (b"status" in fields or b"last_run" not in fields)


def _is_whole(keys: FlowKeys, fields: Mapping[bytes, bytes], digest: str, bundle: Bundle) -> bool:
    """Whether what is deployed can be read, and is what its digest says where that is ``digest``."""
    try:
        record = _record(keys, fields)
        msgspec.json.decode(fields.get(b"layout", b""), type=Layout)
    except (OperatorError, msgspec.DecodeError):
        return False
    return record.digest != digest or record.bundle == bundle


def _layout_before(fields: Mapping[bytes, bytes]) -> Layout | None:
    """What was needed before; None when that is not known, which leaves what is there where it is."""
    try:
        return msgspec.json.decode(fields.get(b"layout", b""), type=Layout)
    except msgspec.DecodeError:
        return None


def layout_in(keys: FlowKeys, stored: bytes | None) -> Layout:
    """The layout that is stored.  Raises ``OperatorError`` when it cannot be read."""
    try:
        return msgspec.json.decode(stored or b"", type=Layout)
    except msgspec.DecodeError as error:
        raise OperatorError(
            f"the layout of flow {keys.flow_name} cannot be read:",
            value=f"layout in {keys.flow}",
            reason=str(error),
            advice="deploy the flow again, which writes it anew: `metronome deploy FILE`",
        ) from error


def _source_name(fields: Mapping[bytes, bytes]) -> str:
    try:
        name = msgspec.json.decode(fields.get(b"bundle", b""), type=Bundle).main
    except msgspec.DecodeError:
        name = "a damaged source"
    return f"{name}, revision {fields.get(b'revision', b'').decode(errors='backslashreplace')}"


class Places:
    """Keys of a flow, and the place (from 1) of each in a script's KEYS."""

    def __init__(self, keys: FlowKeys) -> None:
        self.keys = keys
        self.names = [keys.flow, keys.exit, keys.epoch]

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
    """The flow's record, or None when it is not deployed.  Raises ``OperatorError`` when it is damaged."""
    fields: dict[bytes, bytes] = await client.hgetall(keys.flow)  # type: ignore[misc]
    return _record(keys, fields) if _is_there(fields) else None


async def code_of_removed(client: Redis, keys: FlowKeys) -> int | None:
    """The code that a flow ended with that was removed since; None for every other flow."""
    names = ["status", "last_run", "last_code"]
    status, last_run, code = await client.hmget(keys.flow, names)  # type: ignore[misc]
    return (_number(code) or 0) if status is None and last_run is not None else None


async def is_deployed(client: Redis, keys: FlowKeys) -> bool:
    """Whether there is a flow, whatever its record holds."""
    kind: bytes = await client.type(keys.flow)
    if kind != b"hash":
        return kind != b"none"
    status, last_run = await client.hmget(keys.flow, ["status", "last_run"])  # type: ignore[misc]
    return status is not None or last_run is None


async def remove_flow(client: Redis, keys: FlowKeys, layout: Layout) -> bool:
    """Forget a flow that has ended (``remove_flow.lua``); False when it is running or leaving.

    The index comes first: who deploys the flow meanwhile writes it there after that, or is found to run.  A crash in
    between leaves a flow that can be removed again by its name.
    """
    index = flow_index(keys.namespace)
    names = [keys.flow, keys.epoch, keys.exit, keys.dead, keys.members]
    names += [keys.schedule(schedule.connector) for schedule in layout.schedules]
    names += [keys.events(source) for sources in layout.stages.values() for source in sources]
    names += [keys.state(stage) for stage in layout.stages]
    names += [keys.source_state(reader) for reader in layout.readers]
    if await client.hget(keys.flow, "status") not in (b"running", b"leaving"):  # type: ignore[misc]
        await client.hdel(index, keys.flow_name)  # type: ignore[misc]
        if await run_script(client, "remove_flow", names, []):
            return True
    revision: bytes | None = await client.hget(keys.flow, "revision")  # type: ignore[misc]
    await client.hsetnx(index, keys.flow_name, (revision or b"").decode(errors="replace"))  # type: ignore[misc]
    return False


async def load_standing(client: Redis, keys: FlowKeys) -> Standing | None:
    """The same without the source, which may be damaged, or of a newer version."""
    names = ["run", "revision", "status", "exit_from", "code"]
    found: list[bytes | None] = await client.hmget(keys.flow, names)  # type: ignore[misc]
    fields = {name.encode(): value for name, value in zip(names, found, strict=True) if value is not None}
    return _standing(keys, fields) if fields else None


def _standing(keys: FlowKeys, fields: Mapping[bytes, bytes]) -> Standing:
    def fail(field: str, wanted: str) -> OperatorError:
        return OperatorError(
            f"the record of flow {keys.flow_name} is damaged:",
            value=f"{field} in {keys.flow}",
            reason=f"{wanted} belongs there, it is {shown(fields.get(field.encode()))}",
            advice="deploy the flow again, which puts right what is known (`metronome deploy FILE`), or "
            f"`redis-cli HSET '{keys.flow}' {field} …`",
        )

    def number(field: str) -> int:
        found = _number(fields.get(field.encode()))
        if found is None:
            raise fail(field, "a whole number")
        return found

    status = fields.get(b"status", b"").decode(errors="replace")
    if status not in [known.value for known in Status]:
        raise fail("status", "running, leaving or ended")
    exit_from = fields.get(b"exit_from", b"").decode(errors="replace")
    if re.fullmatch(r"\d{1,20}-\d{1,20}", exit_from) is None:
        raise fail("exit_from", "the ID of an entry")
    return Standing(
        run=number("run"),
        revision=number("revision"),
        status=Status(status),
        exit_from=exit_from,
        code=number("code") if b"code" in fields else None,
    )


def _number(value: bytes | None) -> int | None:
    """A number as the scripts write them."""
    return int(value) if value is not None and re.fullmatch(rb"\d{1,15}", value) else None


def _record(keys: FlowKeys, fields: Mapping[bytes, bytes]) -> FlowRecord:
    standing = _standing(keys, fields)
    try:
        bundle = msgspec.json.decode(fields.get(b"bundle", b""), type=Bundle)
    except (msgspec.DecodeError, RecursionError) as error:
        raise OperatorError(
            f"the stored source of flow {keys.flow_name} cannot be read:",
            value=f"bundle in {keys.flow}",
            reason=str(error),
            advice="a newer version of metronome-worker has deployed it, or somebody has changed it: run that version, "
            "or deploy the flow again with this one (`metronome deploy FILE`)",
        ) from error
    digest = fields.get(b"digest", b"").decode(errors="replace")
    return FlowRecord(**msgspec.structs.asdict(standing), digest=digest, bundle=bundle)
