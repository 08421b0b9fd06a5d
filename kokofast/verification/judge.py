"""What it means that a frame has not arrived."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from kokofast.verification.ports import Finding
from kokofast.verification.probes import FULL, SHORT, Question, Shot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from kokofast.verification.ports import CheckedLink, Port
    from kokofast.verification.probes import Path, Probe

MOST = 10  # findings of a sort that a link gets: a LAN of many ends may have thousands


def judge(probes: Iterable[Probe], title_of: Callable[[int, str], str], timeout: float) -> None:
    """Add what the probes have found to their links.

    title_of returns the title of an interface by its namespace and name; timeout is the most seconds that were waited.
    """
    found: dict[CheckedLink, dict[str, dict[Finding, None]]] = {}

    def add(wire: CheckedLink, finding: Finding) -> None:
        found.setdefault(wire, {}).setdefault(finding.check, {})[finding] = None

    for probe in probes:
        if probe.is_done():
            continue
        if isinstance(probe, Shot):
            for path in probe.paths:
                if path.arrived != SHORT | FULL:
                    add(path.wire, _of_frame(probe, path, title_of, timeout))
        elif isinstance(probe, Question):
            add(probe.wire, _of_address(probe, timeout))
    for wire, by_check in found.items():
        for check, findings in by_check.items():
            wire.problems += list(findings)[:MOST]
            if len(findings) > MOST:
                wire.problems.append(Finding(check, f"and {len(findings) - MOST:,} more like this"))


def _of_frame(shot: Shot, path: Path, title_of: Callable[[int, str], str], timeout: float) -> Finding:
    sender, receiver = shot.sender, path.receiver
    if shot.refusal is not None:
        return _refused(shot)
    check = "mirror" if path.copied else "carry"
    if path.arrived & SHORT:
        of_whom = f"copies of {path.copied}, of" if path.copied else "frames of"
        text = f"{of_whom} {sender.mtu} bytes from {sender.title} do not arrive at {receiver.title}, small ones do"
        if receiver.mtu < sender.mtu:
            text += f": its MTU is {receiver.mtu}"
        return Finding("mirror" if path.copied else "mtu", text)
    what = f"copies of {path.copied}" if path.copied else f"frames from {sender.title}"
    text = f"{what} do not arrive at {receiver.title}"
    if shot.strays and not path.copied and not shot.in_lan:
        found = " and ".join(sorted(title_of(*place) for place in shot.strays))
        return Finding("peer", f"{text}, but at {found}")
    return Finding(check, text + _excuse(shot, path.hops, timeout))


def _of_address(probe: Question, timeout: float) -> Finding:
    if probe.refusal is not None:
        return _refused(probe)
    address = ipaddress.ip_address(probe.address)
    text = f"{probe.owner.title} does not answer for {address} when {probe.sender.title} asks"
    return Finding("address", text + _excuse(probe, probe.hops, timeout))


def _refused(probe: Probe) -> Finding:
    refusal = probe.refusal
    why = refusal.strerror or str(refusal) if refusal is not None else ""
    return Finding("carry", f"nothing can be sent by {probe.sender.title}: {why}")


def _excuse(probe: Probe, hops: Sequence[Port], timeout: float) -> str:
    """Return what of the impairments may be the reason."""
    if any(port.impairment.loss == 1 for port in hops):
        return ": all of it is to be lost (loss 100%)"
    if probe.seconds() > timeout:
        need = f"{probe.seconds():.1f} s"
        return f" within {timeout:g} s, and its delay, loss and rate may need {need}; give --timeout"
    return ""
