"""Small words to say a topology and what is in the kernel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kokofast.plan.observed import Interface, Namespace
from kokofast.plan.ownership import alias_of, first_address, group_of, number_of
from kokofast.plan.plan import Plan, Situation
from kokofast.plan.planner import make_plan
from kokofast.topology.model import End, Link, Node, Topology
from kokofast.topology.values import parse_address

LAB = "lab"
BOOT = "6f2c1b1e-0000-4000-8000-000000000001"


def address(text: str) -> Any:
    return parse_address(text)


def end(title: str, **fields: Any) -> End:
    """``end("r1:eth1", mtu=1400)``; addresses as text."""
    node, _, ifname = title.partition(":")
    texts = fields.pop("addresses", ())
    # As the decoder does it: every field has a place of its own.
    places = {name: f"{title}.{name}" for name in ("ifname", "mtu", "mac", "queues", "txqlen", "addresses")}
    return End(node, ifname, addresses=tuple(map(parse_address, texts)), place=title, places=places, **fields)


def veth(first: End | str, second: End | str) -> Link:
    ends = tuple(end(item) if isinstance(item, str) else item for item in (first, second))
    return Link("veth", ends, place="link", places={"type": "link.type"})


def topology(*links: Link, create: bool = False) -> Topology:
    names = dict.fromkeys(item.node for link in links for item in link.ends)
    return Topology(LAB, {name: Node(name, "netns", f"netns-{name}", create=create) for name in names}, links)


def identity_of(number: int) -> tuple[int, int]:
    return 4, 4026532000 + number


def interface(ifname: str, ifindex: int, peer: int, alias: str, **fields: Any) -> Interface:
    """An interface of the lab, as it is after a run; addresses is {text: whether it was set by us}."""
    given: Mapping[str, bool] = fields.pop("addresses", {})
    values: dict[str, Any] = {
        "group": group_of(LAB),
        "alias": alias,
        "kind": "veth",
        "mac": bytes.fromhex("02aabbccdd00"),
        "mtu": 1500,
        "txqlen": 1000,
        "queues": 1,
        "up": True,
        "peer": peer,
        "addresses": {parse_address(text): ours for text, ours in given.items()},
        **fields,
    }
    return Interface(ifindex, ifname, **values)


def mark_of(ns: int, ifindex: int, lab: str = LAB, salt: int = 7) -> bytes:
    """What an interface that the lab made has for an address."""
    return first_address((BOOT, identity_of(ns), group_of(lab), ifindex), salt, number_of(lab))


def unmarked(ifname: str, ifindex: int, peer: int, ns: int, **fields: Any) -> Interface:
    """An interface whose maker was killed just after its creation: no alias, the computed queue length."""
    broadcast = mark_of(ns, ifindex)
    return interface(ifname, ifindex, peer, "", **{"broadcast": broadcast, "up": False, **fields})


def namespace(number: int, *interfaces: Interface) -> Namespace:
    lo = Interface(1, "lo", txqlen=1000, mtu=65536, up=True)
    return Namespace(identity_of(number), {item.ifname: item for item in (lo, *interfaces)})


def plan(wanted: Topology, *observed: Namespace | None, places: Mapping[str, int] | None = None) -> Plan:
    """The plan, each node in the namespace of its position unless places says otherwise."""
    numbers = places if places is not None else {name: number for number, name in enumerate(wanted.nodes)}
    return make_plan(wanted, Situation(numbers, observed, BOOT))


def link_alias(link: Link) -> str:
    return alias_of(LAB, link)
