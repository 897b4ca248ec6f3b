"""Values of the language: their types, equality and text.

A value is ``None``, ``bool``, ``int`` within 64 bits (signed or unsigned), ``float``, ``str``, ``list`` or ``dict``,
and is never changed in place, so parts of one may be parts of another.

NaN and the infinities come only out of float arithmetic (``1.0 / 0.0``), never out of JSON, which has none.  They
are values like others until they are written: in JSON they become ``null``.
"""

from __future__ import annotations

import re
import sys
from typing import Any

import msgspec

from metronome_worker.runtime.errors import EvalError

UNSIGNED_MAX = 2**64 - 1
SIGNED_MAX = 2**63 - 1
SIGNED_MIN = -(2**63)

#: Numbers nearer than this are equal when one of them is a float (the reference implementation's rule).
EPSILON = sys.float_info.epsilon

_TYPE_NAMES: dict[type, str] = {
    type(None): "null",
    bool: "bool",
    int: "integer",
    float: "float",
    str: "string",
    list: "array",
    dict: "record",
}

#: How many digits every 64-bit integer may have.
_DIGITS = 19

#: What no integer within 64 bits looks like; but digits of a fraction or in a string do.  A quick look at the text
#: that spares most documents the slow one at their values.
_LONG_INTEGER = re.compile("[-0-9][0-9]{19}")
_LONG_INTEGER_BYTES = re.compile(b"[-0-9][0-9]{19}")

#: How much of a value a message shows, in characters.
_SHOWN = 40


def type_name(value: Any) -> str:
    """The language's name of the value's type, as ``std::type::as_string`` gives it."""
    return _TYPE_NAMES[type(value)]


def describe(value: Any) -> str:
    """A value in a message: ``the integer 1``, ``the string "a"``, ``null``; shortened when it is long."""
    if value is None:
        return "null"
    shown = str(value) if type(value) is float else json_text(value)
    if len(shown) > _SHOWN:
        shown = f"{shown[:_SHOWN]}…"
    return f"the {type_name(value)} {shown}"


def json_text(value: Any) -> str:
    """The value as minified JSON; records keep their order; ``2.0`` stays ``2.0``."""
    try:
        return msgspec.json.encode(value).decode()
    except RecursionError:
        raise EvalError("the value is nested too deeply to be written as JSON") from None
    except UnicodeEncodeError:
        raise EvalError("a string holds half of a surrogate pair, which no text may") from None


def parse_json(data: bytes | str) -> Any:
    """The value of one JSON document.

    Raises ``EvalError`` for what is no JSON, and for integers beyond 64 bits: they would be no values.
    """
    try:
        value = msgspec.json.decode(data)
    except RecursionError:
        raise EvalError("the JSON is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise EvalError(f"this is no JSON: {error}") from None
    pattern: re.Pattern[Any] = _LONG_INTEGER_BYTES if isinstance(data, bytes) else _LONG_INTEGER
    if len(data) > _DIGITS and pattern.search(data):
        _check_integers(value)
    return value


def text(value: Any) -> str:
    """What interpolation and ``string::format`` put: strings raw, everything else as JSON."""
    return value if type(value) is str else json_text(value)


def is_equal(left: Any, right: Any) -> bool:
    """``left == right`` of the language: never an error; a bool equals only a bool; ``2`` equals ``2.0``.

    With a float on either side numbers are equal when nearer than ``EPSILON``; NaN equals nothing.
    """
    left_type, right_type = type(left), type(right)
    if left_type is right_type:
        if left_type is dict:
            return len(left) == len(right) and all(k in right and is_equal(v, right[k]) for k, v in left.items())
        if left_type is list:
            return len(left) == len(right) and all(map(is_equal, left, right))
        if left_type is not float:
            return bool(left == right)
    elif not (left_type in (int, float) and right_type in (int, float)):
        return False
    near: bool = abs(float(left) - float(right)) < EPSILON
    return near or bool(left == right)  # the second for infinities, whose difference is NaN


def _check_integers(value: Any) -> None:
    if type(value) is int and not SIGNED_MIN <= value <= UNSIGNED_MAX:
        raise EvalError(f"the integer {value} does not fit into 64 bits")
    for part in value.values() if type(value) is dict else value if type(value) is list else ():
        _check_integers(part)
