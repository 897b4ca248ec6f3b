"""What many flows cost: CPU of each process, commands and connections of the server, leases lost at the start.

What is measured.  Real processes (``metronome ticker``, ``metronome worker``) follow many flows on an embedded server;
each flow has one metronome, one pipeline, and one file, so one stage that one worker owns.  Processes are started at
once; the start is over when every flow is led and every stage is owned and has committed.  They are then left alone
until work has been spread evenly.  What they do from then on is being there: leases are renewed, standbys ask for them,
heartbeats are sent; and one tick per flow and interval, from schedule to commit.

How.  CPU is what the kernel has counted for a process (user and system, all threads), which other load on the machine
changes little, unlike times.  Commands come from INFO commandstats, which counts what scripts call as well; reads
are how often the server found something to read on a connection.  Leases that are lost are those that the logs tell of.

To compare two versions of the package, name the folder of the other one in PYTHONPATH.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import click
from redis import Redis
from rich.table import Table
from rig import caption, console, machine, write_json

from metronome_worker.broker.embedded import EmbeddedServer
from metronome_worker.broker.keys import FlowKeys

FLOW: Final = """
define flow flow{number}
flow
  use tremor::pipelines;
  define connector out from file
  with codec = "json", postprocessors = ["separate"], config = {{"path": "{folder}/{number}.out", "mode": "truncate"}}
  end;
  define connector clock from metronome
  with config = {{"interval": {interval_ms}}}
  end;
  create connector clock;
  create connector out;
  create pipeline pass from pipelines::passthrough;
  connect /connector/clock to /pipeline/pass;
  connect /pipeline/pass to /connector/out;
end;
deploy flow flow{number};
"""

#: The start, and then the spreading of the work, may take so long, seconds.
START_LIMIT_S: Final = 600.0
#: Work counts as spread when so long nothing was handed over, seconds.
QUIET_S: Final = 5.0
END_LIMIT_S: Final = 30.0
_LOOK_S: Final = 0.5
_LOST: Final = ("leading_lost", "stage_lost")


class Replica:
    """One process of a role, with its log in a file."""

    def __init__(self, role: str, number: int, folder: Path, arguments: list[str]) -> None:
        self.name = f"{role} {number}"
        self._log = folder / f"{role}{number}.log"
        command = [sys.executable, "-m", "metronome_worker.cli.main", role, *arguments]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, cwd=folder, stderr=log, stdout=log)

    def cpu_s(self) -> float:
        """User and system time of all threads so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def events(self) -> list[str]:
        """What it has logged, by name."""
        lines = [line for line in self._log.read_text().split("\n")[:-1] if line.startswith("{")]
        return [json.loads(line)["event"] for line in lines]

    def end(self) -> None:
        if self._process.poll() is not None:
            raise SystemExit(f"{self.name} has ended by itself:\n{self._log.read_text()[-2000:]}")
        self._process.terminate()

    def wait(self) -> None:
        try:
            self._process.wait(END_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Deployment:
    """The processes, and the server that they share."""

    def __init__(self, client: Redis, replicas: list[Replica], flows: int) -> None:
        self.client, self.replicas, self._flows = client, replicas, flows

    def await_start(self) -> float:
        """Until every flow is published and committed; returns how long that took, seconds."""
        began = time.monotonic()
        self._await("every flow runs", began, self._is_at_work)
        return time.monotonic() - began

    def await_quiet(self) -> None:
        """Until nothing was taken, handed over or lost for a while."""
        began = time.monotonic()
        seen, since = self.events(), began

        def is_quiet() -> bool:
            nonlocal seen, since
            if (now := self.events()) != seen:
                seen, since = now, time.monotonic()
            return time.monotonic() - since > QUIET_S

        self._await("work is spread", began, is_quiet)

    def events(self) -> list[list[str]]:
        return [replica.events() for replica in self.replicas]

    def cpu_s(self) -> list[float]:
        return [replica.cpu_s() for replica in self.replicas]

    def lost(self) -> int:
        return sum(event in _LOST for events in self.events() for event in events)

    def commands(self) -> dict[str, int]:
        """How often each command was run, by clients and by scripts."""
        stats: dict[str, dict[str, Any]] = self.client.info("commandstats")  # type: ignore[assignment]
        return {name.removeprefix("cmdstat_"): int(each["calls"]) for name, each in stats.items()}

    def _is_at_work(self) -> bool:
        keys = [FlowKeys(f"flow{number}") for number in range(self._flows)]
        with self.client.pipeline(transaction=False) as pipe:
            for each in keys:
                pipe.hget(each.schedule("clock"), "published")
                pipe.hget(each.state("clock"), "commits")
            found = pipe.execute()
        # The commit with which an owner takes over is the first one.
        return all(int(value or 0) >= least for value, least in zip(found, [1, 2] * self._flows, strict=True))

    @staticmethod
    def _await(what: str, began: float, is_so: Any) -> None:
        while not is_so():
            if time.monotonic() - began > START_LIMIT_S:
                raise SystemExit(f"not within {START_LIMIT_S:.0f} s: {what}")
            time.sleep(_LOOK_S)


def measure(flows: int, tickers: int, workers: int, interval_ms: int, duration_s: float) -> dict[str, Any]:
    """One run, start to end; the result as it is written to JSON."""
    before = machine()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="metronome-benchmark-")))
        server = EmbeddedServer()
        server.start()
        stack.callback(server.stop)
        client = stack.enter_context(Redis.from_url(server.url, decode_responses=True))
        file = folder / "flows.troy"
        file.write_text(
            "".join(FLOW.format(number=number, interval_ms=interval_ms, folder=folder) for number in range(flows))
        )
        replicas: list[Replica] = []
        stack.callback(lambda: [replica.wait() for replica in replicas])
        stack.callback(lambda: [replica.end() for replica in replicas])
        for role, count, arguments in (("ticker", tickers, [str(file)]), ("worker", workers, [])):
            for number in range(1, count + 1):
                replicas.append(Replica(role, number, folder, [*arguments, "--redis", server.url]))
        deployment = Deployment(client, replicas, flows)
        started_s = deployment.await_start()
        start_cpu_s = deployment.cpu_s()
        deployment.await_quiet()
        lost = deployment.lost()
        rest = _rest(deployment, duration_s)
    return {
        "benchmark": "many_flows",
        "machine": before,
        "flows": flows,
        "interval_ms": interval_ms,
        "start": {"seconds": started_s, "cpu_s": _by_name(replicas, start_cpu_s), "leases_lost": lost},
        "rest": rest,
    }


def _rest(deployment: Deployment, duration_s: float) -> dict[str, Any]:
    """What a while costs in which nothing happens but ticks."""
    lost, cpu_s, commands, began = deployment.lost(), deployment.cpu_s(), deployment.commands(), time.monotonic()
    trips = _inputs(deployment.client)
    time.sleep(duration_s)
    took_s = time.monotonic() - began
    spent = [after - before for before, after in zip(cpu_s, deployment.cpu_s(), strict=True)]
    run = {name: (count - commands.get(name, 0)) / took_s for name, count in deployment.commands().items()}
    return {
        "seconds": took_s,
        "cpu_share": _by_name(deployment.replicas, [each / took_s for each in spent]),
        "commands_per_s": sum(run.values()),
        "reads_per_s": (_inputs(deployment.client) - trips) / took_s,
        "connections": deployment.client.info("clients")["connected_clients"],  # type: ignore[index]
        "leases_lost": deployment.lost() - lost,
        "by_command": {name: round(rate, 1) for name, rate in sorted(run.items(), key=lambda one: -one[1]) if rate > 1},
    }


def _inputs(client: Redis) -> int:
    """How often the server has read from a connection: once for what comes at once."""
    return int(client.info("stats")["total_reads_processed"])  # type: ignore[index]


def _by_name(replicas: list[Replica], values: list[float]) -> dict[str, float]:
    return {replica.name: round(value, 4) for replica, value in zip(replicas, values, strict=True)}


def show(result: dict[str, Any]) -> None:
    """The result as a table."""
    start, rest = result["start"], result["rest"]
    table = Table(title=f"{result['flows']} flows, a tick every {result['interval_ms']} ms")
    for heading in ("", "CPU to start, s", "CPU at rest, % of a core"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, share in rest["cpu_share"].items():
        table.add_row(name, f"{start['cpu_s'][name]:.2f}", f"{100 * share:.1f}")
    table.add_section()
    table.add_row("all", f"{sum(start['cpu_s'].values()):.2f}", f"{100 * sum(rest['cpu_share'].values()):.1f}")
    table.caption = (
        f"all at work after {start['seconds']:.1f} s; leases lost: {start['leases_lost']} at the start, "
        f"{rest['leases_lost']} at rest\n"
        f"{rest['commands_per_s']:,.0f} commands/s, {rest['reads_per_s']:,.0f} reads/s, "
        f"{rest['connections']:,} connections\n{caption(result['machine'])}"
    )
    console.print(table)


@click.command(help=__doc__.partition("\n")[0])
@click.option("--flows", type=click.IntRange(min=1), default=200, show_default=True)
@click.option("--tickers", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--workers", type=click.IntRange(min=1), default=4, show_default=True)
@click.option("--interval", type=click.IntRange(min=100), default=1_000, show_default=True, help="Of each flow, ms.")
@click.option("--duration", type=click.FloatRange(min=1), default=20.0, show_default=True, help="Seconds at rest.")
@click.option("--quick", is_flag=True, help="Ten flows for two seconds: shows that it runs, measures nothing.")
@click.option("--json", "target", metavar="FILE|-", help="Write the result as JSON.")
def main(
    *, flows: int, tickers: int, workers: int, interval: int, duration: float, quick: bool, target: str | None
) -> None:
    if quick:
        flows, duration = 10, 2.0
    result = measure(flows, tickers, workers, interval, duration)
    show(result)
    write_json(target, result)


if __name__ == "__main__":
    main()
