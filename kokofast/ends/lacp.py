"""lacp: whether a bridge passes on the LACP frames that come in at the end, which is a port of it.

A bridge has no mask for the group of LACP, 01:80:c2:00:00:02, but its ports have one each: br_handle_frame() in
net/bridge/br_input.c, br_setport() in br_netlink.c. A port gets it with PF_BRIDGE, and loses it with its bridge.
"""

from __future__ import annotations

from kokofast.ends.property import LAST, Property
from kokofast.kinds.fields import Field
from kokofast.wire.link import AF_BRIDGE, RTM_SETLINK
from kokofast.wire.message import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kokofast.ends.property import View
    from kokofast.topology.model import End, Link

    Setting = tuple[int, int | None]

GROUP = 1 << 2


class Lacp(Property):
    """A setting is the mask of the port, and the ifindex of its bridge: None for a new one."""

    field = Field("lacp", "bool", "pass on the LACP frames that come in at this end, a port of a bridge")
    nothing = (0, None)
    stage = LAST  # as master, which comes before it

    def problems(self, link: Link, end: End, value: bool, view: View) -> Iterator[tuple[str, str]]:
        """Report an end that is no port of a bridge."""
        master = view.given("master") or view.name_of(view.present("master") or 0)
        if not master or view.kind_of(master) != "bridge":
            yield "lacp", "it is no port of a bridge; give the end a bridge as its master, or leave lacp out"

    def present(self, shown: Setting | None) -> Setting:
        """Return the mask and the bridge."""
        return shown or (0, None)

    def wanted(self, value: bool, view: View) -> Setting:
        """Return the mask with or without the group. The other groups stay, unless the port gets another bridge."""
        mask, present = view.present("lacp") or self.nothing
        given = view.given("master")
        bridge = present if given is None else view.index_of(view.reference(given))
        others = mask & ~GROUP if bridge == present else 0
        return others | (GROUP if value else 0), bridge

    def requests(self, index: object, new: Setting, before: Setting) -> list[Request]:
        """Return one message; none for an end that is no port any more."""
        if new == (0, None):
            return []
        header = {"family": AF_BRIDGE, "index": index}
        return [Request(RTM_SETLINK, header, {"protinfo": {"group_fwd_mask": new[0]}})]

    def blamed(self, request: Request, value: bool) -> str:
        """Return the field."""
        return "lacp" if "protinfo" in request.attributes else ""

    def shown(self, setting: Setting, name_of: Callable[[object], str]) -> bool | None:
        """Return True where they are passed on."""
        return True if setting[0] & GROUP else None


PROPERTY = Lacp()
