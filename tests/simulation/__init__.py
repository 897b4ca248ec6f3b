"""Whole deployments in one process under a virtual clock: hosts with wrong clocks that die, stop, and come back."""
