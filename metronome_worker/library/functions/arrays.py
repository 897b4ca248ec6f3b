"""The functions of ``std::array``.  The arrays they get stay as they are."""

from __future__ import annotations

from functools import cmp_to_key
from typing import TYPE_CHECKING, Final

from metronome_worker.library.functions.declare import declare, need
from metronome_worker.runtime.errors import EvalError
from metronome_worker.runtime.values import describe, is_equal, text, type_name

if TYPE_CHECKING:
    from metronome_worker.plan.model import Value

#: How ``sort`` orders values of different types.
_RANKS: Final = {"record": 0, "array": 1, "string": 2, "integer": 3, "float": 3, "bool": 4, "null": 5}


def len_(array: Value) -> int:
    """The number of elements."""
    return len(need("array::len", "array", array))


def is_empty(array: Value) -> bool:
    """Whether there are no elements."""
    return not need("array::is_empty", "array", array)


def contains(array: Value, element: Value) -> bool:
    """Whether an element equals ``element``, as ``==`` has it."""
    return any(is_equal(candidate, element) for candidate in need("array::contains", "array", array))


def push(array: Value, element: Value) -> list[Value]:
    """The array with ``element`` at its end."""
    return [*need("array::push", "array", array), element]


def zip_(left: Value, right: Value) -> list[Value]:
    """Pairs of elements at the same index; the arrays must be of one length."""
    first, second = need("array::zip", "array", left), need("array::zip", "array", right)
    if len(first) != len(second):
        raise EvalError(f"`array::zip` needs arrays of one length, not of {len(first)} and {len(second)}")
    return [list(pair) for pair in zip(first, second, strict=True)]


def unzip(array: Value) -> list[list[Value]]:
    """Of an array of pairs, the array of the first and the array of the second elements."""
    pairs = need("array::unzip", "array", array)
    for pair in pairs:
        if type(pair) is not list or len(pair) != 2:
            raise EvalError(f"`array::unzip` needs arrays of two elements, not {describe(pair)}")
    return [[first for first, _ in pairs], [second for _, second in pairs]]


def flatten(array: Value) -> list[Value]:
    """The elements, with those of arrays among them, at any depth, in their place; of no array, an array of it."""
    if type(array) is not list:
        return [array]
    return [leaf for element in array for leaf in flatten(element)]


def coalesce(array: Value) -> list[Value]:
    """The elements that are not null."""
    return [element for element in need("array::coalesce", "array", array) if element is not None]


def join(array: Value, string: Value) -> str:
    """The elements with ``string`` between them: strings raw, everything else as JSON."""
    separator: str = need("array::join", "string", string)
    return separator.join(map(text, need("array::join", "array", array)))


def concatenate(left: Value, right: Value) -> list[Value]:
    """The elements of ``left``, then those of ``right``."""
    return [*need("array::concatenate", "array", left), *need("array::concatenate", "array", right)]


def sort(array: Value) -> list[Value]:
    """In ascending order; across types: records, arrays, strings, numbers, bools, null.  Equals keep their order.

    Arrays compare element by element; records by size, then by their sorted keys, then by the values of these.
    """
    return sorted(need("array::sort", "array", array), key=cmp_to_key(_compare))


def reverse(array: Value) -> list[Value]:
    """The elements in reverse order."""
    return list(need("array::reverse", "array", array)[::-1])


def _compare(left: Value, right: Value) -> int:
    """Below, at or above 0 as ``left`` is before, with or behind ``right``."""
    left_type, right_type = type_name(left), type_name(right)
    if _RANKS[left_type] != _RANKS[right_type]:
        return _RANKS[left_type] - _RANKS[right_type]
    if left_type == "array":
        return _compare_all(left, right) or len(left) - len(right)
    if left_type == "record":
        keys, other_keys = sorted(left), sorted(right)
        if len(keys) != len(other_keys) or keys != other_keys:
            return len(keys) - len(other_keys) or _three_way(keys, other_keys)
        return _compare_all([left[key] for key in keys], [right[key] for key in keys])
    return 0 if left is None else _three_way(left, right)


def _compare_all(left: list[Value], right: list[Value]) -> int:
    return next((order for order in map(_compare, left, right) if order), 0)


def _three_way(left: Value, right: Value) -> int:
    return int(left > right) - int(left < right)


FUNCTIONS: Final = declare(
    "std::array",
    len=len_,
    is_empty=is_empty,
    contains=contains,
    push=push,
    zip=zip_,
    unzip=unzip,
    flatten=flatten,
    coalesce=coalesce,
    join=join,
    concatenate=concatenate,
    sort=sort,
    reverse=reverse,
)
