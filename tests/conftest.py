"""What every test may ask for; see ``tests/harness``."""

from __future__ import annotations

from tests.harness.async_tests import at_end, pytest_pyfunc_call
from tests.harness.servers import namespace, redis_url, valkey_url

__all__ = ["at_end", "namespace", "pytest_pyfunc_call", "redis_url", "valkey_url"]
