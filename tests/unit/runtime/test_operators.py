"""Numbers, strings, arrays and records under the operators, against a slow and simple model."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metronome_worker.language.syntax import BinaryOperator
from metronome_worker.runtime import operators
from metronome_worker.runtime.errors import EvalError
from metronome_worker.runtime.values import EPSILON, is_equal

from .flows import constant, project

U64, I64 = 2**64 - 1, 2**63 - 1
_EDGES = [0, 1, -1, 2, 63, 64, I64, I64 + 1, -I64, -I64 - 1, U64, U64 - 1, 2**62, -(2**62), 2**31, 2**53 + 1]
integers = st.one_of(st.sampled_from(_EDGES), st.integers(-(2**63), U64), st.integers(-100, 100))
floats = st.one_of(st.floats(), st.sampled_from([0.0, -0.0, 2.0, 0.1 + 0.2, 1e300]))
scalars = st.one_of(st.none(), st.booleans(), integers, floats, st.text(max_size=3))
json_values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=2), inner, max_size=3)),
    max_leaves=6,
)


def outcome(call: Any, *arguments: Any) -> Any:
    """The value with its type, NaN made equal to itself; or that there is none."""
    try:
        value = call(*arguments)
    except EvalError:
        return "an error"
    return type(value), "NaN" if value != value else value, str(value)


def model_integers(operator: str, left: int, right: int) -> Any:
    """Integer arithmetic in so many words: unsigned if both are, else signed if both are, else floats."""
    exact = {"+": left + right, "-": left - right, "*": left * right}[operator]
    if 0 <= left <= U64 and 0 <= right <= U64:
        low, high = (-(2**63) if operator == "-" else 0), U64
    elif left <= I64 and right <= I64:
        low, high = -(2**63), I64
    else:
        a, b = float(left), float(right)
        return {"+": a + b, "-": a - b, "*": a * b}[operator]
    if not low <= exact <= high:
        raise EvalError("overflow")
    return exact


@given(st.sampled_from("+-*"), integers, integers)
def test_integer_arithmetic_is_that_of_the_model(operator: str, left: int, right: int) -> None:
    call = operators.BINARY[BinaryOperator(operator)]
    assert outcome(call, left, right) == outcome(model_integers, operator, left, right)


@given(st.sampled_from("+-*"), integers, floats)
def test_with_a_float_on_either_side_both_are_floats(operator: str, left: int, right: float) -> None:
    call = operators.BINARY[BinaryOperator(operator)]
    assert outcome(call, left, right) == outcome(call, float(left), right)
    assert outcome(call, right, left) == outcome(call, right, float(left))


@given(integers, integers)
def test_the_remainder_has_the_sign_of_the_left_side(left: int, right: int) -> None:
    if right == 0 or (max(left, right) > I64 and min(left, right) < 0):
        assert outcome(operators.modulo, left, right) == "an error"
    else:
        assert operators.modulo(left, right) == left - right * (abs(left) // abs(right)) * (
            1 if (left < 0) == (right < 0) else -1
        )


@given(st.sampled_from(list(operators.BINARY)), json_values, json_values)
def test_every_operator_gives_a_value_or_an_eval_error(operator: BinaryOperator, left: Any, right: Any) -> None:
    outcome(operators.BINARY[operator], left, right)


@given(st.sampled_from(list(operators.BINARY)), json_values, scalars)
def test_the_inlined_cases_agree_with_the_operators(operator: BinaryOperator, left: Any, right: Any) -> None:
    from metronome_worker.language.source import Span
    from metronome_worker.runtime.fragments import Builder, Fragment, Namespace, Site, name
    from metronome_worker.runtime.operations import binary

    for swapped in (False, True):
        builder = Builder(Namespace())
        known, unknown = builder.constant(right), Fragment(code=name("x"))
        sides = (known, unknown) if swapped else (unknown, known)
        fragment = binary(builder, operator, *sides, Site(span=Span("", 0, 0)))
        compiled = _function_of_x(fragment.code, builder.namespace.values)
        plain = operators.BINARY[operator]
        assert outcome(compiled, left) == outcome(plain, *((right, left) if swapped else (left, right)))


def _function_of_x(code: Any, namespace: dict[str, Any]) -> Any:
    import ast

    from metronome_worker.runtime.compiler import build_function

    return build_function("f", ("x",), [ast.Return(code)], namespace, None)


@given(json_values)
def test_equality_is_symmetric_and_bools_equal_only_bools(value: Any) -> None:
    assert is_equal(value, True) is (value is True)
    assert is_equal(value, 1) is is_equal(1, value)


@given(json_values)
def test_a_value_without_nan_equals_itself(value: Any) -> None:
    assert is_equal(value, value) or "nan" in str(value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 + 2", 3),
        ("6 / 3", 2.0),
        ("7 / 2", 3.5),
        ("7 % 3", 1),
        ("-7 % 3", -1),
        ("7 % -3", 1),
        ("2 == 2.0", True),
        ("0.1 + 0.2 == 0.3", True),
        ("true == 1", False),
        ("[1, {\"a\": 2}] == [1.0, {\"a\": 2.0}]", True),
        ("1.0 / 0.0 == 1.0 / 0.0", True),
        ("0.0 / 0.0 == 0.0 / 0.0", False),
        ("3 - 5", -2),
        ("18446744073709551615 - 1", 18446744073709551614),
        ("18446744073709551615 + -1", float(2**64)),
        ("\"a\" + \"b\"", "ab"),
        ("[1] + [2]", [1, 2]),
        ("{\"a\": 1, \"b\": 1} + {\"b\": 2}", {"a": 1, "b": 2}),
        ("1 << 63", 2**63),
        ("3 << 63", 2**63),
        ("-1 << 63", -(2**63)),
        ("-8 >> 1", -4),
        ("-1 >>> 1", I64),
        ("6 ^ 3", 5),
        ("6 & 3", 2),
        ("true ^ true", False),
        ("true & false", False),
        ("true xor false", True),
        ("\"a\" < \"b\"", True),
        ("1 < 1.5", True),
        ("not false", True),
        ("-(3)", -3),
        ("+(2.5)", 2.5),
        ("\"1 #{ 1 + 1 } #{ [1.0, null] } #{ \"x\" }\"", '1 2 [1.0,null] x'),
    ],
)  # fmt: skip
def test_operators_give(text: str, expected: Any) -> None:
    for value in (constant(text), project(text, {})):
        assert (type(value), value) == (type(expected), expected)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("1 + \"a\"", '`+` takes two numbers, two strings, two arrays or two records, not the integer 1 and the str'),
        ("1 / 0", "divided by zero"),
        ("1 % 0", "no remainder by zero"),
        ("1 % 2.0", "`%` takes two integers"),
        ("18446744073709551615 + 1", "does not fit into 64 bits"),
        ("9223372036854775807 * -2", "does not fit into 64 bits"),
        ("1 < \"a\"", "`<` takes two numbers or two strings"),
        ("true < false", "`<` takes two numbers or two strings"),
        ("null >= 1", "not null and the integer 1"),
        ("1 << 64", "shifts by 0 to 63 bits, not by 64"),
        ("1 << -1", "shifts by 0 to 63 bits"),
        ("1 and true", "`and` needs a bool, not the integer 1"),
        ("true and 1", "`and` needs a bool"),
        ("false or null", "`or` needs a bool, not null"),
        ("1 xor true", "`xor` needs a bool"),
        ("not 1", "`not` needs a bool"),
        ("-\"a\"", "`-` needs a number"),
        ("true & 1", "`&` takes two integers or two bools"),
        ("-(18446744073709551614 + 1)", "does not fit into 64 bits"),
    ],
)  # fmt: skip
def test_operators_refuse(text: str, part: str) -> None:
    with pytest.raises(EvalError) as caught:
        constant(text)
    assert part in caught.value.message
    assert caught.value.span is not None


@pytest.mark.parametrize("text", ["false and 1", "true or 1", "false and 1 % 0 == 0", "true or event.missing"])
def test_and_and_or_stop_at_the_side_that_decides(text: str) -> None:
    assert project(text, {}) is text.startswith("true")


def test_float_division_by_zero_is_infinite_with_the_sign_of_both() -> None:
    assert operators.divide(1.0, 0) == math.inf
    assert operators.divide(1, -0.0) == -math.inf
    assert math.isnan(operators.divide(0.0, 0.0))


def test_floats_nearer_than_epsilon_are_equal_and_others_not() -> None:
    assert is_equal(1.0, 1.0 + EPSILON / 4)
    assert not is_equal(1.0, 1.0 + EPSILON)
