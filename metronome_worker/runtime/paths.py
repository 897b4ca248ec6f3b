"""Generated code of paths and presence tests.

A field of the event, or of a field of it, is a bare subscript: exactly what is no record with that field makes
Python raise ``KeyError`` or ``TypeError`` there, and the ``Site`` says how to explain it.  All else calls ``access``.
"""

from __future__ import annotations

import ast
from contextlib import suppress
from typing import TYPE_CHECKING, Any, assert_never

from msgspec import Struct

from metronome_worker.language.syntax import (
    FieldSegment,
    IndexSegment,
    LocalRoot,
    Path,
    Presence,
    RangeSegment,
    ReservedRoot,
    Root,
    Segment,
)
from metronome_worker.runtime import access
from metronome_worker.runtime.errors import EvalError
from metronome_worker.runtime.fragments import (
    Builder,
    Fragment,
    Kind,
    Site,
    choose,
    compare,
    has_type,
    name,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from metronome_worker.runtime.expressions import ExpressionCompiler, Scope


class Step(Struct, frozen=True, kw_only=True):
    """A segment with its index, name or bounds compiled: ``get`` fails where ``find`` gives ``ABSENT``."""

    get: Callable[..., Any]
    find: Callable[..., Any]
    keys: tuple[Fragment, ...]
    segment: Segment

    @property
    def constant_key(self) -> str | int | None:
        key = self.keys[0].constant
        return key if len(self.keys) == 1 and type(key) in (str, int) else None


def path(compiler: ExpressionCompiler, syntax: Path, scope: Scope) -> Fragment:
    """The value that the path leads to."""
    builder = compiler.builder
    current, trail = _root(compiler, syntax, scope)
    label = _root_label(syntax)
    for segment in syntax.segments:
        step = _step(compiler, segment, scope)
        key = step.constant_key
        if trail and isinstance(key, str):
            trail = (*trail, key)
            site = Site(span=segment.span, trail=trail, label=label, explain=step.get)
            subscript = ast.Subscript(current.code, ast.Constant(key), ast.Load())
            current = Fragment(code=builder.at(subscript, site))
        else:
            current, trail = _apply(builder, step.get, current, step, label), ()
        label = _extend(label, step)
    return current


def presence(compiler: ExpressionCompiler, syntax: Presence, scope: Scope) -> Fragment:
    """Whether the path leads to a value, be it null; bounds and indexes are computed only as far as it leads."""
    builder = compiler.builder
    found, _ = _root(compiler, syntax.path, scope)
    label = _root_label(syntax.path)
    steps = [_step(compiler, segment, scope) for segment in syntax.path.segments]
    if len(steps) == 1 and isinstance(found.code, ast.Name) and isinstance(steps[0].constant_key, str):
        return _has_field(found.code.id, steps[0].constant_key, syntax.present)
    for number, step in enumerate(steps):
        found = _find(builder, found, step, label, is_first=number == 0)
        label = _extend(label, step)
    if found.is_constant:
        return builder.constant((found.constant is not access.ABSENT) is syntax.present)
    test = ast.IsNot() if syntax.present else ast.Is()
    return Fragment(code=compare(found.code, test, builder.constant(access.ABSENT).code), kind=Kind.BOOL)


def _root(compiler: ExpressionCompiler, syntax: Path, scope: Scope) -> tuple[Fragment, tuple[str, ...]]:
    """The root's fragment, and the start of a trail where it is a local variable."""
    match syntax.root:
        case ReservedRoot(root=root) if root in scope.variables:
            return Fragment(code=name(scope.variables[root])), (scope.variables[root],)
        case ReservedRoot(root=root) if root in scope.values:
            return compiler.builder.constant(scope.values[root]), ()
        case ReservedRoot(root=root, span=span):
            raise EvalError(f"`{root.value}` has no meaning here: {scope.refusals[root]}", span)
        case LocalRoot(name=local, span=span):
            raise EvalError(f"there is nothing called `{local}` here", span)
        case _:
            return compiler.compile(syntax.root, scope), ()


def _step(compiler: ExpressionCompiler, segment: Segment, scope: Scope) -> Step:
    match segment:
        case FieldSegment(name=field):
            keys: tuple[Fragment, ...] = (compiler.builder.constant(field),)
            return Step(get=access.field, find=access.find_field, keys=keys, segment=segment)
        case IndexSegment(index=index):
            keys = (compiler.compile(index, scope),)
            return Step(get=access.element, find=access.find_element, keys=keys, segment=segment)
        case RangeSegment(start=start, end=end):
            keys = (compiler.compile(start, scope), compiler.compile(end, scope))
            return Step(get=access.section, find=access.find_section, keys=keys, segment=segment)
        case _:
            assert_never(segment)


def _find(builder: Builder, current: Fragment, step: Step, label: str, *, is_first: bool) -> Fragment:
    if current.constant is access.ABSENT:
        return current
    if is_first or step.find is access.find_field or all(key.is_constant for key in (current, *step.keys)):
        return _apply(builder, step.find, current, step, label)
    first, again = builder.once(current)
    absent = builder.constant(access.ABSENT)
    found = _apply(builder, step.find, Fragment(code=again()), step, label)
    return Fragment(code=choose(compare(first, ast.Is(), absent.code), absent.code, found.code))


def _has_field(variable: str, field: str, is_wanted: bool) -> Fragment:
    has_it = compare(ast.Constant(field), ast.In(), name(variable))
    code: ast.expr = ast.BoolOp(ast.And(), [has_type(name(variable), "dict"), has_it])
    return Fragment(code=code if is_wanted else ast.UnaryOp(ast.Not(), code), kind=Kind.BOOL)


def _apply(builder: Builder, operation: Callable[..., Any], current: Fragment, step: Step, label: str) -> Fragment:
    """The operation's value where all is known; else a call of it."""
    operands = (current, *step.keys)
    if all(operand.is_constant for operand in operands):
        with suppress(EvalError):  # what fails must fail when, and if, an event gets there
            return builder.constant(operation(*(operand.constant for operand in operands), label))
    codes = [operand.code for operand in operands]
    return builder.call(operation, *codes, ast.Constant(label), site=Site(span=step.segment.span))


def _root_label(syntax: Path) -> str:
    match syntax.root:
        case ReservedRoot(root=root):
            return root.value
        case LocalRoot(name=local):
            return str(local)
        case _:
            return "(…)"


def _extend(label: str, step: Step) -> str:
    key = step.constant_key
    if isinstance(step.segment, FieldSegment):
        return f"{label}{key}" if label == Root.META.value else f"{label}.{key}"
    if isinstance(step.segment, RangeSegment):
        return f"{label}[…:…]"
    if isinstance(key, str):
        return f'{label}["{key}"]'
    return f"{label}[…]" if key is None else f"{label}[{key}]"
