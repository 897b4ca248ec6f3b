"""The `metronome` connector: a source of ticks at a fixed interval, which the ticker publishes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from metronome_worker.connectors.kind import RunnableKind
from metronome_worker.plan.model import SettingProblem

_DAY_MS = 86_400_000
_LONGEST_MS = 36_525 * _DAY_MS  # a hundred years; far below 2**53, so exact wherever JSON is read
_NS_PER_MS = 1_000_000

Interval = Annotated[int, Meta(ge=1, description="a whole number of milliseconds, at least 1")]
CatchUp = Annotated[int, Meta(ge=0, le=_LONGEST_MS, description="a whole number of milliseconds, 0 or more")]


class MetronomeConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``interval`` and ``catch_up`` are milliseconds, as in the language; ``missed`` says what becomes of late ticks.

    Missed ticks are published each (``all``; what is older than ``catch_up`` is skipped, and counted), one for the
    whole gap (``latest``), or not at all (``skip``).
    """

    interval: Interval
    missed: Literal["all", "latest", "skip"] = "all"
    catch_up: CatchUp = 60_000


class MetronomeKind(RunnableKind):
    name = "metronome"
    config_type = MetronomeConfig
    output_ports = ("out",)
    input_ports = ()
    is_ordered = False

    def needs_codec(self, config: Any) -> bool:
        return False

    def is_source(self, config: Any) -> bool:
        return True

    def is_sink(self, config: Any) -> bool:
        return False

    def check(self, config: MetronomeConfig) -> tuple[SettingProblem, ...]:
        """An interval of more than a day was probably written for Tremor 0.13, which counts nanoseconds."""
        interval = config.interval
        if interval <= _DAY_MS:
            return ()
        in_days = f"{interval / _DAY_MS:,.1f} days" if interval < 1000 * _LONGEST_MS else "far more than 100 years"
        meant = max(1, round(interval / _NS_PER_MS))
        hint = f"if nanoseconds are meant, as in Tremor 0.13, write {meant}"
        if interval > _LONGEST_MS:
            message = f'"interval" is milliseconds: {interval} are {in_days}, and 100 years are the most'
            return (SettingProblem(path=("interval",), message=message, hint=hint),)
        message = f'"interval" is milliseconds here: {interval} are {in_days}'
        return (SettingProblem(path=("interval",), message=message, hint=hint, is_warning=True),)
