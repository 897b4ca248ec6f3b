"""The one place that puts the parts together: files to checked plans, stored sources to plans, plans to parts."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from metronome_worker.broker.flows import Bundle
from metronome_worker.connectors import registry
from metronome_worker.connectors.codecs import check_processor
from metronome_worker.errors import FlowError, OperatorError
from metronome_worker.language.diagnostics import Diagnostic, Severity
from metronome_worker.language.loading import load_program, resolve_bundle
from metronome_worker.library.functions import FUNCTIONS, signatures
from metronome_worker.library.modules import LIBRARY_MODULES, with_library
from metronome_worker.plan.build import build_plans
from metronome_worker.runtime.compiler import evaluate
from metronome_worker.runtime.errors import EvalError
from metronome_worker.runtime.stage import StageProgram, compile_stage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from metronome_worker.connectors.interface import SinkWriter, SourceReader
    from metronome_worker.connectors.kind import ConnectorEnvironment
    from metronome_worker.language.program import Program
    from metronome_worker.language.syntax import Expression
    from metronome_worker.plan.model import ConnectorInstance, FlowPlan, StageGraph, Value


#: Of how many sources the plans are remembered: more than are at work in most deployments, as revisions come and go.
_MOST_PLANS: Final = 500


class CheckedFlow(Struct, frozen=True, kw_only=True):
    """A flow that can be deployed: its plan, and the sources that make the same plan anywhere."""

    plan: FlowPlan
    bundle: Bundle

    @property
    def digest(self) -> str:
        """Names this very source: SHA-256 of the bundle, hexadecimal."""
        return hashlib.sha256(msgspec.json.encode(self.bundle, order="sorted")).hexdigest()


class CheckedFile(Struct, frozen=True, kw_only=True):
    """All that is known of one file: flows (only where there is no error), diagnostics, and texts to render them."""

    flows: tuple[CheckedFlow, ...]
    diagnostics: tuple[Diagnostic, ...]
    sources: dict[str, str]

    @property
    def has_errors(self) -> bool:
        return any(diagnostic.severity is Severity.ERROR for diagnostic in self.diagnostics)


def check_file(path: Path, module_path: Sequence[str], *, strict: bool = False) -> CheckedFile:
    """Check one flow file with every module that it uses.  Nothing is run and nothing is opened but source files."""
    text = _read_main(path)
    if isinstance(text, Diagnostic):
        return CheckedFile(flows=(), diagnostics=(text,), sources={})
    program, found, sources = load_program(
        text, str(path), with_library(_read_module), module_path, signatures(), known_modules=LIBRARY_MODULES
    )
    plans, more = _plans(program, strict=strict) if program is not None else ((), [])
    more += [problem for plan in plans for problem in _uncompilable(plan)]
    diagnostics = (*found, *_not_consequences(found, more))
    if program is None or any(diagnostic.severity is Severity.ERROR for diagnostic in diagnostics):
        return CheckedFile(flows=(), diagnostics=diagnostics, sources=sources)
    flows = tuple(
        CheckedFlow(plan=plan, bundle=Bundle(main=path.name, flow=plan.flow, sources=program.sources)) for plan in plans
    )
    return CheckedFile(flows=flows, diagnostics=diagnostics, sources=sources)


def _plans(program: Program, *, strict: bool) -> tuple[tuple[FlowPlan, ...], list[Diagnostic]]:
    return build_plans(program, registry.builtin_kinds(), check_processor, _evaluate, strict=strict)


def _not_consequences(found: Sequence[Diagnostic], more: Sequence[Diagnostic]) -> list[Diagnostic]:
    """Those of ``more`` that stand where no error was found before: what follows from an error is not told again."""
    spans = [diagnostic.span for diagnostic in found if diagnostic.severity is Severity.ERROR and diagnostic.span]
    return [
        diagnostic
        for diagnostic in more
        if diagnostic.span is None or not any(diagnostic.span.overlaps(span) for span in spans)
    ]


def _uncompilable(plan: FlowPlan) -> list[Diagnostic]:
    """What only the compiler finds wrong in the expressions of a plan."""
    found = []
    for stage in plan.stages:
        try:
            compile_stage(stage.graph, FUNCTIONS)
        except EvalError as error:
            found.append(
                Diagnostic(severity=Severity.ERROR, code="invalid-expression", message=error.message, span=error.span)
            )
    return found


def _evaluate(expression: Expression, *, args: Value) -> Value:
    return evaluate(expression, args=args, functions=FUNCTIONS)


def _read_main(path: Path) -> str | Diagnostic:
    """The text of a flow file, or what is wrong with the file."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        nearby = sorted(p.name for p in path.parent.glob("*.troy")) if path.parent.is_dir() else []
        hint = f"there is: {', '.join(nearby[:5])}" if nearby else "check the path"
        return _file_problem("file-missing", f"{path}: there is no such file", hint)
    except IsADirectoryError:
        return _file_problem("file-unreadable", f"{path} is a folder", "name a flow file, such as flow.troy")
    except UnicodeDecodeError as error:
        message = f"{path} is not UTF-8: byte {error.start} is 0x{error.object[error.start]:02x}"
        return _file_problem("file-not-utf-8", message, "save it as UTF-8")
    except OSError as error:
        return _file_problem("file-unreadable", f"{path}: {error.strerror}", "check its permissions")


def _file_problem(code: str, message: str, hint: str) -> Diagnostic:
    return Diagnostic(severity=Severity.ERROR, code=code, message=message, span=None, hint=hint)


def _read_module(path: str) -> str | None:
    """The text of a module, or None when there is no such file."""
    try:
        return Path(path).read_bytes().decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except UnicodeDecodeError as error:
        byte = f"byte {error.start} is 0x{error.object[error.start]:02x}"
        problem = _file_problem("file-not-utf-8", f"{path} is not UTF-8: {byte}", "save it as UTF-8")
    except OSError as error:
        problem = _file_problem("file-unreadable", f"{path}: {error.strerror}", "check its permissions")
    raise FlowError([problem], {})


class Workshop:
    """Makes running parts of what is stored in Redis; remembers the plans that it made, as every role asks for them."""

    def __init__(self) -> None:
        #: By what they are made of: flows of one file share it, and making one plan makes those of all.
        self._plans: dict[bytes, tuple[dict[str, FlowPlan], list[str]]] = {}

    def plan_of(self, bundle: Bundle) -> FlowPlan:
        """The plan of a deployed flow.  Raises ``OperatorError`` when this version of the program cannot make it."""
        key = msgspec.json.encode((bundle.main, bundle.sources), order="sorted")
        made = self._plans.get(key)
        if made is None:
            made = self._plans[key] = _plans_of(bundle)
            for oldest in list(self._plans)[:-_MOST_PLANS]:
                del self._plans[oldest]
        plans, errors = made
        if bundle.flow not in plans or errors:
            raise OperatorError(
                "this version of metronome-worker cannot run the deployed flow",
                value=bundle.flow,
                reason="; ".join(errors) or "it is not in its own bundle",
                advice="run the version that it was deployed with, or deploy it again",
            )
        return plans[bundle.flow]

    def compile_stage(self, graph: StageGraph, bundle: Bundle) -> StageProgram:
        """The compiled stage; errors at work name line and column in the bundle's sources."""
        return compile_stage(graph, FUNCTIONS, bundle.sources)

    def make_writer(self, connector: ConnectorInstance, environment: ConnectorEnvironment) -> SinkWriter:
        """What puts out the events of a sink."""
        return registry.make_writer(connector, environment)

    def make_reader(self, connector: ConnectorInstance, environment: ConnectorEnvironment) -> SourceReader:
        """What reads the events of a source from outside."""
        return registry.make_reader(connector, environment)


def _plans_of(bundle: Bundle) -> tuple[dict[str, FlowPlan], list[str]]:
    """The plans of all flows in the sources of a bundle, and what is wrong with the sources."""
    program, found = resolve_bundle(bundle.sources, bundle.main, signatures())
    plans, more = _plans(program, strict=False) if program is not None else ((), [])
    errors = [d.message for d in (*found, *more) if d.severity is Severity.ERROR]
    return {plan.flow: plan for plan in plans}, errors
