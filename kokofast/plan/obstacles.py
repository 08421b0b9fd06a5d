"""What prevents the replacement of links: what is on them, and what would be lost with them."""

from __future__ import annotations

from kokofast.kinds import KINDS
from kokofast.plan.ownership import cookie_of
from kokofast.plan.replacement import is_stacked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokofast.plan.observed import Interface
    from kokofast.plan.replacement import OldLink, Replacement


def report_obstacles(replacement: Replacement) -> None:
    """Add a problem to the replacement for each thing that prevents it."""
    _Obstacles(replacement).report_all()


class _Obstacles:
    def __init__(self, replacement: Replacement) -> None:
        self._replacement = replacement
        self._report = replacement.report
        self._cookies = self._known_cookies()

    def report_all(self) -> None:
        for old in self._replacement.old:
            first = old.ends[0]
            kind = KINDS[first[1].kind]
            if len(old.ends) < kind.ends:
                self._report(old, *first, "its other end is in no namespace that can be found", "destroy the lab first")
            elif is_stacked(first[1]) and old.parent is None:
                self._report(old, *first, "its parent is in no namespace that can be found", "destroy the lab first")
            for ns, interface in old.ends:
                self._report_children(old, ns, interface)
                self._report_ports(old, ns, interface)
                self._report_losses(old, ns, interface)
                self._report_mirrors(old, ns, interface)

    def _report_children(self, old: OldLink, ns: int, interface: Interface) -> None:
        found = self._replacement
        for there, child in found.relations.children_of(ns, interface):
            if child.ifindex not in found.gone.get(there, ()):
                title = found.title(there, child.ifname)
                if found.is_ours(there, child):
                    fact, cure = f"{title} of a link that has left the file is on it", "give --prune, too"
                else:
                    fact, cure = f"{title}, which is not of this lab, is on it", "delete that first"
                self._report(old, ns, interface, fact, cure)

    def _report_ports(self, old: OldLink, ns: int, interface: Interface) -> None:
        found = self._replacement
        for port in found.relations.ports_of(ns, interface):
            if port.ifindex in found.gone.get(ns, ()) or (ns, port.ifindex) in found.situation.going:
                continue
            if self._property(ns, port.ifname, "master") == interface.ifname:
                continue
            title = found.title(ns, port.ifname)
            cure = f"take it out first (ip link set {port.ifname} nomaster)"
            self._report(old, ns, interface, f"{title}, to which the file gives no such master, is a port of it", cure)

    def _report_losses(self, old: OldLink, ns: int, interface: Interface) -> None:
        """Report a master and alternative names that the file does not give an end, and that would be lost."""
        if (ns, interface.ifname) not in self._replacement.in_file:
            return
        if interface.master and self._property(ns, interface.ifname, "master") is None:
            fact = "it has a master that the file does not give it"
            cure = f"give it one, or take it out first (ip link set {interface.ifname} nomaster)"
            self._report(old, ns, interface, fact, cure)
        if interface.altnames and self._property(ns, interface.ifname, "altnames") is None:
            fact = f"it has the alternative name {interface.altnames[0]}, which the file does not give it"
            self._report(old, ns, interface, fact, "give it altnames, or remove that first (ip link property del)")

    def _report_mirrors(self, old: OldLink, ns: int, interface: Interface) -> None:
        namespace = self._replacement.situation.observed[ns]
        for mirror in namespace.mirrors if namespace is not None else ():
            if mirror.cookie[:-1] in self._cookies or self._goes(ns, mirror.target):
                continue
            if mirror.ifname == interface.ifname:
                fact = "a filter that is not of a link in this file copies its traffic"
                self._report(old, ns, interface, fact, "remove that first (tc filter)")
            elif mirror.target == interface.ifindex:
                fact = f"a filter of {mirror.ifname} that is not of a link in this file copies traffic to it"
                self._report(old, ns, interface, fact, "remove that first (tc filter)")

    def _goes(self, ns: int, index: int) -> bool:
        """Whether an interface leaves the file, and keeps its name until then."""
        return (ns, index) in self._replacement.situation.going and (ns, index) not in self._replacement.asides

    def _known_cookies(self) -> set[bytes]:
        found = self._replacement
        aliases = {interface.alias for old in found.old for _, interface in old.ends}
        for ns, ifname in found.in_file:
            namespace = found.situation.observed[ns]
            interface = namespace.interfaces.get(ifname) if namespace is not None else None
            if interface is not None and interface.alias:
                aliases.add(interface.alias)
        return {cookie_of(found.topology.name, alias)[:-1] for alias in aliases}

    def _property(self, ns: int, ifname: str, name: str) -> object:
        number, places = self._replacement.in_file.get((ns, ifname)), self._replacement.situation.places
        for end in self._replacement.topology.links[number].ends if number is not None else ():
            if (places[end.node], end.ifname) == (ns, ifname):
                return end.properties.get(name)
        return None
