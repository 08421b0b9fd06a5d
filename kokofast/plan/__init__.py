"""Decisions: compute the operations that make the kernel match the topology, and their order. Pure."""
