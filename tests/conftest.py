"""What every test may ask for; see ``tests/harness``."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
import structlog

from tests.harness.async_tests import at_end, pytest_pyfunc_call
from tests.harness.servers import namespace, redis_url, valkey_url

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["at_end", "namespace", "own_log", "pytest_configure", "pytest_pyfunc_call", "redis_url", "valkey_url"]


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """``make_log`` is for a whole process: what a test has set must not decide what the next one hears."""
    yield
    structlog.reset_defaults()


def pytest_configure() -> None:
    """A shell lets what it starts in the background ignore Ctrl-C, and that is inherited by every process of a test."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
