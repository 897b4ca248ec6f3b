"""Paths, presence, literals, calls, and where and how what has no value is reported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec import structs

from metronome_worker.language import syntax
from metronome_worker.language.source import Span
from metronome_worker.library.functions import FUNCTIONS
from metronome_worker.runtime.errors import EvalError
from metronome_worker.runtime.expressions import MAX_DEPTH
from metronome_worker.runtime.stage import compile_stage

from .flows import ERRORS, constant, failure, file_of, graph, node, project, run, text_at, values

if TYPE_CHECKING:
    from collections.abc import Callable

EVENT = {"id": 7, "user": {"name": "Ann", "tags": ["a", "b", "c"], "none": None}, "key": "name", "n": 1}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("event", EVENT),
        ("event.id", 7),
        ("event.user.name", "Ann"),
        ('event["user"]["name"]', "Ann"),
        ("event.user[event.key]", "Ann"),
        ("event.user.tags[0]", "a"),
        ("event.user.tags[event.n + 1]", "c"),
        ("event.user.tags[1:3]", ["b", "c"]),
        ("event.user.tags[1:3][0]", "b"),
        ("event.user.tags[0:0]", []),
        ("event.user.none", None),
        ('{"a": {"b": event.id}}.a.b', 7),
        ('{"#{event.key}": event.id}', {"name": 7}),
        ("[event.id, [event.n]]", [7, [1]]),
        ('"#{event.user.tags} #{event.key} #{event.user.none}"', '["a","b","c"] name null'),
        ("state", None),
        ("$", {}),
        ("group", [None, "[null]"]),
        ("window", None),
        ("args.limit", 3),
        ("args.deep.list[0]", 1),
        ("event.id + args.limit", 10),
        ("std::string::uppercase(event.key)", "NAME"),
        ('std::string::format("{}-{}", event.id, event.user.none)', "7-null"),
    ],
)
def test_a_path_leads_to(text: str, expected: Any) -> None:
    assert project(text, EVENT, args={"limit": 3, "deep": {"list": [1]}}) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("present event.id", True),
        ("present event.user.none", True),
        ("present event.missing", False),
        ("absent event.missing", True),
        ("absent event.id", False),
        ("present event.id.deeper", False),
        ("present event.missing.deeper", False),
        ("present event.user.tags[2]", True),
        ("present event.user.tags[3]", False),
        ("present event.user.tags[0:3]", True),
        ("present event.user.tags[0:4]", False),
        ('present event.user["none"]', True),
        ("present event.user[event.key]", True),
        ("present event.missing[event.also_missing]", False),
        ("present event.user.tags.name", False),
        ("present event.user[1]", False),
        ("present event", True),
        ("present args.limit", True),
        ("absent args.other", True),
        ("present $x", False),
    ],
)
def test_presence_is_about_being_there_not_about_null(text: str, expected: bool) -> None:
    assert project(text, EVENT, args={"limit": 3}) is expected


@pytest.mark.parametrize(
    ("text", "message", "place"),
    [
        ("event.nmae", "`event` has no field `nmae`", ".nmae"),
        ("event.user.nmae", "`event.user` has no field `nmae`, did you mean `name`?", ".nmae"),
        ("event.user.name.x", "`event.user.name` is a string, only records have fields; asked for `x`", ".x"),
        ("event.user.none.x", "`event.user.none` is null, only records have fields; asked for `x`", ".x"),
        ('event.user.tags["x"]', '`event.user.tags` is an array: an index is an integer, not the string "x"', '["x"]'),
        ("event.user.tags.x", "`event.user.tags` is an array, only records have fields; asked for `x`", ".x"),
        ("event.user.tags[3]", "`event.user.tags` has 3 elements, there is none at index 3", "[3]"),
        ("event.user.tags[-1]", "`event.user.tags` is an array: an index counts from 0, not -1", "[-1]"),
        ("event.user[0]", "`event.user` is a record: its keys are strings, not the integer 0", "[0]"),
        ("event.key[0]", "`event.key` is a string, only arrays and records have elements", "[0]"),
        ("event.user.tags[0:4]", "`event.user.tags` has 3 elements, the range 0:4 goes beyond", "[0:4]"),
        ("event.user.tags[2:1]", "the range 2:1 of `event.user.tags` ends before it starts", "[2:1]"),
        ("event.user[0:1]", "`event.user` is a record, only arrays have ranges", "[0:1]"),
        ("event.user.tags[0].x", "`event.user.tags[0]` is a string, only records have fields; asked for `x`", ".x"),
        ("$kafka.key", "`$` has no field `kafka`", "kafka"),
        ("args.x", "`args` has no field `x`", ".x"),
        ("1 + (event.id + event.key)", '`+` takes two numbers, two strings, two arrays or two records, '
         'not the integer 7 and the string "name"; "#{ }" puts any value into a string', "event.id + event.key"),
        ("event.id and true", "`and` needs a bool, not the integer 7", "event.id"),
        ("std::string::len(event.id)", "`string::len` needs a string, not the integer 7", "std::string::len(event.id)"),
        ("present event.user.tags[event.key]",
         '`event.user.tags` is an array: an index is an integer, not the string "name"', "[event.key]"),
    ],
)  # fmt: skip
def test_what_has_no_value_says_what_and_where(text: str, message: str, place: str) -> None:
    select = f"select {text} from in into out"
    stage = graph(node(select))
    [letter] = run(stage, EVENT, sources={"test.troy": file_of(select)}).dead
    start = file_of(select).index(text) + text.index(place)
    assert letter.error == f"test.troy:1:{start + 1}: {message}"


def test_without_the_text_of_the_file_the_error_names_the_file_only() -> None:
    assert failure("event.x", {}).error == "test.troy: `event` has no field `x`"


def test_on_an_event_that_is_no_record_a_field_is_an_error() -> None:
    for event in (None, 1, True, "text", [1], 1.5):
        assert "only records have fields" in failure("event.x", event).error


@pytest.mark.parametrize(
    "text", ["event", "event.id", "$", "$x", "state", "group", "window", "[event]", "present event.x"]
)
def test_what_needs_an_event_is_refused_where_none_exists(text: str) -> None:
    with pytest.raises(EvalError, match="no event exists at this point"):
        constant(text)


def test_args_are_refused_where_there_are_none() -> None:
    with pytest.raises(EvalError, match="`args` has no meaning here: there are no arguments at this point"):
        constant("args.x")
    assert constant("args.x", args={"x": 1}) == 1


def test_a_constant_that_fails_says_where() -> None:
    with pytest.raises(EvalError) as caught:
        constant('{"a": [1, 2 + "x"]}')
    assert caught.value.span is not None
    assert text_at('select {"a": [1, 2 + "x"]} from in into out', caught.value.span) == '2 + "x"'


def test_unknown_functions_and_names_and_wrong_numbers_of_arguments_are_refused() -> None:
    with pytest.raises(EvalError, match="there is no function `std::string::lenght`"):
        constant('std::string::lenght("a")')
    with pytest.raises(EvalError, match="`std::string::len` takes 1 argument, not 2"):
        constant('std::string::len("a", "b")')
    with pytest.raises(EvalError, match="`std::string::format` takes at least 1 argument, not 0"):
        constant("std::string::format()")
    with pytest.raises(EvalError, match="there is nothing called `nowhere` here"):
        constant("nowhere.x")


def test_a_failing_constant_fails_only_when_an_event_gets_there() -> None:
    stage = graph(node("select event.x or 1 / 0 == 0 from in into out"))
    effects = run(stage, {"x": True}, {"x": False})
    assert values(effects) == [True]
    assert [letter.entry_id for letter in effects.dead] == ["1-0"]


def test_constants_are_folded_and_shared() -> None:
    stage = graph(node('select {"list": [1, 2 + 3, {"a": "b#{4}"}]} from in into out'))
    first, second = values(run(stage, {}, {}))
    assert first == {"list": [1, 5, {"a": "b4"}]}
    assert first is second


def test_long_chains_of_one_junction_are_flat() -> None:
    chain = " or ".join(f"event.n == {number}" for number in range(190))
    assert project(chain, {"n": 180}) is True


_ANYWHERE = Span("deep.troy", 0, 1)
_ZERO = syntax.Literal(span=_ANYWHERE, value=0)
_EVENT = syntax.ReservedRoot(span=_ANYWHERE, root=syntax.Root.EVENT)
_FLATTEN = syntax.QualifiedName(span=_ANYWHERE, modules=("std", "array"), name="flatten")


def _as_list(inner: syntax.Expression) -> syntax.Expression:
    return syntax.ListLiteral(span=_ANYWHERE, items=(inner,))


def _as_sum(inner: syntax.Expression) -> syntax.Expression:
    return syntax.Binary(span=_ANYWHERE, operator=syntax.BinaryOperator.ADD, left=inner, right=_ZERO)


def _as_argument(inner: syntax.Expression) -> syntax.Expression:
    return syntax.Call(span=_ANYWHERE, function=_FLATTEN, arguments=(inner,))


def _as_index(inner: syntax.Expression) -> syntax.Expression:
    return syntax.Path(span=_ANYWHERE, root=_EVENT, segments=(syntax.IndexSegment(span=_ANYWHERE, index=inner),))


def _as_template(inner: syntax.Expression) -> syntax.Expression:
    return syntax.StringTemplate(span=_ANYWHERE, parts=("a", inner))


@pytest.mark.parametrize("wrap", [_as_list, _as_sum, _as_argument, _as_index, _as_template])
@pytest.mark.parametrize("is_known", [True, False])
def test_nesting_is_bounded_and_beyond_it_an_error_not_a_crash(
    wrap: Callable[[syntax.Expression], syntax.Expression], is_known: bool
) -> None:
    innermost = _ZERO if is_known else syntax.Path(span=_ANYWHERE, root=_EVENT, segments=())
    for depth, is_fine in ((MAX_DEPTH - 1, True), (MAX_DEPTH, False), (5000, False)):
        nested: syntax.Expression = innermost
        for _ in range(depth):
            nested = wrap(nested)
        select = structs.replace(node("select 1 from in into out"), target=nested)
        if is_fine:
            compile_stage(graph(select), FUNCTIONS)
        else:
            with pytest.raises(EvalError, match="nested"):
                compile_stage(graph(select), FUNCTIONS)


def test_errors_go_to_the_port_where_they_are_wanted() -> None:
    select = "select event.x from in into out"
    effects = run(graph(node(select, errors=(ERRORS,))), {"y": 1}, {"x": 2})
    assert values(effects) == [2]
    assert values(effects, ERRORS) == [{"error": "test.troy: `event` has no field `x`", "event": {"y": 1}}]
    assert effects.dead == []
