"""The guard of the embedded server: a process of its own that outlives its owner just long enough to tidy up.

The owner (``embedded.py``) starts it as ``python -I -S guard.py …`` and keeps the write end of its standard input.
That pipe is the life line: whatever ends the owner, SIGKILL included, closes it, and at its end the guard stops the
server and removes what was temporary.  Nothing in the owner has to run for that.

Life: make or find the directory → lock it → start the server as a child → say that it is ready → wait for the end of
the life line, or of the server → stop the server → remove the temporary directory → release the lock by ending.

What it says on standard output, once, is read by ``embedded.py``:

    READY <port> <server's pid> <directory>
    FAILED <directory|locked|server>\\n<reason, to the end of the stream>

and, when the server ends by itself after that, ``ENDED\\n<last lines of its log>``.

Only the standard library and as little of it as possible is imported, and what is not needed to get the server going
is imported while that starts: from a cold start to ``READY`` the guard itself takes some 15 ms.
"""

from __future__ import annotations

import fcntl
import os
import select
import sys
import time

SERVER_IS_READY = b"Ready to accept connections"
PORT_IS_TAKEN = b"Address already in use"

#: After SIGTERM the server writes out what it has; then it is killed.
STOP_WAIT_S = 5.0
LOG_LIMIT_BYTES = 1 << 20
TAIL_LINES = 12

LIFE_LINE = 0
REPORT = 1
SIGKILL, SIGTERM = 9, 15  # the module ``signal`` costs half of the time that the interpreter needs to start
PR_SET_PDEATHSIG = 1


class FailureError(Exception):
    """Starting is not possible: ``kind`` as in the report, ``reason`` for people."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(kind, reason)
        self.kind, self.reason = kind, reason


class OwnerGoneError(Exception):
    """The life line ended: nobody wants the server any more."""


class ServerState:
    """The server's process, the pipe that its log comes through, and the last lines of that."""

    def __init__(self, pid: int, log_fd: int, copy_fd: int) -> None:
        self.pid, self.log_fd, self.copy_fd = pid, log_fd, copy_fd
        self.tail: list[bytes] = []
        self._rest = b""

    def read_log(self) -> list[bytes] | None:
        """The lines that are new, copied to the log file; None at the end, which is the server's."""
        chunk = os.read(self.log_fd, 65536)
        if not chunk:
            return None
        try:  # noqa: SIM105  contextlib takes as long to import as all else here
            os.write(self.copy_fd, chunk)
        except OSError:
            pass  # a full disk must not stop the server's log, and by that the server
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        self.tail = (self.tail + lines)[-TAIL_LINES:]
        return lines

    def follow(self, *, until_ready: bool) -> bool:
        """True when the server is ready, if that is asked for; False when it ended.  Raises OwnerGoneError."""
        poll = select.poll()
        poll.register(LIFE_LINE, select.POLLIN)
        poll.register(self.log_fd, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll()}
            if self.log_fd in ready:
                lines = self.read_log()
                if lines is None:
                    return False
                if until_ready and any(SERVER_IS_READY in line for line in lines):
                    return True
            if LIFE_LINE in ready and not os.read(LIFE_LINE, 4096):
                raise OwnerGoneError

    def stop(self, *, has_data: bool) -> None:
        """End the server and wait until it is gone.  Politely when it has data to keep, which takes it 0.1 s."""
        deadline = time.monotonic() + STOP_WAIT_S
        signal = SIGTERM if has_data else SIGKILL
        while True:
            try:
                if signal:
                    os.kill(self.pid, signal)
                if os.waitpid(self.pid, os.WNOHANG)[0]:
                    return
            except (ChildProcessError, ProcessLookupError):
                return
            is_late = time.monotonic() > deadline
            signal = SIGKILL if is_late else 0
            # The log is drained meanwhile: a server that cannot write its log would not end.
            if select.select([self.log_fd], [], [], 0.005)[0] and self.read_log() is None:
                time.sleep(0.002)


def make_temporary(parent: str) -> str:
    directory = os.path.join(parent, "metronome-" + os.urandom(8).hex())  # noqa: PTH118  pathlib takes 10 ms
    os.mkdir(directory, 0o700)  # noqa: PTH102
    return directory


def lock(directory: str, wait_s: float) -> int:
    """The locked file's descriptor.  Waits for a dying predecessor; raises FailureError, OwnerGoneError, OSError."""
    fd = os.open(directory + "/metronome.lock", os.O_RDWR | os.O_CREAT, 0o644)
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise FailureError("locked", os.pread(fd, 200, 0).decode("utf-8", "replace").strip()) from None
            if select.select([LIFE_LINE], [], [], 0.02)[0] and not os.read(LIFE_LINE, 4096):
                raise OwnerGoneError from None
        else:
            return fd


def open_log(directory: str) -> int:
    path = directory + "/valkey.log"
    try:
        if os.stat(path).st_size > LOG_LIMIT_BYTES:  # noqa: PTH116
            os.replace(path, path + ".1")  # noqa: PTH105
    except FileNotFoundError:
        pass
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)


def launch(command: list[str], lock_fd: int, copy_fd: int) -> ServerState:
    log_fd, server_end = os.pipe()
    guard_pid = os.getpid()
    pid = os.fork()
    if not pid:
        become_server(command, guard_pid, lock_fd, server_end)
    os.close(server_end)
    return ServerState(pid, log_fd, copy_fd)


def become_server(command: list[str], guard_pid: int, lock_fd: int, server_end: int) -> None:
    """Run in the child; does not return."""
    try:
        die_with_guard()
        if os.getppid() != guard_pid:
            os._exit(1)  # the guard was killed before the line above: no signal will come
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(server_end, 1)
        os.dup2(server_end, 2)
        # Whoever waits for the directory waits for the server too, even when the guard was killed.
        os.set_inheritable(lock_fd, True)
        os.execv(command[0], command)
    except BaseException as error:  # noqa: BLE001  whatever it is, a second guard must not go on from here
        os.write(server_end, f"cannot run {command[0]}: {error}\n".encode())
    finally:
        os._exit(127)


def die_with_guard() -> None:
    """On Linux the kernel kills the server when the guard dies in any way.  No acknowledged write is lost by it: the
    server writes its append-only file before it answers."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)


def ignore_signals() -> None:
    """The guard ends with the life line only: a signal to the whole group must not take the server before its owner
    has drained."""
    import signal

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # not SIG_IGN, which a child would inherit


def say(text: str) -> None:
    try:  # noqa: SIM105
        os.write(REPORT, os.fsencode(text))
    except OSError:
        pass  # the owner is gone; the life line tells as much


def tail_of(server: ServerState) -> str:
    return b"\n".join(server.tail).decode("utf-8", "replace")


def serve(command: list[str], directory: str, owner: str, ports: list[str], lock_fd: int, *, has_data: bool) -> None:
    """Start the server on the first port that it gets, and stay until it or the owner ends."""
    copy_fd = open_log(directory)
    for port in ports:
        server = launch([*command, "--dir", directory, "--port", port], lock_fd, copy_fd)
        ignore_signals()
        try:
            if server.follow(until_ready=True):
                os.ftruncate(lock_fd, 0)
                os.pwrite(lock_fd, f"process {owner}, redis://127.0.0.1:{port}/0\n".encode(), 0)
                say(f"READY {port} {server.pid} {directory}\n")
                server.follow(until_ready=False)
                say("ENDED\n" + tail_of(server))
                return
        finally:
            server.stop(has_data=has_data)
            os.close(server.log_fd)
        if not any(PORT_IS_TAKEN in line for line in server.tail):
            break
    raise FailureError("server", tail_of(server))


def main(arguments: list[str]) -> None:
    """``<temporary|data> <directory> <seconds to wait for the lock> <owner's pid> <port,port,…> <binary> <option>…``"""
    kind, directory, wait_s, owner, ports, *command = arguments
    temporary = ""
    try:
        if kind == "temporary":
            directory = temporary = make_temporary(directory)
        lock_fd = lock(directory, float(wait_s))
        serve(command, directory, owner, ports.split(","), lock_fd, has_data=not temporary)
    except OwnerGoneError:
        pass
    except FailureError as failure:
        say(f"FAILED {failure.kind}\n{failure.reason}")
    except OSError as error:
        say(f"FAILED directory\n{error.strerror or error}")
    finally:
        if temporary:
            import shutil

            shutil.rmtree(temporary, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1:])
