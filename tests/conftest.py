"""What every test may ask for; see ``tests/harness``."""

from __future__ import annotations

import signal

from tests.harness.async_tests import at_end, pytest_pyfunc_call
from tests.harness.servers import namespace, redis_url, valkey_url

__all__ = ["at_end", "namespace", "pytest_configure", "pytest_pyfunc_call", "redis_url", "valkey_url"]


def pytest_configure() -> None:
    """A shell lets what it starts in the background ignore Ctrl-C, and that is inherited by every process of a test."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
