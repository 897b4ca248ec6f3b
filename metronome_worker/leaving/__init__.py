"""How a flow leaves: from a request, by the barrier, to the end."""
