"""What redis-cli prints on a terminal, without redis-cli: pages are tested on machines that have none.

Speaks RESP2 over a socket of its own, as a client library would already have changed the replies.
"""

from __future__ import annotations

import shlex
import socket
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterator

_ESCAPES: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\a": "\\a", "\b": "\\b", '"': '\\"', "\\": "\\\\"}


class Status(Struct, frozen=True):
    """A simple string or an error: printed without quotes."""

    text: str


def run(command: str, port: int) -> str:
    """The output of ``redis-cli …``; of its own options only ``--scan --pattern P`` is known."""
    _, *arguments = shlex.split(command)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection, connection.makefile("rb") as replies:
        if arguments[0] == "--scan":
            _, _, pattern = arguments
            keys = _ask(connection, replies, ["KEYS", pattern])
            return "".join(f"{_quoted(key)}\n" for key in keys)
        return "".join(f"{line}\n" for line in _lines(_ask(connection, replies, arguments)))


def _ask(connection: socket.socket, replies: BinaryIO, arguments: list[str]) -> Any:
    parts = [argument.encode() for argument in arguments]
    connection.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))
    return _read(replies)


def _read(replies: BinaryIO) -> Any:
    line = replies.readline().rstrip(b"\r\n")
    kind, rest = line[:1], line[1:]
    match kind:
        case b"+":
            return Status(rest.decode())
        case b"-":
            return Status(f"(error) {rest.decode()}")
        case b":":
            return int(rest)
        case b"$":
            if rest == b"-1":
                return None
            return replies.read(int(rest) + 2)[:-2].decode()
        case b"*":
            return None if rest == b"-1" else [_read(replies) for _ in range(int(rest))]
        case _:
            raise AssertionError(f"no RESP2: {line!r}")


def _lines(reply: Any) -> Iterator[str]:
    match reply:
        case Status(text=text):
            yield text
        case None:
            yield "(nil)"
        case int():
            yield f"(integer) {reply}"
        case str():
            yield _quoted(reply)
        case []:
            yield "(empty array)"
        case _:
            width = len(str(len(reply)))
            for number, item in enumerate(reply, 1):
                first, *rest = _lines(item)
                yield f"{number:>{width}}) {first}"
                yield from (" " * (width + 2) + line for line in rest)


def _quoted(text: str) -> str:
    inside = "".join(
        _ESCAPES.get(c) or (c if c.isascii() else "".join(f"\\x{b:02x}" for b in c.encode())) for c in text
    )
    return f'"{inside}"'
