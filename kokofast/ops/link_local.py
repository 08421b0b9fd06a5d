"""Read how interfaces get their link-local addresses. Imported for files with link_local, and by inspect."""

from __future__ import annotations

from kokofast.ends.link_local import KERNELS, MAC_BYTES, LinkLocal, made_of
from kokofast.ops.dumps import ADDRESS_PROTOCOL
from kokofast.wire.addr import AF_INET6, RT_SCOPE_LINK, RTM_GETADDR
from kokofast.wire.link import ADDR_GEN_MODE_NONE, DEVCONF_DISABLE_IPV6, RTEXT_FILTER_SKIP_STATS, RTM_GETLINK
from kokofast.wire.message import Request, at_second_attempt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from kokofast.host.kernel import Handle, Kernel
    from kokofast.plan.observed import Interface

INT_BYTES = 4
# What an inconsistent dump lacks is compared in the next run.
MODES = Request(
    RTM_GETLINK,
    {},
    {"ext_mask": RTEXT_FILTER_SKIP_STATS},
    only=frozenset(("af_spec",)),
    accept=at_second_attempt,
)
ADDRESSES = Request(
    RTM_GETADDR,
    {"family": AF_INET6},
    only=frozenset(("address", "proto")),
    where=lambda header: header["scope"] == RT_SCOPE_LINK,
    accept=at_second_attempt,
)


def settings_of(kernel: Kernel, handle: Handle, interfaces: Mapping[int, Interface]) -> dict[int, LinkLocal]:
    """Return the setting of each of these interfaces, by ifindex. Raises KernelError, OSError."""
    made: dict[int, list[bytes]] = {}
    given: set[int] = set()
    for message in kernel.dump(handle, ADDRESSES):
        index, address = message.header["index"], message.attributes.get("address")
        if address is None or index not in interfaces:
            continue
        proto = message.attributes.get("proto")
        # Before Linux 5.18 an address does not show who made it.
        if proto == KERNELS or (proto is None and address == _own(interfaces[index])):
            made.setdefault(index, []).append(address)
        elif proto == ADDRESS_PROTOCOL:
            given.add(index)
    found: dict[int, LinkLocal] = {}
    for message in kernel.dump(handle, MODES):
        index = message.header["index"]
        if index in interfaces:
            inet6 = message.attributes.get("af_spec", {}).get("inet6", {})
            mode, own = inet6.get("addr_gen_mode"), _own(interfaces[index])
            is_off = any(inet6.get("conf", b"")[DEVCONF_DISABLE_IPV6 * INT_BYTES :][:INT_BYTES])
            makes = mode == ADDR_GEN_MODE_NONE and interfaces[index].up and not is_off and own is not None
            ready = (own,) if makes and own is not None else ()
            found[index] = LinkLocal(mode, tuple(sorted(made.get(index, ()))), ready, is_given=index in given)
    return found


def _own(interface: Interface) -> bytes | None:
    return made_of(interface.mac) if len(interface.mac) == MAC_BYTES else None
