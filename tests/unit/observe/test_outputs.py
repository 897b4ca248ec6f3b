"""What of a trimmed flow's requests and dead letters can be told, where entries of several sources have one ID."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from metronome_worker.assembly import Workshop
from metronome_worker.broker.commits import StageState
from metronome_worker.broker.flows import Bundle, FlowRecord, Status
from metronome_worker.broker.keys import FlowKeys
from metronome_worker.observe.cut import Cut, StreamEnd
from metronome_worker.observe.history import ExitEntry, OutputHistory
from metronome_worker.observe.outputs import output_histories
from tests.system.flows import flow_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from metronome_worker.host import Host
    from metronome_worker.observe.expectation import RawEntry

STARTED_MS = 1_000_000


def flow(leaves_by: Sequence[str]) -> str:
    """One stage: tick 5 of ``fast`` and of ``slow`` fails, and tick 2, where they are named, asks to leave."""
    return flow_of(
        'define connector fast from metronome with config = {"interval": 100} end;',
        'define connector slow from metronome with config = {"interval": 150} end;',
        "define connector file from null;",
        "define connector leave from exit;",
        "define pipeline ids pipeline select 6 / (event.id - 5) from in into out; end;",
        'define pipeline leave pipeline select {"exit": 0} from in where event.id == 2 into out; end;',
        *(f"create connector {name};" for name in ("fast", "slow", "file", "leave")),
        *(f"create pipeline {name};" for name in ("ids", "leave")),
        *(f"connect /connector/{source} to /pipeline/ids;" for source in ("fast", "slow")),
        "connect /pipeline/ids to /connector/file;",
        "connect /pipeline/leave to /connector/leave;",
        *(f"connect /connector/{source} to /pipeline/leave;" for source in leaves_by),
    )


def entries(interval_ms: int, numbers: Sequence[int]) -> list[RawEntry]:
    found = []
    for n in numbers:
        due_ms = STARTED_MS + (n + 1) * interval_ms
        data = f'{{"connector":"metronome","ingest_ns":{due_ms}000000,"id":{n}}}'
        meta = f'{{"metronome":{{"due_ms":{due_ms},"epoch":1,"skipped":0}}}}'
        fields = ["data", data, "ingest_ns", f"{due_ms}000000", "meta", meta]
        found.append((f"{due_ms}-0".encode(), [field.encode() for field in fields]))
    return found


def output(name: str, leaves_by: Sequence[str], fast_from: int, causes: Sequence[str], letters: Any) -> OutputHistory:
    """Of a run with 10 ticks of ``fast`` and 6 of ``slow``; of ``fast`` what came before ``fast_from`` is gone."""
    bundle = Bundle(main="flow.troy", flow="main", sources={"flow.troy": flow(leaves_by)})
    plan = Workshop().plan_of(bundle)
    [stage] = plan.stages
    held: dict[str, list[RawEntry]] = {name: [] for name in stage.inputs}
    held |= {"fast": entries(100, range(fast_from, 10)), "slow": entries(150, range(6))}
    streams = {name: StreamEnd() for name in stage.inputs}
    for source, added in (("fast", 10), ("slow", 6)):
        first, last = (held[source][at][0].decode() for at in (0, -1))
        streams[source] = StreamEnd(first_id=first, last_id=last, added=added, length=len(held[source]))
    record = FlowRecord(run=1, revision=1, digest="", status=Status.ENDED, bundle=bundle, exit_from="0-0", code=0)
    cut = Cut(
        record=record,
        plan=plan,
        now_ms=STARTED_MS + 2_000,
        since_ms=STARTED_MS,
        started_ms=STARTED_MS,
        is_paused=False,
        epoch=1,
        schedules={"fast": {"anchor": STARTED_MS + 100}, "slow": {"anchor": STARTED_MS + 150}},
        states={stage.name: StageState(positions={name: end.last_id for name, end in streams.items()})},
        epochs={},
        exits=tuple(
            ExitEntry(
                entry_id=f"{STARTED_MS + 3_000 + n}-0", fields={"exit": "0", "by": "/connector/leave", "cause": cause}
            )
            for n, cause in enumerate(causes)
        ),
        streams=streams,
        groups={},
        dead=StreamEnd(added=len(letters), length=len(letters)),
    )
    host = cast("Host", SimpleNamespace(workshop=Workshop()))
    told = [
        (f"{n}-1", {"entry": entry, "node": "/pipeline/ids/select-1", "source": f"/connector/{source}"})
        for n, (source, entry) in enumerate(letters)
    ]
    found = output_histories(host, FlowKeys("main"), cut, held, told)
    return next(one for one in found if one.what == name)


#: Tick 2 of each, and tick 5.  At the time of both of ``fast`` there is another of ``slow``.
FAST, SLOW = f"{STARTED_MS + 300}-0", f"{STARTED_MS + 450}-0"
FAST_FAILS, SLOW_FAILS = f"{STARTED_MS + 600}-0", f"{STARTED_MS + 900}-0"
FIRST_LEFT = 6


@pytest.mark.parametrize(("leaves_by", "causes"), [(("fast",), (FAST,)), (("fast", "slow"), (FAST, SLOW))])
def test_request_of_an_entry_that_is_gone_is_not_taken_for_another_s(
    leaves_by: tuple[str, ...], causes: tuple[str, ...]
) -> None:
    whole = output("requests", leaves_by, 0, causes, ())
    assert sorted(whole.found) == sorted(whole.expected) == sorted(causes)
    trimmed = output("requests", leaves_by, FIRST_LEFT, causes, ())
    assert trimmed.found == trimmed.expected == ()


def test_request_is_judged_where_only_what_does_not_feed_it_is_gone() -> None:
    trimmed = output("requests", ("slow",), FIRST_LEFT, (SLOW, SLOW), ())
    assert trimmed.expected == (SLOW,)
    assert trimmed.found == (SLOW, SLOW), "a request that was made twice is found"


def test_dead_letter_of_an_entry_that_is_gone_is_not_taken_for_another_s() -> None:
    letters = [("fast", FAST_FAILS), ("slow", SLOW_FAILS)]
    whole = output("dead letters", (), 0, (), letters)
    assert sorted(whole.found) == sorted(whole.expected)
    assert len(whole.found) == len(letters)
    trimmed = output("dead letters", (), FIRST_LEFT, (), letters)
    assert trimmed.found == trimmed.expected == (f"{SLOW_FAILS} at /pipeline/ids/select-1",)
