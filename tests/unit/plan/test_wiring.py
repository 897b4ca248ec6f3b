"""Connects: both ends exist, ports are there, nothing runs in a circle."""

from __future__ import annotations

import pytest

from tests.unit.plan.flows import Built, build, build_flow

CREATED = "create connector ticks; create connector stop; create pipeline pass;"
WIRED = "connect /connector/ticks to /pipeline/pass; connect /pipeline/pass to /connector/stop;"


def wired(connects: str) -> Built:
    return build_flow(CREATED + connects)


@pytest.mark.parametrize(
    ("connects", "place", "hint"),
    [
        ("connect /connector/tocks to /pipeline/pass; connect /pipeline/pass to /connector/stop;", "/connector/tocks",
         "did you mean `/connector/ticks`?"),
        ("connect /connector/ticks to /pipeline/pas; connect /pipeline/pass to /connector/stop;", "/pipeline/pas",
         "did you mean `/pipeline/pass`?"),
        ("connect /connector/ticks to /pipeline/stop; connect /pipeline/pass to /connector/stop;", "/pipeline/stop",
         "there is a connector of that name: /connector/stop"),
    ],
)  # fmt: skip
def test_unknown_instance_names_the_nearest_of_its_own_kind(connects: str, place: str, hint: str) -> None:
    built = wired(connects)
    assert (built.error.code, built.at(built.error), built.error.hint) == ("unknown-instance", place, hint)


def test_unknown_instance_is_said_once_however_often_it_is_connected() -> None:
    assert wired("connect /connector/x to /pipeline/pass; connect /connector/x to /pipeline/pass/in;").error


@pytest.mark.parametrize(
    ("connects", "port"),
    [
        ("connect /connector/ticks/outt to /pipeline/pass;", "outt"),
        ("connect /connector/ticks to /pipeline/pass/inn;", "inn"),
        ("connect /pipeline/pass/ot to /connector/stop;", "ot"),
        ("connect /pipeline/pass to /connector/stop/im;", "im"),
    ],
)
def test_unknown_port_names_the_nearest(connects: str, port: str) -> None:
    built = wired(connects)
    assert (built.error.code, built.at(built.error)) == ("unknown-port", port)
    assert built.error.hint.startswith("did you mean")


def test_connector_to_connector_says_what_to_write() -> None:
    built = wired("connect /connector/ticks to /connector/stop;")
    assert built.error.code == "connector-to-connector"
    assert "connect /connector/ticks to /pipeline/passthrough;" in built.error.hint
    assert "connect /pipeline/passthrough to /connector/stop;" in built.error.hint


@pytest.mark.parametrize(
    ("connects", "place"),
    [
        ("connect /connector/stop to /pipeline/pass;", "/connector/stop"),
        ("connect /pipeline/pass to /connector/ticks;", "/connector/ticks"),
    ],
)
def test_connect_against_the_nature_of_a_connector_is_refused(connects: str, place: str) -> None:
    built = wired(connects)
    assert (built.error.code, built.at(built.error)) == ("wrong-direction", place)


def test_config_decides_whether_a_file_may_be_read_from() -> None:
    built = build_flow(
        "create connector file from library::write_file; create connector stop; create pipeline pass;"
        "connect /connector/file to /pipeline/pass; connect /pipeline/pass to /connector/stop;"
    )
    assert (built.error.code, built.at(built.error)) == ("wrong-direction", "/connector/file")


def test_repeated_connect_counts_once_with_a_warning() -> None:
    built = wired(WIRED + "connect /pipeline/pass/out to /connector/stop/in;")
    assert built.codes == ["repeated-connect"]
    assert len(built.plan.stages[0].graph.selects[0].targets) == 1


def test_repeated_create_is_refused() -> None:
    built = wired("create connector stop;" + WIRED)
    assert (built.error.code, built.at(built.error)) == ("repeated-create", "create connector stop")


def test_pipeline_cycle_is_shown_and_refused() -> None:
    built = build_flow(
        CREATED + "create pipeline a from pass; create pipeline b from pass; create pipeline c from pass;"
        "connect /connector/ticks to /pipeline/a; connect /pipeline/a to /pipeline/b;"
        "connect /pipeline/b to /pipeline/c;"
        "connect /pipeline/c to /pipeline/a; connect /pipeline/c to /connector/stop;"
    )
    assert built.error.code == "pipeline-cycle"
    circle = built.error.message.split(": ")[1].split(" → ")
    assert circle[0] == circle[-1] and set(circle) == {"/pipeline/a", "/pipeline/b", "/pipeline/c"}
    assert built.at(built.error).startswith("connect /pipeline/")


def test_pipeline_that_feeds_itself_is_refused() -> None:
    assert wired(WIRED + "connect /pipeline/pass to /pipeline/pass;").error.code == "pipeline-cycle"


def test_flow_that_connects_nothing_is_refused_and_says_why() -> None:
    built = wired("")
    assert built.error.code == "idle-flow"
    assert [found.code for found in built.warnings] == ["unused-instance"] * 3


def test_flow_without_a_source_is_refused() -> None:
    built = build_flow("create connector stop; create pipeline pass; connect /pipeline/pass to /connector/stop;")
    assert built.error.code == "idle-flow"


def test_nothing_deployed_is_refused_without_an_invented_place() -> None:
    built = build("define flow main flow use a; end;")
    assert (built.error.code, built.error.span) == ("nothing-deployed", None)


def test_two_deployments_of_one_name_are_refused() -> None:
    built = build(
        'define flow a flow define connector ticks from metronome with config = {"interval": 1} end;'
        "create connector ticks; create connector x from library::stop; create pipeline p from library::passthrough;"
        "connect /connector/ticks to /pipeline/p; connect /pipeline/p to /connector/x; end;"
        "deploy flow a; deploy flow b from a; deploy flow a;"
    )
    assert built.error.code == "repeated-deploy"
    assert [plan.flow for plan in built.plans] == ["a", "b"]


def test_faults_of_several_connects_are_all_said() -> None:
    built = wired("connect /connector/x to /pipeline/pass; connect /pipeline/pass/nowhere to /connector/stop;")
    assert {found.code for found in built.errors} == {"unknown-instance", "unknown-port"}
