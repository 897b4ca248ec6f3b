"""Resolving expressions: full names for functions, and no name that nothing defines.  Pure.

The tree is walked by recursion; the parser bounds its depth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never

from msgspec import Struct
from msgspec.structs import replace

from metronome_worker.language import syntax
from metronome_worker.language.diagnostics import did_you_mean
from metronome_worker.language.scopes import Scope, find_module
from metronome_worker.language.syntax import Expression, Path, QualifiedName, ReservedRoot, Root

if TYPE_CHECKING:
    from collections.abc import Iterable

SELECT_ROOTS: Final = frozenset({Root.EVENT, Root.META, Root.STATE, Root.ARGS})
SETTING_ROOTS: Final = frozenset({Root.ARGS})
NO_ROOTS: Final = frozenset[Root]()


class ExpressionScope(Struct, frozen=True, kw_only=True):
    """Where an expression stands: ``place`` in words, the roots it may use, and the arguments ``args`` has there."""

    scope: Scope
    place: str
    roots: frozenset[Root]
    parameters: tuple[str, ...] = ()
    outer_parameters: tuple[str, ...] = ()


def resolve_expression(expression: Expression, where: ExpressionScope) -> Expression:
    """The expression with full function names; what is wrong in it is reported."""
    match expression:
        case syntax.Literal():
            return expression
        case syntax.StringTemplate(parts=parts):
            return replace(
                expression, parts=tuple(p if isinstance(p, str) else resolve_expression(p, where) for p in parts)
            )
        case syntax.ListLiteral(items=items):
            return replace(expression, items=_resolve_all(items, where))
        case syntax.RecordLiteral(fields=fields):
            return replace(expression, fields=tuple(_resolve_field(field, where) for field in fields))
        case Path():
            return _resolve_path(expression, where)
        case syntax.Unary(operand=operand):
            return replace(expression, operand=resolve_expression(operand, where))
        case syntax.Binary(left=left, right=right):
            return replace(expression, left=resolve_expression(left, where), right=resolve_expression(right, where))
        case syntax.Presence(path=path):
            return replace(expression, path=_resolve_path(path, where))
        case syntax.Call(arguments=arguments):
            resolved = replace(expression, arguments=_resolve_all(arguments, where))
            return replace(resolved, function=_resolve_function(resolved, where))
        case _:
            assert_never(expression)


def _resolve_all(items: Iterable[Expression], where: ExpressionScope) -> tuple[Expression, ...]:
    return tuple(resolve_expression(item, where) for item in items)


def _resolve_field(field: syntax.Field, where: ExpressionScope) -> syntax.Field:
    key = field.key
    if isinstance(key, syntax.StringTemplate):
        resolved = resolve_expression(key, where)
        assert isinstance(resolved, syntax.StringTemplate)
        key = resolved
    return replace(field, key=key, value=resolve_expression(field.value, where))


def _resolve_path(path: Path, where: ExpressionScope) -> Path:
    segments = tuple(_resolve_segment(segment, where) for segment in path.segments)
    match path.root:
        case ReservedRoot() as root:
            _check_root(root, path, where)
            return replace(path, segments=segments)
        case syntax.LocalRoot() as local:
            _report_unknown_name(local, where)
            return replace(path, segments=segments)
        case expression:
            return replace(path, root=resolve_expression(expression, where), segments=segments)


def _resolve_segment(segment: syntax.Segment, where: ExpressionScope) -> syntax.Segment:
    match segment:
        case syntax.FieldSegment():
            return segment
        case syntax.IndexSegment(index=index):
            return replace(segment, index=resolve_expression(index, where))
        case syntax.RangeSegment(start=start, end=end):
            return replace(segment, start=resolve_expression(start, where), end=resolve_expression(end, where))
        case _:
            assert_never(segment)


def _check_root(root: ReservedRoot, path: Path, where: ExpressionScope) -> None:
    name = root.root.value
    diagnostics = where.scope.world.diagnostics
    if root.root in (Root.GROUP, Root.WINDOW):
        message = f"there is no `{name}` {where.place}: windows and groups are not supported yet"
        diagnostics.error("not-available", message, root.span)
    elif root.root not in where.roots:
        diagnostics.error("not-available", f"there is no `{name}` {where.place}", root.span, hint=_hint_for_root(where))
    elif root.root is Root.ARGS and path.segments:
        _check_argument(path.segments[0], where)


def _hint_for_root(where: ExpressionScope) -> str:
    has_arguments = Root.ARGS in where.roots
    return "only `args` can be used there" if has_arguments else "values there are made of literals and functions"


def _check_argument(segment: syntax.Segment, where: ExpressionScope) -> None:
    match segment:
        case syntax.FieldSegment(name=name):
            pass
        case syntax.IndexSegment(index=syntax.Literal(value=str(name))):
            pass
        case _:
            return
    if name in where.parameters:
        return
    hint = did_you_mean(name, where.parameters)
    if name in where.outer_parameters:
        passing = f"`create … with {name} = args.{name} end`"
        hint = f"`{name}` is an argument of the flow: declare it in `args` here, and pass it on: {passing}"
    elif not where.parameters:
        hint = f"nothing is declared: `args {name}` does it"
    where.scope.world.diagnostics.error(
        "unknown-argument", f"there is no argument `{name}` {where.place}", segment.span, hint=hint
    )


def _report_unknown_name(local: syntax.LocalRoot, where: ExpressionScope) -> None:
    name = local.name
    roots = {root.value for root in where.roots} - {"$"}
    if name.modules:
        hint = "constants of modules are not part of the language here yet"
    elif name.name in where.parameters:
        hint = f"arguments are read as `args.{name.name}`"
    else:
        hint = did_you_mean(name.name, roots | {"true", "false", "null"})
        hint = hint or f'for text, write it in quotes: "{name.name}"'
    where.scope.world.diagnostics.error("unknown-name", f"unknown name `{name}`", local.span, hint=hint)


def _resolve_function(call: syntax.Call, where: ExpressionScope) -> QualifiedName:
    """The full name of the function, or the name as written when there is none."""
    name, world = call.function, where.scope.world
    path = find_module(where.scope, name) if name.modules else ()
    if path is None:
        return name
    full = "::".join((*path, name.name))
    if full not in world.functions:
        _report_unknown_function(full, call, where)
        return name
    least, most = world.functions[full]
    count = len(call.arguments)
    if count < least or (most is not None and count > most):
        world.diagnostics.error(
            "argument-count", f"`{full}` takes {_count_in_words(least, most)}, not {count}", call.span
        )
    return replace(name, modules=path)


def _report_unknown_function(full: str, call: syntax.Call, where: ExpressionScope) -> None:
    name, world = call.function, where.scope.world
    module = full.rpartition("::")[0]
    if module:
        siblings = [known.rpartition("::")[2] for known in world.functions if known.rpartition("::")[0] == module]
        hint = did_you_mean(name.name, siblings)
    else:
        homes = sorted(known for known in world.functions if known.rpartition("::")[2] == name.name)
        holder = homes[0].rpartition("::")[0] if homes else ""
        hint = f"write `use {holder};` and then `{holder.split('::')[-1]}::{name.name}`" if holder else ""
    world.diagnostics.error("unknown-function", f"there is no function `{full}`", name.span, hint=hint)


def _count_in_words(least: int, most: int | None) -> str:
    def counted(number: int) -> str:
        return "1 argument" if number == 1 else f"{number} arguments"

    if most is None:
        return f"at least {counted(least)}"
    return counted(least) if least == most else f"{least} to {counted(most)}"
