"""What a stage must have put out, computed from its entries alone."""

from __future__ import annotations

from metronome_worker.assembly import Workshop
from metronome_worker.broker.flows import Bundle
from metronome_worker.observe.expectation import expect, lines_of, written_by
from tests.system.flows import ticking


def test_entries_make_the_lines_and_dead_letters_that_a_worker_makes_of_them() -> None:
    bundle = Bundle(main="f", flow="main", sources={"f": ticking(10, event="12 / (event.id - 1)")})
    workshop = Workshop()
    plan = workshop.plan_of(bundle)
    [stage] = plan.stages
    entries = [(f"{n}-0".encode(), [b"data", b'{"id":%d}' % n, b"ingest_ns", b"1"]) for n in range(4)]
    entries.append((b"9-0", [b"hello", b"world"]))
    found = expect(stage, workshop.compile_stage(stage.graph, bundle), {"tick": entries})
    written = written_by(plan.connectors["file"], found.outputs["/connector/file"])
    assert lines_of(written.data) == ("-12.0", "12.0", "6.0")
    assert found.feeding == {"/connector/file": 1}
    assert sorted(found.letters) == ["1-0 at /pipeline/ids/select-1", "9-0 at /connector/tick"]


def test_line_that_was_cut_off_is_no_whole_line() -> None:
    assert lines_of(b"") == ()
    assert lines_of(b"a\nb\n") == ("a", "b")
    assert lines_of(b"a\nb") == ("a", "b (without an end)")
    assert lines_of(b"a\n\xff\n") == ("a", "\\xff")
