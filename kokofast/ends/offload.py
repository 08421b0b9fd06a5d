"""offload: checksums, segmentation and GRO, which the kernel leaves to a device.

On a veth they are done late, or not at all. Source: ethnl_set_features() in net/ethtool/features.c. The wanted features
are compared and restored one by one: with checksums off the kernel switches others off as well, and on again with them.
"""

from __future__ import annotations

import errno

from kokofast.ends.property import Property
from kokofast.kinds.fields import Field
from kokofast.wire.message import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from kokofast.ends.property import View
    from kokofast.topology.model import End, Link

    Value = bool | Mapping[str, bool]

# Keys, named as in ethtool(8), and what they mean.
OFFLOADS = {
    "tx": "leave checksums of what is sent to the device",
    "tso": "leave segmentation of TCP to the device",
    "gso": "leave segmentation to the last moment, that of UDP as well",
    "gro": "put received packets together",
}
# The kernel's names (net/ethtool/common.c). Linux has all of them since 4.18.
FEATURES = {
    "tx": ("tx-checksum-ip-generic", "tx-checksum-sctp"),
    "tso": (
        "tx-tcp-segmentation",
        "tx-tcp-ecn-segmentation",
        "tx-tcp-mangleid-segmentation",
        "tx-tcp6-segmentation",
    ),
    "gso": ("tx-generic-segmentation", "tx-udp-segmentation"),
    "gro": ("rx-gro",),
}
ALL = tuple(name for names in FEATURES.values() for name in names)
# Of a new veth. Linux makes it without GRO since 5.13.
USUAL = frozenset(ALL) - set(FEATURES["gro"])
NEEDS = "offload needs Linux 5.6 with CONFIG_ETHTOOL_NETLINK; leave offload out"


class Offload(Property):
    """A setting is the set of wanted features; None if they are not known."""

    field = Field("offload", "offload", "false: the end itself does checksums and segmentation, and no GRO")
    has_columns = True
    kinds = ("veth",)  # other kinds have the features of a parent, or of ports

    def problems(self, link: Link, end: End, value: Value, view: View) -> Iterator[tuple[str, str]]:
        """Report an end whose features cannot be read, and so not restored."""
        if view.index_of(view.reference(end.ifname)) is not None and view.present("offload") is None:
            yield "offload", f"the kernel does not show what is offloaded; {NEEDS}"

    def present(self, shown: frozenset[str] | None) -> frozenset[str] | None:
        """Return the features that were found."""
        return shown

    def wanted(self, value: Value, view: View) -> frozenset[str]:
        """Return the features of the file, and the present ones that it does not mention.

        true is what a new end has: GRO stays as it is.
        """
        present = view.present("offload")
        given = {name: value for name in OFFLOADS if name != "gro" or not value} if isinstance(value, bool) else value
        off = {feature for name, is_on in given.items() if not is_on for feature in FEATURES[name]}
        on = {feature for name, is_on in given.items() if is_on for feature in FEATURES[name]}
        return frozenset(((USUAL if present is None else present) - off) | on)

    def requests(self, index: object, new: frozenset[str], before: frozenset[str] | None) -> list[Request]:
        """Return one message for the features that change."""
        from kokofast.wire.ethtool import ETHTOOL, ETHTOOL_FLAG_OMIT_REPLY, ETHTOOL_MSG_FEATURES_SET

        changed = [name for name in ALL if before is None or (name in new) != (name in before)]
        bits = [{"name": name, **({"value": True} if name in new else {})} for name in changed]
        header = {"cmd": ETHTOOL_MSG_FEATURES_SET, "version": 1}
        device = {"dev_index": index, "flags": ETHTOOL_FLAG_OMIT_REPLY}
        return [Request(ETHTOOL, header, {"header": device, "wanted": {"bits": {"bit": bits}}})]

    def cure(self, request: Request, code: int) -> str:
        """Explain a kernel that has no ethtool netlink."""
        if "wanted" not in request.attributes or code != errno.EOPNOTSUPP:
            return ""
        return NEEDS

    def shown(self, setting: frozenset[str] | None, name_of: Callable[[object], str]) -> Value | None:
        """Return true for the features of a new end, false for none, otherwise a mapping of each."""
        if setting is None or setting == USUAL:
            return None if setting is None else True
        return {name: setting.issuperset(FEATURES[name]) for name in OFFLOADS} if setting else False


PROPERTY = Offload()
