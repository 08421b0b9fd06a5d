"""What a part has for each link: the file's own words, what they leave open, and what a link between hosts needs.

All links between hosts have all that they need: the part has the defaults of the whole, for the other links.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kokofast.kinds import KINDS
from kokofast.topology.problems import Problem
from kokofast.topology.segments import BETWEEN, ENDS
from kokofast.topology.shapes import DEFAULT_KIND, IDENTITY, SUBNET_RULES, shape

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kokofast.splitting.joints import Joint
    from kokofast.topology.locations import At
    from kokofast.topology.model import End, Link

END = "endpoint"
ADDRESSES = "addresses"
MTU = "mtu"
OPEN = frozenset((*SUBNET_RULES, BETWEEN))  # what a part has no use for: it has the outcome


class Entries:
    """Makes the entries of links. defaults are those of the file; a raw link is one as the file has it."""

    def __init__(self, defaults: Mapping[str, object], problems: list[Problem]) -> None:
        self._problems = problems
        self._defaults = defaults
        self._has_subnets = not SUBNET_RULES.keys().isdisjoint(defaults)
        self._shared = shape(KINDS[DEFAULT_KIND]).shared
        self._names = frozenset(field.name for field in IDENTITY)

    def top(self) -> dict[str, object]:
        """Return what the file of a part has for all of its links."""
        defaults = {key: value for key, value in self._defaults.items() if key not in SUBNET_RULES}
        return {"defaults": defaults} if defaults else {}

    def inside(self, raw: Any, link: Link, mtu: int | None) -> object:
        """Return the entry of a link whose ends are on one host; mtu is what all of its LAN can carry."""
        is_list = isinstance(raw, list)
        has_subnets = self._has_subnets or (not is_list and not SUBNET_RULES.keys().isdisjoint(raw))
        lacks_mtu = mtu is not None and all(end.mtu is None for end in link.ends)
        if is_list or ENDS in raw:
            given = raw if is_list else raw[ENDS]
            ends = [self._end(one, end, has_subnets) for one, end in zip(given, link.ends, strict=True)]
            if is_list and not lacks_mtu:
                return ends
            entry: dict[str, object] = {ENDS: ends}
        else:
            entry = {END: self._end(raw[END], link.ends[0], False)}
        if not is_list:
            entry = {key: entry.get(key, value) for key, value in raw.items() if key not in OPEN}
        return {**entry, MTU: mtu} if lacks_mtu else entry

    def across(self, raw: Any, at: At, link: Link, position: int, joint: Joint, mtu: int | None) -> object:
        """Return the entry of a link between hosts, for the host of one of its ends; at() has the places in it."""
        is_list = isinstance(raw, list)
        has_subnets = self._has_subnets or (not is_list and not SUBNET_RULES.keys().isdisjoint(raw))
        given, end = (raw if is_list else raw[ENDS])[position], link.ends[position]
        fields = {} if is_list else {key: value for key, value in raw.items() if key in self._shared}
        self._check(at, position, fields, given, joint)
        entry = {
            "type": joint.between.kind,
            END: self._end(given, end, has_subnets),
            **joint.options(position, self._defaults),
            **fields,
        }
        if end.mtu is None:
            entry[MTU] = joint.mtu if mtu is None else mtu
        return entry

    def _end(self, raw: Any, end: End, has_subnets: bool) -> object:
        """Return what the file has for an end, with its name, and addresses that it got from a subnet."""
        if isinstance(raw, dict):
            more: dict[str, object] = {}
            if "interface" not in raw:
                more["interface"] = end.ifname
            if has_subnets and end.addresses and ADDRESSES not in raw:
                more[ADDRESSES] = [address.text for address in end.addresses]
            return {**raw, **more} if more else raw
        name = f"{end.node}:{end.ifname}"
        if raw != name and raw.startswith(f"{name}:"):
            return raw
        addresses = ",".join(address.text for address in end.addresses) if has_subnets else ""
        return f"{name}:{addresses}" if addresses else name

    def _check(self, at: At, position: int, fields: Mapping[str, object], end: object, joint: Joint) -> None:
        """Report fields that only a link within a host can have."""
        allowed = shape(KINDS[joint.between.kind]).shared
        paths = [name for name in fields if name not in allowed and position == 0]
        if isinstance(end, dict):
            wrong = [name for name in end if name not in allowed and name not in self._names]
            paths += [f"{ENDS}[{position}].{name}" for name in wrong]
        self._problems += [Problem(at(path), misfit(joint, path.rpartition(".")[2])) for path in paths]


def misfit(joint: Joint, name: str) -> str:
    """Return what is wrong with a field that only a link within a host can have."""
    one, other = (host.name for host in joint.hosts)
    words = f"the link is between {one} and {other}, and a {joint.between.kind} link has no '{name}'"
    return f"{words}; leave it out, or put both nodes on one host"
