"""The log: one event name a line, with what it is about; for people on a terminal, JSON elsewhere."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, TextIO, cast

import msgspec
import structlog

if TYPE_CHECKING:
    from structlog.typing import EventDict, FilteringBoundLogger, Processor


def make_log(stream: TextIO, level: str) -> FilteringBoundLogger:
    """A logger that writes to ``stream``, from ``level`` (one of ``settings.LOG_LEVELS``) upwards.

    ``structlog.get_logger`` gives the same from here on.
    """
    processors: list[Processor] = [structlog.processors.add_log_level]
    if stream.isatty():
        processors += [
            structlog.processors.TimeStamper(fmt="%H:%M:%S.%f", utc=False),
            structlog.dev.ConsoleRenderer(colors=True, pad_event_to=20),
        ]
    else:
        processors += [structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"), _as_json]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    return cast("FilteringBoundLogger", structlog.get_logger())


def _as_json(_logger: Any, _method: str, event: EventDict) -> str:
    """One record a line: when, how grave, what; then what it is about, in the order it was said."""
    first = {name: event.pop(name) for name in ("at", "level", "event")}
    return msgspec.json.encode({**first, **event}, enc_hook=str).decode()
