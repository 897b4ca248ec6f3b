"""What the deployments under fault do: each stage writes the number of each tick to a file of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.system.flows import flow_of

if TYPE_CHECKING:
    from pathlib import Path


def counting(folder: Path, interval_ms: int, stages: int = 1) -> str:
    """``stages`` schedules ``tick``, ``tick1``, …, each with a file ``tick.log``, ``tick1.log``, … in ``folder``."""
    return flow_of(
        "define pipeline ids pipeline select event.id from in into out; end;",
        *(statement for name in names(stages) for statement in _stage(folder, name, interval_ms)),
    )


def with_failures(text: str, interval_ms: int) -> str:
    """The same, and a stage that all workers share: every event of ``fails`` becomes a dead letter."""
    return text.replace(
        "end;\ndeploy",
        "\n".join(
            (
                f'  define connector fails from metronome with config = {{"interval": {interval_ms}}} end;',
                "  define connector gone from null;",
                "  define pipeline failing pipeline select event.id / 0 from in into out; end;",
                "  create connector fails;",
                "  create connector gone;",
                "  create pipeline failing;",
                "  connect /connector/fails to /pipeline/failing;",
                "  connect /pipeline/failing to /connector/gone;",
                "end;",
                "deploy",
            )
        ),
    )


def names(stages: int) -> list[str]:
    return [f"tick{number or ''}" for number in range(stages)]


def _stage(folder: Path, name: str, interval_ms: int) -> tuple[str, ...]:
    return (
        f'define connector {name} from metronome with config = {{"interval": {interval_ms}}} end;',
        f'define connector {name}_file from file with codec = "json", postprocessors = ["separate"], '
        f'config = {{"path": "{folder / name}.log", "mode": "truncate"}} end;',
        f"create connector {name};",
        f"create connector {name}_file;",
        f"create pipeline {name}_ids from ids;",
        f"connect /connector/{name} to /pipeline/{name}_ids;",
        f"connect /pipeline/{name}_ids to /connector/{name}_file;",
    )
