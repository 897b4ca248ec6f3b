"""The documentation's own example creates `metronome` where it means `every_second`, and must run as it is."""

from __future__ import annotations

from metronome_worker.language.diagnostics import Severity
from metronome_worker.plan.explain import plan_as_dict
from tests.unit.plan.flows import build, build_flow

SEED = """define flow main
flow
  use tremor::connectors;
  use integration;

  # Define our periodic source of events
  define connector every_second from metronome
  with
    config = {"interval": 1000}
  end;

  # Triggered for every periodic event from our metronome
  define pipeline main
  pipeline
    select "triggered" from in into out;
  end;

  # An `exit` event used in integration tests to stop tremor
  define pipeline exit
  pipeline
    select { "exit": 0, } from in into out;
  end;

  create connector exit from library::stop;
  create connector file from library::write_file;
  create connector metronome;

  create pipeline main;
  create pipeline exit;

  connect /connector/every_second to /pipeline/main;
  connect /connector/every_second to /pipeline/exit;
  connect /pipeline/main to /connector/file;
  connect /pipeline/exit to /connector/exit;
end;

deploy flow main;
"""


def test_seed_gets_exactly_two_warnings_that_show_the_line_and_the_correction() -> None:
    built = build(SEED)
    assert [(found.severity, found.code) for found in built.diagnostics] == [
        (Severity.WARNING, "needless-create"),
        (Severity.WARNING, "missing-create"),
    ]
    left_out, created = built.diagnostics
    assert built.at(left_out) == "create connector metronome"
    assert "create connector every_second;" in left_out.hint
    assert built.at(created) == "/connector/every_second"
    assert "create connector every_second;" in created.hint


def test_seed_is_one_stage() -> None:
    assert plan_as_dict(build(SEED).plan) == {
        "flow": "main",
        "connectors": {
            "exit": {
                "kind": "exit",
                "config": {"delay": 100, "graceful": True},
                "codec": None,
                "preprocessors": [],
                "postprocessors": [],
            },
            "file": {
                "kind": "file",
                "config": {"path": "out.log", "mode": "truncate"},
                "codec": "json-sorted",
                "preprocessors": [],
                "postprocessors": ["separate"],
            },
            "every_second": {
                "kind": "metronome",
                "config": {"interval": 1000, "missed": "all", "catch_up": 60_000},
                "codec": None,
                "preprocessors": [],
                "postprocessors": [],
            },
        },
        "stages": {
            "every_second": {
                "sources": ["every_second"],
                "sinks": ["exit", "file"],
                "shared": False,
                "reasons": ["writes the file /connector/file in order"],
                "nodes": {
                    "/connector/every_second": {"out": ["/pipeline/main/select-1", "/pipeline/exit/select-1"]},
                    "/pipeline/main/select-1": {"out": ["/connector/file"], "err": []},
                    "/pipeline/exit/select-1": {"out": ["/connector/exit"], "err": []},
                },
            }
        },
    }


def test_seed_has_two_errors_and_no_plan_when_strict() -> None:
    built = build(SEED, strict=True)
    assert [found.code for found in built.errors] == ["needless-create", "missing-create"]
    assert not built.plans


def test_the_corrected_seed_has_nothing_to_say_even_when_strict() -> None:
    built = build(SEED.replace("connector metronome;", "connector every_second;"), strict=True)
    assert built.diagnostics == []
    assert len(built.plan.stages) == 1


def test_pipeline_that_is_defined_and_connected_is_created_too() -> None:
    built = build_flow(
        "create connector ticks; create connector stop;"
        "connect /connector/ticks to /pipeline/pass; connect /pipeline/pass to /connector/stop;"
    )
    assert built.codes == ["missing-create"]
    assert "create pipeline pass;" in built.diagnostics[0].hint
    assert built.plan.stages[0].sinks == ("stop",)


def test_create_of_an_undefined_name_that_something_connects_is_an_error() -> None:
    built = build_flow(
        "create connector tick; create connector stop; create pipeline pass;"
        "connect /connector/tick to /pipeline/pass; connect /pipeline/pass to /connector/stop;"
    )
    assert (built.error.code, built.at(built.error)) == ("undefined", "create connector tick")
    assert "`ticks`" in built.error.hint
    assert not built.plans


def test_implied_creation_that_lacks_an_argument_is_an_error_at_the_connect() -> None:
    built = build_flow(
        'define connector log from file args path with codec = "json", '
        'config = {"path": args.path, "mode": "append"} end;'
        "create connector ticks; create pipeline pass;"
        "connect /connector/ticks to /pipeline/pass; connect /pipeline/pass to /connector/log;"
    )
    assert (built.error.code, built.at(built.error)) == ("missing-argument", "/connector/log")


def test_two_left_out_creations_each_name_what_was_meant() -> None:
    built = build_flow(
        "create connector tick; create connector stops; create pipeline pass;"
        "connect /connector/ticks to /pipeline/pass; connect /pipeline/pass to /connector/stop;"
    )
    hints = {built.at(found): found.hint for found in built.diagnostics if found.code == "needless-create"}
    assert "create connector ticks;" in hints["create connector tick"]
    assert "create connector stop;" in hints["create connector stops"]
