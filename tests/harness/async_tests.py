"""``async def`` tests: each runs in an event loop of its own, with a time limit.  There is no plugin for it.

Fixtures stay ordinary functions.  One that opens something which must be closed in the test's own loop asks for the
fixture ``at_end`` and hands it the closing coroutine function.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Final

import pytest

TEST_LIMIT_S: Final = 60

AtEnd = Callable[[Callable[[], Awaitable[object]]], None]
_endings = pytest.StashKey[list[Callable[[], Awaitable[object]]]]()


@pytest.fixture
def at_end(request: pytest.FixtureRequest) -> AtEnd:
    """``at_end(close)``: ``await close()`` in the test's loop when it is over, last first.  For ``async def`` tests."""
    assert inspect.iscoroutinefunction(request.function), "at_end needs the loop of an async test"
    return request.node.stash.setdefault(_endings, []).append  # type: ignore[no-any-return]


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs ``async def`` tests; leaves all others to pytest."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    wanted = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in wanted}
    asyncio.run(_run(pyfuncitem, arguments))
    return True


async def _run(item: pytest.Function, arguments: dict[str, Any]) -> None:
    async with AsyncExitStack() as stack:
        for close in item.stash.get(_endings, []):
            stack.push_async_callback(close)
        async with asyncio.timeout(TEST_LIMIT_S):
            await item.obj(**arguments)
