"""link_local: whether the kernel gives the end a link-local IPv6 address by itself.

Source: inet6_set_link_af() and addrconf_addr_gen() in net/ipv6/addrconf.c. The mode of an interface that is up changes
nothing at once: its address has to be added or removed, too.
"""

from __future__ import annotations

import errno

from kokofast.ends.property import Property
from kokofast.kinds.fields import Field
from kokofast.kinds.kind import IPV6_MIN_MTU
from kokofast.wire.addr import AF_INET6, RTM_DELADDR, RTM_NEWADDR
from kokofast.wire.link import ADDR_GEN_MODE_EUI64, ADDR_GEN_MODE_NONE, RTM_SETLINK
from kokofast.wire.message import NLM_F_CREATE, NLM_F_REPLACE, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kokofast.ends.property import View
    from kokofast.topology.model import End, Link

KERNELS = b"\x03"  # IFAPROT_KERNEL_LL (Linux 5.18): what the kernel has made
PREFIX, PREFIX_BITS = b"\xfe\x80" + bytes(6), 64
MAC_BYTES = 6


class LinkLocal:
    """How an interface comes by its link-local address.

    Args:
        mode: enum in6_addr_gen_mode; None where the interface has no IPv6, as with an MTU below 1280.
        addresses: The addresses that the kernel has made.
        own: The address that it would make now; none for an interface that is down.
        is_given: Whether kokofast has set one.
    """

    __slots__ = ("addresses", "is_given", "mode", "own")

    def __init__(
        self,
        mode: int | None,
        addresses: tuple[bytes, ...] = (),
        own: tuple[bytes, ...] = (),
        *,
        is_given: bool = False,
    ) -> None:
        self.mode = mode
        self.addresses = addresses
        self.own = own
        self.is_given = is_given

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LinkLocal) and (self.mode, self.addresses) == (other.mode, other.addresses)

    __hash__ = None  # type: ignore[assignment]


def made_of(mac: bytes) -> bytes:
    """Return the address that the kernel makes of a MAC address by EUI-64; addrconf_ifid_eui48()."""
    return PREFIX + bytes((mac[0] ^ 2, mac[1], mac[2], 0xFF, 0xFE)) + mac[3:]


class LinkLocals(Property):
    """A setting is a LinkLocal, None where it is not known."""

    field = Field("link_local", "bool", "false: no link-local IPv6 address that the kernel makes by itself")
    has_columns = True

    def contradiction(self, end: End, value: bool) -> tuple[str, str] | None:
        """Report dad: false, which sets an address in place of the kernel's."""
        given = any(one.family == AF_INET6 and one.packed[:2] == PREFIX[:2] for one in end.addresses)
        if end.dad is not False or (given and not value):
            return None
        return (
            "link_local",
            "dad: false gives the end a link-local address in place of the kernel's; leave one of them out",
        )

    def problems(self, link: Link, end: End, value: bool, view: View) -> Iterator[tuple[str, str]]:
        """Report an interface that gets IPv6 in the same run, by another MTU."""
        present = view.present("link_local")
        if present is not None and present.mode is None and view.mtu() >= IPV6_MIN_MTU:
            yield "link_local", "it exists without IPv6, which link_local needs; destroy the link first"

    def present(self, shown: object) -> LinkLocal | None:
        """Return the setting; None if ops.link_local has not read it."""
        return shown if isinstance(shown, LinkLocal) else None

    def wanted(self, value: bool, view: View) -> LinkLocal | None:
        """Return the mode, and the addresses that an interface has with it at once."""
        present: LinkLocal | None = view.present("link_local")
        if view.mtu() < IPV6_MIN_MTU:
            return present
        if not value:
            return LinkLocal(ADDR_GEN_MODE_NONE)
        if present is None:
            return LinkLocal(ADDR_GEN_MODE_EUI64)
        return present if present.mode != ADDR_GEN_MODE_NONE else LinkLocal(ADDR_GEN_MODE_EUI64, present.own)

    def requests(self, index: object, new: LinkLocal | None, before: LinkLocal | None) -> list[Request]:
        """Return a message for the mode, and one for each address to remove or add."""
        assert new is not None
        had, mode = (before.addresses, before.mode) if before is not None else ((), None)
        requests: list[Request] = []
        if new.mode != mode:
            requests.append(Request(RTM_SETLINK, {"index": index}, {"af_spec": {"inet6": {"addr_gen_mode": new.mode}}}))
        header = {"family": AF_INET6, "prefixlen": PREFIX_BITS, "index": index}
        for address in had:
            if address not in new.addresses:
                requests.append(Request(RTM_DELADDR, header, {"local": address, "address": address}))
        for address in new.addresses:
            if address not in had:
                attributes = {"local": address, "proto": KERNELS}
                requests.append(Request(RTM_NEWADDR, header, attributes, NLM_F_CREATE | NLM_F_REPLACE))
        return requests

    def cure(self, request: Request, code: int) -> str:
        """Explain a kernel without IPv6."""
        has_none = code == errno.EAFNOSUPPORT and "af_spec" in request.attributes
        return "this kernel has no IPv6; leave link_local out" if has_none else ""

    def shown(self, setting: LinkLocal | None, name_of: Callable[[object], str]) -> bool | None:
        """Return False for none. The kernel's own way is not shown."""
        return False if setting is not None and setting.mode == ADDR_GEN_MODE_NONE and not setting.is_given else None


PROPERTY = LinkLocals()
