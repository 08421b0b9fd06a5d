"""vxlan: Ethernet in UDP to a remote host or a multicast group. Source: drivers/net/vxlan/vxlan_core.c."""

from __future__ import annotations

import errno

from kokofast.kinds.fields import Field
from kokofast.kinds.kind import ETHERNET_MTU, NAMESPACE, PARENT, Between, Kind, Rivalry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from kokofast.kinds.kind import Meeting
    from kokofast.topology.model import Address, Link

PORT = 4789  # IANA's; the kernel's own default, 8472, is from before there was one

# VXLAN_HEADROOM, VXLAN6_HEADROOM in include/net/vxlan.h: outer IP, UDP and VXLAN headers, inner Ethernet header.
HEADROOM = {4: 20 + 8 + 8 + 14, 16: 40 + 8 + 8 + 14}

FIELDS = (
    Field(
        "parent",
        "interface",
        "the interface that carries the tunnel (node:interface for another node's); by default the routes of the end's "
        "namespace decide",
    ),
    Field("remote", "ips", "the other host, IPv4 or IPv6, or a multicast group; or a list of hosts", required=True),
    Field("vni", "int", "VXLAN network identifier", minimum=0, maximum=(1 << 24) - 1, required=True),
    Field("port", "int", "UDP destination port", minimum=1, maximum=65535, default=PORT),
    Field("local", "ip", "source address of the tunnel's packets"),
    Field("ttl", "int", "time to live of the tunnel's packets; 0: the kernel's choice", minimum=0, maximum=255),
    Field("learning", "bool", "learn remote addresses from what arrives", default=True),
)


def remotes(link: Link) -> tuple[Address, ...]:
    """Return the remote, or all of them."""
    given: Address | tuple[Address, ...] = link.options["remote"]  # type: ignore[assignment]
    return given if isinstance(given, tuple) else (given,)


def create(link: Link, ends: tuple[dict[str, object], ...], parent: object) -> Mapping[str, object]:
    """Return the attributes of one interface. The kernel looks for IFLA_VXLAN_LINK in the sender's namespace."""
    options = link.options
    data: dict[str, object] = {"id": options["vni"]}
    if parent is not None:
        data["link"] = parent
    data |= {"port": options["port"], "learning": int(bool(options["learning"]))}
    for name, attribute in (("remote", "group"), ("local", "local")):
        address: Address | tuple[Address, ...] | None = options.get(name)  # type: ignore[assignment]
        if isinstance(address, tuple):  # see kokofast.ends.remote
            if len(address[0].packed) == 16:
                data["group6"] = bytes(16)  # no remote, but IPv6
        elif address is not None:
            data[attribute if len(address.packed) == 4 else f"{attribute}6"] = address.packed
    if options.get("ttl") is not None:
        data["ttl"] = options["ttl"]
    return {**ends[0], "linkinfo": {"kind": "vxlan", "data": data}}


def overhead(link: Link) -> int:
    """Return how many bytes the tunnel adds to each packet."""
    return HEADROOM[len(remotes(link)[0].packed)]


# Setting the interface up joins its group, for the one UDP socket that all tunnels of a port in the parent's namespace
# share: net/ipv4/igmp.c ip_mc_join_group(), which says the same of both of its limits; net/ipv6/mcast.c
# __ipv6_sock_mc_join(). By the bytes of an address.
LIMITS = {
    (4, errno.ENOBUFS): "net.ipv4.igmp_max_memberships and, for some hundreds or thousands, net.core.optmem_max",
    (16, errno.ENOMEM): "net.core.optmem_max",
}


def limit(link: Link, code: int) -> str:
    """Explain a taken UDP port (vxlan_socket_create()), or the limit on multicast groups.

    A group counts once, however many tunnels are in it.
    """
    if code == errno.EADDRINUSE:  # vxlan_socket_create()
        port = link.options["port"]
        return f"another program has UDP port {port} in the parent's namespace ('ss -ulnp' shows it): give another port"
    remote = remotes(link)[0]
    is_group = _is_group(remote)
    names = LIMITS.get((len(remote.packed), code))
    if not is_group or names is None:
        return ""
    return (
        f"the limit on the multicast groups of a port's tunnels is {names}; raise it with sysctl -w in the parent's "
        "namespace (older kernels have optmem_max in the machine's first one only)"
    )


NAMES = {"id": "vni", "group": "remote", "group6": "remote", "local6": "local"}


def contradiction(link: Link) -> tuple[str, str] | None:
    """Report addresses that do not go together (vxlan_config_validate(), vxlan_fdb_add())."""
    given = remotes(link)
    local: Address | None = link.options.get("local")  # type: ignore[assignment]
    if any(one.family != given[0].family for one in given):
        return "remote", "the remotes are not all IPv4, nor all IPv6"
    if local is not None and local.family != given[0].family:
        return "local", f"{local.text} and the remote {given[0].text} are not both IPv4, nor both IPv6"
    for one in given:
        what = "multicast group" if _is_group(one) else "link-local address" if _is_link_local(one) else ""
        if what and isinstance(link.options["remote"], tuple):
            return "remote", f"a list has hosts only, and {one.text} is a {what}"
        if what and link.parent is None:
            return "remote", f"{one.text} is a {what}, which needs a parent"
    if local is not None and _is_link_local(local) and link.parent is None:
        return "local", f"{local.text} is a link-local address, which needs a parent"
    return None


def meeting(fields: Mapping[str, object]) -> Meeting | None:
    """Two tunnels are each other's other end if each is the remote of the other, by the same vni and port."""
    local, remote = fields.get("local"), fields.get("remote")
    if local is None or remote is None or isinstance(remote, list | tuple):
        return None
    ours, theirs = (str(getattr(one, "text", one)) for one in (local, remote))  # of a file they are of class Address
    return (fields.get("vni"), fields.get("port"), *sorted((ours, theirs))), ours


def _is_group(address: Address) -> bool:
    packed = address.packed
    return packed[0] >> 4 == 0xE if len(packed) == 4 else packed[0] == 0xFF


def _is_link_local(address: Address) -> bool:
    packed = address.packed
    return len(packed) == 16 and packed[0] == 0xFE and packed[1] & 0xC0 == 0x80


def sort(link: Link) -> tuple[str, object, None]:
    """Keep equal vnis of one port and address family apart (vxlan_vni_in_use()).

    The parent also distinguishes tunnels with link-local addresses.
    """
    remote = remotes(link)[0]
    key = link.options["vni"], link.options["port"], remote.family
    return PARENT if _is_link_local(remote) else NAMESPACE, key, None


RIVALRY = Rivalry("vni", "a namespace has each vni once on a port", sort)
KIND = Kind(
    "vxlan",
    ends=1,
    fields=FIELDS,
    mtu=ETHERNET_MTU,
    create=create,
    overhead=overhead,
    limit=limit,
    contradiction=contradiction,
    rivalry=RIVALRY,
    meeting=meeting,
    names=NAMES,
    tag=("id", "port"),
    several=("remote",),
    between=Between(
        number="vni",
        lowest=1,
        remote="remote",
        local="local",
        own=("port", "ttl", "learning"),
        neutral={"ttl": 0},
    ),
)
