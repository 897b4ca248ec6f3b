"""A fakeredis server that does the same for less, as a simulation has it do some hundred things for each seed.

- fakeredis compiles a script's text whenever the script is called, and has Lua collect all its garbage after each call.
  Here a text is compiled once for each process, for all servers that it ever makes, and Lua collects when it sees fit.
  That a script sets no global variable is not looked at: the contract tests do that on real servers.
- Whatever is written wakes every client that is blocked, to look whether it was that.  Here hashes and strings wake
  nobody: no command waits for one.

And it does what fakeredis does not:

- XREADGROUP with COUNT and BLOCK waits for an entry.
- Who has waited longest is served first, as in Redis.  In fakeredis addresses in memory decide, which no seed repeats.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import fakeredis
from fakeredis._core import Database
from fakeredis.commands_mixins.streams_mixin import StreamsCommandsMixin
from fakeredis.model import Hash

if TYPE_CHECKING:
    from collections.abc import Iterator

_COLLECT: Final = "collectgarbage()"
_read_group: Final = StreamsCommandsMixin._xreadgroup


class _NoGlobals:
    """What fakeredis compares with the globals that it expects."""

    def keys(self) -> tuple[bytes, ...]:
        return ()


class _RememberingRuntime:
    """Stands for a Lua runtime of lupa."""

    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime
        self._compiled: dict[bytes, Any] = {}
        self.eval, self.require, self.table_from = runtime.eval, runtime.require, runtime.table_from

    def execute(self, script: bytes | str) -> Any:
        if isinstance(script, str):
            assert script == _COLLECT, "fakeredis runs Lua of its own that this does not know"
            return None
        if (compiled := self._compiled.get(script)) is None:
            compiled = self._compiled[script] = self._runtime.compile(script)
        return compiled()

    def globals(self) -> _NoGlobals:
        return _NoGlobals()


class _InTurn:
    """What fakeredis keeps in a set, in the order in which it came; in place of a ``WeakSet`` with ``is_weak``."""

    def __init__(self, *, is_weak: bool) -> None:
        self._members: Any = WeakKeyDictionary() if is_weak else {}

    def add(self, member: Any) -> None:
        self._members[member] = None

    def discard(self, member: Any) -> None:
        self._members.pop(member, None)

    def remove(self, member: Any) -> None:
        del self._members[member]

    def __contains__(self, member: Any) -> bool:
        return member in self._members

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._members))

    def __len__(self) -> int:
        return len(self._members)


class _QuietDatabase(Database):
    def __init__(self, lock: Any) -> None:
        super().__init__(lock)
        self._change_callbacks = _InTurn(is_weak=False)

    def notify_watch(self, key: bytes) -> None:
        item = self._dict.get(key)
        if item is None or key in self._watches or not isinstance(item.value, (bytes, Hash)):
            super().notify_watch(key)


def read_group(socket: Any, *args: Any) -> Any:
    """``StreamsCommandsMixin._xreadgroup`` whose caller waits where there is nothing to be read."""
    return _read_group(socket, *args) or None


class RememberingServer(fakeredis.FakeServer):
    """A server whose Lua is that of the one before.  Only one of them may be at work at a time."""

    #: What fakeredis keeps at a server for its scripts: the runtime, and functions that are bound to it.
    _lua: dict[str, Any] = {}  # noqa: RUF012  it is what all of them share

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.dbs = defaultdict(lambda: _QuietDatabase(self.lock))
        self.subscribers = defaultdict(lambda: _InTurn(is_weak=True))
        for name, value in self._lua.items():
            super().__setattr__(name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_lua_"):
            value = self._lua[name] = _RememberingRuntime(value) if name == "_lua_runtime" else value
        super().__setattr__(name, value)
