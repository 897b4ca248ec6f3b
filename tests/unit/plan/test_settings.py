"""Settings of connectors: everything wrong is said, where it is written, with what would be right."""

from __future__ import annotations

import pytest

from tests.unit.plan.flows import Built, build, build_flow

WIRED = "connect /connector/it to /pipeline/pass; connect /pipeline/pass to /connector/stop;"
SINK = "connect /connector/ticks to /pipeline/pass; connect /pipeline/pass to /connector/it;"


def source(settings: str) -> Built:
    return build_flow(
        f"define connector it from metronome with {settings} end;"
        f"create connector it; create connector stop; create pipeline pass; {WIRED}"
    )


def sink(settings: str) -> Built:
    return build_flow(
        f"define connector it from file with {settings} end;"
        f"create connector it; create connector ticks; create pipeline pass; {SINK}"
    )


@pytest.mark.parametrize(
    ("written", "said", "hint"),
    [
        ("0", "at least 1; found 0", ""),
        ("-5", "at least 1; found -5", ""),
        ("1.5", "whole number of milliseconds, at least 1; found 1.5", "write 1 or 2"),
        ("0.5", "found 0.5", "write 1"),
        ("1000.0", "found 1000.0", "write 1000"),
        ('"1000"', 'found the text "1000"', "write 1000, without quotes"),
        ('"soon"', 'found the text "soon"', ""),
        ("true", "found the truth value true", ""),
        ("null", "found null", ""),
        ("[1]", "found [1]", ""),
    ],
)
def test_unfit_interval_is_refused_at_its_value(written: str, said: str, hint: str) -> None:
    built = source('config = {"interval": ' + written + "}")
    assert built.error.code == "bad-setting"
    assert built.at(built.error) == written
    assert '"interval" must be' in built.error.message
    assert said in built.error.message
    assert built.error.hint == hint


@pytest.mark.parametrize("settings", ["config = {}", "config = null", "metrics_interval_s = 1"])
def test_missing_interval_is_refused(settings: str) -> None:
    built = source(settings)
    assert '`config` needs "interval": a whole number of milliseconds' in built.error.message


def test_all_problems_of_a_config_are_said_at_once() -> None:
    built = source('config = {"intervall": 5, "missed": "lates", "catch_up": false}')
    assert {(built.at(found), found.hint) for found in built.errors} == {
        ('"intervall"', "did you mean `interval`?"),
        ('{"intervall": 5, "missed": "lates", "catch_up": false}', 'add "interval": …'),
        ('"lates"', 'did you mean "latest"?'),
        ("false", ""),
    }


def test_config_that_is_no_record_is_refused() -> None:
    built = source("config = 1000")
    assert "must be a record, found 1000" in built.error.message
    assert '"interval"' in built.error.hint


def test_doubtful_setting_is_a_warning_at_its_value() -> None:
    built = source('config = {"interval": 2000000}')
    assert [(found.code, built.at(found)) for found in built.diagnostics] == [("doubtful-setting", "2000000")]
    assert built.plan


def test_unknown_setting_names_the_nearest() -> None:
    built = source('confg = {"interval": 1}, config = {"interval": 1}')
    assert (built.error.code, built.at(built.error)) == ("unknown-setting", "confg")
    assert built.error.hint == "did you mean `config`?"


def test_unknown_kind_names_the_nearest() -> None:
    built = build_flow("define connector it from metronom; create connector it; " + WIRED)
    unknown = next(found for found in built.errors if found.code == "unknown-kind")
    assert built.at(unknown) == "metronom"
    assert unknown.hint == "did you mean `metronome`?"


def test_missing_codec_is_refused() -> None:
    built = sink('config = {"path": "a", "mode": "append"}')
    assert built.error.code == "missing-codec"
    assert "codec =" in built.error.hint


def test_codec_that_nothing_uses_is_a_warning() -> None:
    built = source('codec = "json", config = {"interval": 1}')
    assert [(found.code, built.at(found)) for found in built.diagnostics] == [("unused-setting", 'codec = "json"')]


def test_codec_is_a_name_or_a_record_of_name_and_config() -> None:
    config = 'config = {"path": "a", "mode": "append"}'
    named = sink(f'codec = "json", {config}').plan.connectors["it"].codec
    recorded = sink('codec = {"name": "json", "config": {"mode": "sorted"}}, ' + config).plan.connectors["it"].codec
    assert named is not None and recorded is not None
    assert (named.name, named.config) == ("json", {})
    assert (recorded.name, recorded.config) == ("json", {"mode": "sorted"})


@pytest.mark.parametrize(
    ("codec", "place"),
    [
        ('"jsn"', '"jsn"'),
        ("5", "5"),
        ('{"name": "json", "config": {"mod": 1}}', '"mod"'),
        ('{"nam": "json"}', '{"nam": "json"}'),
        ('{"name": "jsn", "config": {}}', '"jsn"'),
    ],
)
def test_faulty_codec_is_refused_where_it_is_written(codec: str, place: str) -> None:
    built = sink(f'codec = {codec}, config = {{"path": "a", "mode": "append"}}')
    assert (built.error.code, built.at(built.error)) == ("bad-setting", place)


@pytest.mark.parametrize(
    ("processors", "place"), [('"separate"', '"separate"'), ('["separate", "sepparate"]', '"sepparate"'), ("[5]", "5")]
)
def test_faulty_postprocessors_are_refused_where_they_are_written(processors: str, place: str) -> None:
    built = sink(f'codec = "json", postprocessors = {processors}, config = {{"path": "a", "mode": "append"}}')
    assert (built.error.code, built.at(built.error)) == ("bad-setting", place)


def test_preprocessors_of_a_writer_are_a_warning() -> None:
    built = sink('codec = "json", preprocessors = ["separate"], config = {"path": "a", "mode": "append"}')
    assert built.codes == ["unused-setting"]


@pytest.mark.parametrize("reconnect", ['"always"', '{"retry": {}}', '{"retry": {"interval": 1}}', "1"])
def test_faulty_reconnect_is_refused(reconnect: str) -> None:
    assert source(f'reconnect = {reconnect}, config = {{"interval": 1}}').error.code == "bad-setting"


def test_reconnect_none_is_silent_and_retry_is_said_to_have_no_effect() -> None:
    assert source('reconnect = "none", config = {"interval": 1}').codes == []
    built = source('reconnect = {"retry": {"interval_ms": 5}}, config = {"interval": 1}')
    assert built.codes == ["unused-setting"]


def test_setting_that_has_no_value_is_refused() -> None:
    built = source('config = {"interval": 1 + "a"}')
    assert built.error.code == "evaluation"


# --- arguments -----------------------------------------------------------------------------------------------

STOPPED = "create connector ticks; create pipeline pass; " + SINK


def created(create: str) -> Built:
    return build_flow(f"create connector it from library::{create}; {STOPPED}")


def test_argument_wins_over_default() -> None:
    assert created("write_file").plan.connectors["it"].config.path == "out.log"
    assert created('write_file with file = "other" end').plan.connectors["it"].config.path == "other"


def test_unknown_argument_names_the_nearest() -> None:
    built = created('write_file with fil = "other" end')
    assert (built.error.code, built.at(built.error), built.error.hint) == (
        "unknown-argument",
        "fil",
        "did you mean `file`?",
    )


def test_missing_argument_is_refused_at_the_creation_and_names_the_definition() -> None:
    built = created("write_to")
    assert (built.error.code, built.at(built.error)) == (
        "missing-argument",
        "create connector it from library::write_to",
    )
    assert "write_to" in built.error.message
    assert "library.tremor" in built.error.hint


def test_unfit_argument_is_blamed_on_the_creation_that_gives_it() -> None:
    built = created("write_file with file = 5 end")
    assert (built.error.code, built.at(built.error)) == ("bad-setting", "5")
    assert built.error.span is not None and built.error.span.source == "main.troy"


def test_arguments_pass_from_deploy_through_flow_and_creation_into_the_definition() -> None:
    text = """define flow main
args every, stem = "log"
flow
  define connector ticks from metronome args interval with config = {"interval": args.interval * 10} end;
  define pipeline pass args word pipeline select args.word from in into out; end;
  create connector ticks with interval = args.every + 1 end;
  create connector out from library::write_file with file = "#{ args.stem }.txt" end;
  create pipeline pass with word = args.stem end;
  connect /connector/ticks to /pipeline/pass;
  connect /pipeline/pass to /connector/out;
end;
deploy flow main with every = 4 end;
deploy flow other from main with every = 9, stem = "b" end;
"""
    built = build(text)
    assert built.diagnostics == []
    configs = [(plan.connectors["ticks"].config.interval, plan.connectors["out"].config.path) for plan in built.plans]
    assert configs == [(50, "log.txt"), (100, "b.txt")]
    assert [plan.stages[0].graph.selects[0].args for plan in built.plans] == [{"word": "log"}, {"word": "b"}]


def test_missing_argument_of_a_flow_is_refused_at_the_deploy() -> None:
    built = build("define flow main args every flow use a; end; deploy flow main;")
    assert (built.error.code, built.at(built.error)) == ("missing-argument", "deploy flow main")


def test_same_fault_of_two_instances_is_said_once() -> None:
    built = build_flow(
        "define connector bad from metronome with config = {} end;"
        "create connector a from bad; create connector b from bad; create connector stop; create pipeline pass;"
        "connect /connector/a to /pipeline/pass; connect /connector/b to /pipeline/pass;"
        "connect /pipeline/pass to /connector/stop;"
    )
    assert built.error.code == "bad-setting"
