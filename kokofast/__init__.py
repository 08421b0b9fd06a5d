"""kokofast wires network namespaces and containers together, thousands of links at a time.

The names of the library come from kokofast.api when they are first used: the command line does without trio where
it can.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokofast.api import (
        ApplyError,
        Failure,
        Result,
        SeenLink,
        Topology,
        TopologyError,
        apply,
        deployed,
        destroy,
        inspect,
        load,
    )

__version__ = "0.1.0"

__all__ = [
    "ApplyError",
    "Failure",
    "Result",
    "SeenLink",
    "Topology",
    "TopologyError",
    "__version__",
    "apply",
    "deployed",
    "destroy",
    "inspect",
    "load",
]


def __getattr__(name: str) -> object:
    if name in __all__:
        from kokofast import api

        return getattr(api, name)
    raise AttributeError(f"module 'kokofast' has no attribute {name!r}")
