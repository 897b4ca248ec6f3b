"""Only on request: these tests need a Docker engine and minutes.  `make test-compose` asks for them."""

from __future__ import annotations

import os
import shutil
import time
from typing import Final

import pytest

from tests.compose.stack import IMAGE, REPOSITORY, compose_command, run, say

#: pip fetches the dependencies.
_BUILD_LIMIT_S: Final = 600.0


def pytest_report_header() -> str | None:
    if not os.environ.get("METRONOME_COMPOSE"):
        return None
    return f"compose: {' '.join(compose_command() or ('none',))}"


@pytest.fixture(scope="session")
def image() -> str:
    """The image of every role, made from this working copy.  Stays, as a cache."""
    if not os.environ.get("METRONOME_COMPOSE"):
        pytest.skip("needs a Docker engine and minutes: make test-compose")
    assert shutil.which("docker"), "docker is not on PATH"
    assert compose_command(), "neither `docker compose` nor docker-compose is there"
    start = time.monotonic()
    dockerfile = str(REPOSITORY / "infra" / "Dockerfile")
    run("docker", "build", "--file", dockerfile, "--tag", IMAGE, str(REPOSITORY), limit_s=_BUILD_LIMIT_S)
    total = int(run("docker", "image", "inspect", "--format={{.Size}}", IMAGE))
    layers = run("docker", "history", "--human=false", "--no-trunc", "--format={{.Size}} {{.CreatedBy}}", IMAGE)
    own = sum(int(line.split()[0]) for line in layers.splitlines() if "COPY" in line and "/opt/metronome" in line)
    say(f"image: made in {time.monotonic() - start:.1f} s, {total / 1e6:.0f} MB, {own / 1e6:.0f} MB above its base")
    assert 0 < own < 60e6, "what is put on top of the base image is meant to be small"
    return IMAGE
