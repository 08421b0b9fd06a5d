"""remote: the hosts to which a tunnel sends frames that match no other entry, if the file has a list of them.

They are entries of the interface's forwarding database, each for the MAC address 00:00:00:00:00:00, as ``bridge fdb
append`` makes them; see wire.neigh.
"""

from __future__ import annotations

from kokofast.ends.property import Property
from kokofast.kinds.fields import Field
from kokofast.wire.link import AF_BRIDGE
from kokofast.wire.message import NLM_F_APPEND, NLM_F_CREATE, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from kokofast.ends.property import View
    from kokofast.topology.model import Address

    Hosts = tuple[bytes, ...]


class Remotes(Property):
    """A setting has the addresses of all hosts, sorted."""

    field = Field("remote", "ips", "the other hosts")
    nothing = ()
    is_of_kind = True

    def is_fixed(self, value: tuple[Address, ...], present: Hosts) -> bool:
        """Return whether hosts of the other family are there: the kernel takes only those of the first."""
        return any(len(host) != len(value[0].packed) for host in present)

    def present(self, shown: Hosts | None) -> Hosts:
        """Return the hosts."""
        return shown or ()

    def wanted(self, value: tuple[Address, ...], view: View) -> Hosts:
        """Return the hosts."""
        return tuple(sorted(one.packed for one in value))

    def requests(self, index: object, new: Hosts, before: Hosts) -> list[Request]:
        """Return a message for each host to add or remove."""
        from kokofast.wire import neigh  # few files have a list of remotes

        header = {"family": AF_BRIDGE, "index": index, "state": neigh.NUD_PERMANENT, "flags": neigh.NTF_SELF}
        anything = bytes(6)
        added = [(neigh.RTM_NEWNEIGH, host, NLM_F_CREATE | NLM_F_APPEND) for host in new if host not in before]
        removed = [(neigh.RTM_DELNEIGH, host, 0) for host in before if host not in new]
        return [
            Request(type, header, {"dst": host, "lladdr": anything}, flags) for type, host, flags in (*added, *removed)
        ]

    def blamed(self, request: Request, value: tuple[Address, ...]) -> str:
        """Return remote for one of these messages."""
        return "remote" if "lladdr" in request.attributes else ""

    def shown(self, setting: Hosts, name_of: Callable[[object], str]) -> list[str]:
        """Return the hosts as text."""
        from ipaddress import ip_address

        return [str(ip_address(host)) for host in setting]


PROPERTY = Remotes()
