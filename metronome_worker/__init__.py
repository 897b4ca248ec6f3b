"""Tremor's metronome, made distributed."""

__version__ = "0.1.0"
