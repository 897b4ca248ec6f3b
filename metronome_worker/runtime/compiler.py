"""From expressions to Python functions: their code is made in ``expressions``, here Python's compiler gets it."""

from __future__ import annotations

import ast
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final

from metronome_worker.language.syntax import Literal, Root
from metronome_worker.runtime.errors import EvalError
from metronome_worker.runtime.expressions import ExpressionCompiler, Scope
from metronome_worker.runtime.failures import FAILURES, Unit, locate
from metronome_worker.runtime.fragments import Builder, Namespace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from metronome_worker.language.source import Span
    from metronome_worker.language.syntax import Expression
    from metronome_worker.runtime.function import Function

_REFUSALS: Final = {
    **dict.fromkeys(Root, "no event exists at this point"),
    Root.ARGS: "there are no arguments at this point",
}


def evaluate(expression: Expression, *, args: Any = None, functions: Mapping[str, Function]) -> Any:
    """The value of an expression that needs no event, as those of settings and arguments.

    ``args`` is the record of arguments, None where there is none.  The value may share parts with ``args`` and with
    other values; it is never to be changed.  Raises ``EvalError`` with the span of what failed.
    """
    if isinstance(expression, Literal):
        return expression.value
    scope = Scope(variables={}, values={} if args is None else {Root.ARGS: args}, refusals=_REFUSALS)
    builder = Builder(Namespace())
    fragment = ExpressionCompiler(builder, functions).compile(expression, scope)
    if fragment.is_constant:
        return fragment.constant
    namespace = builder.namespace.values
    body: list[ast.stmt] = [ast.Return(fragment.code)]
    computed = build_function("expression", (), body, namespace, expression.span)
    try:
        return computed()
    except FAILURES as raised:
        unit = Unit(node="", span=expression.span, sites=tuple(builder.sites))
        failure = locate(raised, {"expression": unit}, namespace)
        raise EvalError(failure.message, failure.span) from None


def build_function(
    name: str, parameters: Sequence[str], body: Sequence[ast.stmt], namespace: dict[str, Any], span: Span | None
) -> Callable[..., Any]:
    """The function with this ``body``; ``span`` is blamed when Python's compiler finds it too deeply nested."""
    module = ast.parse(f"def {name}({', '.join(parameters)}): pass")
    definition = module.body[0]
    assert isinstance(definition, ast.FunctionDef)
    definition.body = list(body)
    try:
        code = compile(_with_locations(module), f"<{name}>", "exec")
    except (RecursionError, MemoryError, SyntaxError):
        raise EvalError("the expression is too long or too deeply nested", span) from None
    [function] = [constant for constant in code.co_consts if hasattr(constant, "co_code")]
    return FunctionType(function, namespace, name)


def _with_locations(module: ast.Module) -> ast.Module:
    """Gives line 1 to all that cannot fail.  (``ast.fix_missing_locations`` recurses as deep as the expression.)"""
    for node in ast.walk(module):
        if isinstance(node, ast.expr | ast.stmt | ast.excepthandler) and not hasattr(node, "lineno"):
            node.lineno = node.end_lineno = 1
            node.col_offset = node.end_col_offset = 0
    return module
