"""Read the remotes of tunnels that have several. Imported where an interface of ours may be such a tunnel."""

from __future__ import annotations

from kokofast.wire import neigh
from kokofast.wire.link import AF_BRIDGE
from kokofast.wire.linkinfo import OWN_REMOTE
from kokofast.wire.message import Request, at_second_attempt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kokofast.host.kernel import Handle, Kernel
    from kokofast.plan.observed import Interface

# The kernel shows these only if they are not the tunnel's own. An entry with one of them is not ours.
UNUSUAL = ("port", "vni", "ifindex")
ENTRIES = Request(
    neigh.RTM_GETNEIGH,
    {"family": AF_BRIDGE},
    only=frozenset(("dst", "lladdr", *UNUSUAL)),
    where=lambda header: bool(header["flags"] & neigh.NTF_SELF),
    # Learned entries come and go, so a dump may stay inconsistent.
    accept=at_second_attempt,
)


def may_have_several(interface: Interface) -> bool:
    """Whether a tunnel was made without a remote of its own."""
    return not any(name in interface.data for name in OWN_REMOTE)


def list_remotes(kernel: Kernel, handle: Handle) -> dict[int, tuple[bytes, ...]]:
    """Return the remotes of each tunnel of a namespace, by ifindex. Raises KernelError, OSError."""
    found: dict[int, list[bytes]] = {}
    for message in kernel.dump(handle, ENTRIES):
        attributes = message.attributes
        is_usual = "dst" in attributes and attributes.keys().isdisjoint(UNUSUAL)
        if is_usual and not any(attributes.get("lladdr", b"\1")):
            found.setdefault(message.header["index"], []).append(attributes["dst"])
    return {index: tuple(sorted(hosts)) for index, hosts in found.items()}
