"""File sinks as the tests open and write them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from metronome_worker.connectors.interface import NodeState, SinkWriter
from metronome_worker.connectors.registry import make_writer
from tests.unit.connectors.instances import SEPARATE, environment, instance, outputs


def writer_of(path: Path | str, mode: str, is_ours: Callable[[], bool] = lambda: True) -> SinkWriter:
    made = instance("file", {"path": str(path), "mode": mode}, codec="json", postprocessors=SEPARATE)
    return make_writer(made, replace(environment(Path(path).parent), is_ours=is_ours))


def run(
    path: Path, mode: str, committed: NodeState | None, *batches: list[int], after: Callable[[], object] | None = None
) -> tuple[NodeState | None, list[NodeState | None]]:
    """Open, write the batches, close; returns what ``open`` and each ``write`` ask to commit."""

    async def do() -> tuple[NodeState | None, list[NodeState | None]]:
        writer = writer_of(path, mode)
        try:
            opened = await writer.open(committed)
            if after is not None:
                after()
            return opened, [(await writer.write(outputs(*batch))).state for batch in batches]
        finally:
            await writer.close()

    return asyncio.run(do())


def state(path: Path, length: int) -> NodeState:
    return {"path": str(path), "length": length}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.log"
