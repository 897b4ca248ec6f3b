"""One ``select`` to one Python function ``(event, meta, id)``, its where, target and having inline.

The function for ``select {"id": event.id} from in where event.id % 2 == 0 into out`` is, in essence::

    def select_0(event, meta, id):
        if not (event["id"] % 2 == 0):      # where event.id is an integer; a call of operators.modulo where not
            return
        sink_0(({"id": event["id"]}, meta, id))
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from metronome_worker.language.syntax import Path, ReservedRoot, Root
from metronome_worker.runtime.compiler import build_function
from metronome_worker.runtime.expressions import ExpressionCompiler, Scope
from metronome_worker.runtime.failures import FAILURES, Unit
from metronome_worker.runtime.fragments import Builder, Namespace, Site, name
from metronome_worker.runtime.operations import as_bool

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from metronome_worker.language.syntax import Expression
    from metronome_worker.plan.model import SelectNode
    from metronome_worker.runtime.function import Function

#: ``group`` where nothing is grouped: the list of keys (none, so null) and its JSON text.
_NO_GROUP: Final = [None, "[null]"]

PARAMETERS: Final = ("event", "meta", "id")


class Outlet(Struct, frozen=True):
    """A global of generated code that takes events: another select's function, or the ``append`` of a sink's list."""

    identifier: str
    is_sink: bool


class SelectCompiler:
    """Compiles the selects of one stage, into one ``namespace``; ``units`` are kept for ``failures.locate``."""

    def __init__(self, namespace: Namespace, functions: Mapping[str, Function]) -> None:
        self.units: dict[str, Unit] = {}
        self._namespace = namespace
        self._functions = functions

    def compile(
        self,
        node: SelectNode,
        identifier: str,
        targets: Sequence[Outlet],
        errors: Sequence[Outlet],
        error_record: Callable[[Exception, Any], Any],
    ) -> None:
        """Defines ``identifier`` in the namespace.

        Where ``errors`` are connected they get ``error_record(failure, event)``; a failure further downstream is
        not this select's and passes through.
        """
        builder = Builder(self._namespace)
        body, projection = self._body(builder, node)
        if errors or node.having is not None or len(targets) != 1:
            body.append(ast.Assign([ast.Name("value", ast.Store())], projection))
            body += self._having(builder, node)
            projection = name("value")
        if errors:
            body = [_guarded(body, errors, self._namespace.name_of(error_record), self._namespace.name_of(FAILURES))]
        body += [delivery(outlet, projection) for outlet in targets]
        function = build_function(identifier, PARAMETERS, body, self._namespace.values, node.span)
        self._namespace.values[identifier] = function
        self.units[identifier] = Unit(node=node.name, span=node.span, sites=tuple(builder.sites))

    def _body(self, builder: Builder, node: SelectNode) -> tuple[list[ast.stmt], ast.expr]:
        """Statements that return what ``where`` filters out, and the projection."""
        compiler = ExpressionCompiler(builder, self._functions)
        scope = _scope("event", node.args)
        body = [] if node.where is None else [_filter(compiler, node.where, "where", scope)]
        return body, compiler.compile(node.target, scope).code

    def _having(self, builder: Builder, node: SelectNode) -> list[ast.stmt]:
        """Statements that return what ``having`` filters out; the projection is its ``event``."""
        if node.having is None:
            return []
        compiler = ExpressionCompiler(builder, self._functions)
        return [_filter(compiler, node.having, "having", _scope("value", node.args))]


def is_passthrough(node: SelectNode) -> bool:
    """Whether the select neither filters nor changes anything: ``select event``."""
    match node.target:
        case Path(root=ReservedRoot(root=Root.EVENT), segments=()):
            return node.where is None and node.having is None
        case _:
            return False


def delivery(outlet: Outlet, value: ast.expr) -> ast.stmt:
    """The statement that hands ``value`` over, with the metadata and ID of the event it came from."""
    output: list[ast.expr] = [value, name("meta"), name("id")]
    arguments: list[ast.expr] = [ast.Tuple(output, ast.Load())] if outlet.is_sink else output
    return ast.Expr(ast.Call(name(outlet.identifier), arguments, []))


def _scope(event: str, args: Any) -> Scope:
    """``event`` is the local variable that the language's ``event`` is in."""
    values = {Root.ARGS: args, Root.STATE: None, Root.GROUP: _NO_GROUP, Root.WINDOW: None}
    return Scope(variables={Root.EVENT: event, Root.META: "meta"}, values=values, refusals={})


def _filter(compiler: ExpressionCompiler, condition: Expression, clause: str, scope: Scope) -> ast.stmt:
    fragment = compiler.compile(condition, scope)
    test = as_bool(compiler.builder, fragment, clause, Site(span=condition.span))
    return ast.If(ast.UnaryOp(ast.Not(), test), [ast.Return(None)], [])


def _guarded(body: list[ast.stmt], errors: Sequence[Outlet], record: str, failures: str) -> ast.stmt:
    """``try: body; except failures as failure: …errors…; return``."""
    described = ast.Call(name(record), [name("failure"), name("event")], [])
    handler: list[ast.stmt] = [ast.Assign([ast.Name("value", ast.Store())], described)]
    handler += [delivery(outlet, name("value")) for outlet in errors]
    handler.append(ast.Return(None))
    return ast.Try(body, [ast.ExceptHandler(name(failures), "failure", handler)], [], [])
