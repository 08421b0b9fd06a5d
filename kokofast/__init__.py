"""kokofast wires network namespaces and containers together, thousands of links at a time."""

__version__ = "0.1.0"
