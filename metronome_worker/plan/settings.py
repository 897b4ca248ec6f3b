"""Makes a connector instance of a definition's ``with``: its kind, config, codec and processors.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import Struct

from metronome_worker.language.program import ConnectorDefinition
from metronome_worker.language.source import Span
from metronome_worker.language.syntax import Setting
from metronome_worker.plan.arguments import Toolbox, evaluate_or_report
from metronome_worker.plan.decode import decode_config, shown
from metronome_worker.plan.locate import span_of
from metronome_worker.plan.model import ConnectorInstance, ProcessorSettings, SettingProblem, Value
from metronome_worker.plan.report import Report, hint_for

if TYPE_CHECKING:
    from metronome_worker.plan.model import ConnectorKind

#: All that may stand in the ``with`` of a connector's definition.
CONNECTOR_SETTINGS = ("codec", "config", "metrics_interval_s", "postprocessors", "preprocessors", "reconnect")


class ConnectorRequest(Struct, frozen=True, kw_only=True):
    """A connector to be made: its definition, the ``args`` bound for it, and the ``with`` that gave them."""

    alias: str
    definition: ConnectorDefinition
    args: Value
    given: tuple[Setting, ...]
    span: Span


def make_connector(request: ConnectorRequest, tools: Toolbox, report: Report) -> ConnectorInstance | None:
    """The instance, or None after every problem was reported."""
    kind_name = request.definition.kind
    kind = tools.kinds.get(kind_name.text)
    if kind is None:
        hint = hint_for(kind_name.text, sorted(tools.kinds))
        message = f"there is no kind of connector called `{kind_name.text}`"
        report.error("unknown-kind", message, kind_name.span, label="unknown kind", hint=hint)
    reader = _SettingsReader(request, tools, report)
    codec = reader.processors("codec")
    preprocessors = reader.processors("preprocessors")
    postprocessors = reader.processors("postprocessors")
    reader.check_unused_settings()
    if kind is None:
        return None
    config = reader.config(kind)
    if config is None:
        return None
    reader.check_codec(kind, config)
    if reader.has_errors:
        return None
    return ConnectorInstance(
        alias=request.alias,
        kind=kind.name,
        config=config,
        codec=codec[0] if codec else None,
        preprocessors=preprocessors,
        postprocessors=postprocessors,
        span=request.span,
    )


class _SettingsReader:
    """Reads one setting after the other; reports each problem at the exact place where it is written."""

    def __init__(self, request: ConnectorRequest, tools: Toolbox, report: Report) -> None:
        self._request, self._tools, self._report = request, tools, report
        self._expressions = {setting.name.text: setting for setting in request.definition.settings}
        self._values: dict[str, Value] = {}
        self.has_errors = False
        self._evaluate_all()

    def _evaluate_all(self) -> None:
        seen: set[str] = set()
        for setting in self._request.definition.settings:
            name = setting.name.text
            if name not in CONNECTOR_SETTINGS:
                message = f"a connector has no setting `{name}`"
                self._error("unknown-setting", message, setting.name.span, hint_for(name, CONNECTOR_SETTINGS))
            elif name in seen:
                self._error("repeated-setting", f"`{name}` is set twice", setting.name.span, "keep one of them")
            else:
                is_evaluated, value = evaluate_or_report(setting.value, self._request.args, self._tools, self._report)
                self.has_errors |= not is_evaluated
                if is_evaluated:
                    self._values[name] = value
            seen.add(name)

    def _error(self, code: str, message: str, span: Span, hint: str = "") -> None:
        self.has_errors = True
        self._report.error(code, message, span, hint=hint)

    def _span(self, setting: str, *path: str, is_key: bool = False) -> Span:
        written = self._expressions.get(setting)
        if written is None:
            return self._request.definition.span
        return span_of(written.value, path, is_key=is_key, given=self._request.given)

    def _problem(self, problem: SettingProblem, setting: str, *prefix: str) -> None:
        is_key = problem.is_unknown and bool(problem.path)
        span = self._span(setting, *prefix, *problem.path, is_key=is_key)
        if problem.is_warning:
            self._report.warning("doubtful-setting", problem.message, span, hint=problem.hint)
        else:
            self._error("bad-setting", problem.message, span, problem.hint)

    def config(self, kind: ConnectorKind) -> Any:
        """The decoded and checked ``config``, or None after its problems were reported."""
        if "config" in self._expressions and "config" not in self._values:
            return None
        config, problems = decode_config(kind.config_type, self._values.get("config"))
        if config is not None:
            problems = kind.check(config)
        for problem in problems:
            self._problem(problem, "config")
        return config

    def processors(self, setting: str) -> tuple[ProcessorSettings, ...]:
        """The processors of a list, or the one codec; without those that are wrong, which were reported."""
        if setting not in self._values:
            return ()
        value = self._values[setting]
        if setting == "codec":
            return self._processor(setting, value)
        if not isinstance(value, list):
            hint = f"write [{shown(value)}]"
            self._error("bad-setting", f"`{setting}` must be a list; found {shown(value)}", self._span(setting), hint)
            return ()
        return tuple(made for at, one in enumerate(value) for made in self._processor(setting, one, str(at)))

    def _processor(self, setting: str, value: Value, *at: str) -> tuple[ProcessorSettings, ...]:
        record = {"name": value} if isinstance(value, str) else value
        noun = "a codec" if setting == "codec" else f"one of `{setting}`"
        try:
            read = msgspec.convert(record, _WrittenProcessor)
        except msgspec.ValidationError:
            message = f"{noun} must be a name, or a record of a name and a config; found {shown(value)}"
            hint = 'write "json", or {"name": "json", "config": {"mode": "sorted"}}'
            self._error("bad-setting", message, self._span(setting, *at), hint)
            return ()
        settings = ProcessorSettings(name=read.name, config=read.config or {})
        problems = self._tools.check_processor(setting.removesuffix("s"), settings)
        for problem in problems:
            self._problem(problem, setting, *at, "name" if problem.is_unknown and not problem.path else "config")
        return () if any(not problem.is_warning for problem in problems) else (settings,)

    def check_codec(self, kind: ConnectorKind, config: Any) -> None:
        """Says what is missing, and what is given although nothing will use it."""
        needs_codec = kind.needs_codec(config)
        if needs_codec and "codec" not in self._expressions:
            message = f"a `{kind.name}` connector needs a codec"
            self._error("missing-codec", message, self._request.definition.span, 'add `codec = "json"` behind `with`')
        unused = {
            "codec": not needs_codec,
            "preprocessors": not (needs_codec and kind.is_source(config)),
            "postprocessors": not (needs_codec and kind.is_sink(config)),
        }
        for setting, is_unused in unused.items():
            if is_unused and setting in self._values:
                message = f"`{setting}` has no effect on this `{kind.name}` connector"
                span = self._expressions[setting].span
                self._report.warning("unused-setting", message, span, hint="leave it out")

    def check_unused_settings(self) -> None:
        """``reconnect`` and ``metrics_interval_s``: must be well formed, though no kind of connector uses them yet."""
        for setting, python_type, allowed in _COMMON_SETTINGS:
            value = self._values.get(setting)
            if value is None:
                continue
            try:
                msgspec.convert(value, python_type)
            except msgspec.ValidationError:
                message = f"`{setting}` must be {allowed}; found {shown(value)}"
                self._error("bad-setting", message, self._span(setting))
                continue
            if value != "none":
                span = self._expressions[setting].span
                self._report.warning("unused-setting", f"`{setting}` has no effect here", span, hint="leave it out")


class _WrittenProcessor(Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    config: dict[str, Any] | None = None


class _Retry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    interval_ms: int
    max_retries: int | None = None
    growth_rate: float = 1.5
    randomized: bool = True


class _Reconnect(Struct, frozen=True, forbid_unknown_fields=True):
    retry: _Retry


_COMMON_SETTINGS: tuple[tuple[str, Any, str], ...] = (
    ("metrics_interval_s", int, "a whole number of seconds"),
    (
        "reconnect",
        Literal["none"] | _Reconnect,
        '"none" or {"retry": {"interval_ms": …, "growth_rate": …, "max_retries": …, "randomized": …}}',
    ),
)
