"""The nodes of a file of containerlab, and what their ends are in ours."""

from __future__ import annotations

import re
from collections.abc import Mapping

from kokofast.importers.clab_values import Values
from kokofast.importers.interface_names import InterfaceNames, is_name
from kokofast.topology.problems import step, unknown
from kokofast.topology.values import quote

HOST = "host"
BRIDGES = ("bridge", "ovs-bridge")
NODES = "$.topology.nodes"
NAMES_SHOWN = 3
NODES_COMPARED = 100
# What stands for the caller's namespace and others at the place of a node.
RESERVED = (HOST, "macvlan", "mgmt-net")
# Kinds whose containers look for other names than the file has, with the format of those of the file.
_SRLINUX = re.compile(r"ethernet-(\d+)/(\d+)(?:/(\d+))?")
_SROS = re.compile(r"(\d+)/(?:(x\d+)/)?(\d+)(?:/(c\d+))?/(\d+)")
_OWN_NAMES = {"nokia_srlinux": _SRLINUX, "srl": _SRLINUX, "nokia_srsim": _SROS}
_CONTAINER = "container:"


class Nodes:
    """Declares nodes in the draft.

    Args:
        values: Reads values.
        topology: The mapping ``topology`` of the file.
        prefix: Of the names of containers.
        runtime: The engine whose containers the nodes are; None: network namespaces.
    """

    def __init__(self, values: Values, topology: Mapping[str, object], prefix: str, runtime: str | None) -> None:
        self._values = values
        self._prefix = prefix
        self._runtime = runtime
        self._names = InterfaceNames()
        self._changed: dict[str, str] = {}  # names of interfaces -> what they became
        self._changed_at = ""
        self._kinds: dict[str, str] = {}
        self._nodes: dict[str, Mapping[str, object]] = {}
        groups = values.mapping(topology.get("groups"), "$.topology.groups")
        defaults = values.mapping(topology.get("defaults"), "$.topology.defaults")
        for name, raw in values.mapping(topology.get("nodes"), NODES).items():
            node = self._nodes[name] = values.mapping(raw, self.place(name))
            group = groups.get(str(node.get("group", defaults.get("group"))))
            found: object = node.get("kind")
            for other in (group, defaults):
                if found is None and isinstance(other, Mapping):
                    found = other.get("kind")
            self._kinds[name] = values.text(found, f"{self.place(name)}.kind").lower()
            if name in RESERVED and self._kinds[name] != name:
                words = f"a node cannot be called {name}: in containerlab's endpoints that is no node; rename it"
                values.draft.refuse(self.place(name), words)
        if runtime is None:
            for name in self._nodes:
                self._declare(name)

    def place(self, name: str) -> str:
        """Return the place of a node."""
        return NODES + step(name)

    def take(self, name: str, interface: str) -> None:
        """Take the name of an interface, before all ends are made."""
        if is_name(interface):
            self._names.take(name, interface)

    def is_bridge(self, name: str) -> bool:
        """Whether a node is a bridge."""
        return self._kinds.get(name) in BRIDGES

    def is_ovs(self, name: str) -> bool:
        """Whether a node is a bridge that only Open vSwitch can have ports added to."""
        return self._runtime is not None and self._kinds.get(name) == "ovs-bridge"

    def end(self, name: str, interface: str, place: str) -> dict[str, object] | None:
        """Return an end, with the name of its interface; None after a problem."""
        if name != HOST and name not in self._nodes:
            # To look for a similar name takes long if there are many.
            has_few = len(self._nodes) <= NODES_COMPARED
            words = unknown("node", name, self._nodes) if has_few else f"there is no node {quote(name)}"
            self._values.draft.refuse(place, words)
            return None
        end: dict[str, object] = {"node": name, "interface": interface}
        if name == HOST or self._kinds[name] == HOST or (self.is_bridge(name) and self._runtime is not None):
            end["node"] = HOST
            self._values.draft.nodes.setdefault(HOST, {"host": True})
        else:
            self._declare(name)
        if self.is_bridge(name):
            end["master"] = self._bridge(name)
        end["interface"] = self._interface(name, interface, end, place)
        return end

    def _bridge(self, name: str) -> str:
        return name if self._runtime is not None or is_name(name) else "br0"

    def _interface(self, name: str, wanted: str, end: dict[str, object], place: str) -> str:
        own = _OWN_NAMES.get(self._kinds.get(name, ""))
        match = own.fullmatch(wanted) if own is not None else None
        suggested = "e" + "-".join(part for part in match.groups() if part) if match is not None else None
        found, altnames = self._names.name(str(end["node"]), wanted, suggested)
        if altnames:
            end["altnames"] = altnames
        if found != wanted:
            self._changed_at = self._changed_at or place
            self._changed[wanted] = found
        return found

    def _declare(self, name: str) -> None:
        """Declare a node, and its bridge if it is one."""
        draft = self._values.draft
        if name in draft.nodes or self._kinds[name] == HOST or name in RESERVED:
            return
        target = self._target(name)
        draft.add_node(name, target, self.place(name))
        if self.is_bridge(name):
            bridge: dict[str, object] = {"type": "bridge", "endpoint": {"node": name, "interface": self._bridge(name)}}
            draft.add_link(bridge, self.place(name), [self.place(name)])
            words = "a bridge is made in a namespace of its own; with --runtime the links join the host's bridge"
            draft.note(self.place(name), words)

    def _target(self, name: str) -> dict[str, object]:
        seen = [name]
        while (mode := self._network_mode(seen[-1])).startswith(_CONTAINER):
            other = mode.removeprefix(_CONTAINER)
            if other in seen or other not in self._nodes:
                break
            seen.append(other)
        if mode == "host":
            return {"host": True}
        if self._runtime is None:
            return {"netns": seen[-1], "create": True}
        is_external = self._kinds[seen[-1]] == "ext-container"
        return {self._runtime: seen[-1] if is_external else self._prefix + seen[-1]}

    def _network_mode(self, name: str) -> str:
        mode = self._nodes[name].get("network-mode")
        return self._values.text(mode, f"{self.place(name)}.network-mode") if isinstance(mode, str) else ""

    def finish(self) -> None:
        """Note which names of interfaces were changed."""
        if self._changed:
            shown = [f"{quote(name)[1:-1]} is {other}" for name, other in list(self._changed.items())[:NAMES_SHOWN]]
            more = ", ..." if len(self._changed) > NAMES_SHOWN else ""
            words = f"the kernel takes no names with '/', or of more than 15 bytes: {', '.join(shown)}{more}"
            self._values.draft.note(self._changed_at, words)
