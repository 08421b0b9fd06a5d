"""Files of other programs, a module each: recognise a file, and make a topology in our own format of it. Pure.

kokofast.topology.loader asks take() about a file that is not in our format. An importer executes nothing of its file.
"""

from __future__ import annotations

from kokofast.registry import Registry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokofast.importers.importer import Importer

# In the order in which they are asked: what could be many things comes last.
NAMES = ("containerlab", "kathara", "gml", "graphml", "nodelink", "netsatbench", "table", "edges")

# Engines whose containers the nodes of a file may be.
RUNTIMES = ("docker", "podman")

IMPORTERS: Registry[Importer] = Registry("kokofast.importers", "IMPORTER", NAMES)
