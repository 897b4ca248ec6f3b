"""``python -m tests.faults.deadly_worker``: a worker that the event ``{"id": 30}`` of any source kills, each time."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Final

from metronome_worker.cli.main import main
from metronome_worker.runtime.stage import StageProgram

if TYPE_CHECKING:
    from collections.abc import Sequence

    from metronome_worker.runtime.effects import Effects, Entry

KILLER: Final = 30


class _Deadly(StageProgram):
    def run(self, source_node: str, entries: Sequence[Entry], effects: Effects, *, port: str = "out") -> None:
        if any(event["id"] == KILLER for _, event, _ in entries):
            os.kill(os.getpid(), signal.SIGKILL)
        super().run(source_node, entries, effects, port=port)


if __name__ == "__main__":
    import metronome_worker.runtime.stage as stage

    stage.StageProgram = _Deadly  # type: ignore[misc]
    sys.argv[1:1] = ["worker"]
    main()
