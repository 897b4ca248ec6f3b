from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metronome_worker.language import tables
from metronome_worker.language.automaton import MAX_DEPTH
from metronome_worker.language.builder import Builder
from metronome_worker.language.diagnostics import Diagnostics, render, to_record
from metronome_worker.language.parser import parse_module
from metronome_worker.language.syntax import ModuleText
from metronome_worker.language.tokens import KEYWORDS, SYMBOLS
from tests.unit.language.case_files import CASES

PROGRAM = (CASES / "syntax" / "statements.troy").read_text(encoding="utf-8")
EXPRESSIONS = (CASES / "syntax" / "expressions.troy").read_text(encoding="utf-8")
WORDS = (
    sorted(KEYWORDS) + sorted(SYMBOLS) + ["x", "1", "1.5", '"', '"""', "#{", "`a`", "\n", "#", "\\", "é", "\x00", "|"]
)


def check(text):
    """Parsing ends in a module or in errors, each inside the text, and each can be shown."""
    module, diagnostics = parse_module(text, "x.troy")
    assert (module is None) == bool(diagnostics)
    for diagnostic in diagnostics:
        assert 0 <= diagnostic.span.start <= diagnostic.span.end <= len(text)
        assert render(diagnostic, {"x.troy": text})
        assert to_record(diagnostic, {"x.troy": text})["line"] >= 1


@given(st.text())
@settings(max_examples=150, deadline=None)
def test_any_text_is_parsed_or_refused(text):
    check(text)


@given(st.lists(st.sampled_from(WORDS), max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_sequence_of_words_is_parsed_or_refused(words):
    check(" ".join(words))


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_mutation_of_a_program_is_parsed_or_refused(data):
    text = data.draw(st.sampled_from([PROGRAM, EXPRESSIONS]))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 30)))
        text = text[:start] + data.draw(st.sampled_from(["", *WORDS])) + text[end:]
    check(text)


@pytest.mark.parametrize("cut", range(0, len(PROGRAM), 17))
def test_any_beginning_of_a_program_is_parsed_or_refused(cut):
    check(PROGRAM[:cut])


@pytest.mark.parametrize("opening", ["(", "[", '{"a": ', "- ", "not ", '"#{', "f(", "a[", "1 + (", "present [", "a::{"])
def test_five_thousand_levels_are_an_error_and_no_crash(opening):
    body = f"define pipeline p pipeline select {opening * 5000} from in into out; end;"
    check(f"define flow x flow {body} end; deploy flow x")


def test_deep_expressions_that_are_complete_are_refused():
    for expression in ("(" * 3000 + "1" + ")" * 3000, "[" * 3000 + "]" * 3000, "1" + " + 1" * 3000, "- " * 3000 + "x"):
        text = f"define flow x flow define pipeline p pipeline select {expression} from in into out end end"
        module, diagnostics = parse_module(text, "x.troy")
        assert module is None
        assert [diagnostic.code for diagnostic in diagnostics] == ["too-deep"]


def test_expressions_as_deep_as_allowed_are_accepted():
    expression = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert parse_module(f"define flow x flow create connector c with a = {expression} end end", "x")[0]


def test_long_paths_and_lists_are_not_deep():
    text = f"define flow x flow create connector c with a = [{'1,' * 3000}], b = args{'.x' * 1000} end end"
    assert parse_module(text, "x")[1] == []


def test_carriage_returns_and_a_byte_order_mark_change_nothing():
    module, diagnostics = parse_module("\ufeff" + PROGRAM.replace("\n", "\r\n"), "x")
    assert diagnostics == []
    assert isinstance(module, ModuleText)


def test_words_after_a_dot_and_a_double_colon_need_no_backticks():
    text = 'define flow x flow create connector c with a = args.select, b = record::select($from, "x") end end'
    assert parse_module(text, "x")[1] == []


def test_statements_after_an_error_are_still_checked():
    text = "define flow x flow create connector 1; create connector 2; create connector 3; end; deploy flow 4;"
    assert len(parse_module(text, "x")[1]) == 4


def test_the_table_belongs_to_the_grammar():
    folder = Path(tables.__file__).parent
    grammar = (folder / "grammar.lark").read_text(encoding="utf-8")
    table = tables.build_table(grammar)
    advice = "run python -m metronome_worker.language.tables"
    assert tables.encode_table(table) == (folder / "grammar.table.json").read_bytes(), advice
    for rule in table.rules:
        assert hasattr(Builder(Diagnostics()), rule.action) if rule.action else rule.size == 1


def test_a_table_of_another_grammar_is_not_used(monkeypatch):
    built = []
    monkeypatch.setattr(tables, "_digest", lambda grammar: "another")
    monkeypatch.setattr(tables, "build_table", built.append)
    tables.load_table.__wrapped__()
    assert len(built) == 1


def test_parsing_does_not_import_the_parser_generator():
    code = "import sys, metronome_worker.language as l; l.parse_module('', 'x'); assert 'lark' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ, cwd=CASES.parents[1])


@pytest.mark.parametrize("word", ["create ", "match ", "define flow x flow ", "a|", "with ", "fn f() with "])
def test_text_that_is_no_program_costs_no_square_of_its_length(word):
    _, diagnostics = parse_module(word * 10_000, "x")
    assert 1 <= len(diagnostics) <= 101
