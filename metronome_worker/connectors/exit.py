"""The `exit` connector: a sink whose events ask the whole deployment to stop.

Every event asks for it, whatever it holds: Tremor's own example connects a console to `exit`, where any line of text
ends the program.  So what is no record counts as ``{"exit": 0}``, and so does a record that names no status.
A status that is named but is none (no whole number from 0 to 255) becomes 1 and a log line: the operating system would
cut 256 down to 0 and report success, and whoever wrote ``{"exit": "failed"}`` did not mean success.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import structlog
from msgspec import Meta, Struct

from metronome_worker.broker.exits import LONGEST_DELAY_MS
from metronome_worker.connectors.interface import Command, NodeState, SinkWriter, Written
from metronome_worker.connectors.kind import ConnectorEnvironment, RunnableKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from metronome_worker.plan.model import ConnectorInstance, SettingProblem, Value
    from metronome_worker.runtime.effects import Output

_UNUSABLE_STATUS = 1

_log = structlog.get_logger(__name__)

Delay = Annotated[int, Meta(ge=0, le=LONGEST_DELAY_MS, description="a whole number of milliseconds, 0 or more")]


class ExitConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``delay``: milliseconds between the event and the stop; ``graceful``: whether what is under way is finished.

    An event's own ``delay`` and ``graceful`` win over these.
    """

    delay: Delay = 0
    graceful: bool = True


class ExitRequest(Struct, frozen=True, kw_only=True):
    """What one event asks for.  ``faults`` are the fields that could not be used, as written."""

    status: int
    delay_ms: int
    is_graceful: bool
    faults: dict[str, Any]


class ExitKind(RunnableKind):
    name = "exit"
    config_type = ExitConfig
    output_ports = ()
    input_ports = ("in",)
    is_ordered = False

    def needs_codec(self, config: Any) -> bool:
        return False

    def is_source(self, config: Any) -> bool:
        return False

    def is_sink(self, config: Any) -> bool:
        return True

    def check(self, config: ExitConfig) -> tuple[SettingProblem, ...]:
        return ()

    def make_writer(self, instance: ConnectorInstance, environment: ConnectorEnvironment) -> SinkWriter:
        return ExitWriter(instance.node, instance.config, environment.keys.exit)


class ExitWriter(SinkWriter):
    """Turns each event into one entry of the flow's exit stream, added by the commit; the first one counts."""

    def __init__(self, node: str, config: ExitConfig, exit_key: str) -> None:
        self._node, self._config, self._exit_key = node, config, exit_key

    async def open(self, committed: NodeState | None) -> NodeState | None:
        return None

    async def write(self, outputs: Mapping[str, Sequence[Output]]) -> Written:
        events = outputs.get("in", ())
        return Written(commands=tuple(self._command(value, entry_id) for value, _, entry_id in events))

    async def close(self) -> None:
        pass

    def _command(self, value: Value, entry_id: str) -> Command:
        request = read_request(value, self._config)
        if request.faults:
            _log.warning(
                "exit_fields_unusable", connector=self._node, entry=entry_id, fields=request.faults, exit=request.status
            )
        graceful = "true" if request.is_graceful else "false"
        request_fields = ("exit", request.status, "delay", request.delay_ms, "graceful", graceful)
        fields = ("*", *request_fields, "by", self._node, "cause", entry_id)
        return Command("XADD", self._exit_key, fields, cause=entry_id)


def read_request(value: Value, config: ExitConfig) -> ExitRequest:
    """What an event asks for; never fails.  A whole number may be written as a float, as ``/`` gives one.

    >>> request = read_request({"exit": 4 / 2, "delay": 100}, ExitConfig())
    >>> (request.status, request.delay_ms, request.is_graceful)
    (2, 100, True)
    """
    fields = value if isinstance(value, dict) else {}
    faults: dict[str, Any] = {}
    status = _whole(fields.get("exit"), 255)
    delay_ms = _whole(fields.get("delay"), LONGEST_DELAY_MS)
    graceful = fields.get("graceful")
    for name, is_unusable in (
        ("exit", status is None and fields.get("exit") is not None),
        ("delay", delay_ms is None and fields.get("delay") is not None),
        ("graceful", graceful is not None and not isinstance(graceful, bool)),
    ):
        if is_unusable:
            faults[name] = fields[name]
    return ExitRequest(
        status=_UNUSABLE_STATUS if "exit" in faults else status or 0,
        delay_ms=config.delay if delay_ms is None else delay_ms,
        is_graceful=graceful if isinstance(graceful, bool) else config.graceful,
        faults=faults,
    )


def _whole(value: Value, most: int) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most:
        return value
    return None
