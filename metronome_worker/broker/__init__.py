"""Redis: names of keys, scripts, leases, connections, the embedded server."""
