"""What must run in one place, and what may run apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metronome_worker.plan.explain import plan_as_dot, plan_as_mermaid
from tests.unit.plan.flows import build_flow

if TYPE_CHECKING:
    from metronome_worker.plan.model import Stage

SOURCES = """
  define connector tocks from metronome with config = {"interval": 50} end;
  create connector ticks; create connector tocks; create connector stop;
  create pipeline a from pass; create pipeline b from pass;
  connect /connector/ticks to /pipeline/a;
  connect /connector/tocks to /pipeline/b;
"""


def stages(statements: str) -> list[Stage]:
    built = build_flow(SOURCES + statements)
    assert not built.errors
    return list(built.plan.stages)


def test_exit_joins_no_stages() -> None:
    found = stages("connect /pipeline/a to /connector/stop; connect /pipeline/b to /connector/stop;")
    assert [(stage.name, stage.sinks, stage.reasons) for stage in found] == [
        ("ticks", ("stop",), ()),
        ("tocks", ("stop",), ()),
    ]


def test_stage_that_keeps_no_order_is_shared_and_graph_says_why() -> None:
    built = build_flow(
        SOURCES + "create connector f from library::write_file;"
        "connect /pipeline/a to /connector/stop; connect /pipeline/b to /connector/f;"
    )
    assert [(stage.name, stage.is_shared) for stage in built.plan.stages] == [("ticks", True), ("tocks", False)]
    shared = "stage ticks: every worker takes some of its events{}because nothing in it keeps a state or an order"
    owned = "stage tocks: one worker at a time, in order{}because it writes the file /connector/f in order"
    for show, line_break in ((plan_as_mermaid, "<br>"), (plan_as_dot, r"\n")):
        assert shared.format(line_break) in show(built.plan)
        assert owned.format(line_break) in show(built.plan)


def test_sources_that_share_a_pipeline_of_a_shared_stage_need_no_order() -> None:
    [stage] = stages("connect /pipeline/a to /pipeline/b; connect /pipeline/b to /connector/stop;")
    assert (stage.sources, stage.is_shared) == (("ticks", "tocks"), True)


def test_file_joins_the_stages_that_write_it() -> None:
    [stage] = stages(
        "create connector f from library::write_file;"
        "connect /pipeline/a to /connector/f; connect /pipeline/b to /connector/f;"
    )
    assert (stage.name, stage.sources) == ("ticks+tocks", ("ticks", "tocks"))
    assert stage.reasons == (
        "writes the file /connector/f in order",
        "brings /connector/ticks, /connector/tocks into one order",
    )


def test_two_files_are_two_stages() -> None:
    found = stages(
        'create connector f from library::write_file; create connector g from library::write_file with file = "g" end;'
        "connect /pipeline/a to /connector/f; connect /pipeline/b to /connector/g;"
        "connect /pipeline/a to /connector/stop;"
    )
    assert [(stage.name, stage.sinks) for stage in found] == [("ticks", ("f", "stop")), ("tocks", ("g",))]


def test_sources_that_reach_one_pipeline_are_one_stage() -> None:
    [stage] = stages("connect /pipeline/a to /pipeline/b; connect /pipeline/b to /connector/stop;")
    assert stage.name == "ticks+tocks"


def test_sources_at_different_ports_of_one_pipeline_are_one_stage() -> None:
    [stage] = stages(
        "define pipeline two from x, y into out pipeline select 1 from x into out; select 2 from y into out; end;"
        "create pipeline two; connect /pipeline/a to /pipeline/two/x; connect /pipeline/b to /pipeline/two/y;"
        "connect /pipeline/two to /connector/stop;"
    )
    assert stage.sources == ("ticks", "tocks")


def test_errors_into_a_file_join_stages_too() -> None:
    [stage] = stages(
        "create connector f from library::write_file; connect /pipeline/a to /connector/f;"
        "connect /pipeline/b to /connector/stop; connect /pipeline/b/err to /connector/f;"
    )
    assert stage.name == "ticks+tocks"


def test_every_node_of_the_flow_is_in_exactly_one_stage_but_shared_sinks() -> None:
    found = stages("connect /pipeline/a to /connector/stop; connect /pipeline/b to /connector/stop;")
    names = [source.name for stage in found for source in stage.graph.sources]
    names += [select.name for stage in found for select in stage.graph.selects]
    assert sorted(names) == ["/connector/ticks", "/connector/tocks", "/pipeline/a/select-1", "/pipeline/b/select-1"]


def test_sources_of_a_sink_are_those_whose_events_or_errors_may_come_to_it() -> None:
    [stage] = stages(
        "create connector f from library::write_file; connect /pipeline/a to /connector/f;"
        "connect /pipeline/b to /connector/stop; connect /pipeline/b/err to /connector/f;"
    )
    assert stage.graph.sources_of("/connector/f") == {"/connector/ticks", "/connector/tocks"}
    assert stage.graph.sources_of("/connector/stop") == {"/connector/tocks"}
    assert stage.graph.sources_of("/pipeline/a/select-1") == {"/connector/ticks"}
