"""Real processes, a real server, real signals: what a deployment promises, whatever is done to it."""
