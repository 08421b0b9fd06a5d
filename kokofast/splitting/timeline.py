"""Split a timeline: each host gets the changes of its own links, at the same times.

An epoch is made on the whole lab, by the rules of play, which says what each of its entries is about. An entry about a
link within a host goes there as it is; of one about a link between hosts each gets what concerns its own end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kokofast.kinds import KINDS
from kokofast.splitting.entries import ADDRESSES, END, MTU, Entries, misfit
from kokofast.splitting.joints import Joint, check
from kokofast.topology.change import CHANGES, NAMING, make_change
from kokofast.topology.live import LiveTopology
from kokofast.topology.problems import Problem, TopologyError, step
from kokofast.topology.shapes import shape
from kokofast.topology.values import quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kokofast.splitting.split import Split
    from kokofast.timeline.epoch import Epoch
    from kokofast.topology.change import Named
    from kokofast.topology.delta import Key
    from kokofast.topology.model import Link

    Line = dict[str, Any]

SELECT = "select"
# What decides on the routes of a lab.
ROUTED = frozenset(("cost", "up", ADDRESSES))


class SplitTimeline:
    """Splits the epochs of a lab, one after the other."""

    def __init__(self, whole: Split) -> None:
        self._whole = whole
        self._live = LiveTopology(whole.topology)
        links = whole.topology.links
        self._joints: dict[Key, Joint] = {self._live.key_of(links[at]): joint for at, joint in whole.joints.items()}
        self._problems: list[Problem] = []
        self._entries = Entries(whole.topology.defaults, self._problems)
        # Of the last epoch: host -> list of its line -> the place of each entry in the user's timeline.
        self.places: dict[str, dict[str, list[str]]] = {}

    def split(self, epoch: Epoch) -> dict[str, Line]:
        """Return what changes on each host. Raises TopologyError with all problems."""
        self._problems.clear()
        named: dict[str, list[Named]] = {}
        make_change(self._live, epoch.changes, epoch.where, named)
        lines: dict[str, Line] = {}
        self.places = {}
        removed: list[Joint] = []
        for name in ("remove", "set", "add"):
            for number, entry in enumerate(epoch.changes.get(name, ())):
                path = f"{name}[{number}]"
                if self._whole.topology.routing is not None:
                    self._check_routing(name, entry, epoch.where(path))
                if name == "add":
                    found = self._added(entry, named[path], epoch, path)
                else:
                    found = self._shared(entry, named[path], epoch, path, is_removal=name == "remove")
                for host, mine in found:
                    lines.setdefault(host, {}).setdefault(name, []).append(mine)
                    self.places.setdefault(host, {}).setdefault(name, []).append(epoch.where(path))
            if name == "remove":
                gone = {key: None for path, those in named.items() if path.startswith(name) for key, _, _ in those}
                removed = [self._joints.pop(key) for key in gone if key in self._joints]
        self._add_commands(epoch, lines)
        for joint in removed:  # for later epochs: what this one removes is there until all else is done
            self._whole.numbering.release(joint)
        if self._problems:
            raise TopologyError(self._problems)
        return {
            host: {"at": epoch.at, **{key: line[key] for key in (*CHANGES, "run") if key in line}}
            for host, line in lines.items()
        }

    def _report(self, place: str, message: str) -> None:
        self._problems.append(Problem(place, message))

    def _host_of(self, node: str) -> str:
        host = self._live.nodes[node].host
        assert host is not None
        return host

    def _check_routing(self, name: str, entry: object, place: str) -> None:
        if name != "set" or (isinstance(entry, dict) and not ROUTED.isdisjoint(entry)):
            words = "would change the routes of the lab, and a part has routes of its own: leave out 'routing'"
            self._report(place, words)

    def _shared(
        self, entry: Any, named: Iterable[Named], epoch: Epoch, path: str, *, is_removal: bool
    ) -> Iterator[tuple[str, object]]:
        """Yield the host and the entry of each host that an entry of set or remove is about."""
        if isinstance(entry, list):
            entry = {"endpoints": entry}
        fields = {key: value for key, value in entry.items() if key not in NAMING}
        is_pattern = SELECT in entry
        covered: dict[str, None] = {}  # hosts that get the entry as it is
        ends: dict[tuple[str, str], None] = {}  # others get one for each end
        chosen = {(key, position) for key, _, position in named}
        for key, link, position in named:
            joint = self._joints.get(key)
            end = link.ends[position]
            if joint is not None:
                self._check_fields(joint, fields, epoch, path)
            if joint is None or is_pattern:
                covered[self._host_of(end.node)] = None
            else:
                ends[self._host_of(end.node), f"{end.node}:{end.ifname}"] = None
            if joint is not None and is_removal and (key, 1 - position) not in chosen:
                other = link.ends[1 - position]
                ends[self._host_of(other.node), f"{other.node}:{other.ifname}"] = None
        for host in covered:
            yield host, entry
        for host, text in ends:
            yield host, {END: text, **fields}

    def _check_fields(self, joint: Joint, fields: dict[str, object], epoch: Epoch, path: str) -> None:
        allowed = shape(KINDS[joint.between.kind]).shared
        for key, value in fields.items():
            place = epoch.where(path + step(key))
            if key not in allowed:
                self._report(place, misfit(joint, key))
            elif key == MTU and isinstance(value, int) and value > joint.mtu:
                one, other = (host.name for host in joint.hosts)
                words = f"{value} is too large: a {joint.between.kind} link between {one} and {other} has {joint.mtu}"
                self._report(place, f"{words}; give at most that")

    def _added(self, raw: Any, named: list[Named], epoch: Epoch, path: str) -> Iterator[tuple[str, object]]:
        """Yield the host and the entry of each host that an added link is on."""
        key, link, _ = named[0]
        hosts = [self._live.nodes[end.node].host for end in link.ends]
        for end, host in zip(link.ends, hosts, strict=True):
            if host is None:
                words = f"{quote(end.node)} has no host: give it one in 'nodes' of the file"
                self._report(epoch.where(path), words)
                return
        if len(set(hosts)) == 1:
            yield str(hosts[0]), self._entries.inside(raw, link, None)
            return
        joint = self._join(key, link)

        def at(below: str) -> str:
            return epoch.where(f"{path}.{below}")

        for position, host in enumerate(hosts):
            yield str(host), self._entries.across(raw, at, link, position, joint, None)

    def _join(self, key: Key, link: Link) -> Joint:
        """Make an added link one between hosts."""
        topology = self._whole.topology
        assert topology.underlay is not None
        one, other = (topology.hosts[self._host_of(end.node)] for end in link.ends)
        joint = self._joints[key] = Joint(link, (one, other), topology.underlay.between(link))
        self._problems += check(joint)
        self._whole.numbering.give([joint], self._problems)
        return joint

    def _add_commands(self, epoch: Epoch, lines: dict[str, Line]) -> None:
        for command in epoch.commands:
            node = self._live.nodes.get(command.node)
            if node is None:
                self._report(f"{command.place}.node", f"the lab has no node {quote(command.node)} at this time")
            elif node.host is not None:
                run = {"node": command.node, "command": list(command.arguments)}
                lines.setdefault(node.host, {}).setdefault("run", []).append(run)
                self.places.setdefault(node.host, {}).setdefault("run", []).append(command.place)
