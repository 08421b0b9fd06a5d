"""Pictures of topologies: what is drawn, where, and a module for each format. Pure.

layout.py imports the layout library igraph (the extra "graph"), and nothing else does.
"""

from __future__ import annotations

from kokofast.registry import Registry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokofast.graph.format import Format

NAMES = ("svg", "html", "dot", "mmd", "drawio")

FORMATS: Registry[Format] = Registry("kokofast.graph", "FORMAT", NAMES)
