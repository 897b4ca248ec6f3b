"""The command `metronome`."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import click

from metronome_worker import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

#: As of a process that SIGPIPE ended.
_READER_GONE: Final = 141


class _ReaderGoneError(Exception):
    """Whoever read our output has gone.  Of a ``BrokenPipeError`` click makes status 1, which here is a wrong flow."""


@contextmanager
def _noticing_the_reader() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise _ReaderGoneError from error


#: Where each command is: its module is imported only when it is asked for, the others cost nothing at start.
_COMMANDS = {
    "check": ("check", "check"),
    "run": ("run", "run"),
    "ticker": ("roles", "ticker"),
    "worker": ("roles", "worker"),
    "deploy": ("flows", "deploy"),
    "undeploy": ("flows", "undeploy"),
    "pause": ("flows", "pause"),
    "resume": ("flows", "resume"),
    "exit": ("flows", "exit_"),
    "flows": ("flows", "flows"),
    "status": ("status", "status"),
    "health": ("health", "health"),
    "graph": ("graph", "graph"),
    "verify": ("verify", "verify"),
    "dead": ("dead", "dead"),
}


class _Commands(click.Group):
    def make_context(self, *args: Any, **settings: Any) -> click.Context:
        with _noticing_the_reader():  # of --help
            return super().make_context(*args, **settings)

    def invoke(self, ctx: click.Context) -> Any:
        with _noticing_the_reader():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(f"metronome_worker.cli.{module}"), name)
        return command


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="metronome")
def metronome() -> None:
    """Periodic events through select pipelines into sinks, exactly once, on Redis Streams."""


def _open_closed_streams() -> None:
    """Give the process the standard streams that it was started without: libuv aborts when it gets 0, 1 or 2 itself."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # What is opened gets the lowest free descriptor: in this order, the stream's own.
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115, PTH123  for as long as the process lives


def main() -> None:
    """Run the command line.  Status: 0, or 1 (the flow has errors), 2 (usage), 3 (the environment), 70 (a bug)."""
    _open_closed_streams()
    try:
        status = metronome.main(prog_name="metronome", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
    except _ReaderGoneError:
        # What is still buffered must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(_READER_GONE)
    except Exception as error:
        if os.environ.get("METRONOME_DEBUG"):
            raise
        from metronome_worker.cli.report import show_error

        sys.exit(show_error(error))
    finally:
        # All goes now: looking for what could be freed first would only hold up the exit, by some 30 ms.
        gc.freeze()
    sys.exit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    main()
