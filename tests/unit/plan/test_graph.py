"""Pipelines inlined: what each node leads to, in which order, and what is left of it."""

from __future__ import annotations

import pytest

from metronome_worker.plan.explain import plan_as_dict
from tests.unit.plan.flows import Built, build_flow

BASE = "create connector ticks; create connector stop;"


def nodes(built: Built) -> dict[str, dict[str, list[str]]]:
    """All nodes of a plan, the empty outlets left out."""
    stages = plan_as_dict(built.plan)["stages"].values()
    return {
        name: {port: places for port, places in outlets.items() if places}
        for stage in stages
        for name, outlets in stage["nodes"].items()
    }


def one_pipeline(pipeline: str, more: str = "") -> Built:
    return build_flow(
        f"{BASE} define pipeline p {pipeline} end; create pipeline p;"
        f"connect /connector/ticks to /pipeline/p; connect /pipeline/p to /connector/stop; {more}"
    )


def test_chain_of_streams_is_wired_from_select_to_select() -> None:
    built = one_pipeline(
        "pipeline create stream a; create stream b;"
        "select event from b into out; select event from in into a; select event from a into b;"
    )
    assert nodes(built) == {
        "/connector/ticks": {"out": ["/pipeline/p/select-2"]},
        "/pipeline/p/select-2": {"out": ["/pipeline/p/select-3"]},
        "/pipeline/p/select-3": {"out": ["/pipeline/p/select-1"]},
        "/pipeline/p/select-1": {"out": ["/connector/stop"]},
    }


def test_branches_follow_selects_in_source_order_then_connects_in_order() -> None:
    built = build_flow(
        f"{BASE} define pipeline two pipeline select 1 from in into out; select 2 from in into out; end;"
        "create pipeline late from two; create pipeline first from two;"
        "create connector f from library::write_file;"
        "connect /connector/ticks to /pipeline/first; connect /connector/ticks to /pipeline/late;"
        "connect /pipeline/first to /connector/stop; connect /pipeline/first to /connector/f;"
        "connect /pipeline/late to /connector/f;"
    )
    found = nodes(built)
    assert found["/connector/ticks"]["out"] == [
        "/pipeline/first/select-1",
        "/pipeline/first/select-2",
        "/pipeline/late/select-1",
        "/pipeline/late/select-2",
    ]
    assert found["/pipeline/first/select-1"]["out"] == ["/connector/stop", "/connector/f"]


def test_pipelines_behind_pipelines_are_inlined() -> None:
    built = build_flow(
        f"{BASE} create pipeline a from pass; create pipeline b from pass;"
        "connect /connector/ticks to /pipeline/a; connect /pipeline/a to /pipeline/b;"
        "connect /pipeline/b to /connector/stop;"
    )
    assert nodes(built)["/pipeline/a/select-1"] == {"out": ["/pipeline/b/select-1"]}


def test_connected_err_port_takes_the_errors_of_every_select() -> None:
    built = one_pipeline(
        "pipeline create stream a; select event from in into a; select event from a into out;",
        'define connector o from stdio with codec = "json" end; create connector o;'
        "connect /pipeline/p/err to /connector/o/stderr;",
    )
    found = nodes(built)
    assert found["/pipeline/p/select-1"] == {"out": ["/pipeline/p/select-2"], "err": ["/connector/o/stderr"]}
    assert found["/pipeline/p/select-2"] == {"out": ["/connector/stop"], "err": ["/connector/o/stderr"]}


def test_own_ports_replace_the_usual_ones() -> None:
    built = build_flow(
        f"{BASE} define pipeline p from left, right into good, bad pipeline "
        "select 1 from left into good; select 2 from right into bad; end; create pipeline p;"
        "create connector f from library::write_file;"
        "connect /connector/ticks to /pipeline/p/right; connect /connector/ticks to /pipeline/p;"
        "connect /pipeline/p/bad to /connector/f; connect /pipeline/p to /connector/stop;"
    )
    assert nodes(built) == {
        "/connector/ticks": {"out": ["/pipeline/p/select-2", "/pipeline/p/select-1"]},
        "/pipeline/p/select-1": {"out": ["/connector/stop"]},
        "/pipeline/p/select-2": {"out": ["/connector/f"]},
    }


def test_err_is_no_port_where_own_ports_leave_it_out() -> None:
    built = one_pipeline("into out pipeline select 1 from in into out;", "connect /pipeline/p/err to /connector/stop;")
    assert built.error.code == "unknown-port"


def test_port_behind_out_is_that_port_of_the_pipeline() -> None:
    built = one_pipeline(
        "into out, exit pipeline select 1 from in into out/exit;", "connect /pipeline/p/exit to /connector/stop;"
    )
    assert nodes(built)["/pipeline/p/select-1"] == {"out": ["/connector/stop"]}


@pytest.mark.parametrize(
    ("select", "place", "code"),
    [
        ("select 1 from inn into out", "inn", "unknown-stream"),
        ("select 1 from in into oot", "oot", "unknown-stream"),
        ("select 1 from in into out/exti", "exti", "unknown-port"),
    ],
)
def test_unknown_stream_or_port_is_refused(select: str, place: str, code: str) -> None:
    built = one_pipeline(f"pipeline {select};")
    assert (built.error.code, built.at(built.error)) == (code, place)


def test_streams_in_a_circle_are_refused() -> None:
    built = one_pipeline(
        "pipeline create stream a; create stream b; select event from in into a;"
        "select event from a into b; select event from b into a; select event from b into out;"
    )
    assert built.error.code == "stream-cycle"
    assert "a → b → a" in built.error.message or "b → a → b" in built.error.message


def test_selects_that_nothing_feeds_or_that_feed_nothing_are_left_out() -> None:
    built = one_pipeline(
        "pipeline create stream dead; create stream dry; create stream last;"
        "select 1 from in into out; select 2 from in into dead; select 3 from dry into out;"
        "select 4 from dead into last;"
    )
    assert set(nodes(built)) == {"/connector/ticks", "/pipeline/p/select-1"}
    assert built.diagnostics == []


def test_unconnected_port_leaves_its_selects_out() -> None:
    built = one_pipeline("into out, exit pipeline select 1 from in into out; select 2 from in into exit;")
    assert set(nodes(built)) == {"/connector/ticks", "/pipeline/p/select-1"}


def test_unused_instances_are_left_out_with_a_warning_each() -> None:
    built = build_flow(
        f"{BASE} create connector f from library::write_file; create pipeline pass; create pipeline lost from pass;"
        "create pipeline blind from pass;"
        "connect /connector/ticks to /pipeline/pass; connect /pipeline/pass to /connector/stop;"
        "connect /connector/ticks to /pipeline/blind; connect /pipeline/lost to /connector/f;"
    )
    said = {built.at(found): found.message for found in built.warnings}
    assert set(said) == {
        "create connector f from library::write_file",
        "create pipeline lost from pass",
        "create pipeline blind from pass",
    }
    assert "nothing is connected to it" in said["create pipeline lost from pass"]
    assert "it is connected to nothing" in said["create pipeline blind from pass"]
    assert list(built.plan.connectors) == ["ticks", "stop"]


def test_plan_of_one_text_is_always_the_same() -> None:
    text = f"{BASE} create pipeline pass; "
    text += "connect /connector/ticks to /pipeline/pass; connect /pipeline/pass to /connector/stop;"
    assert build_flow(text).plan == build_flow(text).plan
