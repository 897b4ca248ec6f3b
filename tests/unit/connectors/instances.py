"""Connectors as the plan hands them over, made without a flow."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, BinaryIO

from metronome_worker.broker.keys import FlowKeys
from metronome_worker.connectors.kind import ConnectorEnvironment
from metronome_worker.connectors.registry import builtin_kinds
from metronome_worker.language.source import Span
from metronome_worker.plan.decode import decode_config
from metronome_worker.plan.model import ConnectorInstance, ProcessorSettings, SettingProblem, Value
from metronome_worker.runtime.effects import Output

SEPARATE = (ProcessorSettings(name="separate"),)


def settled(kind: str, config: dict[str, Value]) -> tuple[Any, tuple[SettingProblem, ...]]:
    """A config decoded and checked as the plan does it."""
    known = builtin_kinds()[kind]
    decoded, problems = decode_config(known.config_type, config)
    return (decoded, problems) if decoded is None else (decoded, known.check(decoded))


def instance(
    kind: str,
    config: dict[str, Value] | None = None,
    *,
    codec: str | None = None,
    preprocessors: tuple[ProcessorSettings, ...] = (),
    postprocessors: tuple[ProcessorSettings, ...] = (),
) -> ConnectorInstance:
    decoded, problems = settled(kind, config or {})
    assert not problems, problems
    return ConnectorInstance(
        alias="it",
        kind=kind,
        config=decoded,
        codec=ProcessorSettings(name=codec) if codec else None,
        preprocessors=preprocessors,
        postprocessors=postprocessors,
        span=Span("main.troy", 0, 0),
    )


def environment(
    folder: Path, *, stdin: BinaryIO | None = None, stdout: BinaryIO | None = None, stderr: BinaryIO | None = None
) -> ConnectorEnvironment:
    return ConnectorEnvironment(
        keys=FlowKeys("main"),
        base_directory=folder,
        stdin=stdin or io.BytesIO(),
        stdout=stdout or io.BytesIO(),
        stderr=stderr or io.BytesIO(),
    )


def outputs(*values: Value) -> dict[str, list[Output]]:
    """A batch for the port ``in``; the events come from the entries 1-0, 2-0, …"""
    return {"in": [(value, {}, f"{number}-0") for number, value in enumerate(values, start=1)]}
