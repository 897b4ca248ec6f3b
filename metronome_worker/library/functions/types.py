"""The functions of ``std::type``.  None of them can fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from metronome_worker.library.functions.declare import declare
from metronome_worker.runtime.values import SIGNED_MAX, type_name

if TYPE_CHECKING:
    from metronome_worker.plan.model import Value


def as_string(value: Value) -> str:
    """The name of the value's type: null, bool, integer, float, string, array or record."""
    return type_name(value)


def is_null(value: Value) -> bool:
    """Whether the value is null."""
    return value is None


def is_bool(value: Value) -> bool:
    """Whether the value is true or false."""
    return type(value) is bool


def is_integer(value: Value) -> bool:
    """Whether the value is an integer within the *signed* 64 bits; ``as_string`` calls those above integers too."""
    return type(value) is int and value <= SIGNED_MAX


def is_float(value: Value) -> bool:
    """Whether the value is a float, be it one without a fraction."""
    return type(value) is float


def is_number(value: Value) -> bool:
    """Whether the value is an integer of any size or a float."""
    return type(value) is int or type(value) is float


def is_string(value: Value) -> bool:
    """Whether the value is a string."""
    return type(value) is str


def is_array(value: Value) -> bool:
    """Whether the value is an array."""
    return type(value) is list


def is_record(value: Value) -> bool:
    """Whether the value is a record."""
    return type(value) is dict


FUNCTIONS: Final = declare(
    "std::type",
    as_string=as_string,
    is_null=is_null,
    is_bool=is_bool,
    is_integer=is_integer,
    is_float=is_float,
    is_number=is_number,
    is_string=is_string,
    is_array=is_array,
    is_record=is_record,
)
