"""Plans from flows written as text, with kinds of connectors made for these tests.

Names are resolved here in the simplest way, one file and a small library, so that these tests judge the plan alone.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from metronome_worker.language import syntax
from metronome_worker.language.diagnostics import Diagnostic, Severity
from metronome_worker.language.parser import parse_module
from metronome_worker.language.program import (
    ConnectorDefinition,
    Creation,
    Deployment,
    FlowDefinition,
    PipelineDefinition,
    Program,
)
from metronome_worker.plan.build import build_plans
from metronome_worker.plan.model import ConnectorKind, FlowPlan, ProcessorSettings, SettingProblem
from metronome_worker.runtime.compiler import evaluate

LIBRARY = """
define connector stop from exit with config = {"delay": 100} end;
define connector write_file from file
args file = "out.log"
with codec = "json-sorted", config = {"path": args.file, "mode": "truncate"}, postprocessors = ["separate"] end;
define connector write_to from file
args path
with codec = "json", config = {"path": args.path, "mode": "truncate"} end;
define pipeline passthrough pipeline select event from in into out; end;
"""

#: What a test's flow mostly consists of; ``{}`` is where its own statements go.
FRAME = """define flow main
flow
  define connector ticks from metronome with config = {{"interval": 1000}} end;
  define connector stop from exit;
  define pipeline pass pipeline select event from in into out; end;
  {}
end;
deploy flow main;
"""


class Metronome(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    interval: Annotated[int, Meta(ge=1, description="a whole number of milliseconds, at least 1")]
    missed: Literal["all", "latest", "skip"] = "all"
    catch_up: int = 60_000


class File(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    path: str
    mode: Literal["read", "write", "truncate", "append", "overwrite"]


class Exit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    delay: int = 0
    graceful: bool = True


class Kind(Struct, frozen=True):
    name: str
    config_type: type[Struct]
    output_ports: tuple[str, ...]
    input_ports: tuple[str, ...]
    is_ordered: bool
    takes_codec: bool

    def needs_codec(self, config: Any) -> bool:
        return self.takes_codec

    def is_source(self, config: Any) -> bool:
        return bool(self.output_ports) and getattr(config, "mode", "read") == "read"

    def is_sink(self, config: Any) -> bool:
        return bool(self.input_ports) and getattr(config, "mode", "write") != "read"

    def check(self, config: Any) -> tuple[SettingProblem, ...]:
        if getattr(config, "interval", 0) > 1_000_000:
            return (SettingProblem(path=("interval",), message="very long", is_warning=True),)
        return ()


KINDS: dict[str, ConnectorKind] = {
    kind.name: kind
    for kind in (
        Kind("metronome", Metronome, ("out",), (), is_ordered=False, takes_codec=False),
        Kind("file", File, ("out",), ("in",), is_ordered=True, takes_codec=True),
        Kind("exit", Exit, (), ("in",), is_ordered=False, takes_codec=False),
        Kind("stdio", Struct, ("out",), ("in", "stdout", "stderr"), is_ordered=True, takes_codec=True),
    )
}


def check_processor(kind: str, settings: ProcessorSettings) -> tuple[SettingProblem, ...]:
    known = ("json", "json-sorted", "string") if kind == "codec" else ("separate",)
    if settings.name not in known:
        return (SettingProblem(path=(), message=f"there is no {kind} called `{settings.name}`", is_unknown=True),)
    unknown = [key for key in settings.config if key != "mode"]
    return tuple(SettingProblem(path=(key,), message=f"no setting {key}", is_unknown=True) for key in unknown)


class Built(Struct, frozen=True):
    """What became of a text: for tests to look at."""

    text: str
    plans: tuple[FlowPlan, ...]
    diagnostics: list[Diagnostic]

    @property
    def plan(self) -> FlowPlan:
        assert not self.errors, self.errors
        assert len(self.plans) == 1
        return self.plans[0]

    @property
    def errors(self) -> list[Diagnostic]:
        return [found for found in self.diagnostics if found.severity is Severity.ERROR]

    @property
    def warnings(self) -> list[Diagnostic]:
        return [found for found in self.diagnostics if found.severity is Severity.WARNING]

    @property
    def error(self) -> Diagnostic:
        assert len(self.errors) == 1, self.errors
        return self.errors[0]

    @property
    def codes(self) -> list[str]:
        return [found.code for found in self.diagnostics]

    def at(self, found: Diagnostic) -> str:
        """The piece of text that a diagnostic points at."""
        assert found.span is not None
        source = self.text if found.span.source == "main.troy" else LIBRARY
        return source[found.span.start : found.span.end]


def build(text: str, *, strict: bool = False) -> Built:
    """The plans of a whole deployment."""
    plans, diagnostics = build_plans(
        program_of(text), KINDS, check_processor, lambda e, *, args: evaluate(e, args=args, functions={}), strict=strict
    )
    return Built(text, plans, diagnostics)


def build_flow(statements: str, *, strict: bool = False) -> Built:
    """The plan of a flow that consists of FRAME and these statements."""
    return build(FRAME.format(statements), strict=strict)


def program_of(text: str) -> Program:
    parsed, diagnostics = parse_module(text, "main.troy")
    assert parsed is not None, diagnostics
    library, _ = parse_module(LIBRARY, "library.tremor")
    assert library is not None
    shared = {one.name.text: _definition(one) for one in library.statements if isinstance(one, _DEFINES)}
    flows = {one.name.text: _flow(one, shared) for one in parsed.statements if isinstance(one, syntax.DefineFlow)}
    deployments = tuple(
        Deployment(
            name=one.name,
            flow=flows[one.definition.name if one.definition else one.name.text],
            settings=one.settings,
            span=one.span,
        )
        for one in parsed.statements
        if isinstance(one, syntax.DeployFlow)
    )
    return Program(deployments=deployments, sources={"main.troy": text, "library.tremor": LIBRARY})


_DEFINES = (syntax.DefineConnector, syntax.DefinePipeline)
_Definition = ConnectorDefinition | PipelineDefinition


def _definition(one: syntax.DefineConnector | syntax.DefinePipeline) -> _Definition:
    if isinstance(one, syntax.DefineConnector):
        return ConnectorDefinition(
            name=one.name, kind=one.kind, parameters=one.parameters, settings=one.settings, span=one.span
        )
    return PipelineDefinition(
        name=one.name,
        from_ports=("in",) if one.from_ports is None else tuple(port.text for port in one.from_ports),
        into_ports=("out", "err") if one.into_ports is None else tuple(port.text for port in one.into_ports),
        parameters=one.parameters,
        streams=tuple(s for s in one.statements if isinstance(s, syntax.CreateStream)),
        selects=tuple(s for s in one.statements if isinstance(s, syntax.Select)),
        span=one.span,
    )


def _flow(one: syntax.DefineFlow, shared: dict[str, _Definition]) -> FlowDefinition:
    own = [_definition(inner) for inner in one.statements if isinstance(inner, _DEFINES)]
    connectors = {made.name.text: made for made in own if isinstance(made, ConnectorDefinition)}
    pipelines = {made.name.text: made for made in own if isinstance(made, PipelineDefinition)}

    def creation(create: syntax.Create) -> Creation:
        written = create.definition
        name = written.name if written else create.name.text
        local = connectors if create.kind is syntax.InstanceKind.CONNECTOR else pipelines
        found = shared.get(name) if written and written.modules else local.get(name)
        return Creation(
            kind=create.kind,
            name=create.name,
            definition=found,
            definition_name=str(written or create.name.text),
            settings=create.settings,
            span=create.span,
        )

    return FlowDefinition(
        name=one.name,
        parameters=one.parameters,
        connectors=connectors,
        pipelines=pipelines,
        creations=tuple(creation(inner) for inner in one.statements if isinstance(inner, syntax.Create)),
        connects=tuple(inner for inner in one.statements if isinstance(inner, syntax.Connect)),
        span=one.span,
    )
