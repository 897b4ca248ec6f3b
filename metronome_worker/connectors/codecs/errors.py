"""What goes wrong between bytes and values."""

from __future__ import annotations

from typing import ClassVar

from metronome_worker.errors import MetronomeError


class CodecError(MetronomeError):
    """Whoever made the data must act: bytes that are no value of the codec, or a value that has no bytes in it."""

    exit_status: ClassVar[int] = 1
