"""Stages: order, filters, errors, and effects that are whole or none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metronome_worker.library.functions import FUNCTIONS
from metronome_worker.plan.model import SinkNode, SourceNode, StageGraph, Target
from metronome_worker.runtime.effects import Effects, Entry
from metronome_worker.runtime.function import Function
from metronome_worker.runtime.stage import compile_stage

from .flows import ERRORS, SINK, SOURCE, graph, node, run, values


def test_where_filters_and_the_target_projects() -> None:
    stage = graph(node('select {"id": event.id, "x": event.a.b} from in where event.id % 2 == 0 into out'))
    effects = run(stage, {"id": 1, "a": {"b": "odd"}}, {"id": 2, "a": {"b": "even"}})
    assert effects.outputs == {SINK: {"in": [({"id": 2, "x": "even"}, {}, "1-0")]}}


def test_having_sees_the_projection_as_event() -> None:
    stage = graph(node('select {"double": event.n * 2} from in into out having event.double > 3'))
    assert values(run(stage, {"n": 1}, {"n": 2})) == [{"double": 4}]


@pytest.mark.parametrize("clause", ["where", "having"])
def test_a_filter_that_gives_no_bool_is_an_error(clause: str) -> None:
    text = f"select event from in {'where event.x into out' if clause == 'where' else 'into out having event.x'}"
    effects = run(graph(node(text)), {"x": 1}, {"x": True}, {"x": False}, {"x": None})
    assert values(effects) == [{"x": True}]
    assert [letter.error for letter in effects.dead] == [
        f"test.troy: `{clause}` needs a bool, not the integer 1",
        f"test.troy: `{clause}` needs a bool, not null",
    ]


def test_metadata_and_id_go_with_the_event() -> None:
    effects = Effects()
    program = compile_stage(graph(node("select $metronome.epoch from in into out")), FUNCTIONS)
    meta = {"metronome": {"epoch": 3}}
    program.run(SOURCE, [("5-1", {}, meta)], effects)
    assert effects.outputs[SINK]["in"] == [(3, meta, "5-1")]


def test_branches_deliver_depth_first_in_source_order() -> None:
    stage = graph(
        node('select "first" from in into out', "a", to=("b", SINK)),
        node('select "#{event} deep" from in into out', "b"),
        node('select "second" from in into out', "c"),
        first=("a", "c"),
    )
    effects = run(stage, 1, 2)
    assert values(effects) == ["first deep", "first", "second"] * 2
    assert [entry_id for _, _, entry_id in effects.outputs[SINK]["in"]] == ["0-0"] * 3 + ["1-0"] * 3


def test_selects_that_only_pass_on_change_nothing_about_the_order() -> None:
    stage = graph(
        node("select event from in into out", "pass", to=("again",)),
        node("select event from in into out", "again", to=(SINK, "tail")),
        node('select "tail #{event}" from in into out', "tail"),
        first=("pass", SINK),
    )
    assert values(run(stage, "x")) == ["x", "tail x", "x"]


def test_sinks_have_their_ports() -> None:
    stage = StageGraph(
        sources=(SourceNode(name=SOURCE, outlets={"out": (Target(node=SINK, port="stderr"), Target(node=SINK))}),),
        selects=(),
        sinks=(SinkNode(name=SINK),),
    )
    effects = run(stage, 1)
    assert effects.outputs == {SINK: {"stderr": [(1, {}, "0-0")], "in": [(1, {}, "0-0")]}}


def test_a_source_has_ports_and_what_leads_nowhere_does_nothing() -> None:
    outlets: dict[str, tuple[Target, ...]] = {"out": (Target(node=SINK),), "err": (Target(node=ERRORS),)}
    stage = StageGraph(
        sources=(SourceNode(name=SOURCE, outlets=outlets),),
        selects=(),
        sinks=(SinkNode(name=SINK), SinkNode(name=ERRORS)),
    )
    effects, program = Effects(), compile_stage(stage, FUNCTIONS)
    program.run(SOURCE, [("0-0", 1, {})], effects, port="err")
    program.run(SOURCE, [("1-0", 2, {})], effects, port="elsewhere")
    assert values(effects, ERRORS) == [1]
    assert values(effects) == []


def test_effects_add_up_over_runs_and_nothing_is_left_behind() -> None:
    effects, program = Effects(), compile_stage(graph(node("select event.x from in into out")), FUNCTIONS)
    program.run(SOURCE, [("0-0", {"x": 1}, {}), ("1-0", {}, {})], effects)
    program.run(SOURCE, [("2-0", {"x": 2}, {})], effects)
    assert values(effects) == [1, 2]
    assert [letter.entry_id for letter in effects.dead] == ["1-0"]
    other = Effects()
    program.run(SOURCE, [("3-0", {"x": 3}, {})], other)
    assert values(other) == [3]


def test_an_event_that_fails_in_one_branch_has_no_effect_in_any() -> None:
    stage = graph(
        node("select event.x from in into out", "good"),
        node('select {"y": event.y} from in into out', "bad"),
        first=("good", "bad", SINK),
    )
    effects = run(stage, {"x": 1, "y": 1}, {"x": 2}, {"x": 3, "y": 3})
    assert values(effects) == [1, {"y": 1}, {"x": 1, "y": 1}, 3, {"y": 3}, {"x": 3, "y": 3}]
    [letter] = effects.dead
    assert (letter.stream, letter.entry_id, letter.node, letter.event) == (SOURCE, "1-0", "bad", {"x": 2})


def test_a_dead_letter_holds_the_event_as_it_came_in_and_the_node_where_it_failed() -> None:
    stage = graph(
        node('select {"deep": event} from in into out', "outer", to=("inner",), errors=(ERRORS,)),
        node("select event.other from in into out", "inner"),
    )
    effects = run(stage, {"x": 1})
    assert values(effects, ERRORS) == []  # the error is not the outer select's
    [letter] = effects.dead
    assert (letter.node, letter.event) == ("inner", {"x": 1})
    assert letter.error == "test.troy: `event` has no field `other`"


def test_an_error_event_holds_what_the_failing_select_got() -> None:
    stage = graph(
        node('select {"deep": event} from in into out', "outer", to=("inner",)),
        node("select event.other from in where true into out", "inner", errors=("handler", ERRORS)),
        node("select event.event from in into out", "handler"),
    )
    effects = run(stage, {"x": 1})
    assert values(effects) == [{"deep": {"x": 1}}]
    assert values(effects, ERRORS) == [
        {"error": "test.troy: `event` has no field `other`", "event": {"deep": {"x": 1}}}
    ]


def test_a_failure_in_the_handling_of_an_error_makes_a_dead_letter() -> None:
    stage = graph(
        node("select event.x from in into out", "first", errors=("handler",)),
        node("select event.nothing from in into out", "handler"),
    )
    [letter] = run(stage, {}).dead
    assert (letter.node, letter.event) == ("handler", {})


def test_a_bug_in_a_function_is_not_taken_for_an_error_of_the_flow() -> None:
    def broken(value: Any) -> Any:
        return {}[value]

    function = Function(name="std::broken", minimum=1, maximum=1, call=broken, doc="")
    for errors in ((), (ERRORS,)):
        stage = graph(node("select std::broken(event) from in into out", errors=errors))
        program = compile_stage(stage, {"std::broken": function})
        with pytest.raises(KeyError):
            program.run(SOURCE, [("0-0", 1, {})], Effects())


def test_a_value_too_deep_for_json_is_an_error_of_the_event() -> None:
    deep: Any = []
    for _ in range(20_000):
        deep = [deep]
    try:
        [letter] = run(graph(node('select "#{event}" from in into out')), deep).dead
        assert "nested too deeply" in letter.error
    finally:
        while deep:  # taken apart by hand: freeing it would go as deep
            [deep] = deep


def test_a_node_that_does_not_exist_is_a_bug_of_the_plan() -> None:
    with pytest.raises(KeyError, match="no node /connector/x"):
        compile_stage(graph(node("select 1 from in into out", to=("/connector/x",))), FUNCTIONS)


events = st.lists(
    st.one_of(
        st.fixed_dictionaries({"id": st.integers(-5, 5)}, optional={"name": st.text(max_size=2)}),
        st.sampled_from([{}, None, {"id": "x"}, {"id": None}]),
    ),
    max_size=12,
)


@given(events, st.integers(1, 5))
def test_batches_of_any_size_do_what_events_do_alone(all_events: list[Any], size: int) -> None:
    stage = graph(
        node('select {"id": event.id + 1, "name": event.name} from in where event.id % 2 == 0 into out', "a"),
        node("select event.id from in into out having event > 0", "b", errors=(ERRORS,)),
        first=("b", "a"),
    )
    entries: list[Entry] = [(f"{number}-0", event, {}) for number, event in enumerate(all_events)]
    program = compile_stage(stage, FUNCTIONS)
    alone, together = Effects(), Effects()
    for entry in entries:
        program.run(SOURCE, [entry], alone)
    for start in range(0, len(entries), size):
        program.run(SOURCE, entries[start : start + size], together)
    assert together == alone
    assert {letter.entry_id for letter in alone.dead}.isdisjoint(
        entry_id for ports in alone.outputs.values() for outputs in ports.values() for _, _, entry_id in outputs
    )
