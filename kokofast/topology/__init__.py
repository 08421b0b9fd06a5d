"""The topology file: bytes -> Topology. Pure: no sockets, no system calls, no event loop.

load() reads a file, schema() describes the format, the dump functions write it. The names below are imported at their
first use, because they need msgspec: koko's command line uses only the model and the values of this package.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokofast.topology.json_schema import schema
    from kokofast.topology.loader import FILE_BYTES_MAX, FORMATS, load
    from kokofast.topology.problems import Problem, TopologyError
    from kokofast.topology.values import check_ifname, parse_address, parse_mac
    from kokofast.topology.write import dump_csv, dump_json, dump_yaml

__all__ = [
    "FILE_BYTES_MAX",
    "FORMATS",
    "Problem",
    "TopologyError",
    "check_ifname",
    "dump_csv",
    "dump_json",
    "dump_yaml",
    "load",
    "parse_address",
    "parse_mac",
    "schema",
]

_HOMES = {
    "FILE_BYTES_MAX": "loader",
    "FORMATS": "loader",
    "load": "loader",
    "schema": "json_schema",
    "dump_json": "write",
    "dump_yaml": "write",
    "dump_csv": "write",
    "Problem": "problems",
    "TopologyError": "problems",
    "check_ifname": "values",
    "parse_address": "values",
    "parse_mac": "values",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
