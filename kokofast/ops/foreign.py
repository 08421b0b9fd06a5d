"""Find what others have put on interfaces, and would be lost with them. Imported for --replace only."""

from __future__ import annotations

import errno

from kokofast.ends.link_local import made_of
from kokofast.ops.dumps import ADDRESS_PROTOCOL
from kokofast.ops.traffic_control import PARENTS, TrafficControl
from kokofast.plan.ownership import root_handle
from kokofast.topology.routes import text_of
from kokofast.wire import tc
from kokofast.wire.addr import AF_INET, AF_INET6, IFA_F_PERMANENT, RTM_GETADDR
from kokofast.wire.message import KernelError, Request, at_second_attempt
from kokofast.wire.route import RTM_GETROUTE, unpack_hops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kokofast.host.kernel import Handle, Kernel
    from kokofast.plan.observed import Interface
    from kokofast.wire.message import Message

    Found = tuple[int, str, str]  # ifindex, fact, cure

# IFA_PROTO of addresses that the kernel makes: IFAPROT_KERNEL_LO, _RA and _LL in include/uapi/linux/if_addr.h.
_KERNELS_OWN = (b"\1", b"\2", b"\3")

# RTPROT_BOOT and RTPROT_STATIC: of people and scripts. The kernel and routing daemons make theirs again.
_STATIC = (3, 4)

_ADDRESSES = Request(RTM_GETADDR, {}, only=frozenset(("address", "flags", "local", "proto")))
_ROUTES = Request(
    RTM_GETROUTE,
    {},
    only=frozenset(("dst", "multipath", "oif")),
    where=lambda header: header["protocol"] in _STATIC,
    accept=at_second_attempt,
)
_QDISCS = Request(tc.RTM_GETQDISC, {}, only=frozenset(("kind",)), where=lambda header: header["handle"] != 0)


def find_foreign(kernel: Kernel, handle: Handle, interfaces: Mapping[int, Interface], lab: str) -> list[Found]:
    """Return what others have set on these interfaces, by ifindex. Raises OSError, also for what the kernel refuses."""
    try:
        with kernel.using([handle]):
            found = [*_addresses(kernel, handle, interfaces), *_routes(kernel, handle, interfaces)]
            found += _qdiscs(kernel, handle, interfaces, lab)
    except KernelError as error:
        raise OSError(error.errno or errno.EIO, str(error)) from error
    return found


def _addresses(kernel: Kernel, handle: Handle, interfaces: Mapping[int, Interface]) -> Iterator[Found]:
    for message in kernel.dump(handle, _ADDRESSES):
        attributes, index = message.attributes, message.header["index"]
        packed, proto = attributes.get("local", attributes.get("address")), attributes.get("proto", b"")
        # A router or DHCP sets an address with a lifetime again.
        is_lasting = attributes.get("flags", 0) & IFA_F_PERMANENT
        if index not in interfaces or packed is None or not is_lasting or proto in (ADDRESS_PROTOCOL, *_KERNELS_OWN):
            continue
        if message.header["family"] == AF_INET6 and packed == made_of(interfaces[index].mac):
            continue  # before Linux 5.18 nothing else shows whose it is
        text = text_of(packed, message.header["prefixlen"], whole=True)
        yield index, f"it has the address {text}, which is not ours and would be lost", "remove that first (ip address)"


def _routes(kernel: Kernel, handle: Handle, interfaces: Mapping[int, Interface]) -> Iterator[Found]:
    for message in kernel.dump(handle, _ROUTES):
        header, attributes = message.header, message.attributes
        if header["protocol"] not in _STATIC or header["family"] not in (AF_INET, AF_INET6):
            continue
        way = attributes.get("multipath")
        hops = [index for index, _ in unpack_hops(way)] if way else [attributes.get("oif", 0)]
        for index in interfaces.keys() & hops:
            goal = text_of(attributes["dst"], header["dst_len"]) if "dst" in attributes else "default"
            yield index, f"a route to {goal}, which is not ours, leads over it", "remove that first (ip route)"


def _qdiscs(kernel: Kernel, handle: Handle, interfaces: Mapping[int, Interface], lab: str) -> Iterator[Found]:
    for message in kernel.dump(handle, _QDISCS):
        header, kind = message.header, message.attributes.get("kind", "")
        index = header["index"]
        if index not in interfaces or not header["handle"] or _is_ours(kernel, handle, message, lab):
            continue
        yield index, f"it has a qdisc {kind}, or filters in it, that are not ours", "remove those first (tc)"


def _is_ours(kernel: Kernel, handle: Handle, message: Message, lab: str) -> bool:
    header, kind = message.header, message.attributes.get("kind", "")
    if kind not in PARENTS:
        return header["parent"] == tc.TC_H_ROOT and header["handle"] == root_handle(lab)
    control = TrafficControl(kernel, handle, header["index"])
    control.look()
    found = [qdisc for qdisc in control.qdiscs if qdisc.kind == kind]
    # One that is gone by now is not in the way.
    return all(control.is_made_by_us(qdisc) and control.holds_only(qdisc, control.ours()) for qdisc in found)
