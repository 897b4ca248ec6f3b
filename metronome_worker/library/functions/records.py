"""The functions of ``std::record``.  Fields keep their order; the records they get stay as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from metronome_worker.library.functions.declare import declare, need
from metronome_worker.runtime.errors import EvalError
from metronome_worker.runtime.values import describe

if TYPE_CHECKING:
    from metronome_worker.plan.model import Value


def len_(record: Value) -> int:
    """The number of fields."""
    return len(need("record::len", "record", record))


def is_empty(record: Value) -> bool:
    """Whether there are no fields."""
    return not need("record::is_empty", "record", record)


def contains(record: Value, key: Value) -> bool:
    """Whether there is a field called ``key``, be it null."""
    return need("record::contains", "string", key) in need("record::contains", "record", record)


def keys(record: Value) -> list[str]:
    """The names of the fields."""
    return list(need("record::keys", "record", record))


def values(record: Value) -> list[Value]:
    """The values of the fields."""
    return list(need("record::values", "record", record).values())


def to_array(record: Value) -> list[Value]:
    """The fields as pairs of name and value."""
    return [[key, value] for key, value in need("record::to_array", "record", record).items()]


def from_array(array: Value) -> dict[str, Value]:
    """The record of an array of pairs, of a string and a value each; of two with one name the last wins."""
    for pair in need("record::from_array", "array", array):
        if type(pair) is not list or len(pair) != 2 or type(pair[0]) is not str:
            raise EvalError(f"`record::from_array` needs arrays of a string and a value, not {describe(pair)}")
    return {key: value for key, value in array}  # noqa: C416  (dict() would hide the types)


def extract(record: Value, array: Value) -> dict[str, Value]:
    """Only the fields whose names are in the array; what else is in the array is of no account."""
    wanted = need("record::extract", "array", array)
    return {key: value for key, value in need("record::extract", "record", record).items() if key in wanted}


def combine(left: Value, right: Value) -> dict[str, Value]:
    """The fields of both; those of ``right`` win."""
    return {**need("record::combine", "record", left), **need("record::combine", "record", right)}


def rename(target: Value, changes: Value) -> dict[str, Value]:
    """The fields under the names that ``changes`` (a record from old to new) has for them, where it has a string."""
    new_names = need("record::rename", "record", changes)
    renamed = {}
    for key, value in need("record::rename", "record", target).items():
        new_name = new_names.get(key)
        renamed[new_name if type(new_name) is str else key] = value
    return renamed


FUNCTIONS: Final = declare(
    "std::record",
    len=len_,
    is_empty=is_empty,
    contains=contains,
    keys=keys,
    values=values,
    to_array=to_array,
    from_array=from_array,
    extract=extract,
    combine=combine,
    rename=rename,
)
