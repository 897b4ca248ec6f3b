"""One page's commands, run in order in one folder, against one server where a page names one."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final, Self

from redis import Redis

from tests.docs import redis_cli
from tests.docs.not_run import NOT_RUN
from tests.docs.pages import REPOSITORY, Block, Command, blocks_of, commands_of
from tests.docs.terminal import LIMIT_S, Running, environment_of
from tests.docs.volatile import as_shown
from tests.harness.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHOWN_SERVER: Final = "127.0.0.1:6379"
"""How pages call the server that stands for a reader's own Redis."""


class Session:
    """``run`` yields each command of a page with what it printed.  Use it as a context: nothing goes on behind it."""

    def __init__(self, folder: Path, port: int, *, is_redis_cli_real: bool) -> None:
        self._folder, self._port, self._is_redis_cli_real = folder, port, is_redis_cli_real
        self._environment = environment_of(folder)
        self._background: list[tuple[Command, Running]] = []
        shutil.copytree(REPOSITORY / "pipelines", folder / "pipelines")
        self._prepare_make()

    def _prepare_make(self) -> None:
        """Makes ``make run`` believe that it has installed what it needs, as ``make test`` has before this test."""
        for name in ("Makefile", "pyproject.toml"):
            shutil.copy(REPOSITORY / name, self._folder)
        commands = self._folder / ".venv" / "bin"
        commands.mkdir(parents=True)
        (commands / "metronome").symlink_to(self._folder.parent / "bin" / "metronome")
        (self._folder / ".venv" / ".installed").touch()

    def run(self, page: Path) -> Iterator[tuple[Command, str]]:
        for block in blocks_of(page):
            if name := block.option("file"):
                (self._folder / name).write_text(block.text, encoding="utf-8")
            if block.language == "console":
                yield from self._run_block(block)
        for command, running in self._background:
            yield command, self._shown(running.output())

    def _run_block(self, block: Block) -> Iterator[tuple[Command, str]]:
        if ticks := block.option("ticks"):
            self._wait_for_ticks(int(ticks))
        if "ended" in block.words:
            wait_until(lambda: all(running.is_over for _, running in self._background), LIMIT_S, "the end of the flow")
        for command in commands_of(block):
            if command.text in NOT_RUN:
                continue
            if "background" in block.words:
                self._background.append((command, self._start(command.text)))
            else:
                yield command, self._shown(self._output(command.text))

    def _output(self, text: str) -> str:
        if text.startswith("redis-cli ") and not self._is_redis_cli_real:
            return redis_cli.run(text, self._port)
        return self._start(text).output()

    def _start(self, text: str) -> Running:
        """The same command for the server of the test."""
        text = text.replace(SHOWN_SERVER, f"127.0.0.1:{self._port}")
        text = text.replace("redis-cli ", f"redis-cli -p {self._port} ")
        return Running(text, self._folder, self._environment)

    def _shown(self, printed: str) -> str:
        return as_shown(printed, str(self._folder), f"127.0.0.1:{self._port}")

    def _wait_for_ticks(self, count: int) -> None:
        """Until the stage has committed so many ticks."""
        with Redis(port=self._port) as client:

            def is_committed() -> bool:
                assert not any(running.is_over for _, running in self._background), "the flow has ended"
                return int(client.hget("metronome:{main}:state:tick", "read:tick") or 0) >= count

            wait_until(is_committed, LIMIT_S, f"{count} committed ticks")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for _, running in self._background:
            running.kill()
