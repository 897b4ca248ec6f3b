"""Decodes a connector's ``config`` into its settings struct, and says all that is wrong with it, for people.  Pure.

msgspec stops at the first problem and speaks of Python's types.  So each field is converted on its own, and what is
allowed is told from the field's type: an ``Annotated[…, Meta(description="a whole number of milliseconds")]`` is
quoted as it stands, so a settings struct documents itself and its errors at once.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct, inspect, structs

from metronome_worker.language.diagnostics import suggest
from metronome_worker.plan.model import SettingProblem, Value
from metronome_worker.plan.report import hint_for

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHOWN_CHARACTERS = 40


def decode_config(config_type: type[Struct], value: Value) -> tuple[Any, tuple[SettingProblem, ...]]:
    """The struct, or None and every problem found; paths are below ``value``.  null counts as an empty record."""
    record = {} if value is None else value
    if not isinstance(record, dict):
        message = f"`config` must be a record, found {shown(value)}"
        return None, (SettingProblem(path=(), message=message, hint=_record_hint(config_type)),)
    problems = _problems_of(config_type, record, ())
    if problems:
        return None, tuple(problems)
    try:
        return msgspec.convert(record, config_type), ()
    except msgspec.ValidationError as error:  # what only the whole struct can say, as in __post_init__
        return None, (SettingProblem(path=(), message=str(error)),)


def shown(value: Value) -> str:
    """A value for a message: as JSON, cut off when it is long."""
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


def _record_hint(config_type: type[Struct]) -> str:
    names = ", ".join(f'"{field.encode_name}": …' for field in structs.fields(config_type))
    return f"write config = {{{names}}}" if names else "leave `config` out"


def _problems_of(config_type: type[Struct], record: dict[str, Value], path: tuple[str, ...]) -> list[SettingProblem]:
    described = _description(config_type)
    types = {field.encode_name: field.type for field in structs.fields(config_type)}
    problems = [_unknown(key, list(types), path) for key in record if key not in types]
    for field in described.fields:
        name = field.encode_name
        if name not in record:
            if field.required:
                message = f'`config` needs "{".".join((*path, name))}": {describe(field.type)}'
                problems.append(SettingProblem(path=path, message=message, hint=f'add "{name}": …'))
        elif isinstance(field.type, inspect.StructType) and isinstance(record[name], dict):
            problems += _problems_of(field.type.cls, record[name], (*path, name))
        elif not _is_convertible(record[name], types[name]):
            problems.append(_unfit((*path, name), record[name], field.type))
    return problems


@cache
def _description(config_type: type[Struct]) -> inspect.StructType:
    """Made once: it takes longer than all the rest of a connector's settings."""
    described = inspect.type_info(config_type)
    assert isinstance(described, inspect.StructType)
    return described


def _unknown(key: str, known: Sequence[str], path: tuple[str, ...]) -> SettingProblem:
    message = f'`config` has no setting "{".".join((*path, key))}"'
    return SettingProblem(
        path=(*path, key), message=message, hint=hint_for(key, known) or "it takes no settings", is_unknown=True
    )


def _is_convertible(value: Value, python_type: Any) -> bool:
    try:
        msgspec.convert(value, python_type)
    except msgspec.ValidationError:
        return False
    return True


def _unfit(path: tuple[str, ...], value: Value, allowed: inspect.Type) -> SettingProblem:
    message = f'"{".".join(path)}" must be {describe(allowed)}; found {_kind_of(value)}{shown(value)}'
    return SettingProblem(path=path, message=message, hint=_repair(value, allowed))


def _kind_of(value: Value) -> str:
    return "the text " if isinstance(value, str) else "the truth value " if isinstance(value, bool) else ""


def _repair(value: Value, allowed: inspect.Type) -> str:
    """What to write in place of ``value``, where that can be guessed."""
    bare = _without_metadata(allowed)
    is_number = isinstance(bare, inspect.IntType | inspect.FloatType)
    if is_number and isinstance(value, str) and value.strip().isdecimal():
        return f"write {value.strip()}, without quotes"
    if isinstance(bare, inspect.IntType) and isinstance(value, float) and math.isfinite(value):
        low, high = math.floor(value), math.ceil(value)
        return f"write {low}" if low == high else f"write {max(low, 1)} or {high}" if high > 1 else f"write {high}"
    if isinstance(bare, inspect.LiteralType) and isinstance(value, str):
        close = suggest(value, [str(choice) for choice in bare.values])
        return f'did you mean "{close}"?' if close else ""
    if isinstance(bare, inspect.BoolType) and value in ("true", "false"):
        return f"write {value}, without quotes"
    return ""


def _without_metadata(described: inspect.Type) -> inspect.Type:
    return _without_metadata(described.type) if isinstance(described, inspect.Metadata) else described


def describe(allowed: inspect.Type) -> str:
    """What a field takes, in words."""
    match allowed:
        case inspect.Metadata(type=inner, extra_json_schema=extra):
            return str((extra or {}).get("description") or describe(inner))
        case inspect.IntType(ge=low) | inspect.FloatType(ge=low):
            noun = "a whole number" if isinstance(allowed, inspect.IntType) else "a number"
            return noun if low is None else f"{noun} of at least {low}"
        case inspect.StrType():
            return "a text"
        case inspect.BoolType():
            return "true or false"
        case inspect.LiteralType(values=values):
            *first, last = (f'"{choice}"' for choice in values)
            return f"{', '.join(first)} or {last}" if first else last
        case inspect.ListType() | inspect.VarTupleType():
            return "a list"
        case inspect.UnionType(types=types):
            return " or ".join(describe(one) for one in types)
        case inspect.NoneType():
            return "null"
        case _:
            return "a record"
