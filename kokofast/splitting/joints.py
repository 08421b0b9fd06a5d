"""Joints: the links between hosts, how each is made, with which number and MTU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kokofast.kinds import KINDS
from kokofast.kinds.kind import IPV6_MIN_MTU
from kokofast.splitting.numbers import Numbers, Wish
from kokofast.topology.model import AF_INET6, Link
from kokofast.topology.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kokofast.kinds.kind import Between as Way
    from kokofast.topology.model import Between, Host, Topology


class Joint:
    """A link between two hosts.

    Attributes:
        link: The link.
        hosts: Those of its ends.
        between: How it is made.
        way: What its kind says of that.
        number: Which one it is; None for a kind without numbers.
        mtu: The largest packet that fits, in bytes.
    """

    __slots__ = ("between", "hosts", "link", "mtu", "number", "way")

    def __init__(self, link: Link, hosts: tuple[Host, Host], between: Between) -> None:
        way = KINDS[between.kind].between
        assert way is not None
        self.link = link
        self.hosts = hosts
        self.between = between
        self.way: Way = way
        self.number: int | None = None
        options: dict[str, object] = {way.remote: hosts[0].address} if way.remote else {}
        overhead = KINDS[between.kind].overhead(Link(between.kind, (), options=options))
        self.mtu = min(host.mtu for host in hosts) - overhead

    def options(self, position: int, defaults: Mapping[str, object]) -> dict[str, object]:
        """Return the fields of the link on one of the hosts; none that it needs is left to the defaults of the file."""
        way = self.way
        here, there = self.hosts[position], self.hosts[1 - position]
        found: dict[str, object] = {"parent": here.parent}
        if way.remote:
            found[way.remote] = there.address.text
        if way.number:
            found[way.number] = self.number
        found.update(self.between.options)
        for field in KINDS[self.between.kind].fields:
            if field.name in defaults and field.name not in found:
                neutral = way.neutral.get(field.name, field.default)
                found[field.name] = here.address.text if field.name == way.local else neutral
        return found


def joints_of(topology: Topology, problems: list[Problem]) -> dict[int, Joint]:
    """Return the links between hosts, by their number in the topology. Every node has a host."""
    hosts, underlay = topology.hosts, topology.underlay
    host_of = {name: node.host for name, node in topology.nodes.items()}
    joints: dict[int, Joint] = {}
    assert underlay is not None
    for number, link in enumerate(topology.links):
        if len(link.ends) == 1:
            continue
        one, other = (host_of[end.node] for end in link.ends)
        assert one is not None
        assert other is not None
        if one != other:
            joints[number] = Joint(link, (hosts[one], hosts[other]), underlay.between(link))
    for joint in joints.values():
        problems += check(joint)
    return joints


def check(joint: Joint) -> Iterable[Problem]:
    """Yield what is wrong with a joint: addresses of two families, MTUs that do not fit."""
    one, other = joint.hosts
    kind = KINDS[joint.between.kind]
    if joint.way.remote and one.address.family != other.address.family:
        words = f"{one.name} has the address {one.address.text} and {other.name} {other.address.text}: "
        yield Problem(joint.link.place, f"{words}a {kind.name} link between them needs both IPv4, or both IPv6")
        return
    carried = f"{one.name} and {other.name} carry {min(one.mtu, other.mtu)} bytes between them"
    what = f"{carried}, of which a {kind.name} link leaves {joint.mtu}"
    for end in joint.link.ends:
        if end.mtu is not None and end.mtu > joint.mtu:
            cure = f"give at most {joint.mtu}, or the hosts the mtu that they have"
            yield Problem(end.where("mtu"), f"{end.mtu} is too large: {what}; {cure}")
        if joint.mtu < IPV6_MIN_MTU and any(address.family == AF_INET6 for address in end.addresses):
            yield Problem(end.place, f"IPv6 needs an mtu of {IPV6_MIN_MTU}, and {what}; give the hosts a larger mtu")


def name_of(joint: Joint, lab: str) -> str:
    """Return what tells a link from all others, of this lab and others, in whatever order its ends are."""
    return "--".join([lab, *sorted(f"{end.node}:{end.ifname}" for end in joint.link.ends)])


class Numbering:
    """The numbers of the joints of a lab: none is that of another joint, or of a link that the file itself has."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._numbers: dict[str, Numbers] = {}  # by kind

    def give(self, joints: Iterable[Joint], problems: list[Problem]) -> None:
        """Give each joint its number, and add problems of those for which none is left."""
        of_kind: dict[str, dict[Wish, Joint]] = {}
        for joint in joints:
            if joint.between.numbers is not None:
                wish = Wish(name_of(joint, self._topology.name), *joint.between.numbers)
                of_kind.setdefault(joint.between.kind, {})[wish] = joint
        for kind, wishes in of_kind.items():
            field = next(iter(wishes.values())).way.number
            taken = {link.options.get(field): link for link in self._topology.links if link.kind == kind}
            if kind not in self._numbers:
                self._numbers[kind] = Numbers(number for number in taken if isinstance(number, int))
            for wish in self._numbers[kind].give(wishes):
                if problem := _lacking(wish, wishes, taken, field):
                    problems.append(problem)
            for wish, joint in wishes.items():
                joint.number = wish.number

    def release(self, joint: Joint) -> None:
        """Take the number of a joint back, for others."""
        if joint.number is not None:
            self._numbers[joint.between.kind].release(joint.number)


def _lacking(wish: Wish, wishes: Mapping[Wish, Joint], taken: Mapping[object, Link], field: str) -> Problem | None:
    """Return the problem of a joint without a number; None if another joint of the same range has the same one."""
    joint = wishes[wish]
    place = joint.between.place
    if wish.lowest == wish.highest:
        others = (one.link for that, one in wishes.items() if that.number == wish.lowest and one is not joint)
        other = taken.get(wish.lowest) or next(others, None)
        whose = f"that of {other.title()} at {other.place} as well" if other is not None else "taken at this time"
        return Problem(place, f"{field} {wish.lowest} is {whose}; give each link its own")
    rest = [one for one in wishes if one.number is None and (one.lowest, one.highest) == (wish.lowest, wish.highest)]
    if rest[0] is not wish:
        return None
    size = wish.highest - wish.lowest + 1
    words = f"the {field}s {wish.lowest} to {wish.highest} are {size:,}, and {len(rest):,} of the links between hosts"
    return Problem(place, f"{words} find none left; give a larger range ({field} of 'between')")
