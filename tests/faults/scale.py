"""How much is done to a deployment: a short form for every run of the tests, and the full one (`make test-faults`)."""

from __future__ import annotations

import os
from typing import Final

from msgspec import Struct


class Scale(Struct, frozen=True, kw_only=True):
    """``late_ms``: how much longer than a lease a takeover may take; more where tests run beside each other."""

    tickers: int
    leader_kills: int
    leader_ends: int
    leader_stops: int
    worker_faults: int
    server_restarts: int
    network_faults: int
    longest_fault_s: float
    server_pause_s: float
    clock_moves: int
    flows: int
    late_ms: int


SHORT: Final = Scale(
    tickers=2,
    leader_kills=2,
    leader_ends=2,
    leader_stops=1,
    worker_faults=2,
    server_restarts=1,
    network_faults=2,
    longest_fault_s=1.0,
    server_pause_s=2.0,
    clock_moves=2,
    flows=20,
    late_ms=2_000,
)

#: What `make test-faults` runs.
FULL: Final = Scale(
    tickers=3,
    leader_kills=100,
    leader_ends=100,
    leader_stops=30,
    worker_faults=100,
    server_restarts=10,
    network_faults=12,
    longest_fault_s=20.0,
    server_pause_s=10.0,
    clock_moves=10,
    flows=200,
    late_ms=250,
)

IS_FULL: Final = os.environ.get("METRONOME_FAULTS") == "full"
SCALE: Final = FULL if IS_FULL else SHORT
