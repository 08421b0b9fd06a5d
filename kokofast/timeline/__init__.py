"""Timelines: how the links of a lab change with time, as JSON lines or as NetSatBench's epochs. Pure."""
