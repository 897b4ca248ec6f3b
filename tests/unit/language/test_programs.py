from __future__ import annotations

import re

import pytest

from metronome_worker.language import load_program, render, resolve_bundle, to_record
from metronome_worker.language.diagnostics import Diagnostic, Diagnostics, Severity, suggest
from metronome_worker.language.source import Span
from metronome_worker.language.syntax import Call, InstanceKind, QualifiedName
from metronome_worker.library.modules import LIBRARY_MODULES, read_library, with_library
from tests.unit.language.case_files import CASES, FUNCTIONS

SEED = (CASES / "programs" / "seed.troy").read_text(encoding="utf-8")
FLOW = "define flow main flow {} end; deploy flow main;"


def load(main, files=None, search_path=(), name="main.troy"):
    reader = with_library((files or {}).get)
    return load_program(main, name, reader, search_path, FUNCTIONS, known_modules=LIBRARY_MODULES)


def program_of(main, *rest, **more):
    program, diagnostics, sources = load(main, *rest, **more)
    assert diagnostics == [], "\n".join(render(diagnostic, sources) for diagnostic in diagnostics)
    return program


def test_the_example_of_the_documentation_is_a_program():
    flow = program_of(SEED).deployments[0].flow
    assert set(flow.connectors) == {"every_second"}
    assert set(flow.pipelines) == {"main", "exit"}
    assert [(creation.kind.value, creation.name.text) for creation in flow.creations] == [
        ("connector", "exit"), ("connector", "file"), ("connector", "metronome"),
        ("pipeline", "main"), ("pipeline", "exit"),
    ]  # fmt: skip
    assert len(flow.connects) == 4


def test_a_creation_that_matches_no_definition_is_left_to_the_plan():
    creation = program_of(SEED).deployments[0].flow.creations[2]
    assert (creation.definition, creation.definition_name) == (None, "metronome")


def test_instances_hold_the_definitions_of_modules():
    exit_, file, *_ = program_of(SEED).deployments[0].flow.creations
    assert exit_.definition.kind.text == "exit"
    assert file.definition.span.source == "<library>/integration.tremor"
    assert file.definition_name == "integration::write_file"


def test_connectors_and_pipelines_have_their_names_apart():
    creations = program_of(SEED).deployments[0].flow.creations
    assert {c.kind for c in creations if c.name.text == "exit"} == {InstanceKind.CONNECTOR, InstanceKind.PIPELINE}


def test_only_what_is_used_is_in_the_sources_under_names_that_hold_everywhere():
    files = {
        "/home/me/own.tremor": "define connector a from exit",
        "/home/me/other.tremor": "x",
        "/opt/p/far/b.trickle": "use own",
    }
    text = FLOW.format("use own; use far::b; use tremor::connectors; create connector a from own::a;")
    program = program_of(text, files, ["/opt/p"], name="/home/me/main.troy")
    assert list(program.sources) == [
        "main.troy",
        "own.tremor",
        "<path>/far/b.trickle",
        "<library>/tremor/connectors.tremor",
    ]


def test_a_program_is_resolved_again_from_its_sources_alone():
    files = {"d/own.tremor": "use far::b; define connector a from exit", "p/far/b.troy": "define connector c from exit"}
    text = FLOW.format("use own; use integration; create connector a from own::b::c;")
    for program in (program_of(text, files, ["p"], name="d/main.troy"), program_of(SEED)):
        again, diagnostics = resolve_bundle(program.sources, next(iter(program.sources)), FUNCTIONS)
        assert diagnostics == []
        assert again == program


def test_the_folder_of_the_file_comes_before_the_search_path_before_the_library():
    text = FLOW.format("use integration; create connector a from integration::a;")
    here, there = "define connector a from here;", "define connector a from there;"
    files = {"integration.tremor": here, "p/integration.tremor": there}
    assert program_of(text, files, ["p"]).deployments[0].flow.creations[0].definition.kind.text == "here"
    del files["integration.tremor"]
    assert program_of(text, files, ["p"]).deployments[0].flow.creations[0].definition.kind.text == "there"


def test_a_module_is_read_once_however_often_it_is_used():
    read = []
    files = {
        "a.tremor": "use c; define connector x from exit;",
        "b.tremor": "use c;",
        "c.tremor": "define connector x from exit;",
    }

    def reader(path):
        if path in files:
            read.append(path)
        return with_library(files.get)(path)

    text = FLOW.format("use a; use b; use c; create connector x from a::c::x; create connector y from b::c::x;")
    program, diagnostics, _ = load_program(text, "main.troy", reader, [], FUNCTIONS)
    assert program, diagnostics
    assert sorted(set(read)) == ["a.tremor", "b.tremor", "c.tremor"]
    first, second = program.deployments[0].flow.creations
    assert first.definition == second.definition


def test_definitions_and_modules_of_the_file_are_known_in_its_flows_and_pipelines():
    text = (
        "use std::string as s; define connector c from exit; define pipeline p pipeline "
        "select s::uppercase(event) from in into out end;" + FLOW.format("create connector c; create pipeline p;")
    )
    connector, pipeline = program_of(text).deployments[0].flow.creations
    assert connector.definition.name.text == "c"
    target = pipeline.definition.selects[0].target
    assert isinstance(target, Call)
    assert str(target.function) == "std::string::uppercase"


def test_functions_resolve_everywhere_in_an_expression():
    text = FLOW.format(
        'use std::string; define pipeline p args a = string::uppercase("x") pipeline use std; '
        'select {"k #{ string::uppercase(event) }": [event[string::uppercase("a")], - std::math::max(1), '
        "event[std::math::max(0):std::math::max(1)], present (std::math::max(1)).a]} "
        "from in where string::lowercase(event) == 1 into out having string::lowercase(event) == 2 end;"
    )
    names = re.findall(r"QualifiedName\(span=.*?modules=\((.*?)\)", repr(program_of(text)))
    assert len(names) == 9
    assert set(names) == {"'std', 'string'", "'std', 'math'"}


def test_a_flow_is_deployed_from_a_module_under_another_name():
    files = {
        "flows.troy": "define flow work args n flow create connector x with config = args.n end; end;"
        "deploy flow work with n = 1 end"
    }
    program = program_of("use flows; deploy flow mine from flows::work with n = 2 end;", files)
    (deployment,) = program.deployments
    assert (deployment.name.text, deployment.flow.name.text) == ("mine", "work")


def test_ports_replace_the_default_ones():
    text = FLOW.format(
        "define pipeline p into exit from a, b pipeline select 1 from b into exit end;"
        "define pipeline q pipeline select 1 from in into err end;"
    )
    pipelines = program_of(text).deployments[0].flow.pipelines
    assert (pipelines["p"].from_ports, pipelines["p"].into_ports) == (("a", "b"), ("exit",))
    assert (pipelines["q"].from_ports, pipelines["q"].into_ports) == (("in",), ("out", "err"))


def test_directives_of_the_file_are_settings_of_the_program():
    program = program_of("#!config metrics_interval_s = 10\n" + FLOW.format("create connector x;"))
    assert [setting.name.text for setting in program.settings] == ["metrics_interval_s"]


def test_diagnostics_of_several_files_come_file_by_file():
    files = {"a.tremor": "define connector form;", "b.tremor": "define connector 5;"}
    _, diagnostics, _ = load("use a; use b; deploy fow x; deploy fow y;", files)
    assert [diagnostic.span.source for diagnostic in diagnostics] == ["main.troy", "main.troy"]
    _, diagnostics, _ = load("use a; use b; deploy flow x;", files)
    assert [diagnostic.span.source for diagnostic in diagnostics] == ["a.tremor", "b.tremor"]


@pytest.mark.parametrize("module", LIBRARY_MODULES)
def test_every_module_of_the_library_resolves(module):
    program = program_of(FLOW.format(f"use {module}; create connector x;"))
    assert f"<library>/{module.replace('::', '/')}.tremor" in program.sources


def test_the_library_has_no_files_but_its_modules():
    assert read_library("<library>/modules.py") is None
    assert read_library("<library>/../x.tremor") is None
    assert read_library("integration.tremor") is None


def test_the_integration_module_has_what_documented_examples_take_from_it():
    names = [
        "connector exit",
        "connector write_file",
        "connector read_file",
        "pipeline out_or_exit",
        "pipeline out_and_exit",
    ]
    creates = " ".join(f"create {name} from integration::{name.split()[1]};" for name in names)
    creations = program_of(FLOW.format(f"use integration; {creates}")).deployments[0].flow.creations
    assert all(creation.definition for creation in creations)
    assert all(creation.definition.into_ports == ("out", "exit") for creation in creations[3:])


# --- diagnostics ---


def error_at(text, start, end, label=""):
    return Diagnostic(severity=Severity.ERROR, code="c", message="m", span=Span("f", start, end), label=label)


def test_the_caret_stands_under_the_place_behind_tabs_and_wide_characters():
    lines = render(error_at("", 5, 6), {"f": "\t漢字e\u0301x"}).splitlines()
    assert lines[-2] == "1 |     漢字e\u0301x"
    assert lines[-1] == "  | " + " " * 9 + "^"


def test_a_long_line_is_shown_around_the_place():
    text = "a" * 500 + "HERE" + "b" * 500
    shown, caret = render(error_at(text, 500, 504), {"f": text}).splitlines()[-2:]
    assert len(shown) < 130
    assert shown[caret.index("^") : caret.rindex("^") + 1] == "HERE"


def test_control_characters_are_never_sent_to_a_terminal():
    assert "\x1b" not in render(error_at("", 0, 1), {"f": "a\x1b[2Jb\u202e"})


def test_colour_changes_nothing_but_colour():
    diagnostic, sources = error_at("", 1, 2, "here"), {"f": "abc"}
    coloured = render(diagnostic, sources, colour=True)
    assert coloured != render(diagnostic, sources)
    assert re.sub("\x1b\\[[0-9;]*m", "", coloured) == render(diagnostic, sources)


def test_records_count_lines_and_columns_from_one():
    record = to_record(error_at("", 3, 5), {"f": "ab\ncdé"})
    assert (record["file"], record["line"], record["column"], record["end_line"], record["end_column"]) == (
        "f",
        2,
        1,
        2,
        3,
    )
    assert (record["severity"], record["code"], record["hint"]) == ("error", "c", None)


def test_the_same_diagnostic_is_kept_once():
    diagnostics = Diagnostics()
    for _ in range(2):
        diagnostics.error("c", "m", Span("f", 0, 1))
    diagnostics.warning("w", "m", None)
    assert [diagnostic.code for diagnostic in diagnostics.in_order()] == ["c", "w"]


@pytest.mark.parametrize(
    ("name", "candidates", "nearest"),
    [
        ("evnt", ["event", "state"], "event"),
        ("inn", ["in", "out"], "in"),
        ("zebra", ["event"], None),
        ("Event", ["event"], "event"),
        ("x", [], None),
    ],
)
def test_the_nearest_name_is_suggested(name, candidates, nearest):
    assert suggest(name, candidates) == nearest


def test_names_are_shown_as_they_are_written():
    assert str(QualifiedName(modules=("a", "b"), name="c", span=Span("f", 0, 0))) == "a::b::c"
