"""The interfaces of links, and what is known of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kokofast.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kokofast.kinds.kind import Meeting


class Impairment(NamedTuple):
    """What an interface does to what it sends.

    Attributes:
        delay: The longest that it delays a packet, in seconds.
        loss: The share of packets that it loses, from 0 to 1.
        rate: Bytes a second; 0 for no limit.
    """

    delay: float = 0.0
    loss: float = 0.0
    rate: int = 0


NONE = Impairment()

# missing: an end is not there; different: it is not as the file has it; down; carry: frames do not arrive; peer: they
# arrive elsewhere; mtu: only small ones arrive; mirror: copies do not arrive; address: an end does not answer for its
# address.
CHECKS = ("missing", "different", "down", "carry", "peer", "mtu", "mirror", "address")

# How links become what they should be: on one host, and on all. A batch refuses the file of many hosts.
BATCH, DEPLOY = "run batch", "run hosts deploy"


class Finding(NamedTuple):
    """Something wrong with a link: which of CHECKS found it, and a sentence."""

    check: str
    message: str


class Port:
    """An interface of a link.

    Attributes:
        ns: The number of its namespace.
        title: As messages have it: "r1:eth0".
        up: Whether it is set up.
        lower_up: Whether what it is on is up: its peer or its parent.
        is_to_be_up: False if the file has it down.
        settling: Whether it drops what it sends now, and will not soon.
        master: The ifindex of the bridge that it is a port of; 0 for none.
        mirrors: (interface, direction) of what is copied to it.
        addresses: (family, address, prefix length).
        parent: The interface that it is on, if it is the only end of its link; "" for none.
        meeting: Where it meets others that it reaches then: see Kind.
    """

    __slots__ = (
        "addresses",
        "ifindex",
        "ifname",
        "impairment",
        "is_to_be_up",
        "lower_up",
        "mac",
        "master",
        "meeting",
        "mirrors",
        "mtu",
        "ns",
        "parent",
        "settling",
        "title",
        "up",
    )

    def __init__(
        self,
        ns: int,
        ifname: str,
        title: str,
        *,
        ifindex: int = 0,
        mac: bytes = b"",
        mtu: int = 1500,
        up: bool = True,
        lower_up: bool = True,
        is_to_be_up: bool = True,
        settling: bool = False,
        master: int = 0,
        mirrors: Sequence[tuple[str, str]] = (),
        addresses: Sequence[tuple[int, bytes, int]] = (),
        impairment: Impairment = NONE,
    ) -> None:
        self.ns = ns
        self.ifname = ifname
        self.title = title
        self.ifindex = ifindex
        self.mac = mac
        self.mtu = mtu
        self.up = up
        self.lower_up = lower_up
        self.is_to_be_up = is_to_be_up
        self.settling = settling
        self.master = master
        self.mirrors = mirrors
        self.addresses = addresses
        self.impairment = impairment
        self.parent = ""
        self.meeting: Meeting | None = None

    def place(self, kind: str, fields: Mapping[str, object]) -> None:
        """Note what the fields of a link say of its only end: what it is on, and whom it meets there."""
        found = KINDS.get(kind)
        self.parent = str(fields.get("parent") or "")
        self.meeting = found.meeting(fields) if found is not None else None


class CheckedLink:
    """A link that was checked.

    Attributes:
        lab (str): The name of its lab.
        kind (str): Its type, as in the file.
        title (str): Its ends: "r1:eth1 -- r2:eth0".
        problems: What is wrong with it: (check, message). docs/verify.md lists the checks.
        notes: What could not be checked, and why.
        ports (list[Port]): Those of its ends that are there.
        is_checked (bool): Whether anything was sent over it.
    """

    __slots__ = ("is_checked", "kind", "lab", "notes", "ports", "problems", "title")

    def __init__(self, lab: str, kind: str, title: str, ports: list[Port]) -> None:
        self.lab = lab
        self.kind = kind
        self.title = title
        self.ports = ports
        self.problems: list[Finding] = []
        self.notes: list[str] = []
        self.is_checked = False

    @property
    def state(self) -> str:
        """Return "failed", "ok", or "unchecked" if only the state of its ends was looked at."""
        return "failed" if self.problems else "ok" if self.is_checked else "unchecked"

    def __repr__(self) -> str:
        return f"<CheckedLink {self.kind} of {self.lab!r}: {self.title}: {self.state}>"

    def as_dict(self) -> dict[str, object]:
        """As ``verify --format json`` prints it."""
        found: dict[str, object] = {"lab": self.lab, "type": self.kind, "link": self.title, "state": self.state}
        found["problems"] = [{"check": one.check, "message": one.message} for one in self.problems]
        return found | ({"notes": self.notes} if self.notes else {})
