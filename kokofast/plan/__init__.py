"""Decisions: the topology and what was observed become operations and what each must wait for. Pure."""
