"""The functions of ``std::math``, ``std::integer`` and ``std::float``."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final

from metronome_worker.library.functions.declare import declare, need, need_number
from metronome_worker.runtime.errors import EvalError
from metronome_worker.runtime.values import SIGNED_MAX, SIGNED_MIN, UNSIGNED_MAX, describe

if TYPE_CHECKING:
    from collections.abc import Callable

    from metronome_worker.plan.model import Value

_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_FLOAT: Final = re.compile(r"[+-]?(inf(inity)?|nan|([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?)", re.IGNORECASE)


def _rounded(function: str, value: Value, rounding: Callable[[float], int]) -> int:
    need_number(function, value)
    if type(value) is int:
        return value
    result = rounding(value) if math.isfinite(value) else None
    if result is None or not SIGNED_MIN <= result <= UNSIGNED_MAX:
        raise EvalError(f"`{function}`: {describe(value)} is no integer of 64 bits")
    return result


def _half_away_from_zero(value: float) -> int:
    whole = math.trunc(value)
    return whole + int(math.copysign(1, value)) if abs(value - whole) >= 0.5 else whole


def floor(n: Value) -> int:
    """The largest integer that is not above ``n``."""
    return _rounded("math::floor", n, math.floor)


def ceil(n: Value) -> int:
    """The smallest integer that is not below ``n``."""
    return _rounded("math::ceil", n, math.ceil)


def round_(n: Value) -> int:
    """The nearest integer; a half goes away from zero."""
    return _rounded("math::round", n, _half_away_from_zero)


def trunc(n: Value) -> int:
    """``n`` without its fraction."""
    return _rounded("math::trunc", n, math.trunc)


def max_(n1: Value, n2: Value) -> int | float:
    """The greater number; both become floats where one is."""
    a, b = _alike("math::max", n1, n2)
    return a if a >= b else b


def min_(n1: Value, n2: Value) -> int | float:
    """The smaller number; both become floats where one is."""
    a, b = _alike("math::min", n1, n2)
    return a if a <= b else b


def _alike(function: str, n1: Value, n2: Value) -> tuple[int | float, int | float]:
    need_number(function, n1)
    need_number(function, n2)
    smaller, larger = sorted((n1, n2))
    if type(n1) is int and type(n2) is int and (smaller >= 0 or larger <= SIGNED_MAX):
        return n1, n2
    return float(n1), float(n2)


def parse_integer(string: Value) -> int:
    """A decimal integer within the signed 64 bits, without spaces or underscores."""
    digits: str = need("integer::parse", "string", string)
    if not _INTEGER.fullmatch(digits) or len(digits) > 4000 or not SIGNED_MIN <= int(digits) <= SIGNED_MAX:
        raise EvalError(f"`integer::parse`: {describe(string)} is no integer of 64 bits")
    return int(digits)


def parse_float(string: Value) -> float:
    """A decimal number, with a fraction and an exponent or without; also ``inf`` and ``nan``."""
    digits: str = need("float::parse", "string", string)
    if not _FLOAT.fullmatch(digits):
        raise EvalError(f"`float::parse`: {describe(string)} is no number")
    return float(digits)


def is_finite(number: Value) -> bool:
    """Whether the number is neither infinite nor NaN."""
    return math.isfinite(need_number("float::is_finite", number))


def is_nan(number: Value) -> bool:
    """Whether the number is NaN, the result of what has none, as ``0.0 / 0.0``."""
    return math.isnan(need_number("float::is_nan", number))


def is_infinite(number: Value) -> bool:
    """Whether the number is infinite, as ``1.0 / 0.0``."""
    return math.isinf(need_number("float::is_infinite", number))


FUNCTIONS: Final = (
    *declare("std::math", floor=floor, ceil=ceil, round=round_, trunc=trunc, max=max_, min=min_),
    *declare("std::integer", parse=parse_integer),
    *declare("std::float", parse=parse_float, is_finite=is_finite, is_nan=is_nan, is_infinite=is_infinite),
)
