"""Resolve nodes of the topology to network namespaces."""
