"""Bugs to plant: each takes one safeguard away.  ``FOUND_BY`` says what the judge must say then."""

from __future__ import annotations

import hashlib
import os
import time
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from metronome_worker.broker import scripts
from metronome_worker.broker.leases import Leases
from metronome_worker.broker.scripts import Script
from metronome_worker.broker.ticks import load_schedule
from metronome_worker.connectors.file_writer import FileWriter
from metronome_worker.roster import Roster
from metronome_worker.ticker import publisher
from metronome_worker.worker.exclusive import StageOwner
from tests.harness.network import HostClock

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from metronome_worker.broker.keys import FlowKeys
    from metronome_worker.broker.ticks import ScheduleRecord
    from metronome_worker.ticker.schedule import Publication, Schedule

    Plant = Callable[[pytest.MonkeyPatch], None]

_FENCE = """if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {'fenced'}
end
"""
_TICKS_FENCE = _FENCE.replace("'fenced'", "'fenced', now_us")
_BELIEF = """if schedule[1] ~= ARGV[3] or schedule[2] ~= ARGV[4] then
  return {'moved', now_us, schedule[1] or '', schedule[2] or ''}
end
"""
_EARLY = """if now_ms < tonumber(ARGV[6]) then
  return {'early', now_us}
end
"""
_LEAVING = """if flow[3] ~= 'running' then
  return {'leaving', now_us}
end
"""
_COMMITS = "if commits ~= ARGV[3] then"
_IS_ENDED = "if flow[3] == 'ended' then"


def _without(monkeypatch: pytest.MonkeyPatch, name: str, *parts: str, by: str = "") -> None:
    """Run the script ``name`` without ``parts`` of its text from now on."""
    genuine = scripts.script
    text = genuine(name).text
    for part in parts:
        assert part in text, f"{name}.lua no longer holds what is to be taken away"
        text = text.replace(part, by)
    broken = Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
    monkeypatch.setattr(scripts, "script", lambda wanted: broken if wanted == name else genuine(wanted))


def leader_starts_behind_the_tick_it_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def load_the_next(client: Any, keys: FlowKeys, connector: str) -> ScheduleRecord | None:
        record = await load_schedule(client, keys, connector)
        interval_ms = 20 if record is None else 50
        return record and replace(record, next_ms=record.next_ms + interval_ms)

    _without(monkeypatch, "publish_ticks", _BELIEF)
    monkeypatch.setattr(publisher, "load_schedule", load_the_next)


def sources_stop_before_what_is_due_is_published(monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(*_: object) -> None:
        pass

    monkeypatch.setattr(publisher.Publisher, "decided", at_once)


def leader_gives_up_ticks_as_soon_as_they_are_late(monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = publisher.decide

    def decide(schedule: Schedule, now_ms: int) -> Publication | None:
        return genuine(replace(schedule, missed="latest"), now_ms)

    monkeypatch.setattr(publisher, "decide", decide)


def ticks_are_published_by_the_clock_of_the_leader(monkeypatch: pytest.MonkeyPatch) -> None:
    _without(monkeypatch, "publish_ticks", _EARLY)


def deposed_leader_publishes(monkeypatch: pytest.MonkeyPatch) -> None:
    _without(monkeypatch, "publish_ticks", _TICKS_FENCE, _BELIEF)


def ticks_are_published_behind_the_barrier(monkeypatch: pytest.MonkeyPatch) -> None:
    _without(monkeypatch, "publish_ticks", _LEAVING)


def end_is_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    _without(monkeypatch, "write_end", _IS_ENDED, by="if false then")
    _without(monkeypatch, "write_end", "if flow[3] ~= 'leaving' then", by="if false then")


def deposed_owner_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    _without(monkeypatch, "commit_batch", "if redis.call('GET', KEYS[1]) ~= ARGV[1] then", _COMMITS, by="if false then")


def skips_of_a_pause_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    _without(monkeypatch, "resume_flow", "    redis.call('HINCRBY', KEYS[i], 'skipped', slots)\n")


def epochs_are_given_again(monkeypatch: pytest.MonkeyPatch) -> None:
    _without(monkeypatch, "acquire_lease", "redis.call('INCR', KEYS[2])", by="math.random(1, 9)")


def file_is_not_cut_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def go_on_at_the_end(writer: FileWriter, _: int) -> None:
        writer._length = os.fstat(writer._descriptor).st_size

    monkeypatch.setattr(FileWriter, "_resume", go_on_at_the_end)


def file_is_cut_by_a_deposed_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Leases, "is_trusted", lambda *_: True)


def stage_drains_before_the_barrier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StageOwner, "_is_behind", lambda *_: True)


def leases_go_by_the_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HostClock, "now_ns", lambda _: time.time_ns())


def process_forgets_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = Roster.ended
    monkeypatch.setattr(Roster, "ended", lambda roster, flow, code: genuine(roster, flow, code and 0))


#: What the judge says of each, one of these.
FOUND_BY: dict[Plant, tuple[str, ...]] = {
    leader_starts_behind_the_tick_it_missed: ("slots lost", "not in the schedule"),
    sources_stop_before_what_is_due_is_published: ("never decided",),
    leader_gives_up_ticks_as_soon_as_they_are_late: ("skipped too soon",),
    ticks_are_published_by_the_clock_of_the_leader: ("early",),
    deposed_leader_publishes: ("epoch went back", "gap in ids", "schedule does not add up", "slots lost"),
    ticks_are_published_behind_the_barrier: ("published after the barrier",),
    end_is_written_again: ("more than one end",),
    deposed_owner_commits: ("requests doubled", "dead letters doubled", "events miscounted", "lines", "shorter"),
    skips_of_a_pause_are_not_counted: ("schedule does not add up",),
    epochs_are_given_again: ("epoch was never given", "epoch went back"),
    file_is_not_cut_back: ("lines doubled",),
    file_is_cut_by_a_deposed_owner: ("lines missing", "shorter than was committed"),
    stage_drains_before_the_barrier: ("not settled at the end",),
    leases_go_by_the_wall_clock: ("never decided", "did not end", "lines"),
    process_forgets_the_code: ("exit codes differ", "wrong exit code"),
}
