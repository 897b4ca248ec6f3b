"""Resolving pipelines: their ports, streams and selects.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from metronome_worker.language import syntax
from metronome_worker.language.diagnostics import Diagnostics, did_you_mean
from metronome_worker.language.expressions import NO_ROOTS, SELECT_ROOTS, ExpressionScope, resolve_expression
from metronome_worker.language.names import check_name, check_unique
from metronome_worker.language.program import PipelineDefinition
from metronome_worker.language.scopes import Scope, make_scope
from metronome_worker.language.settings import resolve_parameters, resolve_settings

if TYPE_CHECKING:
    from collections.abc import Collection

DEFAULT_FROM: Final = ("in",)
DEFAULT_INTO: Final = ("out", "err")


def resolve_pipeline(
    outer: Scope, pipeline: syntax.DefinePipeline, outer_parameters: tuple[str, ...]
) -> PipelineDefinition:
    """The pipeline with all names resolved; a select may stand before the stream that it reads."""
    diagnostics = outer.world.diagnostics
    check_name(pipeline.name, "pipeline", diagnostics)
    statements = pipeline.statements
    scope = make_scope(outer.world, [s for s in statements if isinstance(s, syntax.Use)], outer)
    where = ExpressionScope(
        scope=scope,
        place=f"in the pipeline `{pipeline.name.text}`",
        roots=SELECT_ROOTS,
        parameters=tuple(parameter.name.text for parameter in pipeline.parameters),
        outer_parameters=outer_parameters,
    )
    directives = [s.setting for s in statements if isinstance(s, syntax.ConfigDirective)]
    resolve_settings(directives, ExpressionScope(scope=scope, place="in a directive", roots=NO_ROOTS))
    from_ports, into_ports = _ports(pipeline, diagnostics)
    streams = tuple(s for s in statements if isinstance(s, syntax.CreateStream))
    _check_streams(streams, from_ports, into_ports, diagnostics)
    selects = [_resolve_select(s, where) for s in statements if isinstance(s, syntax.Select)]
    names = [stream.name.text for stream in streams]
    for select in selects:
        _check_endpoint(select.source, (*from_ports, *names), into_ports, "from", diagnostics)
        _check_endpoint(select.into, (*into_ports, *names), from_ports, "into", diagnostics)
    return PipelineDefinition(
        name=pipeline.name,
        from_ports=from_ports,
        into_ports=into_ports,
        parameters=resolve_parameters(pipeline.parameters, outer),
        streams=streams,
        selects=tuple(selects),
        span=pipeline.span,
    )


def _ports(pipeline: syntax.DefinePipeline, diagnostics: Diagnostics) -> tuple[tuple[str, ...], tuple[str, ...]]:
    for ports in (pipeline.from_ports, pipeline.into_ports):
        check_unique(ports or (), "port", diagnostics)
        for port in ports or ():
            check_name(port, "port", diagnostics)
    from_ports = DEFAULT_FROM if pipeline.from_ports is None else tuple(port.text for port in pipeline.from_ports)
    into_ports = DEFAULT_INTO if pipeline.into_ports is None else tuple(port.text for port in pipeline.into_ports)
    return from_ports, into_ports


def _check_streams(
    streams: tuple[syntax.CreateStream, ...],
    from_ports: Collection[str],
    into_ports: Collection[str],
    diagnostics: Diagnostics,
) -> None:
    check_unique([stream.name for stream in streams], "stream", diagnostics)
    for stream in streams:
        check_name(stream.name, "stream", diagnostics)
        if stream.name.text in (*from_ports, *into_ports):
            diagnostics.error(
                "duplicate-name",
                f"`{stream.name.text}` is a port of this pipeline, so no stream can be called so",
                stream.name.span,
            )


def _resolve_select(select: syntax.Select, where: ExpressionScope) -> syntax.Select:
    return replace(
        select,
        target=resolve_expression(select.target, where),
        where=None if select.where is None else resolve_expression(select.where, where),
        having=None if select.having is None else resolve_expression(select.having, where),
    )


def _check_endpoint(
    endpoint: syntax.StreamPort, known: Collection[str], opposite: Collection[str], word: str, diagnostics: Diagnostics
) -> None:
    name = endpoint.stream.text
    if name in known:
        return
    hint = did_you_mean(name, known) or f"create it: `create stream {name};`"
    if name in opposite:
        way = "leave the pipeline" if word == "from" else "come into the pipeline"
        choices = ", ".join(f"`{choice}`" for choice in known)
        hint = f"`{name}` is a port by which events {way}; `{word}` takes {choices}"
    message = f"there is no stream or port `{name}` to select {word}"
    diagnostics.error("unknown-stream", message, endpoint.stream.span, hint=hint)
