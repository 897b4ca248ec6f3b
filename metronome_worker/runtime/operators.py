"""The operators of the language, exactly; the compiler inlines the common cases and calls these for all others.

Integers: where both operands fit into 64 bits unsigned the result must too (a subtraction may go below zero, into
the signed range); else where both fit signed the result must; else, and with a float on either side, both become
floats.  Leaving the range is an error, not a wrap, except for shifts to the left.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from metronome_worker.language.syntax import BinaryOperator, UnaryOperator
from metronome_worker.runtime.errors import EvalError
from metronome_worker.runtime.values import (
    SIGNED_MAX,
    SIGNED_MIN,
    UNSIGNED_MAX,
    describe,
    is_equal,
    type_name,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_BITS = 64


def add(left: Any, right: Any) -> Any:
    """The sum of numbers; strings, arrays and records joined (in a record the right one's fields win)."""
    left_type, right_type = type(left), type(right)
    if left_type is int and right_type is int:
        return _integer("+", left, right, left + right)
    if left_type is right_type:
        if left_type is str or left_type is list:
            return left + right
        if left_type is dict:
            return {**left, **right}
    a, b = _floats("+", left, right)
    return a + b


def subtract(left: Any, right: Any) -> Any:
    if type(left) is int and type(right) is int:
        return _integer("-", left, right, left - right)
    a, b = _floats("-", left, right)
    return a - b


def multiply(left: Any, right: Any) -> Any:
    if type(left) is int and type(right) is int:
        return _integer("*", left, right, left * right)
    a, b = _floats("*", left, right)
    return a * b


def divide(left: Any, right: Any) -> float:
    """Always a float.  Zero divides no integer by an integer; with a float the result is infinite or NaN."""
    a, b = _floats("/", left, right)
    if b:
        return a / b
    if type(left) is int and type(right) is int:
        raise EvalError(f"{left} cannot be divided by zero")
    return a * math.copysign(math.inf, b)  # IEEE 754: zero by zero is NaN, -0.0 turns the sign


def modulo(left: Any, right: Any) -> int:
    """The remainder of integers, with the sign of ``left``."""
    if type(left) is not int or type(right) is not int or not _is_common(left, right):
        raise _refusal("%", left, right)
    if right == 0:
        raise EvalError(f"{left} has no remainder by zero")
    remainder = abs(left) % abs(right)
    return -remainder if left < 0 else remainder


def bit_and(left: Any, right: Any) -> int | bool:
    """Of two integers, or of two bools."""
    if type(left) is type(right) and (type(left) is bool or (type(left) is int and _is_common(left, right))):
        both: int | bool = left & right
        return both
    raise _refusal("&", left, right)


def bit_xor(left: Any, right: Any) -> int | bool:
    """Of two integers, or of two bools."""
    if type(left) is type(right) and (type(left) is bool or (type(left) is int and _is_common(left, right))):
        either: int | bool = left ^ right
        return either
    raise _refusal("^", left, right)


def shift_left(left: Any, right: Any) -> int:
    """Bits that leave the 64 are lost; the result is unsigned where both operands are."""
    _check_shift("<<", left, right)
    shifted: int = (left << right) & UNSIGNED_MAX
    return shifted if left >= 0 else _as_signed(shifted)


def shift_right(left: Any, right: Any) -> int:
    """The sign stays."""
    _check_shift(">>", left, right)
    shifted: int = left >> right
    return shifted


def shift_right_unsigned(left: Any, right: Any) -> int:
    """Zeros come in from the left."""
    _check_shift(">>>", left, right)
    shifted: int = (left & UNSIGNED_MAX) >> right
    return shifted if left >= 0 else _as_signed(shifted)


def less(left: Any, right: Any) -> bool:
    a, b = _comparable("<", left, right)
    return bool(a < b)


def less_equal(left: Any, right: Any) -> bool:
    a, b = _comparable("<=", left, right)
    return bool(a <= b)


def greater(left: Any, right: Any) -> bool:
    a, b = _comparable(">", left, right)
    return bool(a > b)


def greater_equal(left: Any, right: Any) -> bool:
    a, b = _comparable(">=", left, right)
    return bool(a >= b)


def is_unequal(left: Any, right: Any) -> bool:
    return not is_equal(left, right)


def xor(left: Any, right: Any) -> bool:
    return as_bool(left, "xor") is not as_bool(right, "xor")


def negate(operand: Any) -> int | float:
    """The smallest signed integer has no negative; above the signed range only its magnitude has one."""
    if type(operand) is float:
        return -operand
    if type(operand) is not int:
        raise EvalError(f"`-` needs a number, not {describe(operand)}")
    if operand == SIGNED_MIN or operand > -SIGNED_MIN:
        raise EvalError(f"the negative of {operand} does not fit into 64 bits")
    return -operand


def affirm(operand: Any) -> int | float:
    """Unary plus: a number as it is."""
    if type(operand) is not int and type(operand) is not float:
        raise EvalError(f"`+` needs a number, not {describe(operand)}")
    return operand


def invert(operand: Any) -> bool:
    return not as_bool(operand, "not")


def as_bool(value: Any, asker: str) -> bool:
    """``value`` if it is a bool; ``asker`` is what needs one: an operator, ``where`` or ``having``."""
    if type(value) is bool:
        return value
    raise EvalError(f"`{asker}` needs a bool, not {describe(value)}")


BINARY: dict[BinaryOperator, Callable[[Any, Any], Any]] = {
    BinaryOperator.XOR: xor,
    BinaryOperator.BIT_XOR: bit_xor,
    BinaryOperator.BIT_AND: bit_and,
    BinaryOperator.EQUAL: is_equal,
    BinaryOperator.NOT_EQUAL: is_unequal,
    BinaryOperator.LESS: less,
    BinaryOperator.LESS_EQUAL: less_equal,
    BinaryOperator.GREATER: greater,
    BinaryOperator.GREATER_EQUAL: greater_equal,
    BinaryOperator.SHIFT_LEFT: shift_left,
    BinaryOperator.SHIFT_RIGHT: shift_right,
    BinaryOperator.SHIFT_RIGHT_UNSIGNED: shift_right_unsigned,
    BinaryOperator.ADD: add,
    BinaryOperator.SUBTRACT: subtract,
    BinaryOperator.MULTIPLY: multiply,
    BinaryOperator.DIVIDE: divide,
    BinaryOperator.MODULO: modulo,
}

UNARY: dict[UnaryOperator, Callable[[Any], Any]] = {
    UnaryOperator.PLUS: affirm,
    UnaryOperator.MINUS: negate,
    UnaryOperator.NOT: invert,
}

_TAKES = {
    "+": "two numbers, two strings, two arrays or two records",
    "-": "two numbers",
    "*": "two numbers",
    "/": "two numbers",
    "%": "two integers",
    "&": "two integers or two bools",
    "^": "two integers or two bools",
    "<<": "two integers",
    ">>": "two integers",
    ">>>": "two integers",
}


def _refusal(operator: str, left: Any, right: Any) -> EvalError:
    takes = _TAKES.get(operator, "two numbers or two strings")
    message = f"`{operator}` takes {takes}, not {describe(left)} and {describe(right)}"
    if operator == "+" and "string" in (type_name(left), type_name(right)):
        message += '; "#{ }" puts any value into a string'
    return EvalError(message)


def _is_common(left: int, right: int) -> bool:
    """Whether both fit unsigned, or both signed."""
    return (left >= 0 and right >= 0) or (left <= SIGNED_MAX and right <= SIGNED_MAX)


def _integer(operator: str, left: int, right: int, result: int) -> int | float:
    if left >= 0 and right >= 0:
        fits = SIGNED_MIN <= result <= UNSIGNED_MAX
    elif left <= SIGNED_MAX and right <= SIGNED_MAX:
        fits = SIGNED_MIN <= result <= SIGNED_MAX
    else:
        a, b = float(left), float(right)
        return a + b if operator == "+" else a - b if operator == "-" else a * b
    if not fits:
        raise EvalError(f"{left} {operator} {right} does not fit into 64 bits")
    return result


def _floats(operator: str, left: Any, right: Any) -> tuple[float, float]:
    if type(left) in (int, float) and type(right) in (int, float):
        return float(left), float(right)
    raise _refusal(operator, left, right)


def _comparable(operator: str, left: Any, right: Any) -> tuple[Any, Any]:
    if type(left) is type(right) and type(left) in (int, float, str):
        return left, right  # Python orders strings by code point, which is the order of their UTF-8
    return _floats(operator, left, right)


def _check_shift(operator: str, left: Any, right: Any) -> None:
    if type(left) is not int or type(right) is not int or not _is_common(left, right):
        raise _refusal(operator, left, right)
    if not 0 <= right < _BITS:
        raise EvalError(f"`{operator}` shifts by 0 to {_BITS - 1} bits, not by {right}")


def _as_signed(bits: int) -> int:
    return bits - 2**_BITS if bits > SIGNED_MAX else bits
