"""Make replaced links again after a failure: their interfaces, what was set on them, mirrors and routes. Blocking."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from kokofast.ends import ATTRIBUTES, ENDS, present
from kokofast.ends.offload import USUAL
from kokofast.kinds import KINDS
from kokofast.kinds.kind import DEFAULT_MTU
from kokofast.ops import configure_end, configure_node, create_link, mirror
from kokofast.ops.journal import GONE, look, twice
from kokofast.plan.link_operations import attributes_of
from kokofast.plan.node_change import NodeChange
from kokofast.plan.operations import NO_LINK_LOCAL, AddMirror, Change, ConfigureNode, CreateLink, IfRef, Setting
from kokofast.plan.ownership import BROADCAST, group_of, number_of
from kokofast.plan.remainder import OF_PORTS, lost_routes, lost_sysctls
from kokofast.topology.model import End
from kokofast.wire.message import words_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kokofast.ops.executor import Executor
    from kokofast.ops.journal import Applied
    from kokofast.plan.observed import Interface, Namespace
    from kokofast.plan.replacement import OldLink, Replacement

    Mark = tuple[int, int]


def give_back(applied: Applied, only: set[int] | None) -> list[str]:
    """Make the deleted links again, or with ``only`` those that belong to these links of the file.

    Return a line for each thing that could not be given back.
    """
    found = applied.replacement
    assert found is not None
    chosen = [old for old in found.old if only is None or not only.isdisjoint(found.links_of(old))]
    return _GivingBack(found, applied.executor).run(chosen)


IPV4_BYTES, IPV6_BYTES = 4, 16


class _GivingBack:
    def __init__(self, found: Replacement, executor: Executor) -> None:
        self.found = found
        self.executor = executor
        self.lab = found.topology.name
        self.left: list[str] = []
        self.names: dict[int, dict[int, str]] = {}  # by namespace the names of interfaces before
        for ns in {ns for old in found.old for ns, _ in old.ends}:
            namespace = found.situation.observed[ns]
            there = namespace.interfaces.values() if namespace is not None else ()
            self.names[ns] = {item.ifindex: item.ifname for item in there}

    def run(self, chosen: Sequence[OldLink]) -> list[str]:
        now = self._look({ns for old in chosen for ns, _ in old.ends})
        lost = [old for old in chosen if self._is_lost(old, now)]
        for _, level in groupby(lost, lambda old: old.depth):
            self._make(list(level))
        namespaces = {ns for old in chosen for ns, _ in old.ends if ns in now}
        self._give_ports_back(lost, now)
        self._give_mirrors_back(chosen)
        for ns in sorted(namespaces):
            self._give_node_back(ns)
        return self.left

    def _look(self, namespaces: set[int]) -> dict[int, Namespace]:
        now: dict[int, Namespace] = {}
        for ns in sorted(namespaces):
            try:
                found = look(self.executor, ns)
            except OSError as error:
                self.left.append(f"namespace {self.found.titles[ns]}: {error.strerror or error}")
                continue
            if found is not None:
                now[ns] = found
                self.executor.indexes.learn(ns, found)
        return now

    def _is_lost(self, old: OldLink, now: Mapping[int, Namespace]) -> bool:
        """Whether we deleted the link: it is gone, and its namespaces still exist."""
        return all(
            ns in now and not any(one.ifindex == item.ifindex for one in now[ns].interfaces.values())
            for ns, item in old.ends
        )

    def _make(self, links: Sequence[OldLink]) -> None:
        """Make links that do not depend on each other, with one send for each namespace that they are made from."""
        executor, mark = self.executor, (group_of(self.lab), number_of(self.lab))
        operations: dict[CreateLink, OldLink] = {}
        for old in links:
            references = tuple(IfRef(ns, item.ifname) for ns, item in old.ends)
            for reference, (_, item) in zip(references, old.ends, strict=True):
                executor.indexes.take(reference, item.ifindex)
                executor.sysctls.pop((reference.ns, reference.ifname), None)  # of the link that replaced it
            sender = None if old.parent is None else old.parent.ns
            if sender is None and KINDS[old.ends[0][1].kind].several:  # it uses the sender's routes
                sender = old.ends[0][0]
            source = old, references, mark, self._parents_mac(old)
            operations[CreateLink(old.link, references, _creation, source, sender)] = old
        waiting = list(operations)
        for _ in range(2):
            answers = create_link.execute(executor, waiting) if waiting else []
            refused = [(one, why) for one, why in zip(waiting, answers, strict=True) if why is not None]
            # After an error of the socket it is not known what was made.
            refused = [(one, why) for one, why in refused if not self._is_made(one)]
            waiting = [one for one, _ in refused]
        for one, why in refused:
            self.left.append(f"link {self.found.name_of(operations[one])}: {why}")
        made = [old for one, old in operations.items() if one not in waiting]
        for old in made:
            for ns, item in old.ends:
                self._configure(ns, item, self._change_of(ns, item))

    def _parents_mac(self, old: OldLink) -> bytes:
        parent = self.found.situation.find(old.parent) if old.parent is not None else None
        return b"" if parent is None else parent.mac

    def _is_made(self, operation: CreateLink) -> bool:
        try:
            return all(
                any(
                    item.ifindex == self.executor.indexes.of(one) and item.ifname == one.ifname
                    for item in namespace.interfaces.values()
                )
                for one in operation.makes
                if (namespace := look(self.executor, one.ns)) is not None
            )
        except OSError:
            return False

    def _configure(self, ns: int, item: Interface, change: Change) -> None:
        refusal = configure_end.set_back(self.executor, IfRef(ns, item.ifname), change)
        if refusal is not None:
            self.left.append(f"{self.found.title(ns, item.ifname)}: {words_of(refusal)}")

    def _change_of(self, ns: int, item: Interface) -> Change:
        """Return what was set on an interface after its creation."""
        attributes: dict[str, object] = {}
        if item.alias:
            attributes |= {"ifalias": item.alias, "broadcast": item.broadcast or BROADCAST}
        if item.txqlen == 0:  # a new qdisc makes it 1000
            attributes["txqlen"] = 0
        if KINDS[item.kind].follows_ports and item.mtu != self._mtu_of_ports(ns, item):
            attributes["mtu"] = item.mtu
        ours = tuple(address for address, is_ours in item.addresses.items() if is_ours)
        if (ns, item.ifindex) in self.found.without_link_local:
            attributes |= NO_LINK_LOCAL
        return Change(attributes, True if item.up else None, ours, (), tuple(self._settings(ns, item)))

    def _settings(self, ns: int, item: Interface) -> Iterator[Setting]:
        for name, attribute in ATTRIBUTES.items():
            if attribute not in item.more or name == "link_local":  # see _change_of()
                continue
            value, nothing = present(name, item.more), ENDS[name].nothing
            if name == "master":
                yield from self._master(ns, value)
            elif value not in (nothing, USUAL):
                yield Setting(name, value, nothing)

    def _master(self, ns: int, index: int) -> Iterator[Setting]:
        if index in self.names[ns]:
            yield Setting("master", IfRef(ns, self.names[ns][index]), 0)

    def _mtu_of_ports(self, ns: int, item: Interface) -> int:
        return min((port.mtu for port in self.found.relations.ports_of(ns, item)), default=DEFAULT_MTU)

    def _give_ports_back(self, lost: Sequence[OldLink], now: Mapping[int, Namespace]) -> None:
        for old in lost:
            for ns, item in old.ends:
                there = {one.ifindex: one for one in now[ns].interfaces.values()}
                for port in self.found.relations.ports_of(ns, item):
                    # It may have given its name away, and not have it again.
                    if port.ifindex in there and not self.found.is_replaced(ns, port.ifname):
                        settings = [one for one in self._settings(ns, port) if ATTRIBUTES[one.name] in OF_PORTS]
                        self._configure(ns, there[port.ifindex], Change(properties=tuple(settings)))

    def _give_mirrors_back(self, chosen: Sequence[OldLink]) -> None:
        wanted = {(ns, item.ifname) for old in chosen for ns, item in old.ends}
        mirrors = self.executor.state(mirror.Mirrors)
        for ns, one in self.found.mirrors():
            target = self.names[ns].get(one.target)
            if target is None or wanted.isdisjoint(((ns, one.ifname), (ns, target))):
                continue
            operation = AddMirror(
                0, 0, IfRef(ns, target), IfRef(ns, one.ifname), frozenset((one.direction,)), one.cookie[:-1] + b"\0"
            )
            mirrors.forget(operation.source)
            refusal = twice(lambda operation=operation: mirrors.add(operation))  # type: ignore[misc]
            if refusal is not None and refusal.errno not in GONE:
                self.left.append(f"the mirror of {self.found.title(ns, one.ifname)}: {words_of(refusal)}")

    def _give_node_back(self, ns: int) -> None:
        lost, left = lost_routes(self.found, ns)
        title = self.found.titles[ns]
        if lost:
            operation = ConfigureNode(ns, title, self.lab, NodeChange(add_routes=left, remove_routes=lost))
            refusal = twice(lambda: configure_node.set_back(self.executor, operation))
            if refusal is not None:
                self.left.append(f"{title}: {words_of(refusal)}")
        for path, value in lost_sysctls(self.found, ns).items():
            handle = self.executor.handle(ns)
            try:
                with self.executor.kernel.using([handle]):
                    self.executor.kernel.write_sysctl(handle, path, value)
            except OSError as error:
                self.left.append(f"{title}: sysctl {path}: {error.strerror or error}")


def _creation(old: OldLink, references: Sequence[IfRef], mark: Mark, parents_mac: bytes) -> Mapping[str, object]:
    """Return the attributes of the request that makes a link as it was, from what the kernel showed of it."""
    kind = KINDS[old.ends[0][1].kind]
    ends = [
        attributes_of(kind, reference, _end_of(item, parents_mac), mark)
        for reference, (_, item) in zip(references, old.ends, strict=True)
    ]
    first = old.ends[0][1]
    # What has no name in our tables is not ours to set. Flags are shown with a mask that is refused, and not every
    # kernel takes a 0 for what it lacks.
    fields = {field.name for field in kind.fields}
    data: dict[str, object] = {
        name: value
        for name, value in first.data.items()
        if isinstance(name, str) and (kind.field_of(name) in fields or (isinstance(value, int) and value))
        if name != "flags"
    }
    if any(len(host) > IPV4_BYTES for host in first.more.get("fdb", ())):
        data["group6"] = bytes(IPV6_BYTES)  # no remote, but IPv6
    if kind.ends == 2:
        data["peer"] = ends[1]
    found = {**ends[0], "linkinfo": {"kind": kind.name, "data": data}}
    if "link" in data:
        data["link"] = old.parent
    elif old.parent is not None:
        found["link"] = old.parent
    return found


def _end_of(item: Interface, parents_mac: bytes) -> End:
    return End(
        "",
        item.ifname,
        mac=None if item.mac in (b"", parents_mac) else item.mac,  # with its parent's address it follows the parent
        mtu=None if KINDS[item.kind].follows_ports else item.mtu,
        txqlen=item.txqlen,
        queues=item.queues,
    )
