"""Options that several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from metronome_worker.settings import LOG_LEVELS

if TYPE_CHECKING:
    from metronome_worker.settings import Environment

redis_option = click.option("--redis", "redis_url", metavar="URL", help="The Redis to use; else METRONOME_REDIS_URL.")
strict_option = click.option("--strict", is_flag=True, help="Treat corrections of the flow as errors.")
log_level_option = click.option("--log-level", type=click.Choice(LOG_LEVELS), default="info", show_default=True)
json_option = click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")


def required_url(given: str | None, environment: Environment) -> str:
    """The Redis that a command must have.  Raises ``click.UsageError`` when none is named."""
    url = given or environment.redis_url
    if url is None:
        raise click.UsageError("name a Redis: --redis redis://HOST:PORT/0, or METRONOME_REDIS_URL")
    return url
