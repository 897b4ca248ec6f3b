"""The settings of each role, and the one place where the environment is read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from metronome_worker.broker.keys import DEFAULT_NAMESPACE
from metronome_worker.errors import OperatorError, shown

if TYPE_CHECKING:
    from collections.abc import Mapping


LOG_LEVELS = ("debug", "info", "warning", "error")


class TickerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``lease_ms``: the TTL of the ticker's lease.  ``backlog``: entries a stream may hold before its source waits.

    ``drain_ms``: how long stages may take to drain to the barrier before the end is written without them.
    """

    lease_ms: int = 1_500
    backlog: int = 1_000_000
    drain_ms: int = 30_000


class WorkerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``batch``: the most entries read at a time.  ``keep`` and ``keep_ms``: the tail of committed entries that stays.

    ``block_ms``: how long one read waits on the server; below every socket timeout.
    """

    lease_ms: int = 1_500
    batch: int = 2_000
    block_ms: int = 2_000
    backlog: int = 1_000_000
    keep: int = 10_000
    keep_ms: int = 3_600_000
    trim_every_ms: int = 1_000


class Environment(Struct, frozen=True, kw_only=True):
    """What the environment says: ``METRONOME_REDIS_URL``, ``METRONOME_PATH`` (a ``:`` list)
    and ``METRONOME_NAMESPACE``.
    """

    redis_url: str | None
    module_path: tuple[str, ...]
    namespace: str


def read_environment(variables: Mapping[str, str]) -> Environment:
    """Take our settings out of the environment's variables (pass ``os.environ``).

    Raises ``OperatorError`` for a namespace that keys cannot begin with.
    """
    namespace = variables.get("METRONOME_NAMESPACE") or DEFAULT_NAMESPACE
    if re.fullmatch(r"[\w.:-]{1,100}", namespace, re.ASCII) is None:
        raise OperatorError(
            "this cannot be a namespace:",
            value=f"METRONOME_NAMESPACE={shown(namespace)}",
            reason="it becomes the first part of every key",
            advice="use letters, digits and _ . : -, at most 100 of them",
        )
    return Environment(
        redis_url=variables.get("METRONOME_REDIS_URL") or None,
        module_path=tuple(folder for folder in variables.get("METRONOME_PATH", "").split(":") if folder),
        namespace=namespace,
    )
