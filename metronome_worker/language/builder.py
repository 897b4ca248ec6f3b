"""Reductions to syntax: one method per ``-> name`` of ``grammar.lark``, called with the span and a value per symbol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from metronome_worker.language import syntax
from metronome_worker.language.syntax import Expression, FieldSegment, InstanceKind, Name, QualifiedName

if TYPE_CHECKING:
    from metronome_worker.language.diagnostics import Diagnostics
    from metronome_worker.language.source import Span
    from metronome_worker.language.tokens import Token

NESTING: Final = frozenset(
    {
        "binary", "unary", "presence", "list", "record", "call", "template", "parenthesized",
        "path_start", "index_segment", "range_segment", "use_nested",
    }
)  # fmt: skip
"""The methods whose result is one level deeper than what they are made of."""

_BINARY: Final = {
    "OR": syntax.BinaryOperator.OR, "XOR": syntax.BinaryOperator.XOR, "AND": syntax.BinaryOperator.AND,
    "CARET": syntax.BinaryOperator.BIT_XOR, "AMPERSAND": syntax.BinaryOperator.BIT_AND,
    "EQUAL": syntax.BinaryOperator.EQUAL, "NOT_EQUAL": syntax.BinaryOperator.NOT_EQUAL,
    "LESS": syntax.BinaryOperator.LESS, "LESS_EQUAL": syntax.BinaryOperator.LESS_EQUAL,
    "GREATER": syntax.BinaryOperator.GREATER, "GREATER_EQUAL": syntax.BinaryOperator.GREATER_EQUAL,
    "SHIFT_LEFT": syntax.BinaryOperator.SHIFT_LEFT, "SHIFT_RIGHT": syntax.BinaryOperator.SHIFT_RIGHT,
    "SHIFT_RIGHT_UNSIGNED": syntax.BinaryOperator.SHIFT_RIGHT_UNSIGNED,
    "PLUS": syntax.BinaryOperator.ADD, "MINUS": syntax.BinaryOperator.SUBTRACT,
    "STAR": syntax.BinaryOperator.MULTIPLY, "SLASH": syntax.BinaryOperator.DIVIDE,
    "PERCENT": syntax.BinaryOperator.MODULO,
}  # fmt: skip
_UNARY: Final = {
    "PLUS": syntax.UnaryOperator.PLUS, "MINUS": syntax.UnaryOperator.MINUS,
    "NOT": syntax.UnaryOperator.NOT, "BANG": syntax.UnaryOperator.NOT,
}  # fmt: skip
_CONSTANTS: Final = {"NULL": None, "TRUE": True, "FALSE": False}

Items = tuple[Any, ...]


class Builder:
    """Holds nothing but where to report what only shows when a construct is complete."""

    def __init__(self, diagnostics: Diagnostics) -> None:
        self._diagnostics = diagnostics

    # --- lists ---

    def nothing(self, span: Span) -> Items:
        return ()

    def first(self, span: Span, value: Any, separator: Token) -> Any:
        return value

    def second(self, span: Span, word: Token, value: Any, *rest: Token) -> Any:
        return value

    def first_item(self, span: Span, item: Any) -> Items:
        return (item,)

    def next_item(self, span: Span, items: Items, item: Any) -> Items:
        return (*items, item)

    def item_after_separator(self, span: Span, items: Items, separator: Token, item: Any) -> Items:
        return (*items, item)

    def first_group(self, span: Span, group: Items) -> Items:
        return group

    def next_group(self, span: Span, items: Items, separator: Token, group: Items) -> Items:
        return items + group

    def first_statement(self, span: Span, statement: Any) -> Items:
        return statement if isinstance(statement, tuple) else (statement,)

    def next_statement(self, span: Span, statements: Items, separator: Token, statement: Any) -> Items:
        return statements + self.first_statement(span, statement)

    def failed_statement(self, span: Span, error: Token) -> Items:
        return ()

    # --- files, and what statements share ---

    def module_of_configs(self, span: Span, configs: Items) -> syntax.ModuleText:
        return syntax.ModuleText(statements=configs, span=span)

    def module(self, span: Span, configs: Items, statements: Items, *rest: Token) -> syntax.ModuleText:
        return syntax.ModuleText(statements=configs + statements, span=span)

    def config_directive(
        self, span: Span, word: Token, setting: syntax.Setting, *rest: Token
    ) -> syntax.ConfigDirective:
        return syntax.ConfigDirective(setting=setting, span=span)

    def name(self, span: Span, word: Token) -> Name:
        return Name(text=word.value, span=span)

    def name_of_null(self, span: Span, word: Token) -> Name:
        return Name(text="null", span=span)

    def bare_name(self, span: Span, word: Token) -> QualifiedName:
        return QualifiedName(modules=(), name=word.value, span=span)

    def longer_name(self, span: Span, before: QualifiedName, separator: Token, word: Token) -> QualifiedName:
        return QualifiedName(modules=(*before.modules, before.name), name=word.value, span=span)

    def use(self, span: Span, word: Token, uses: Items) -> Items:
        return uses

    def use_module(self, span: Span, module: QualifiedName) -> Items:
        return (syntax.Use(module=module, alias=None, span=span),)

    def use_alias(self, span: Span, module: QualifiedName, word: Token, alias: Name) -> Items:
        return (syntax.Use(module=module, alias=alias, span=span),)

    def use_nested(
        self, span: Span, outer: QualifiedName, separator: Token, brace: Token, uses: Items, *rest: Token
    ) -> Items:
        prefix = (*outer.modules, outer.name)
        return tuple(
            syntax.Use(
                module=QualifiedName(modules=prefix + use.module.modules, name=use.module.name, span=use.module.span),
                alias=use.alias,
                span=use.span,
            )
            for use in uses
        )

    def required_parameter(self, span: Span, name: Name) -> syntax.Parameter:
        return syntax.Parameter(name=name, default=None, span=span)

    def optional_parameter(self, span: Span, name: Name, assign: Token, default: Expression) -> syntax.Parameter:
        return syntax.Parameter(name=name, default=default, span=span)

    def setting(self, span: Span, name: Name, assign: Token, value: Expression) -> syntax.Setting:
        return syntax.Setting(name=name, value=value, span=span)

    def no_definition(self, span: Span) -> None:
        return None

    def no_condition(self, span: Span) -> None:
        return None

    # --- deployments ---

    def define_flow(self, span: Span, *parts: Any) -> syntax.DefineFlow:
        _, _, name, parameters, _, statements, *_ = parts
        return syntax.DefineFlow(name=name, parameters=parameters, statements=statements, span=span)

    def deploy_flow(self, span: Span, *parts: Any) -> syntax.DeployFlow:
        _, _, name, definition, settings = parts
        return syntax.DeployFlow(name=name, definition=definition, settings=settings, span=span)

    def define_connector(self, span: Span, *parts: Any) -> syntax.DefineConnector:
        _, _, name, _, kind = parts
        return syntax.DefineConnector(name=name, kind=kind, parameters=(), settings=(), span=span)

    def define_connector_with(self, span: Span, *parts: Any) -> syntax.DefineConnector:
        _, _, name, _, kind, settings = parts
        return syntax.DefineConnector(name=name, kind=kind, parameters=(), settings=settings, span=span)

    def define_connector_with_arguments(self, span: Span, *parts: Any) -> syntax.DefineConnector:
        _, _, name, _, kind, parameters, settings = parts
        return syntax.DefineConnector(name=name, kind=kind, parameters=parameters, settings=settings, span=span)

    def define_pipeline(self, span: Span, *parts: Any) -> syntax.DefinePipeline:
        _, _, name, interface, _, configs, statements, *_ = parts
        clauses: dict[str, Items] = {}
        for word, clause_span, values in interface:
            if word in clauses:
                self._diagnostics.error("duplicate-clause", f"a second `{word}` of this pipeline", clause_span)
            clauses[word] = values
        return syntax.DefinePipeline(
            name=name,
            from_ports=clauses.get("from"),
            into_ports=clauses.get("into"),
            parameters=clauses.get("args", ()),
            statements=configs + statements,
            span=span,
        )

    def from_ports(self, span: Span, word: Token, ports: Items) -> tuple[str, Span, Items]:
        return "from", span, ports

    def into_ports(self, span: Span, word: Token, ports: Items) -> tuple[str, Span, Items]:
        return "into", span, ports

    def interface_arguments(self, span: Span, parameters: Items) -> tuple[str, Span, Items]:
        return "args", span, parameters

    def create(self, span: Span, *parts: Any) -> syntax.Create:
        _, kind, name, definition, settings = parts
        return syntax.Create(kind=kind, name=name, definition=definition, settings=settings, span=span)

    def connector_kind(self, span: Span, word: Token) -> InstanceKind:
        return InstanceKind.CONNECTOR

    def pipeline_kind(self, span: Span, word: Token) -> InstanceKind:
        return InstanceKind.PIPELINE

    def connect(
        self, span: Span, word: Token, start: syntax.Endpoint, to: Token, end: syntax.Endpoint
    ) -> syntax.Connect:
        return syntax.Connect(start=start, end=end, span=span)

    def endpoint(self, span: Span, slash: Token, kind: InstanceKind, second: Token, name: Name) -> syntax.Endpoint:
        return syntax.Endpoint(kind=kind, name=name, port=None, span=span)

    def endpoint_with_port(self, span: Span, *parts: Any) -> syntax.Endpoint:
        _, kind, _, name, _, port = parts
        return syntax.Endpoint(kind=kind, name=name, port=port, span=span)

    # --- queries ---

    def create_stream(self, span: Span, create: Token, stream: Token, name: Name) -> syntax.CreateStream:
        return syntax.CreateStream(name=name, span=span)

    def select(self, span: Span, *parts: Any) -> syntax.Select:
        _, target, _, source, where, _, into, having = parts
        return syntax.Select(target=target, source=source, where=where, into=into, having=having, span=span)

    def stream(self, span: Span, name: Name) -> syntax.StreamPort:
        return syntax.StreamPort(stream=name, port=None, span=span)

    def stream_with_port(self, span: Span, name: Name, slash: Token, port: Name) -> syntax.StreamPort:
        return syntax.StreamPort(stream=name, port=port, span=span)

    # --- expressions ---

    def binary(self, span: Span, left: Expression, operator: Token, right: Expression) -> syntax.Binary:
        return syntax.Binary(operator=_BINARY[operator.kind], left=left, right=right, span=span)

    def unary(self, span: Span, operator: Token, operand: Expression) -> Expression:
        if operator.kind == "MINUS" and isinstance(operand, syntax.Literal) and type(operand.value) in (int, float):
            return self._negative(span, operand)
        return syntax.Unary(operator=_UNARY[operator.kind], operand=operand, span=span)

    def _negative(self, span: Span, operand: syntax.Literal) -> Expression:
        """``-1`` is a literal: else the least integer, whose positive does not fit, could not be written."""
        value = operand.value
        assert isinstance(value, (int, float))
        if isinstance(value, int) and value > 2**63:
            self._diagnostics.error(
                "number-out-of-range",
                f"the integer `-{value}` does not fit 64 bits",
                span,
                hint=f"integers go from {-(2**63)} to {2**64 - 1}; as a float it may lose digits: -{value}.0",
            )
            value = 0
        return syntax.Literal(value=-value, span=span)

    def parenthesized(self, span: Span, left: Token, value: Expression, right: Token) -> Expression:
        return value

    def presence(self, span: Span, word: Token, path: syntax.Path) -> syntax.Presence:
        return syntax.Presence(path=path, present=word.kind == "PRESENT", span=span)

    def path_of_root(self, span: Span, word: Token) -> syntax.Path:
        return syntax.Path(root=syntax.ReservedRoot(root=syntax.Root(word.value), span=span), segments=(), span=span)

    def path_of_meta(self, span: Span, meta: Token, word: Token) -> syntax.Path:
        root = syntax.ReservedRoot(root=syntax.Root.META, span=type(span)(span.source, meta.start, meta.end))
        segment = FieldSegment(name=word.value, span=type(span)(span.source, word.start, word.end))
        return syntax.Path(root=root, segments=(segment,), span=span)

    def path_of_name(self, span: Span, name: QualifiedName) -> syntax.Path:
        return syntax.Path(root=syntax.LocalRoot(name=name, span=span), segments=(), span=span)

    def path_start(self, span: Span, root: Expression, segment: syntax.Segment) -> syntax.Path:
        return syntax.Path(root=root, segments=(segment,), span=span)

    def path_more(self, span: Span, path: syntax.Path, segment: syntax.Segment) -> syntax.Path:
        return syntax.Path(root=path.root, segments=(*path.segments, segment), span=span)

    def field_segment(self, span: Span, dot: Token, word: Token) -> FieldSegment:
        return FieldSegment(name=word.value, span=span)

    def index_segment(self, span: Span, left: Token, index: Expression, right: Token) -> syntax.IndexSegment:
        return syntax.IndexSegment(index=index, span=span)

    def range_segment(self, span: Span, *parts: Any) -> syntax.RangeSegment:
        _, start, _, end, _ = parts
        return syntax.RangeSegment(start=start, end=end, span=span)

    def call_without_arguments(self, span: Span, function: QualifiedName, *rest: Token) -> syntax.Call:
        return syntax.Call(function=function, arguments=(), span=span)

    def call(self, span: Span, function: QualifiedName, left: Token, arguments: Items, *rest: Token) -> syntax.Call:
        return syntax.Call(function=function, arguments=arguments, span=span)

    def empty_list(self, span: Span, *brackets: Token) -> syntax.ListLiteral:
        return syntax.ListLiteral(items=(), span=span)

    def list(self, span: Span, left: Token, items: Items, *rest: Token) -> syntax.ListLiteral:
        return syntax.ListLiteral(items=items, span=span)

    def empty_record(self, span: Span, *braces: Token) -> syntax.RecordLiteral:
        return syntax.RecordLiteral(fields=(), span=span)

    def record(self, span: Span, left: Token, fields: Items, *rest: Token) -> syntax.RecordLiteral:
        return syntax.RecordLiteral(fields=fields, span=span)

    def field(
        self, span: Span, key: syntax.Literal | syntax.StringTemplate, colon: Token, value: Expression
    ) -> syntax.Field:
        return syntax.Field(key=key, value=value, span=span)

    def constant(self, span: Span, word: Token) -> syntax.Literal:
        return syntax.Literal(value=_CONSTANTS[word.kind], span=span)

    def integer(self, span: Span, digits: Token) -> syntax.Literal:
        base = 16 if digits.value.startswith("0x") else 10
        return syntax.Literal(value=int(digits.value, base), span=span)

    def float(self, span: Span, digits: Token) -> syntax.Literal:
        return syntax.Literal(value=float(digits.value), span=span)

    def simple_string(self, span: Span, text: Token) -> syntax.Literal:
        return syntax.Literal(value=text.value, span=span)

    def template_text(self, span: Span, text: Token) -> str:
        return text.value

    def template(
        self, span: Span, start: Token, parts: tuple[str | Expression, ...], end: Token
    ) -> syntax.Literal | syntax.StringTemplate:
        texts = [part for part in parts if isinstance(part, str)]
        if len(texts) == len(parts):
            return syntax.Literal(value="".join(texts), span=span)
        return syntax.StringTemplate(parts=parts, span=span)
