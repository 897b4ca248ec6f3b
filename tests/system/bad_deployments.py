"""What may be wrong with what stands in Redis, and what an operator must be told of it: one table.

Each case damages a flow that runs, which has the case's name.  ``says`` are parts of what tickers and workers log.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from tests.system.flows import IDS, ticking

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

    from metronome_worker.broker.keys import FlowKeys

    Damage = Callable[[Redis, FlowKeys], object]

#: How a flow is healed: by its file, deployed again; by the commands that the log advises; by these and a
#: new run; by itself.
DEPLOY, ADVICE, NEW_RUN, NOTHING = "deploy", "advice", "new run", "nothing"

FAR_FUTURE: Final = "99999999999999-0"


class BadDeployment(Struct, frozen=True, kw_only=True):
    """``heals``: what puts it right, one of the above, or a correction by hand.

    ``keeps_all``: every tick reaches the file, each once, through damage and healing.  ``told_by``: commands that
    must tell the same, and leave with status 3; the others must do their work.
    """

    claim: str
    damage: Damage
    says: tuple[str, ...]
    heals: str | Damage
    keeps_all: bool = True
    told_by: tuple[str, ...] = ()

    @property
    def flow_text(self) -> str:
        return ticking(100, name=self.claim, path=f"{self.claim}-{IDS}")


def _field(name: str, value: str) -> Damage:
    return lambda client, keys: client.hset(keys.flow, name, value)


def _bundle(edit: Callable[[dict[str, Any]], object]) -> Damage:
    """The stored source, changed; the revision moves on, so that what runs reads it."""

    def do(client: Redis, keys: FlowKeys) -> None:
        bundle = json.loads(client.hget(keys.flow, "bundle"))  # type: ignore[arg-type]
        client.hset(keys.flow, "bundle", json.dumps(edit(bundle) or bundle))
        client.hincrby(keys.flow, "revision", 1)

    return do


def _source(old: str, new: str) -> Damage:
    def edit(bundle: dict[str, Any]) -> None:
        assert old in bundle["sources"][bundle["main"]]
        bundle["sources"][bundle["main"]] = bundle["sources"][bundle["main"]].replace(old, new)

    return _bundle(edit)


def _broken_bundle(client: Redis, keys: FlowKeys) -> None:
    client.hset(keys.flow, "bundle", "{nothing")
    client.hincrby(keys.flow, "revision", 1)


def _foreign(key: Callable[[FlowKeys], str]) -> Damage:
    """Somebody else's text under one of our names."""

    def do(client: Redis, keys: FlowKeys) -> None:
        client.set(key(keys), "not ours")

    return do


def _state(**fields: str) -> Damage:
    """Fields of the stage's state; its lease is deleted, so that a worker reads the state again."""

    def do(client: Redis, keys: FlowKeys) -> None:
        with client.pipeline() as pipe:
            pipe.delete(keys.lease("tick"))
            pipe.hset(keys.state("tick"), mapping={name.replace("__", ":"): value for name, value in fields.items()})
            pipe.execute()

    return do


def _file_state(text: str) -> Damage:
    return _state(**{"/connector/file": text})


def _begins_file_anew(client: Redis, keys: FlowKeys) -> None:
    """The file goes on where it really ends, also behind lines that were written and not committed."""
    client.hdel(keys.state("tick"), "/connector/file")


def _entries(client: Redis, keys: FlowKeys) -> None:
    events = keys.events("tick")
    client.xadd(events, {"foo": "bar"})
    client.xadd(events, {"data": "{broken"})
    client.xadd(events, {"data": b"\xff\xfe", "ingest_ns": b"\xff"})
    client.xadd(events, {b"\xff": b"\xff"})
    client.xadd(events, {"data": "1", "ingest_ns": "1", "meta": "[]"})


def _members(client: Redis, keys: FlowKeys) -> None:
    card = json.dumps({"role": "ticker", "host": "gone", "pid": 1, "since": "x", "holds": ["ticker"]})
    later = f"99999999999999 {card}"
    client.hset(keys.members, mapping={"x": "y", b"\xff": b"\xff", "list": "99999999999999 [1]", "later": later})


def _exits(client: Redis, keys: FlowKeys) -> None:
    for fields in ({b"\xff": b"\xff"}, {"barrier": "x"}, {"barrier": '{"tick":"0-0"}'}, {"drained": "x"}, {"end": "0"}):
        client.xadd(keys.exit, fields)


def _no_epochs(client: Redis, keys: FlowKeys) -> None:
    client.set(keys.epoch, "many")
    client.delete(keys.lease("tick"), keys.lease("ticker"))


def _case(claim: str, damage: Damage, *says: str, heals: str | Damage, **settings: Any) -> BadDeployment:
    return BadDeployment(claim=claim, damage=damage, says=says, heals=heals, **settings)


_OUR_SOURCE: Final = ("status", "graph", "verify")
_STANDING: Final = ("status", "flows", "graph", "verify", "pause", "exit")
_NEWER: Final = ("this version of metronome-worker cannot run", "deploy it again")
_WRONG_TYPE: Final = ("of another type", "RENAME")

CASES: Final = (
    _case(
        "source_broken",
        _broken_bundle,
        "the stored source of flow source_broken cannot be read",
        "bundle in ",
        "metronome deploy",
        heals=DEPLOY,
        told_by=_OUR_SOURCE,
    ),
    _case(
        "source_of_a_newer_layout",
        _bundle(lambda bundle: {**bundle, "later": 1}),
        "unknown field `later`",
        "a newer version",
        heals=DEPLOY,
        told_by=_OUR_SOURCE,
    ),
    _case(
        "source_without_a_module",
        _source("flow source_without_a_module\nflow", "flow source_without_a_module\nflow use other::module;"),
        "there is no module `other::module`",
        *_NEWER,
        heals=DEPLOY,
        told_by=_OUR_SOURCE,
    ),
    _case(
        "connector_of_a_newer_version",
        _source("from metronome", "from sundial"),
        "no kind of connector called `sundial`",
        *_NEWER,
        heals=DEPLOY,
        told_by=_OUR_SOURCE,
    ),
    _case(
        "setting_of_a_newer_version",
        _source('{"interval": 100}', '{"interval": 100, "shade": 1}'),
        '"shade"',
        *_NEWER,
        heals=DEPLOY,
        told_by=_OUR_SOURCE,
    ),
    _case(
        "function_of_a_newer_version",
        _source("select event.id", "select std::later(event.id)"),
        "std",
        *_NEWER,
        heals=DEPLOY,
        told_by=_OUR_SOURCE,
    ),
    _case("run_no_number", _field("run", "x"), "run in ", "it is 'x'", "HSET", heals=DEPLOY, told_by=_STANDING),
    _case("revision_no_number", _field("revision", "-1"), "revision in ", "'-1'", heals=DEPLOY, told_by=_STANDING),
    _case(
        "status_unknown",
        _field("status", "asleep"),
        "status in ",
        "'asleep'",
        "running, leaving or ended",
        heals=_field("status", "running"),
        told_by=_STANDING,
    ),
    _case(
        "flow_replaced",
        _foreign(lambda keys: keys.flow),
        *_WRONG_TYPE,
        "a string where a hash belongs",
        "deploy",
        heals=lambda client, keys: client.delete(keys.flow),
        keeps_all=False,
        told_by=(*_STANDING, "resume", "undeploy"),
    ),
    _case(
        "schedule_deleted",
        lambda c, k: c.delete(k.schedule("tick")),
        "no such key",
        heals=NEW_RUN,
        keeps_all=False,
        told_by=("status", "flows", "verify"),
    ),
    _case(
        "schedule_no_number",
        lambda c, k: c.hset(k.schedule("tick"), "next", "x"),
        "next is 'x'",
        "metronome exit --flow schedule_no_number",
        heals=NEW_RUN,
        keeps_all=False,
        told_by=("status", "flows", "verify"),
    ),
    _case(
        "schedule_replaced",
        _foreign(lambda keys: keys.schedule("tick")),
        *_WRONG_TYPE,
        "schedule:tick",
        heals=NEW_RUN,
        keeps_all=False,
        told_by=("status", "flows", "verify", "resume"),
    ),
    _case(
        "stream_ends_in_the_future",
        lambda c, k: c.xadd(k.events("tick"), {"foo": "bar"}, id=FAR_FUTURE),
        FAR_FUTURE,
        "lies in the future",
        "RENAME",
        heals=ADVICE,
    ),
    _case(
        "stream_replaced",
        _foreign(lambda keys: keys.events("tick")),
        *_WRONG_TYPE,
        "a string where a stream belongs",
        heals=ADVICE,
        keeps_all=False,
        told_by=("status", "flows", "verify"),
    ),
    _case("entries_not_ours", _entries, heals=NOTHING),
    _case("entries_deleted", lambda c, k: c.xtrim(k.events("tick"), 0), heals=NOTHING, keeps_all=False),
    _case(
        "position_no_id",
        _state(events__tick="x"),
        "events:tick is 'x'",
        heals=lambda c, k: c.hset(k.state("tick"), "events:tick", c.xrevrange(k.events("tick"), count=1)[0][0]),  # type: ignore[index]
        keeps_all=False,
        told_by=("status", "flows", "verify"),
    ),
    _case(
        "file_state_no_json",
        _file_state("{"),
        "/connector/file is '{'",
        heals=_begins_file_anew,
        keeps_all=False,
        told_by=("status", "flows", "verify"),
    ),
    _case(
        "file_state_no_record",
        _file_state("[1]"),
        "/connector/file is '[1]'",
        heals=_begins_file_anew,
        keeps_all=False,
        told_by=("status", "flows", "verify"),
    ),
    _case("unknown_fields", lambda c, k: c.hset(k.state("tick"), mapping={"x": "y", b"\xff": "x"}), heals=NOTHING),
    _case(
        "state_deleted",
        lambda c, k: c.delete(k.state("tick")),
        "the state of a stage is gone",
        "would repeat events",
        heals=NEW_RUN,
        keeps_all=False,
        told_by=("status", "flows"),
    ),
    _case(
        "state_replaced",
        _foreign(lambda keys: keys.state("tick")),
        *_WRONG_TYPE,
        "state:tick",
        heals=NEW_RUN,
        keeps_all=False,
        told_by=("status", "flows", "verify"),
    ),
    _case(
        "lease_of_a_stage_replaced",
        lambda c, k: (c.delete(k.lease("tick")), c.rpush(k.lease("tick"), "x")),
        *_WRONG_TYPE,
        "a list where a string belongs",
        "made anew",
        heals=ADVICE,
        told_by=("status", "flows"),
    ),
    _case(
        "lease_of_the_ticker_replaced",
        lambda c, k: (c.delete(k.lease("ticker")), c.rpush(k.lease("ticker"), "x")),
        *_WRONG_TYPE,
        heals=ADVICE,
        told_by=("status", "flows"),
    ),
    _case("lease_without_an_end", lambda c, k: c.set(k.lease("ticker"), "me"), heals=NOTHING),
    _case("epoch_no_number", _no_epochs, "counter of epochs", "'many'", "SET", heals=ADVICE),
    _case("exit_entries_not_ours", _exits, heals=NOTHING),
    _case(
        "exit_replaced",
        _foreign(lambda keys: keys.exit),
        *_WRONG_TYPE,
        "made anew",
        heals=ADVICE,
        told_by=("verify", "exit"),
    ),
    _case(
        "dead_replaced",
        lambda c, k: (c.set(k.dead, "x"), c.xadd(k.events("tick"), {"foo": "bar"})),
        *_WRONG_TYPE,
        ":dead",
        heals=ADVICE,
        told_by=("status", "flows", "verify", "dead"),
    ),
    _case("members_not_ours", _members, heals=NOTHING),
    _case(
        "members_replaced",
        _foreign(lambda keys: keys.members),
        *_WRONG_TYPE,
        ":members",
        heals=ADVICE,
        told_by=("status", "flows"),
    ),
)

#: Every command that is about one flow, as typed after ``metronome``; ``{flow}`` stands for its name.
COMMANDS: Final = {
    "status": ("status",),
    "flows": ("flows",),
    "graph": ("graph", "{flow}"),
    "verify": ("verify", "{flow}"),
    "dead": ("dead", "list", "{flow}"),
    "pause": ("pause", "{flow}"),
    "resume": ("resume", "{flow}"),
    "health": ("health",),
    "exit": ("exit", "--flow", "{flow}"),
    "undeploy": ("undeploy", "{flow}"),
}
