"""Writes events to a file, each exactly once.

The length of the file is committed together with the position in the stream, so a new owner knows how much of the
file counts: it cuts off the rest and writes those events again.  Bytes are written at explicit offsets.  An owner that
was stopped and wakes up late can therefore only put the same bytes to the same place again.  Cutting off is different:
it would take away what a later owner has committed.  So an owner looks at its clock immediately before, and has the
file locked from that look on until it is done: one that is stopped in that very moment holds up later owners on its
machine (and others that share the file, where the file system has locks) until it goes on or ends.

Nothing is synced to the disk: a crash of the process loses nothing, but after a power loss the file may be shorter
than what was committed, and then it goes on at its real end, with a log line, and what is missing stays missing.

What is no regular file (a pipe, a terminal, anything below ``/dev`` or ``/proc``) has no length to go back to: there
each event is written at least once.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from metronome_worker.connectors.descriptors import in_thread, is_regular, write_all
from metronome_worker.connectors.interface import NodeState, SinkWriter, Written, count_in
from metronome_worker.connectors.output_batch import encode_outputs
from metronome_worker.errors import FencedError, OperatorError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from metronome_worker.connectors.codecs import OutputEncoder
    from metronome_worker.runtime.effects import Output

_T = TypeVar("_T")

_CLOSED = -1
_NO_REGULAR_FILES = (Path("/dev"), Path("/proc"))

#: How often, with what pauses in seconds, a file is tried that somebody else is about to write.
_LOCK_ATTEMPTS: Final = 20
_LOCK_PAUSE_S: Final = 0.05
#: What file systems without locks say.
_NO_LOCKS: Final = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)

_log = structlog.get_logger(__name__)


class _LockedError(Exception):
    """Somebody else is about to cut or write the file."""


class FileWriter(SinkWriter):
    """State to commit: ``{"path": absolute path, "length": bytes that count}``; None for what is no regular file.

    ``length`` is the offset behind the last byte that this writer put there, where ``overwrite`` goes on.
    ``is_ours`` tells whether the file is still this process's to cut and write.
    """

    def __init__(
        self, node: str, path: Path, mode: str, encoder: OutputEncoder, is_ours: Callable[[], bool] = lambda: True
    ) -> None:
        self._node, self._path, self._mode, self._encoder = node, path, mode, encoder
        self._is_ours = is_ours
        self._descriptor = _CLOSED
        self._is_stream = False
        self._length = 0

    async def open(self, committed: NodeState | None) -> NodeState | None:
        """Take over the file; raises ``OperatorError`` when it cannot be opened or cut, ``FencedError`` when too late.

        Without a committed state of this very path the file starts as its mode says.  The length it starts with is
        returned, to be committed first: else a crash after the first write could not tell what was there before.
        """
        return await self._undisturbed(lambda: self._open(committed))

    async def write(self, outputs: Mapping[str, Sequence[Output]]) -> Written:
        """Write a batch.  When it fails, and when it is cancelled, the committed length still tells what counts."""
        data, dead = encode_outputs(self._encoder, outputs.get("in", ()))
        if not data:
            return Written(dead=dead)
        if self._is_stream:
            await self._write_stream(data)
            return Written(dead=dead)
        await self._undisturbed(lambda: self._write_at_end(data))
        return Written(state=self._state(), dead=dead)

    async def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, _CLOSED
        if descriptor == _CLOSED:
            return
        try:
            os.close(descriptor)
        except OSError as error:  # where writing is put off until then: a network, a quota
            reason = error.strerror or str(error)
            _log.warning("file_not_closed", connector=self._node, path=str(self._path), reason=reason)

    def _state(self) -> NodeState:
        return {"path": str(self._path), "length": self._length}

    async def _undisturbed(self, do: Callable[[], _T]) -> _T:
        """Do what takes the lock, in a thread; again and again for a second while another has it."""
        for _ in range(_LOCK_ATTEMPTS):
            try:
                return await in_thread(do)
            except _LockedError:
                await asyncio.sleep(_LOCK_PAUSE_S)
        raise OperatorError(
            f"{self._node} waits for the file",
            value=str(self._path),
            reason="another process is about to write to it, and does not go on",
            advice="continue that process, or end it; `lslocks` shows which",
        )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """For as long as the file must stay as it is seen, and ours.  Raises ``_LockedError`` at once."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _LockedError from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        try:
            yield
        finally:
            with suppress(OSError):  # where there are no locks
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _open(self, committed: NodeState | None) -> NodeState | None:
        try:
            if self._descriptor == _CLOSED:
                self._descriptor = self._open_descriptor()
            if self._is_stream:
                return None
            with self._locked():
                self._require_ours()
                if committed is not None and committed.get("path") == str(self._path):
                    self._resume(count_in(self._node, committed, "length"))
                else:
                    self._start()
        except OSError as error:
            if self._descriptor != _CLOSED:
                os.close(self._descriptor)
                self._descriptor = _CLOSED
            raise self._refusal("cannot open", error, "check that the folder exists and may be written") from error
        return None if committed == self._state() else self._state()

    def _open_descriptor(self) -> int:
        """Non-blocking, which regular files ignore, so that a pipe nobody reads is refused and not waited for."""
        self._is_stream = any(self._path.is_relative_to(folder) for folder in _NO_REGULAR_FILES)
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | (os.O_APPEND if self._is_stream else os.O_CREAT)
        descriptor = os.open(self._path, flags, 0o666)
        self._is_stream = self._is_stream or not is_regular(descriptor)
        if not self._is_stream:
            fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) & ~os.O_NONBLOCK)
        return descriptor

    def _require_ours(self) -> None:
        if not self._is_ours():
            raise FencedError(f"{self._node} may be another process's by now")

    def _start(self) -> None:
        match self._mode:
            case "append":
                self._length = os.fstat(self._descriptor).st_size
            case "overwrite":
                self._length = 0
            case _:
                os.ftruncate(self._descriptor, 0)
                self._length = 0

    def _resume(self, committed_length: int) -> None:
        self._length = committed_length
        self._go_back_to_real_end()
        if self._mode != "overwrite":
            os.ftruncate(self._descriptor, self._length)

    def _go_back_to_real_end(self) -> None:
        """Guards against a hole of zeros where somebody cut or replaced the file behind our back."""
        size = os.fstat(self._descriptor).st_size
        if size < self._length:
            _log.warning(
                "file_is_shorter", connector=self._node, path=str(self._path), expected=self._length, found=size
            )
            self._length = size

    def _write_at_end(self, data: bytes) -> None:
        try:
            self._follow_the_path()
            with self._locked():
                self._require_ours()
                self._go_back_to_real_end()
                try:
                    self._length = self._put(data, self._length)
                except OSError:
                    self._cut_back(len(data))
                    raise
        except OSError as error:
            raise self._refusal("cannot write", error, "free space on the disk, then start again") from error

    def _put(self, data: bytes, offset: int) -> int:
        """Returns the offset behind ``data``."""
        rest = memoryview(data)
        while rest:
            written = os.pwrite(self._descriptor, rest, offset)
            rest, offset = rest[written:], offset + written
        return offset

    def _follow_the_path(self) -> None:
        """When the file was removed, what is written to it would be lost: start it again."""
        if os.fstat(self._descriptor).st_nlink > 0:
            return
        _log.warning("file_was_removed", connector=self._node, path=str(self._path), lost=self._length)
        anew = self._open_descriptor()
        os.close(self._descriptor)
        self._descriptor = anew

    def _cut_back(self, attempted: int) -> None:
        """Leave no half line at the end; but never touch what a later owner of the file may have added."""
        try:
            size = os.fstat(self._descriptor).st_size
            if self._is_ours() and self._mode != "overwrite" and self._length < size <= self._length + attempted:
                os.ftruncate(self._descriptor, self._length)
        except OSError as error:
            _log.warning("file_not_cut_back", connector=self._node, path=str(self._path), reason=str(error))

    async def _write_stream(self, data: bytes) -> None:
        try:
            await write_all(self._descriptor, data)
        except OSError as error:
            raise self._refusal("cannot write", error, "check who reads it, then start again") from error

    def _refusal(self, what: str, error: OSError, advice: str) -> OperatorError:
        reason = error.strerror or str(error)
        return OperatorError(f"{self._node} {what} the file", value=str(self._path), reason=reason, advice=advice)
