"""``python -m tests.docs.rewrite PAGE…``: puts into the pages what their commands really print, where it differs.

For whoever changed the program or a page; look at what changed before you keep it.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from redis import Redis

from metronome_worker.broker.embedded import EmbeddedServer
from tests.docs.pages import Command
from tests.docs.session import Session
from tests.docs.test_commands import is_as_shown


def rewrite(page: Path, port: int) -> None:
    """Run the page's commands and write what is new."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent, "flows")
        folder.mkdir()
        with Session(folder, port, is_redis_cli_real=shutil.which("redis-cli") is not None) as session:
            found = list(session.run(page))
    lines = page.read_text(encoding="utf-8").splitlines()
    for command, printed in sorted(found, key=lambda entry: entry[0].line, reverse=True):
        if not is_as_shown(command, printed):
            first = _first_of(command)
            lines[first : first + command.expected.count("\n")] = printed.splitlines()
    page.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _first_of(command: Command) -> int:
    """The index of the first line of output."""
    return command.line + command.text.count("\n")


def main(pages: list[str]) -> None:
    server = EmbeddedServer()
    server.start()
    try:
        for page in pages:
            with Redis(port=server.port) as client:
                client.flushall()
            rewrite(Path(page), server.port)
    finally:
        server.stop()


if __name__ == "__main__":
    main(sys.argv[1:])
