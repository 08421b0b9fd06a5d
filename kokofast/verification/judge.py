"""What it means that a frame has not arrived."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kokofast.verification.ports import Finding
from kokofast.verification.probes import FULL, SHORT, Shot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kokofast.verification.probes import Path, Probe


def judge(probes: Iterable[Probe], title_of: Callable[[int, str], str], timeout: float) -> None:
    """Add what the probes have found to their links.

    title_of returns the title of an interface by its namespace and name; timeout is the most seconds that were waited.
    """
    for probe in probes:
        if probe.is_done() or not isinstance(probe, Shot):
            continue
        for path in probe.paths:
            if path.arrived != SHORT | FULL:
                path.wire.findings.append(_finding(probe, path, title_of, timeout))


def _finding(shot: Shot, path: Path, title_of: Callable[[int, str], str], timeout: float) -> Finding:
    sender, receiver = shot.sender, path.receiver
    if shot.refusal is not None:
        why = shot.refusal.strerror or str(shot.refusal)
        return Finding("carry", f"nothing can be sent by {sender.title}: {why}")
    if path.arrived & SHORT:
        text = f"frames of {sender.mtu} bytes from {sender.title} do not arrive at {receiver.title}, small ones do"
        if receiver.mtu < sender.mtu:
            text += f": its MTU is {receiver.mtu}"
        return Finding("mtu", text)
    text = f"frames from {sender.title} do not arrive at {receiver.title}"
    if shot.strays:
        found = " and ".join(sorted(title_of(*place) for place in shot.strays))
        return Finding("peer", f"{text}, but at {found}: that is its other end")
    loss = max(port.impairment.loss for port in path.hops)
    if loss == 1:
        text += ": all of them are to be lost (loss 100%)"
    elif shot.seconds() > timeout:
        text += f" within {timeout:g} s, and its delay, loss and rate may need {shot.seconds():.1f} s; give --timeout"
    return Finding("carry", text)
