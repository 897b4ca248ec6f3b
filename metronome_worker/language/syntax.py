"""The syntax tree: one frozen struct per construct, each with its span.  Pure data.

Expressions are shared by every dialect; statements come in two kinds, of deployments (`.troy`) and of queries
(the inside of a pipeline).  Consume a union with ``match`` that ends in ``assert_never``.
"""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

from metronome_worker.language.source import Span


class Node(Struct, frozen=True, kw_only=True):
    span: Span


class Name(Node, frozen=True, kw_only=True):
    """An identifier as written, without backticks."""

    text: str


class QualifiedName(Node, frozen=True, kw_only=True):
    """``a::b::c``: the modules ``a::b`` and the name ``c``.  ``modules`` is empty for a bare name."""

    modules: tuple[str, ...]
    name: str

    def __str__(self) -> str:
        return "::".join((*self.modules, self.name))


# --- expressions -------------------------------------------------------------------------------------------


class Literal(Node, frozen=True, kw_only=True):
    """``null``, a bool, an integer within 64 bits, a float, or a string without interpolation."""

    value: bool | int | float | str | None


class StringTemplate(Node, frozen=True, kw_only=True):
    """A string with ``#{ }`` inside: texts (unescaped) and expressions in their order."""

    parts: tuple[str | Expression, ...]


class ListLiteral(Node, frozen=True, kw_only=True):
    items: tuple[Expression, ...]


class Field(Node, frozen=True, kw_only=True):
    key: Literal | StringTemplate
    value: Expression


class RecordLiteral(Node, frozen=True, kw_only=True):
    fields: tuple[Field, ...]


class Root(Enum):
    """The reserved roots of paths."""

    EVENT = "event"
    META = "$"
    STATE = "state"
    ARGS = "args"
    GROUP = "group"
    WINDOW = "window"


class ReservedRoot(Node, frozen=True, kw_only=True):
    root: Root


class LocalRoot(Node, frozen=True, kw_only=True):
    """A name that is no reserved root: a local or a constant."""

    name: QualifiedName


class FieldSegment(Node, frozen=True, kw_only=True):
    """``.name``; in ``$name`` the first segment of the root ``$``."""

    name: str


class IndexSegment(Node, frozen=True, kw_only=True):
    """``[expression]``: an index of an array, or a key of a record."""

    index: Expression


class RangeSegment(Node, frozen=True, kw_only=True):
    """``[start:end]``, half open."""

    start: Expression
    end: Expression


class Path(Node, frozen=True, kw_only=True):
    """A root and its segments; the root may be any expression, as in ``{"a": 1}.a``."""

    root: ReservedRoot | LocalRoot | Expression
    segments: tuple[Segment, ...]


class UnaryOperator(Enum):
    PLUS = "+"
    MINUS = "-"
    NOT = "not"  # also written !


class Unary(Node, frozen=True, kw_only=True):
    operator: UnaryOperator
    operand: Expression


class BinaryOperator(Enum):
    OR = "or"
    XOR = "xor"
    AND = "and"
    BIT_XOR = "^"
    BIT_AND = "&"
    EQUAL = "=="
    NOT_EQUAL = "!="
    LESS = "<"
    LESS_EQUAL = "<="
    GREATER = ">"
    GREATER_EQUAL = ">="
    SHIFT_LEFT = "<<"
    SHIFT_RIGHT = ">>"
    SHIFT_RIGHT_UNSIGNED = ">>>"
    ADD = "+"
    SUBTRACT = "-"
    MULTIPLY = "*"
    DIVIDE = "/"
    MODULO = "%"


class Binary(Node, frozen=True, kw_only=True):
    operator: BinaryOperator
    left: Expression
    right: Expression


class Presence(Node, frozen=True, kw_only=True):
    """``present path`` or ``absent path``."""

    path: Path
    present: bool


class Call(Node, frozen=True, kw_only=True):
    """A function call.  The parser leaves the name as written; the resolver replaces it by the full one."""

    function: QualifiedName
    arguments: tuple[Expression, ...]


Expression = Literal | StringTemplate | ListLiteral | RecordLiteral | Path | Unary | Binary | Presence | Call
Segment = FieldSegment | IndexSegment | RangeSegment


# --- what definitions and creations share --------------------------------------------------------------------


class Parameter(Node, frozen=True, kw_only=True):
    """One of ``args``: required when it has no default."""

    name: Name
    default: Expression | None


class Setting(Node, frozen=True, kw_only=True):
    """One of ``with``: ``name = value``."""

    name: Name
    value: Expression


class Use(Node, frozen=True, kw_only=True):
    """``use a::b [as c]``.  Nested braces are flattened by the parser, one ``Use`` per name."""

    module: QualifiedName
    alias: Name | None


class ConfigDirective(Node, frozen=True, kw_only=True):
    """``#!config name = value``."""

    setting: Setting


# --- queries -------------------------------------------------------------------------------------------------


class StreamPort(Node, frozen=True, kw_only=True):
    """``stream[/port]`` in ``from`` and ``into``."""

    stream: Name
    port: Name | None


class Select(Node, frozen=True, kw_only=True):
    target: Expression
    source: StreamPort
    where: Expression | None
    into: StreamPort
    having: Expression | None


class CreateStream(Node, frozen=True, kw_only=True):
    name: Name


QueryStatement = Use | ConfigDirective | CreateStream | Select


# --- deployments ---------------------------------------------------------------------------------------------


class DefineConnector(Node, frozen=True, kw_only=True):
    name: Name
    kind: Name
    parameters: tuple[Parameter, ...]
    settings: tuple[Setting, ...]


class DefinePipeline(Node, frozen=True, kw_only=True):
    """``from_ports`` and ``into_ports`` are None when not written: ``in``; ``out`` and ``err``."""

    name: Name
    from_ports: tuple[Name, ...] | None
    into_ports: tuple[Name, ...] | None
    parameters: tuple[Parameter, ...]
    statements: tuple[QueryStatement, ...]


class InstanceKind(Enum):
    CONNECTOR = "connector"
    PIPELINE = "pipeline"


class Create(Node, frozen=True, kw_only=True):
    """``create connector|pipeline name [from definition] [with … end]``."""

    kind: InstanceKind
    name: Name
    definition: QualifiedName | None
    settings: tuple[Setting, ...]


class Endpoint(Node, frozen=True, kw_only=True):
    """``/connector/name[/port]`` or ``/pipeline/name[/port]``."""

    kind: InstanceKind
    name: Name
    port: Name | None


class Connect(Node, frozen=True, kw_only=True):
    start: Endpoint
    end: Endpoint


FlowStatement = Use | DefineConnector | DefinePipeline | Create | Connect


class DefineFlow(Node, frozen=True, kw_only=True):
    name: Name
    parameters: tuple[Parameter, ...]
    statements: tuple[FlowStatement, ...]


class DeployFlow(Node, frozen=True, kw_only=True):
    name: Name
    definition: QualifiedName | None
    settings: tuple[Setting, ...]


DeploymentStatement = Use | ConfigDirective | DefineFlow | DeployFlow | DefineConnector | DefinePipeline


class ModuleText(Node, frozen=True, kw_only=True):
    """One parsed file: a deployment, or a module of definitions (then it has no ``DeployFlow``)."""

    statements: tuple[DeploymentStatement, ...]
