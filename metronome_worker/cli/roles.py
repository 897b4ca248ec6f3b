"""`metronome ticker` and `metronome worker`: the roles apart, any number of each, on one Redis."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from metronome_worker.cli.options import log_level_option, redis_option, required_url, strict_option
from metronome_worker.settings import read_environment


@click.command()
@click.argument("flows", nargs=-1, type=click.Path(path_type=Path), metavar="[FLOW...]")
@redis_option
@strict_option
@log_level_option
def ticker(flows: tuple[Path, ...], *, redis_url: str | None, strict: bool, log_level: str) -> int:
    """Publish the ticks of every deployed flow, as its leader or as a standby; deploy the files named, if new.

    Leaves with the flows' code when all have ended.  SIGTERM hands over to a standby and leaves with status 0.
    """
    environment = read_environment(os.environ)
    url = required_url(redis_url, environment)
    import uvloop

    from metronome_worker.cli.flow_files import checked_flows
    from metronome_worker.cli.role_process import run_role
    from metronome_worker.observe.log import make_log

    checked = checked_flows(flows, environment.module_path, strict=strict)
    return uvloop.run(run_role("ticker", url, environment.namespace, make_log(sys.stderr, log_level), checked))


@click.command()
@redis_option
@log_level_option
def worker(*, redis_url: str | None, log_level: str) -> int:
    """Run the stages of every deployed flow, sharing them evenly with the other workers.

    Leaves with the flows' code when all have ended.  SIGTERM finishes the batches under way and leaves with status 0.
    """
    environment = read_environment(os.environ)
    url = required_url(redis_url, environment)
    import uvloop

    from metronome_worker.cli.role_process import run_role
    from metronome_worker.observe.log import make_log

    return uvloop.run(run_role("worker", url, environment.namespace, make_log(sys.stderr, log_level)))
