"""The command `metronome`."""

from __future__ import annotations

import gc
import os
import sys

import click

from metronome_worker import __version__


class _Commands(click.Group):
    """Imports a command's module only when that command is asked for: the others cost nothing at start."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return ["check", "run"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        match cmd_name:
            case "check":
                from metronome_worker.cli.check import check

                return check
            case "run":
                from metronome_worker.cli.run import run

                return run
            case _:
                return None


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="metronome")
def metronome() -> None:
    """Periodic events through select pipelines into sinks, exactly once, on Redis Streams."""


def main() -> None:
    """Run the command line.  Status: 0, or 1 (the flow has errors), 2 (usage), 3 (the environment), 70 (a bug)."""
    try:
        status = metronome.main(prog_name="metronome", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output has gone; what is still buffered must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
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
