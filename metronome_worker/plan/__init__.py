"""Checked program to plan: instances, graph, stages."""
