"""`metronome run`: a whole deployment in one process, on an embedded server or on a Redis that is named."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path

import click

from metronome_worker.broker.embedded import EmbeddedServer
from metronome_worker.cli.options import log_level_option, strict_option
from metronome_worker.settings import read_environment


@click.command()
@click.argument("flows", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FLOW...")
@click.option("--redis", "redis_url", metavar="URL", help="A Redis to use (else METRONOME_REDIS_URL, else an own one).")
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="Keep the own server's data here.")
@strict_option
@log_level_option
def run(flows: tuple[Path, ...], *, redis_url: str | None, data: Path | None, strict: bool, log_level: str) -> int:
    """Run flow files until each has left by its `exit` connector.

    The status is the number in the `exit` event, the largest one of several flows.  SIGTERM and Ctrl-C leave in
    order with status 0 and 130; a second one leaves at once.
    """
    environment = read_environment(os.environ)
    if data is not None and redis_url is not None:
        raise click.UsageError("--data is for the embedded server: it cannot go with --redis")
    # With --data the data are wanted on disk here, whatever Redis the environment names.
    url = redis_url or (environment.redis_url if data is None else None)
    with ExitStack() as stack:
        broker: str | EmbeddedServer
        if url is not None:
            broker = url
        else:
            broker = EmbeddedServer(data)
            stack.callback(broker.stop)
            if data is None:
                # It starts while our own modules are imported and the flows are checked.
                broker.launch()
        import uvloop

        from metronome_worker.cli.deployment import run_deployment
        from metronome_worker.cli.flow_files import checked_flows
        from metronome_worker.observe.log import make_log

        checked = checked_flows(flows, environment.module_path, strict=strict)
        log = make_log(sys.stderr, log_level)
        return uvloop.run(run_deployment(checked, broker, environment.namespace, log))
