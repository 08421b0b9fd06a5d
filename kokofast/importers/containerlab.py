"""A topology file of containerlab (containerlab.dev): NAME.clab.yml. netlab writes such a file, too.

Its nodes become network namespaces; or, with a runtime, the containers of the lab that runs. Only what is wiring is
read. As in containerlab a veth has an MTU of 9500, and a vxlan the port 14789.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from kokofast.importers.clab_links import Links
from kokofast.importers.clab_nodes import Nodes
from kokofast.importers.clab_values import Values
from kokofast.importers.importer import Imported, Importer, Options, Source
from kokofast.topology.document import describe
from kokofast.topology.problems import Problem, TopologyError

_KEY = re.compile(r"^topology:", re.MULTILINE)


def recognise(source: Source) -> bool:
    """Whether it has a topology with nodes or links, and is not ours."""
    if source.tree is None:
        return _is_template(source)
    if not isinstance(source.tree, dict) or "links" in source.tree:
        return False
    topology = source.tree.get("topology")
    return isinstance(topology, dict) and ("nodes" in topology or "links" in topology)


def _is_template(source: Source) -> bool:
    return "{{" in source.text and _KEY.search(source.text) is not None


def read(source: Source, options: Options) -> Imported:
    """Make a topology of the file."""
    tree = source.tree
    if not isinstance(tree, dict):
        is_template = _is_template(source)
        words = (
            "this is a template; give what containerlab makes of it" if is_template else "this is no mapping in YAML"
        )
        raise TopologyError([Problem(source.title, words)])
    topology = tree.get("topology")
    if not isinstance(topology, dict):
        raise TopologyError([Problem("$.topology", f"must be a mapping, not {describe(topology)}")])
    values = Values(options.environment)
    lab = values.text(tree.get("name"), "$.name")
    if lab:
        values.draft.name_lab(lab, "$.name")
    nodes = Nodes(values, topology, _prefix(values, tree, lab), options.runtime)
    Links(values, nodes).read(topology.get("links"))
    nodes.finish()
    return values.draft.imported()


def _prefix(values: Values, tree: Mapping[str, object], lab: str) -> str:
    """Return what the names of the containers begin with."""
    prefix = values.text(tree["prefix"], "$.prefix") if tree.get("prefix") is not None else "clab"
    if prefix == "__lab-name":
        return f"{lab}-"
    return f"{prefix}-{lab}-" if prefix else ""


IMPORTER = Importer("containerlab", "a topology of containerlab", recognise, read)
