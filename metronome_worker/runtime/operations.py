"""Generated code of operators: the common case inline, every other by a call of ``operators``.

An inline case must agree with ``operators`` wherever its test holds; a property test holds the two together.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from metronome_worker.language.syntax import BinaryOperator, UnaryOperator
from metronome_worker.runtime import operators
from metronome_worker.runtime.errors import EvalError
from metronome_worker.runtime.fragments import (
    UNKNOWN,
    Builder,
    Fragment,
    Kind,
    Site,
    choose,
    compare,
    has_type,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_ORDER: dict[BinaryOperator, type[ast.cmpop]] = {
    BinaryOperator.LESS: ast.Lt,
    BinaryOperator.LESS_EQUAL: ast.LtE,
    BinaryOperator.GREATER: ast.Gt,
    BinaryOperator.GREATER_EQUAL: ast.GtE,
}
_EQUALITY = {BinaryOperator.EQUAL, BinaryOperator.NOT_EQUAL}
_ARITHMETIC: dict[BinaryOperator, type[ast.operator]] = {
    BinaryOperator.ADD: ast.Add,
    BinaryOperator.SUBTRACT: ast.Sub,
    BinaryOperator.MULTIPLY: ast.Mult,
}
_BOOL_RESULTS = {*_ORDER, *_EQUALITY, BinaryOperator.XOR}

#: With both operands within these (exclusive) no sum, difference or product leaves the signed range.
_SAFE_TERM = 2**62
_SAFE_FACTOR = 2**31


def binary(builder: Builder, operator: BinaryOperator, left: Fragment, right: Fragment, site: Site) -> Fragment:
    """Any operator but ``and`` and ``or``, which do not always want their right side."""
    if left.is_constant and right.is_constant:
        return plain_binary(builder, operator, left, right, site)
    if operator in _EQUALITY:
        return _equality(builder, operator, left, right, site)
    if operator in _ORDER and (inline := _order(builder, operator, left, right, site)):
        return inline
    if operator is BinaryOperator.MODULO and (inline := _modulo(builder, left, right, site)):
        return inline
    if operator in _ARITHMETIC and (inline := _arithmetic(builder, operator, left, right, site)):
        return inline
    return _call(builder, operator, left.code, right.code, site)


def plain_binary(builder: Builder, operator: BinaryOperator, left: Fragment, right: Fragment, site: Site) -> Fragment:
    """The same with nothing inlined."""
    folded = _fold(operators.BINARY[operator], left, right)
    if folded is not UNKNOWN:
        return builder.constant(folded)
    return _call(builder, operator, left.code, right.code, site)


def unary(builder: Builder, operator: UnaryOperator, operand: Fragment, site: Site) -> Fragment:
    folded = _fold(operators.UNARY[operator], operand)
    if folded is not UNKNOWN:
        return builder.constant(folded)
    if operator is UnaryOperator.NOT:
        code = ast.UnaryOp(ast.Not(), as_bool(builder, operand, "not", site))
        return Fragment(code=code, kind=Kind.BOOL)
    return builder.call(operators.UNARY[operator], operand.code, site=site)


def junction(builder: Builder, operator: BinaryOperator, operands: list[tuple[Fragment, Site]]) -> Fragment:
    """``and`` and ``or``: the first operand that decides is the last that is computed."""
    joined = ast.And() if operator is BinaryOperator.AND else ast.Or()
    codes = [as_bool(builder, operand, operator.value, site) for operand, site in operands]
    return Fragment(code=ast.BoolOp(joined, codes), kind=Kind.BOOL)


def as_bool(builder: Builder, fragment: Fragment, asker: str, site: Site) -> ast.expr:
    """Code whose value is a bool, or which fails because it is none."""
    if fragment.kind is Kind.BOOL:
        return fragment.code
    first, again = builder.once(fragment)
    refusal = builder.call(operators.as_bool, again(), ast.Constant(asker), site=site)
    return choose(has_type(first, "bool"), again(), refusal.code)


def _fold(operation: Callable[..., Any], *operands: Fragment) -> Any:
    """The value, where all operands are known; where it fails it must fail when (and if) an event gets there."""
    if not all(operand.is_constant for operand in operands):
        return UNKNOWN
    try:
        return operation(*(operand.constant for operand in operands))
    except EvalError:
        return UNKNOWN


def _call(builder: Builder, operator: BinaryOperator, left: ast.expr, right: ast.expr, site: Site) -> Fragment:
    kind = Kind.BOOL if operator in _BOOL_RESULTS else Kind.ANY
    if operator is BinaryOperator.MODULO:
        kind = Kind.INTEGER
    return builder.call(operators.BINARY[operator], left, right, site=site, kind=kind)


def _equality(builder: Builder, operator: BinaryOperator, left: Fragment, right: Fragment, site: Site) -> Fragment:
    if left.is_constant:
        left, right = right, left  # neither side of a constant can fail, so their order does not show
    is_equal = operator is BinaryOperator.EQUAL
    same: type[ast.cmpop] = ast.Eq if is_equal else ast.NotEq
    if right.is_constant and (right.constant is None or right.kind is Kind.BOOL):
        code: ast.expr = compare(left.code, ast.Is() if is_equal else ast.IsNot(), right.code)
    elif (right.is_constant and right.kind is Kind.STRING) or (left.kind is right.kind is not Kind.ANY):
        code = compare(left.code, same(), right.code)
    elif right.is_constant and right.kind is Kind.INTEGER:
        first, again = builder.once(left)
        slow = _call(builder, operator, again(), right.code, site).code
        code = choose(has_type(first, "int"), compare(again(), same(), builder.constant(right.constant).code), slow)
    else:
        return _call(builder, operator, left.code, right.code, site)
    return Fragment(code=code, kind=Kind.BOOL)


def _order(builder: Builder, operator: BinaryOperator, left: Fragment, right: Fragment, site: Site) -> Fragment | None:
    if left.kind is right.kind and left.kind in (Kind.INTEGER, Kind.STRING):
        return Fragment(code=compare(left.code, _ORDER[operator](), right.code), kind=Kind.BOOL)
    if not right.is_constant or right.kind not in (Kind.INTEGER, Kind.STRING) or left.kind is not Kind.ANY:
        return None
    first, again = builder.once(left)
    expected = "int" if right.kind is Kind.INTEGER else "str"
    fast = compare(again(), _ORDER[operator](), builder.constant(right.constant).code)
    slow = _call(builder, operator, again(), right.code, site).code
    return Fragment(code=choose(has_type(first, expected), fast, slow), kind=Kind.BOOL)


def _modulo(builder: Builder, left: Fragment, right: Fragment, site: Site) -> Fragment | None:
    if not right.is_constant or right.kind is not Kind.INTEGER or right.constant <= 0:
        return None
    first, again = builder.once(left)
    fast = ast.BinOp(again(), ast.Mod(), builder.constant(right.constant).code)
    slow = _call(builder, BinaryOperator.MODULO, again(), right.code, site).code
    not_negative = compare(again(), ast.GtE(), ast.Constant(0))
    test = ast.BoolOp(ast.And(), [has_type(first, "int"), not_negative])
    return Fragment(code=choose(test, fast, slow), kind=Kind.INTEGER)


def _arithmetic(
    builder: Builder, operator: BinaryOperator, left: Fragment, right: Fragment, site: Site
) -> Fragment | None:
    python = _ARITHMETIC[operator]
    if operator is BinaryOperator.ADD and left.kind is right.kind is Kind.STRING:
        return Fragment(code=ast.BinOp(left.code, python(), right.code), kind=Kind.STRING)
    safe = _SAFE_FACTOR if operator is BinaryOperator.MULTIPLY else _SAFE_TERM
    if not right.is_constant or right.kind is not Kind.INTEGER or not -safe < right.constant < safe:
        return None
    first, again = builder.once(left)
    within = ast.Compare(ast.Constant(-safe), [ast.Lt(), ast.Lt()], [again(), ast.Constant(safe)])
    fast = ast.BinOp(again(), python(), builder.constant(right.constant).code)
    slow = _call(builder, operator, again(), right.code, site).code
    return Fragment(code=choose(ast.BoolOp(ast.And(), [has_type(first, "int"), within]), fast, slow))
