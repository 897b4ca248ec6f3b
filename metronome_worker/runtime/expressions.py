"""Syntax trees of expressions to generated Python."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any, assert_never

from msgspec import Struct

from metronome_worker.language.syntax import (
    Binary,
    BinaryOperator,
    Call,
    Expression,
    ListLiteral,
    Literal,
    Path,
    Presence,
    RecordLiteral,
    Root,
    StringTemplate,
    Unary,
)
from metronome_worker.runtime import operations, paths
from metronome_worker.runtime.errors import EvalError
from metronome_worker.runtime.fragments import Builder, Fragment, Kind, Site, choose, has_type
from metronome_worker.runtime.values import text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from metronome_worker.language.source import Span
    from metronome_worker.runtime.function import Function

#: How deep expressions may be nested: as deep as the parser lets them, and not as deep as Python's own compiler could
#: be asked to go, whose limit differs from version to version.
MAX_DEPTH = 200

#: Down to here operators are inlined, which nests the generated code several levels for one of the expression.
_INLINE_DEPTH = 50

_JUNCTIONS = (BinaryOperator.AND, BinaryOperator.OR)


class Scope(Struct, frozen=True, kw_only=True):
    """What the reserved roots stand for: a local ``variables``' name where it differs from event to event, one of
    ``values`` where it is known now, and for all others the reason why they stand for nothing (``refusals``).
    """

    variables: Mapping[Root, str]
    values: Mapping[Root, Any]
    refusals: Mapping[Root, str]


class ExpressionCompiler:
    """Compiles the expressions of one generated function."""

    def __init__(self, builder: Builder, functions: Mapping[str, Function]) -> None:
        self.builder = builder
        self._functions = functions
        self._depth = 0

    def compile(self, expression: Expression, scope: Scope) -> Fragment:
        """Raises ``EvalError`` for what has no meaning here: an unknown name, or nesting beyond ``MAX_DEPTH``."""
        if self._depth >= MAX_DEPTH:
            raise EvalError(f"expressions may be nested {MAX_DEPTH} deep, this one is deeper", expression.span)
        self._depth += 1
        match expression:
            case Literal(value=value):
                fragment = self.builder.constant(value)
            case StringTemplate():
                fragment = self._template(expression, scope)
            case ListLiteral():
                fragment = self._list(expression, scope)
            case RecordLiteral():
                fragment = self._record(expression, scope)
            case Path():
                fragment = paths.path(self, expression, scope)
            case Presence():
                fragment = paths.presence(self, expression, scope)
            case Unary(operator=operator, operand=operand, span=span):
                fragment = operations.unary(self.builder, operator, self.compile(operand, scope), Site(span=span))
            case Binary(operator=operator) if operator in _JUNCTIONS:
                fragment = self._junction(expression, scope)
            case Binary(operator=operator, left=left, right=right, span=span):
                sides = self.compile(left, scope), self.compile(right, scope)
                make = operations.binary if self._depth <= _INLINE_DEPTH else operations.plain_binary
                fragment = make(self.builder, operator, *sides, Site(span=span))
            case Call():
                fragment = self._call(expression, scope)
            case _:
                assert_never(expression)
        self._depth -= 1
        return fragment

    def _template(self, template: StringTemplate, scope: Scope) -> Fragment:
        parts: list[ast.expr] = []
        known: list[str] | None = []
        for part in template.parts:
            if isinstance(part, str):
                fragment, span = self.builder.constant(part), template.span
            else:
                fragment, span = self.compile(part, scope), part.span
            known = None if known is None or not fragment.is_constant else [*known, text(fragment.constant)]
            parts.append(_formatted(self._as_text(fragment, span)))
        if known is not None:
            return self.builder.constant("".join(known))
        return Fragment(code=ast.JoinedStr(parts), kind=Kind.STRING)

    def _as_text(self, fragment: Fragment, span: Span) -> ast.expr:
        if fragment.kind is Kind.STRING:
            return fragment.code
        if fragment.is_constant:
            return ast.Constant(text(fragment.constant))
        first, again = self.builder.once(fragment)
        written = self.builder.call(text, again(), site=Site(span=span)).code
        return choose(has_type(first, "str"), again(), written)

    def _list(self, literal: ListLiteral, scope: Scope) -> Fragment:
        items = [self.compile(item, scope) for item in literal.items]
        if all(item.is_constant for item in items):
            return self.builder.constant([item.constant for item in items])
        return Fragment(code=ast.List([item.code for item in items], ast.Load()))

    def _record(self, literal: RecordLiteral, scope: Scope) -> Fragment:
        keys = [self.compile(field.key, scope) for field in literal.fields]
        values = [self.compile(field.value, scope) for field in literal.fields]
        if all(fragment.is_constant for fragment in (*keys, *values)):
            return self.builder.constant({k.constant: v.constant for k, v in zip(keys, values, strict=True)})
        return Fragment(code=ast.Dict([key.code for key in keys], [value.code for value in values]))

    def _junction(self, expression: Binary, scope: Scope) -> Fragment:
        """A chain of the same junction is flat, however long it is, so its length counts as no depth."""
        operands: list[Expression] = []
        left: Expression = expression
        while isinstance(left, Binary) and left.operator is expression.operator:
            operands.append(left.right)
            left = left.left
        operands.append(left)
        compiled = [(self.compile(operand, scope), Site(span=operand.span)) for operand in reversed(operands)]
        return operations.junction(self.builder, expression.operator, compiled)

    def _call(self, call: Call, scope: Scope) -> Fragment:
        function = self._functions.get(str(call.function))
        if function is None:
            raise EvalError(f"there is no function `{call.function}`", call.function.span)
        if not function.takes(len(call.arguments)):
            raise EvalError(f"`{function.name}` takes {function.arity}, not {len(call.arguments)}", call.span)
        arguments = [self.compile(argument, scope).code for argument in call.arguments]
        return self.builder.call(function.call, *arguments, site=Site(span=call.span))


def _formatted(code: ast.expr) -> ast.expr:
    """A part of an f-string; its value is a string already, so nothing is converted (-1)."""
    return code if isinstance(code, ast.Constant) else ast.FormattedValue(code, -1, None)
