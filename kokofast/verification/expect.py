"""Which probes a set of links needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kokofast.kinds import KINDS
from kokofast.verification.ports import BATCH, NONE, Finding
from kokofast.verification.probes import Path, Question, Shot
from kokofast.wire.probe import BROADCAST, MAC_BYTES

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from kokofast.verification.ports import CheckedLink, Port
    from kokofast.verification.probes import Probe

    Place = tuple[int, str]

# Up to so many ends of a LAN each sends to all others. Of more, each sends to the first one, and that one to all: the
# number of frames would grow with the square.
ALL_PAIRS = 64
STATE_ONLY = "only the state of its end was checked"


def probes_for(wires: Sequence[CheckedLink], across: Container[str] = (), cure: str = BATCH) -> list[Probe]:
    """Return the probes for links; add what is wrong with their ends, and what cannot be checked, to the links.

    across has the titles of links that are checked together with other hosts, cure says how links are made again.
    """
    expected = _Expected(across, cure)
    for wire in wires:
        expected.add_wire(wire)
    if expected.meetings:
        # The way of a tunnel between its ends is not known: it may be slower, and lose more, than they do.
        impaired = any(port.impairment != NONE for wire in wires for port in wire.ports)
        for found in expected.meetings.values():
            expected.add_meeting(found, impaired=impaired)
    for wire in wires:
        if wire.ports and _is_bridge(wire) and wire.ports[0].up:
            expected.add_lan(wire)
    for target, peer, wire in list(expected.mirrors):
        expected.add_mirror(wire, target, peer)
    for probe in expected.probes:
        probe.plan()
    return expected.probes


def _is_bridge(wire: CheckedLink) -> bool:
    kind = KINDS.get(wire.kind)
    return kind is not None and kind.follows_ports


class _Expected:
    def __init__(self, across: Container[str], cure: str) -> None:
        self.across = across
        self.cure = cure
        self.probes: list[Probe] = []
        self.shots: dict[Place, Shot] = {}  # of pairs, by the sender
        self.far: dict[Place, Port] = {}  # the other ends of pairs
        self.members: dict[tuple[int, int], list[tuple[Port, Port]]] = {}  # by bridge: ends of a LAN, and its ports
        self.meetings: dict[tuple[object, ...], list[tuple[CheckedLink, Port]]] = {}  # of links with one end
        self.mirrors: list[tuple[Port, Port, CheckedLink]] = []  # what is copied to, its other end

    def add_wire(self, wire: CheckedLink) -> None:
        """Add the probes of both directions."""
        kind = KINDS.get(wire.kind)
        ends = kind.ends if kind is not None else 1
        down = [port for port in wire.ports if not port.up]
        for port in down:
            if port.is_to_be_up:
                text = f"{port.title} is down; set it up: {self.cure}, or ip link set up"
                wire.problems.append(Finding("down", text))
            else:
                wire.notes.append(f"{port.title} is down, as the file has it")
        if down or not wire.ports:
            return
        if ends == 1:
            if not _is_bridge(wire):
                self._add_single(wire, wire.ports[0])
        elif len(wire.ports) == 2 and all(len(port.mac) == MAC_BYTES for port in wire.ports):
            first, second = wire.ports
            for sender, receiver in ((first, second), (second, first)):
                self._add_pair(wire, sender, receiver)

    def _add_single(self, wire: CheckedLink, port: Port) -> None:
        """Note with whom the end of a link with one end can exchange frames that stay on the machine."""
        if not port.lower_up:
            what = f"its parent {port.parent}" if port.parent else "what it is on"
            wire.problems.append(Finding("down", f"{port.title} has no carrier: {what} is down, or has none"))
        elif port.meeting is not None and len(port.mac) == MAC_BYTES:
            self.meetings.setdefault((wire.lab, wire.kind, port.meeting[0]), []).append((wire, port))
        else:
            self._leave(wire)

    def _leave(self, wire: CheckedLink) -> None:
        if wire.title not in self.across:
            wire.notes.append(STATE_ONLY)

    def add_meeting(self, found: Sequence[tuple[CheckedLink, Port]], *, impaired: bool) -> None:
        """Have each end that meets others send to the next one, and the last to the first.

        Two ends that are each other's only ones do not, if something impairs the lab.
        """
        known = [port.meeting[1] for _, port in found if port.meeting is not None and port.meeting[1] is not None]
        if len(found) < 2 or len(known) != len(set(known)) or (known and impaired):
            for wire, _ in found:
                self._leave(wire)
            return
        for (wire, sender), (_, receiver) in zip(found, [*found[1:], found[0]], strict=True):
            wire.is_checked = True
            self._shoot(sender, receiver.mac, [Path(wire, receiver, (sender,))])
            self._ask(wire, sender, receiver)

    def _add_pair(self, wire: CheckedLink, sender: Port, receiver: Port) -> None:
        wire.is_checked = True
        place = sender.ns, sender.ifname
        shot = self.shots[place] = self._shoot(sender, receiver.mac, [Path(wire, receiver, (sender,))])
        self.far[place] = receiver
        if sender.mirrors:
            self.mirrors.append((sender, receiver, wire))
        if receiver.master:
            self.members.setdefault((receiver.ns, receiver.master), []).append((sender, receiver))
        shot.is_asked = self._ask(wire, sender, receiver)

    def _ask(self, wire: CheckedLink, sender: Port, receiver: Port) -> bool:
        """Ask for each address of a receiver in a network of the sender; return whether there is one."""
        is_asked = False
        for family, address, length in receiver.addresses:
            if any(are_on_link((family, address, length), other) for other in sender.addresses):
                self.probes.append(Question(wire, sender, receiver, (family, address), (sender, receiver)))
                is_asked = True
        return is_asked

    def _shoot(self, sender: Port, destination: bytes, paths: list[Path], *, in_lan: bool = False) -> Shot:
        shot = Shot(len(self.probes), sender, destination, paths, in_lan=in_lan)
        self.probes.append(shot)
        return shot

    def add_lan(self, wire: CheckedLink) -> None:
        """Add the probes between all ends of a bridge."""
        bridge = wire.ports[0]
        found = self.members.get((bridge.ns, bridge.ifindex), [])
        ends = [(end, port) for end, port in found if (end.ns, end.master) not in self.members]
        if len(ends) < 2:
            wire.notes.append("fewer than two of its ends are up: there is nothing to send between")
            return
        wire.is_checked = True
        for number, (sender, _) in enumerate(ends):
            everyone = not number or len(ends) <= ALL_PAIRS
            chosen = [pair for pair in ends if pair[0] is not sender] if everyone else ends[:1]
            paths = [Path(wire, end, (sender, port)) for end, port in chosen]
            self._shoot(sender, BROADCAST if everyone else ends[0][0].mac, paths, in_lan=True)
        self._ask_in_lan(wire, ends)

    def _ask_in_lan(self, wire: CheckedLink, ends: Sequence[tuple[Port, Port]]) -> None:
        """Ask for each address from an end with another one of the same network."""
        networks: dict[object, list[tuple[Port, Port]]] = {}
        for pair in ends:
            for network in {_network(*address) for address in pair[0].addresses}:
                networks.setdefault(network, []).append(pair)
        for owner, port in ends:
            for family, address, length in owner.addresses:
                others = networks[_network(family, address, length)]
                asker = next((pair for pair in others[:2] if pair[0] is not owner), None)
                if asker is not None:
                    hops = (asker[0], port, owner, asker[1])
                    self.probes.append(Question(wire, asker[0], owner, (family, address), hops))

    def add_mirror(self, wire: CheckedLink, target: Port, receiver: Port) -> None:
        """Add the copies that a mirror sends out of its target, to what is sent anyway."""
        for ifname, given in target.mirrors:
            source = target.ns, ifname
            there = self.far.get(source)
            if there is None:
                wire.notes.append(f"the mirror of {ifname} was not checked: no link of the lab is known there")
                continue
            directions = ("egress", "ingress") if given == "both" else (given,)
            if "egress" in directions:
                shot = self.shots[source]
                copied = f"what {shot.sender.title} sends"
                shot.paths.append(Path(wire, receiver, (target,), copied))
            if "ingress" in directions:
                shot = self.shots[there.ns, there.ifname]
                copied = f"what {shot.paths[0].receiver.title} receives"
                shot.paths.append(Path(wire, receiver, (shot.sender, target), copied))


def are_on_link(first: tuple[int, bytes, int], second: tuple[int, bytes, int]) -> bool:
    """Return whether each of two addresses is in the network of the other."""
    length = max(first[2], second[2])
    return first[0] == second[0] and _network(*first[:2], length) == _network(*second[:2], length)


def _network(family: int, address: bytes, length: int) -> tuple[int, int, int]:
    return family, int.from_bytes(address, "big") >> (8 * len(address) - length), length
