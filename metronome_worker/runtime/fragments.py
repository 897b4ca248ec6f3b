"""Pieces of generated Python, and what is collected while they are put together.

Positions of errors cost nothing while nothing fails: every generated node that can fail has, as its line number, an
index into a table of ``Site``s.  When it fails, the line number in the traceback says which expression it was.
"""

from __future__ import annotations

import ast
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable

    from metronome_worker.language.source import Span

#: Stands for "not known before there is an event"; no value of the language.
UNKNOWN: Final = type("Unknown", (), {"__repr__": lambda self: "UNKNOWN"})()


class Kind(Enum):
    """What is known of a fragment's value before it is computed."""

    ANY = "any"
    BOOL = "bool"
    INTEGER = "integer"
    STRING = "string"


class Fragment(Struct, frozen=True, kw_only=True):
    """``code`` computes the value, and may be put into the generated code once; ``constant`` is the value if known."""

    code: ast.expr
    kind: Kind = Kind.ANY
    constant: Any = UNKNOWN

    @property
    def is_constant(self) -> bool:
        return self.constant is not UNKNOWN


class Site(Struct, frozen=True, kw_only=True):
    """Where an expression stands that can fail.

    ``trail`` is set where the generated code is a bare subscript: the local variable and the keys that lead to the
    value, so that after a failure ``explain(container, key, label)`` can say what was wrong with it.
    """

    span: Span
    trail: tuple[str, ...] = ()
    label: str = ""
    explain: Callable[[Any, Any, str], Any] | None = None


class Namespace:
    """The globals of generated functions: constants and helpers under names of their own."""

    def __init__(self) -> None:
        types: tuple[type, ...] = (type, bool, int, str, dict)
        self.values: dict[str, Any] = {"__builtins__": {}, **{known.__name__: known for known in types}}
        self._names: dict[int, str] = {}

    def name_of(self, value: Any, prefix: str = "constant") -> str:
        """The name that ``value`` (this very object) is bound to; it is bound if it was not."""
        name = self._names.get(id(value))
        if name is None:
            name = self._names[id(value)] = f"{prefix}_{len(self._names)}"
            self.values[name] = value  # also keeps it alive, so its id stays its own
        return name


class Builder:
    """Makes fragments for one generated function; collects its ``sites`` and names its temporary variables."""

    def __init__(self, namespace: Namespace) -> None:
        self.namespace = namespace
        self.sites: list[Site | None] = [None, None]  # line numbers start at 1, and 1 is what cannot fail
        self._temporaries = 0

    def constant(self, value: Any) -> Fragment:
        kind = {bool: Kind.BOOL, int: Kind.INTEGER, str: Kind.STRING}.get(type(value), Kind.ANY)
        if value is None or type(value) is float or kind is not Kind.ANY:
            return Fragment(code=ast.Constant(value), kind=kind, constant=value)
        return Fragment(code=name(self.namespace.name_of(value)), kind=kind, constant=value)

    def call(self, helper: Callable[..., Any], *arguments: ast.expr, site: Site, kind: Kind = Kind.ANY) -> Fragment:
        """A call that may raise ``EvalError``."""
        function = name(self.namespace.name_of(helper, "helper"))
        return Fragment(code=self.at(ast.Call(function, list(arguments), []), site), kind=kind)

    def at(self, code: ast.expr, site: Site) -> ast.expr:
        """``code`` itself, marked as able to fail at ``site``."""
        self.sites.append(site)
        code.lineno = code.end_lineno = len(self.sites) - 1
        code.col_offset = code.end_col_offset = 0
        return code

    def once(self, fragment: Fragment) -> tuple[ast.expr, Callable[[], ast.expr]]:
        """The code to stand where the value is used first, and what makes the code for each later use."""
        if isinstance(fragment.code, ast.Name):
            variable = fragment.code.id
            return fragment.code, lambda: name(variable)
        if isinstance(fragment.code, ast.Constant):
            value = fragment.code.value
            return fragment.code, lambda: ast.Constant(value)
        self._temporaries += 1
        temporary = f"value_{self._temporaries}"
        return ast.NamedExpr(ast.Name(temporary, ast.Store()), fragment.code), lambda: name(temporary)


def name(identifier: str) -> ast.Name:
    return ast.Name(identifier, ast.Load())


def has_type(code: ast.expr, expected: str) -> ast.expr:
    """``type(code) is expected``, which is false for a bool where an int is expected."""
    return compare(ast.Call(name("type"), [code], []), ast.Is(), name(expected))


def compare(left: ast.expr, operator: ast.cmpop, right: ast.expr) -> ast.Compare:
    return ast.Compare(left, [operator], [right])


def choose(test: ast.expr, then: ast.expr, otherwise: ast.expr) -> ast.expr:
    return ast.IfExp(test, then, otherwise)
