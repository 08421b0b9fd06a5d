"""Which probes a set of links needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kokofast.kinds import KINDS
from kokofast.verification.ports import Finding
from kokofast.verification.probes import Path, Shot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kokofast.verification.ports import Port, Wire
    from kokofast.verification.probes import Probe

MAC_BYTES = 6


def probes_for(wires: Sequence[Wire]) -> list[Probe]:
    """Return the probes for links; add what is wrong with their ends, and what cannot be checked, to the links."""
    expected = _Expected()
    for wire in wires:
        expected.add_wire(wire)
    for probe in expected.probes:
        probe.plan()
    return expected.probes


class _Expected:
    def __init__(self) -> None:
        self.probes: list[Probe] = []
        self.shots: dict[tuple[int, str], Shot] = {}  # of pairs, by the sender

    def add_wire(self, wire: Wire) -> None:
        """Add the probes of both directions."""
        kind = KINDS.get(wire.kind)
        ends = kind.ends if kind is not None else 1
        down = [port for port in wire.ports if not port.up]
        for port in down:
            if port.is_to_be_up:
                wire.findings.append(Finding("down", f"{port.title} is down; set it up: run batch, or ip link set up"))
            else:
                wire.notes.append(f"{port.title} is down, as the file has it")
        if ends == 2 and len(wire.ports) == 2 and not down:
            first, second = wire.ports
            self._add_pair(wire, first, second)
            self._add_pair(wire, second, first)
        elif ends == 1 and not down:
            wire.notes.append("only its state was checked: its other side may be on another machine")

    def _add_pair(self, wire: Wire, sender: Port, receiver: Port) -> None:
        if len(sender.mac) != MAC_BYTES or len(receiver.mac) != MAC_BYTES:
            return
        wire.is_checked = True
        shot = Shot(len(self.probes), sender, receiver.mac, [Path(wire, receiver, (sender,))])
        self.shots[sender.ns, sender.ifname] = shot
        self.probes.append(shot)
