"""master: the bridge, bond or VRF that the end is a port of.

Source: do_set_master() in net/core/rtnetlink.c, br_add_if(), bond_enslave(), do_vrf_add_slave().
"""

from __future__ import annotations

import errno

from kokofast.ends.property import LAST, Property
from kokofast.kinds.fields import Field
from kokofast.wire.link import RTM_SETLINK
from kokofast.wire.message import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kokofast.ends.property import View
    from kokofast.topology.model import End, Link

KINDS = ("bridge", "bond", "vrf")


class Master(Property):
    """A setting is an ifindex, 0 for no master."""

    field = Field("master", "ifname", "bridge, bond or VRF in the end's namespace that the end becomes a port of")
    nothing = 0
    stage = LAST

    def needs(self, value: str) -> tuple[str, ...]:
        """Return the master."""
        return (value,)

    def problems(self, link: Link, end: End, value: str, view: View) -> Iterator[tuple[str, str]]:
        """Report a master that does not exist, is of another kind, or cannot have this end as a port."""
        kind = view.kind_of(value)
        if kind is None:
            yield "master", f"there is no interface {value} in {end.node}; make a bridge, bond or VRF of that name"
        elif kind not in KINDS:
            yield "master", f"{value} is {f'a {kind} and ' if kind else ''}no bridge, bond or VRF; name one of these"
        elif kind == "bridge" == link.kind:
            yield "master", f"{value} is a bridge, and so is this end; connect bridges by a veth link instead"
        elif kind == "bond":
            yield from self._problems_of_bond(end, value, view)

    def _problems_of_bond(self, end: End, value: str, view: View) -> Iterator[tuple[str, str]]:
        # bond_enslave() gives a port the address and the MTU of the bond, and sets it up.
        for field, given in (("mac", end.mac), ("mtu", end.mtu)):
            if given is not None:
                yield field, f"the bond {value} gives its ports its own {field}; leave {field} out"
        if not end.up:
            yield "up", f"the bond {value} sets its ports up; leave up out"
        if view.is_up() and view.index_of(view.reference(value)) != view.present("master"):
            cure = f"destroy the link first (or ip link set {end.ifname} down)"
            yield "master", f"the bond {value} takes no interface that is up; {cure}"

    def restarts(self, value: str, view: View) -> bool:
        """Return whether the interface enters or leaves a VRF: cycle_netdev() then sets it down and up again."""
        return "vrf" in (view.kind_of(value), view.kind_of(view.name_of(view.present("master"))))

    def present(self, shown: int | None) -> int:
        """Return the ifindex."""
        return shown or 0

    def wanted(self, value: str, view: View) -> object:
        """Return a reference to the master."""
        return view.reference(value)

    def requests(self, index: object, new: object, before: object) -> list[Request]:
        """Return one RTM_SETLINK. It takes the interface out of the present master first."""
        return [Request(RTM_SETLINK, {"index": index}, {"master": new})]

    def cure(self, request: Request, code: int) -> str:
        """Explain the two reasons that the kernel gives no words for."""
        if code != errno.EBUSY or "master" not in request.attributes:
            return ""
        return (
            "a port can neither be above its master, by its parent and the parents of that, nor be the parent of a "
            "macvlan or ipvlan; give it another master or parent"
        )

    def shown(self, setting: object, name_of: Callable[[object], str]) -> str | None:
        """Return the name of the master."""
        return name_of(setting) if setting else None


PROPERTY = Master()
