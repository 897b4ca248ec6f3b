"""The library's functions at their edges."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metronome_worker.library.functions import FUNCTIONS, signatures
from metronome_worker.runtime.errors import EvalError


def call(name: str, *arguments: Any) -> Any:
    return FUNCTIONS[f"std::{name}"].call(*arguments)


GIVES: list[tuple[str, tuple[Any, ...], Any]] = [
    ("string::format", ("{} is {}", "n", 1), "n is 1"),
    ("string::format", ("{{}} \\{\\} \\n", ), "{} {} \\n"),
    ("string::format", ("{}{}", None, [1.0, "a"]), 'null[1.0,"a"]'),
    ("string::is_empty", ("",), True),
    ("string::is_empty", (" ",), False),
    ("string::len", ("aé€😀",), 4),
    ("string::bytes", ("aé€😀",), 10),
    ("string::replace", ("aaa", "aa", "b"), "ba"),
    ("string::replace", ("ab", "", "-"), "-a-b-"),
    ("string::trim", ("\u3000 a\x1f\t",), "a\x1f"),
    ("string::trim_start", (" a ",), "a "),
    ("string::trim_end", (" a ",), " a"),
    ("string::lowercase", ("ÄB",), "äb"),
    ("string::uppercase", ("ß",), "SS"),
    ("string::capitalize", ("éa B",), "Éa B"),
    ("string::capitalize", ("",), ""),
    ("string::substr", ("snotty", 0, 4), "snot"),
    ("string::substr", ("abc", 1, 99), "bc"),
    ("string::substr", ("abc", 2, 2), ""),
    ("string::substr", ("abc", 2, 1), "abc"),
    ("string::substr", ("abc", 3, 5), "abc"),
    ("string::split", ("a,,b", ","), ["a", "", "b"]),
    ("string::split", ("", ","), [""]),
    ("string::split", ("ab", ""), ["", "a", "b", ""]),
    ("string::contains", ("abc", "bc"), True),
    ("string::contains", ("", ""), True),
    ("string::reverse", ("aé",), "éa"),
    ("type::as_string", (None,), "null"),
    ("type::as_string", (True,), "bool"),
    ("type::as_string", (2**64 - 1,), "integer"),
    ("type::as_string", (1.0,), "float"),
    ("type::as_string", ("",), "string"),
    ("type::as_string", ([],), "array"),
    ("type::as_string", ({},), "record"),
    ("type::is_null", (None,), True),
    ("type::is_null", (0,), False),
    ("type::is_bool", (False,), True),
    ("type::is_bool", (0,), False),
    ("type::is_integer", (2**63 - 1,), True),
    ("type::is_integer", (2**63,), False),
    ("type::is_integer", (True,), False),
    ("type::is_integer", (1.0,), False),
    ("type::is_float", (1.0,), True),
    ("type::is_float", (1,), False),
    ("type::is_number", (2**63,), True),
    ("type::is_number", (1.0,), True),
    ("type::is_number", (True,), False),
    ("type::is_string", ("",), True),
    ("type::is_array", ([],), True),
    ("type::is_record", ({},), True),
    ("type::is_record", ([],), False),
    ("math::floor", (-1.5,), -2),
    ("math::floor", (2**64 - 1,), 2**64 - 1),
    ("math::ceil", (-1.5,), -1),
    ("math::round", (2.5,), 3),
    ("math::round", (-2.5,), -3),
    ("math::round", (0.49999999999999994,), 0),
    ("math::trunc", (-1.9,), -1),
    ("math::max", (1, 2), 2),
    ("math::max", (3, 2.0), 3.0),
    ("math::min", (-1, 2), -1),
    ("math::min", (1, 2.0), 1.0),
    ("integer::parse", ("-42",), -42),
    ("integer::parse", ("+7",), 7),
    ("integer::parse", ("-9223372036854775808",), -(2**63)),
    ("float::parse", ("1.",), 1.0),
    ("float::parse", (".5e1",), 5.0),
    ("float::parse", ("-Infinity",), -math.inf),
    ("float::is_finite", (1,), True),
    ("float::is_finite", (math.inf,), False),
    ("float::is_nan", (math.nan,), True),
    ("float::is_infinite", (-math.inf,), True),
    ("json::decode", ('{"a": [1, 2.0, null]}',), {"a": [1, 2.0, None]}),
    ("json::encode", ({"b": 1, "a": [2.0, "é"]},), '{"b":1,"a":[2.0,"é"]}'),
    ("json::encode", (math.nan,), "null"),
    ("json::encode_pretty", ({"a": [1]},), '{\n  "a": [\n    1\n  ]\n}'),
    ("array::len", ([1, [2, 3]],), 2),
    ("array::is_empty", ([],), True),
    ("array::contains", ([1, 2.0], 2), True),
    ("array::contains", ([1], True), False),
    ("array::push", ([1], [2]), [1, [2]]),
    ("array::zip", ([1, 2], ["a", "b"]), [[1, "a"], [2, "b"]]),
    ("array::unzip", ([[1, "a"], [2, "b"]],), [[1, 2], ["a", "b"]]),
    ("array::unzip", ([],), [[], []]),
    ("array::flatten", ([1, [2, [3, []]], {"a": [4]}],), [1, 2, 3, {"a": [4]}]),
    ("array::flatten", (1,), [1]),
    ("array::coalesce", ([None, 0, False, None],), [0, False]),
    ("array::join", (["a", 1, None, [2]], "-"), "a-1-null-[2]"),
    ("array::join", ([], "-"), ""),
    ("array::concatenate", ([1], [1]), [1, 1]),
    ("array::sort", ([3, 1.5, 2],), [1.5, 2, 3]),
    ("array::sort", ([None, True, False, 2, "b", "a", [1], [], {}],), [{}, [], [1], "a", "b", 2, False, True, None]),
    ("array::sort", ([{"b": 1}, {"a": 2}, {"a": 1}],), [{"a": 1}, {"a": 2}, {"b": 1}]),
    ("array::reverse", ([1, 2],), [2, 1]),
    ("record::len", ({"a": {"b": 1}},), 1),
    ("record::is_empty", ({},), True),
    ("record::contains", ({"a": None}, "a"), True),
    ("record::contains", ({}, "a"), False),
    ("record::keys", ({"b": 1, "a": 2},), ["b", "a"]),
    ("record::values", ({"b": 1, "a": 2},), [1, 2]),
    ("record::to_array", ({"a": 1},), [["a", 1]]),
    ("record::from_array", ([["a", 1], ["a", 2]],), {"a": 2}),
    ("record::extract", ({"a": 1, "b": 2}, ["b", 7, "c"]), {"b": 2}),
    ("record::combine", ({"a": 1, "b": 1}, {"b": 2}), {"a": 1, "b": 2}),
    ("record::rename", ({"a": 1, "b": 2}, {"a": "A", "b": 5}), {"A": 1, "b": 2}),
]  # fmt: skip

REFUSES: list[tuple[str, tuple[Any, ...], str]] = [
    ("string::format", (1,), "`string::format` needs a string, not the integer 1"),
    ("string::format", ("{}",), "more `{}` than its 0 arguments"),
    ("string::format", ("", 1), "0 `{}` for 1 arguments"),
    ("string::format", ("{x}", 1), "cannot use the `{` at 0"),
    ("string::format", ("a}b",), "cannot use the `}` at 1"),
    ("string::format", ("a\\",), "cannot use the `\\` at 1"),
    ("string::len", ([],), "needs a string, not the array []"),
    ("string::substr", ("a", -1, 1), "needs integers from 0, not the integer -1"),
    ("string::substr", ("a", 0, 1.0), "needs integers from 0, not the float 1.0"),
    ("string::contains", ("a", 1), "needs a string"),
    ("math::floor", ("1",), "`math::floor` needs a number"),
    ("math::floor", (True,), "`math::floor` needs a number"),
    ("math::round", (1e30,), "no integer of 64 bits"),
    ("math::ceil", (math.nan,), "no integer of 64 bits"),
    ("math::max", (1, "a"), "needs a number"),
    ("integer::parse", ("9223372036854775808",), "no integer of 64 bits"),
    ("integer::parse", ("1_0",), "no integer"),
    ("integer::parse", (" 1",), "no integer"),
    ("integer::parse", ("9" * 5000,), "no integer"),
    ("integer::parse", (1,), "needs a string"),
    ("float::parse", ("1_0.0",), "no number"),
    ("float::parse", ("",), "no number"),
    ("float::parse", (".",), "no number"),
    ("float::is_nan", ("a",), "needs a number"),
    ("json::decode", ("{",), "`json::decode`: this is no JSON"),
    ("json::decode", ("[18446744073709551616]",), "does not fit into 64 bits"),
    ("json::decode", ("[" * 100_000,), "nested too deeply"),
    ("array::len", ({},), "needs an array, not the record {}"),
    ("array::zip", ([1], []), "arrays of one length, not of 1 and 0"),
    ("array::unzip", ([[1]],), "arrays of two elements, not the array [1]"),
    ("array::join", ([1], 1), "needs a string"),
    ("record::len", ([],), "needs a record"),
    ("record::contains", ({}, 1), "needs a string"),
    ("record::from_array", ([[1, 2]],), "arrays of a string and a value, not the array [1,2]"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "arguments", "expected"), GIVES)
def test_it_gives(name: str, arguments: tuple[Any, ...], expected: Any) -> None:
    value = call(name, *arguments)
    assert (type(value), value) == (type(expected), expected)


@pytest.mark.parametrize(("name", "arguments", "message"), REFUSES)
def test_it_refuses(name: str, arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(EvalError) as caught:
        call(name, *arguments)
    assert message in caught.value.message


def test_every_function_is_documented_and_has_a_case() -> None:
    assert {name.removeprefix("std::") for name in FUNCTIONS} == {name for name, _, _ in GIVES}
    assert all(function.doc and name == function.name for name, function in FUNCTIONS.items())


def test_signatures_say_how_many_arguments() -> None:
    known = signatures()
    assert known["std::string::len"] == (1, 1)
    assert known["std::string::substr"] == (3, 3)
    assert known["std::string::format"] == (1, None)


_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.text(max_size=3)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=5,
)


@given(st.sampled_from(sorted(FUNCTIONS)), st.data())
def test_any_values_give_a_value_or_an_eval_error(name: str, data: st.DataObject) -> None:
    function = FUNCTIONS[name]
    arguments = data.draw(st.lists(_values, min_size=function.minimum, max_size=function.maximum or 4))
    before = repr(arguments)
    try:
        function.call(*arguments)
    except EvalError as error:
        assert error.message
    assert repr(arguments) == before


@given(st.lists(_values, max_size=6))
def test_sorting_what_is_sorted_changes_nothing(array: list[Any]) -> None:
    if "nan" not in repr(array):
        once = call("array::sort", array)
        assert repr(call("array::sort", once)) == repr(once)
