"""How a Python function becomes one of the library, and how it asks for the types it needs."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from metronome_worker.runtime.errors import EvalError
from metronome_worker.runtime.function import Function
from metronome_worker.runtime.values import describe, type_name

if TYPE_CHECKING:
    from collections.abc import Callable


def declare(module: str, **calls: Callable[..., Any]) -> tuple[Function, ...]:
    """The functions of ``module`` by their names there; arity and documentation are those of the Python functions.

    A trailing underscore is left out of a name: it is there where Python has the word for itself.
    """
    return tuple(_function(f"{module}::{name.rstrip('_')}", call) for name, call in calls.items())


def _function(name: str, call: Callable[..., Any]) -> Function:
    parameters = inspect.signature(call).parameters.values()
    minimum = sum(p.kind is not p.VAR_POSITIONAL for p in parameters)
    maximum = None if any(p.kind is p.VAR_POSITIONAL for p in parameters) else minimum
    return Function(name=name, minimum=minimum, maximum=maximum, call=call, doc=inspect.getdoc(call) or "")


def need(function: str, expected: str, value: Any) -> Any:
    """``value`` if it is of the type ``expected`` (a name as ``type_name`` gives); else an error of ``function``."""
    if type_name(value) != expected:
        article = "an" if expected[0] in "ai" else "a"
        raise EvalError(f"`{function}` needs {article} {expected}, not {describe(value)}")
    return value


def need_number(function: str, value: Any) -> Any:
    """An integer or a float as it is; else an error of ``function``."""
    if type(value) is not int and type(value) is not float:
        raise EvalError(f"`{function}` needs a number, not {describe(value)}")
    return value
