"""How paths reach into values: fields, elements, sections, and whether they are there."""

from __future__ import annotations

from difflib import get_close_matches
from itertools import islice
from typing import Any, Final

from metronome_worker.runtime.errors import EvalError
from metronome_worker.runtime.values import describe, type_name

#: What ``find_…`` give for what is not there; no value of the language, so null is told from absent.
ABSENT: Final = type("Absent", (), {"__repr__": lambda self: "ABSENT"})()

#: How many fields of a record are searched for one that is spelt alike; a bound on the cost of a message.
_SEARCHED = 200


def field(container: Any, name: str, label: str) -> Any:
    """``container.name``; ``label`` is the container as written, for messages."""
    if type(container) is not dict:
        raise EvalError(f"`{label}` is {_with_article(container)}, only records have fields; asked for `{name}`")
    try:
        return container[name]
    except KeyError:
        raise EvalError(_missing_field(container, name, label)) from None


def element(container: Any, key: Any, label: str) -> Any:
    """``container[key]``: a field of a record or an element of an array, counted from 0."""
    if type(container) is dict:
        if type(key) is not str:
            raise EvalError(f"`{label}` is a record: its keys are strings, not {describe(key)}")
        return field(container, key, label)
    if type(container) is not list:
        raise EvalError(f"`{label}` is {_with_article(container)}, only arrays and records have elements")
    index = _index(key, label)
    if index >= len(container):
        raise EvalError(f"`{label}` has {_elements(container)}, there is none at index {index}")
    return container[index]


def section(container: Any, start: Any, end: Any, label: str) -> list[Any]:
    """``container[start:end]``: the elements from ``start`` up to, not including, ``end``."""
    if type(container) is not list:
        raise EvalError(f"`{label}` is {_with_article(container)}, only arrays have ranges")
    first, last = _range(start, end, label)
    if last > len(container):
        raise EvalError(f"`{label}` has {_elements(container)}, the range {first}:{last} goes beyond")
    return container[first:last]


def find_field(container: Any, name: str, label: str) -> Any:
    """The field or ``ABSENT``; what is no record has none, and nothing here can fail."""
    return container.get(name, ABSENT) if type(container) is dict else ABSENT


def find_element(container: Any, key: Any, label: str) -> Any:
    """The element or ``ABSENT``; an index of an array that is no integer is an error all the same."""
    if type(container) is dict:
        return container.get(key, ABSENT) if type(key) is str else ABSENT
    if type(container) is not list:
        return ABSENT
    index = _index(key, label)
    return container[index] if index < len(container) else ABSENT


def find_section(container: Any, start: Any, end: Any, label: str) -> Any:
    """The section or ``ABSENT``; bounds that are no integers, or go backwards, are errors all the same."""
    if type(container) is not list:
        return ABSENT
    first, last = _range(start, end, label)
    return container[first:last] if last <= len(container) else ABSENT


def _index(key: Any, label: str) -> int:
    if type(key) is not int:
        raise EvalError(f"`{label}` is an array: an index is an integer, not {describe(key)}")
    if key < 0:
        raise EvalError(f"`{label}` is an array: an index counts from 0, not {key}")
    return key


def _range(start: Any, end: Any, label: str) -> tuple[int, int]:
    first, last = _index(start, label), _index(end, label)
    if last < first:
        raise EvalError(f"the range {first}:{last} of `{label}` ends before it starts")
    return first, last


def _missing_field(record: dict[str, Any], name: str, label: str) -> str:
    message = f"`{label}` has no field `{name}`"
    near = get_close_matches(name, list(islice(record, _SEARCHED)), n=1)
    return f"{message}, did you mean `{near[0]}`?" if near else message


def _elements(array: list[Any]) -> str:
    return f"{len(array)} element{'' if len(array) == 1 else 's'}"


def _with_article(value: Any) -> str:
    name = type_name(value)
    if value is None:
        return name
    return f"{'an' if name[0] in 'ai' else 'a'} {name}"
