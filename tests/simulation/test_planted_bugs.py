"""The simulation can fail: each of these takes one safeguard away and expects a seed to show it soon."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from metronome_worker.broker import scripts
from metronome_worker.broker.leases import Leases
from metronome_worker.broker.scripts import Script
from metronome_worker.broker.ticks import load_schedule
from metronome_worker.connectors.file_writer import FileWriter
from metronome_worker.ticker import publisher
from tests.simulation.deployment import simulate

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from metronome_worker.broker.keys import FlowKeys
    from metronome_worker.broker.ticks import ScheduleRecord

_SEEDS = 12

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


def is_found(name: str, kind: str, folder: Path) -> bool:
    """Whether one of the first seeds of a scenario shows a violation of this kind."""
    return any(
        violation.startswith(kind)
        for seed in range(_SEEDS)
        for violation in simulate(name, seed, folder / str(seed)).violations
    )


def without(monkeypatch: pytest.MonkeyPatch, name: str, *parts: str, by: str = "") -> None:
    """Run the script ``name`` without ``parts`` of its text from now on."""
    genuine = scripts.script
    text = genuine(name).text
    for part in parts:
        assert part in text, f"{name}.lua no longer holds what this test takes away"
        text = text.replace(part, by)
    broken = Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
    monkeypatch.setattr(scripts, "script", lambda wanted: broken if wanted == name else genuine(wanted))


def test_leader_that_starts_behind_the_tick_it_missed_would_be_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def load_the_next(client: Any, keys: FlowKeys, connector: str) -> ScheduleRecord | None:
        record = await load_schedule(client, keys, connector)
        return record and replace(record, next_ms=record.next_ms + (100 if connector == "fast" else 700))

    without(monkeypatch, "publish_ticks", _BELIEF)
    monkeypatch.setattr(publisher, "load_schedule", load_the_next)
    assert is_found("exit", "slots lost", tmp_path)


def test_ticks_lost_between_a_dead_leader_and_the_exit_would_be_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def at_once(*_: object) -> None:
        pass

    monkeypatch.setattr(publisher.Publisher, "decided", at_once)
    assert is_found("late-exit", "never decided", tmp_path)


def test_early_publication_would_be_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without(monkeypatch, "publish_ticks", _EARLY)
    assert is_found("calm", "early", tmp_path)


def test_publication_behind_the_barrier_would_be_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without(monkeypatch, "publish_ticks", _LEAVING)
    assert is_found("late-exit", "published after the barrier", tmp_path)


def test_file_that_is_not_cut_back_would_be_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def go_on_at_the_end(writer: FileWriter, _: int) -> None:
        writer._length = os.fstat(writer._descriptor).st_size

    monkeypatch.setattr(FileWriter, "_resume", go_on_at_the_end)
    assert is_found("exit", "lines doubled", tmp_path)


def test_file_cut_by_a_deposed_owner_would_be_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Leases, "is_trusted", lambda *_: True)
    assert is_found("stopped", "lines missing", tmp_path)
