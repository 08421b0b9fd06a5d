"""The links that carry our mark, read from the kernel."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kokofast.engine.destroy import pair, scan
from kokofast.host.kernel import Kernel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kokofast.engine.at_once import RunAll
    from kokofast.engine.result import Progress
    from kokofast.plan.observed import Interface


class SeenLink:
    """A link as inspect shows it: one or two ends, each (namespace title, interface)."""

    def __init__(self, lab: str, kind: str, ends: list[tuple[str, Interface]]) -> None:
        self.lab = lab
        self.kind = kind
        self.ends = ends

    def __repr__(self) -> str:
        ends = " -- ".join(f"{title}:{interface.ifname}" for title, interface in self.ends)
        return f"<SeenLink {self.kind} of {self.lab!r}: {ends}>"

    def as_dict(self) -> dict[str, object]:
        """As ``inspect --format json`` prints it."""
        return {
            "lab": self.lab,
            "type": self.kind,
            "endpoints": [_end_as_dict(title, interface) for title, interface in self.ends],
        }


def _end_as_dict(title: str, interface: Interface) -> Mapping[str, object]:
    return {
        "node": title,
        "interface": interface.ifname,
        "ifindex": interface.ifindex,
        "mtu": interface.mtu,
        "mac": interface.mac.hex(":"),
        "up": interface.up,
        "addresses": addresses_of(interface),
    }


def addresses_of(interface: Interface) -> list[str]:
    """The interface's permanent addresses as text, IPv6 link-local ones left out that the kernel made for itself."""
    import ipaddress

    found = [(ipaddress.ip_address(item.packed), item.prefixlen, ours) for item, ours in interface.addresses.items()]
    return sorted(
        f"{address}/{length}"
        for address, length, ours in found
        if ours or address.version == 4 or not address.is_link_local
    )


def natural_key(text: str) -> list[str | int]:
    """A key by which r10 comes after r9."""
    # Texts and numbers take turns, so they are never compared with each other.
    return [int(part) if number % 2 else part for number, part in enumerate(re.split("([0-9]+)", text))]


async def inspect(
    lab: str | None = None,
    *,
    kernel: Kernel | None = None,
    progress: Progress | None = None,
    run: RunAll | None = None,
    unseen: dict[str, OSError] | None = None,
) -> list[SeenLink]:
    """The links that carry our mark, of one lab or of all, read from the kernel; by trio, unless run says how. unseen
    is filled with the namespaces that are there and could not be looked into, by title, and why."""
    if run is None:
        from kokofast.engine.scheduler import run_all

        run = run_all
    own = kernel is None
    kernel = kernel if kernel is not None else Kernel()
    try:
        scene = await scan(kernel, run, lab=lab, progress=progress)
    finally:
        if own:
            kernel.close()
    if unseen is not None:
        unseen.update(scene.unseen)
    interfaces = sorted(
        scene.interfaces, key=lambda owned: (natural_key(owned.lab), natural_key(owned.interface.alias))
    )
    links: dict[int, SeenLink] = {}
    for owned, end in zip(interfaces, pair(interfaces), strict=True):
        seen = links.setdefault(end.link, SeenLink(owned.lab, owned.interface.kind, []))
        seen.ends.append((scene.titles[owned.ns], owned.interface))
    for seen in links.values():
        # As the file has them: the alias names the first end first.
        seen.ends.sort(key=lambda end: f":{end[0]}:{end[1].ifname}--" not in end[1].alias)
    return list(links.values())
