"""The functions of ``std::json``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from metronome_worker.library.functions.declare import declare, need
from metronome_worker.runtime.errors import EvalError
from metronome_worker.runtime.values import json_text, parse_json

if TYPE_CHECKING:
    from metronome_worker.plan.model import Value


def decode(string: Value) -> Value:
    """The value of a JSON text."""
    document: str = need("json::decode", "string", string)
    try:
        return parse_json(document)
    except EvalError as error:
        raise EvalError(f"`json::decode`: {error.message}") from None


def encode(value: Value) -> str:
    """The value as JSON in one line, without spaces."""
    return json_text(value)


def encode_pretty(value: Value) -> str:
    """The value as JSON for people: one field or element per line, indented by two spaces."""
    return msgspec.json.format(json_text(value), indent=2)


FUNCTIONS: Final = declare("std::json", decode=decode, encode=encode, encode_pretty=encode_pretty)
