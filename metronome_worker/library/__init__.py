"""The modules that ship with metronome-worker, and the functions behind them."""
