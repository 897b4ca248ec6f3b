"""Contract tests: the same claims on fakeredis, on Valkey, and on Redis where one is installed."""

from __future__ import annotations

from tests.harness.servers import client

__all__ = ["client"]
