"""The objects of a topology file: which fields its links, ends, nodes, defaults and routing have."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from kokofast.ends import ENDS
from kokofast.ends import fields as property_fields
from kokofast.kinds import KINDS
from kokofast.kinds.fields import Field
from kokofast.kinds.kind import Kind
from kokofast.topology import values
from kokofast.topology.node_kinds import NODES
from kokofast.topology.routes import SHORTEST_PATH
from kokofast.topology.rules import Rule, make_rule, record, table

DEFAULT_KIND = "veth"
COST_MAX = 65535  # of OSPF as well
FILE_KEYS = ("name", "part", "hosts", "between", "defaults", "routing", "nodes", "links")
SCHEMA_KEY = "$schema"  # for editors, ignored by us


def shared_fields(kind: Kind) -> tuple[Field, ...]:
    """Return the properties that an end of a link kind may have, also given by its link or defaults."""
    low, high = kind.mtu
    return (
        Field("addresses", "addresses", "IPv4 and IPv6 addresses with prefix length"),
        Field("mac", "mac", "the end's unicast MAC address"),
        Field("mtu", "int", "MTU in bytes", minimum=low, maximum=high),
        Field("txqlen", "int", "transmit queue length in packets", minimum=0, maximum=values.U32_MAX),
        Field("queues", "queues", "queue pairs; auto: one for each processor", minimum=1, maximum=values.QUEUES_MAX),
        Field("up", "bool", "set the end up (the default)"),
        Field(
            "dad", "bool", "false: a link-local IPv6 address that can be used at once, without looking for duplicates"
        ),
        Field("mirror", "mirror", "copy another interface's traffic to this end"),
        Field("cost", "int", "what routing counts for sending from this end", minimum=1, maximum=COST_MAX),
        *property_fields(kind.name),
    )


# The fields of properties of kokofast.ends.
PROPERTY_KEYS = frozenset(field.name for found in ENDS.values() for field in found.all_fields())

IDENTITY = (
    Field("node", "node", "the node the end is in", required=True),
    Field("interface", "ifname", "the end's interface name; eth0, eth1, ... unless given"),
)

SUBNET_RULES = table(
    Field("subnet", "subnet", "IPv4 subnet; links without addresses get two of it"),
    Field("subnet6", "subnet6", "IPv6 subnet; links without addresses get two of it"),
)


PAIR = 2
# topology.hosts checks what it has, by between_rules(), which need all link kinds.
BETWEEN = Rule(
    Field("between", "", "how this link is made if it is between hosts"),
    str | dict[str, Any],
    'a type such as "vlan", or an object with "type"',
)


class Shape:
    """The rules of links of one kind in the file, and the structs made of them."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.ends_key = "endpoints" if kind.ends == 2 else "endpoint"
        self.shared = table(*shared_fields(kind))
        self.options = table(*kind.fields)
        self.subnets = SUBNET_RULES if kind.ends == PAIR else {}
        self.end = table(*IDENTITY) | self.shared
        title = kind.name.capitalize()
        self.end_record = record(f"{title}Endpoint", self.end)
        short = Annotated[str, Meta(description="node[:interface[:address,...]]", extra_json_schema={"minLength": 1})]
        either: Any = short | self.end_record
        ends: Any = tuple[(either,) * kind.ends] if kind.ends > 1 else either  # type: ignore[misc]
        ends_rule = Rule(Field(self.ends_key, "", "", required=True), ends, "")
        type_rule = make_rule(
            Field("type", "choice", f"the link's kind ({DEFAULT_KIND} by default)", choices=(kind.name,))
        )
        between = {"between": BETWEEN} if kind.ends == PAIR else {}
        self.link = {self.ends_key: ends_rule, "type": type_rule} | self.shared | self.subnets | between | self.options
        # A required option may come from defaults: the builder checks that, the struct cannot.
        optional = {key: _optional(rule) for key, rule in self.options.items()}
        self.link_record = record(f"{title}Link", self.link | optional)


def _optional(rule: Rule) -> Rule:
    field = Field(rule.field.name, rule.field.type, rule.field.doc)
    return Rule(field, rule.annotation, rule.expects, rule.parse, rule.nested)


@cache
def shape(kind: Kind) -> Shape:
    """Return the shape of a kind's links, made once."""
    return Shape(kind)


NODE_KINDS = table(*(kind.field for kind in NODES.values()))
NODE_RULES = NODE_KINDS | table(
    Field("socket", "socket", "the socket of the container engine"),
    Field("create", "bool", "make the namespace when it is missing (netns only)"),
    Field("addresses", "addresses", "addresses of the node's loopback"),
    Field("routes", "routes", "routes of the node"),
    Field("sysctls", "sysctls", "values of sysctls below net."),
    Field("ipv6", "bool", "false: switch IPv6 off in the node's namespace"),
    Field("tags", "tags", "words of your own, by which split may keep nodes together"),
)
NodeRecord = record("Node", NODE_RULES)


class RoutingRecord(msgspec.Struct, forbid_unknown_fields=True):
    """Routes for all nodes."""

    mode: Annotated[Literal["shortest-path"], Meta(description="least cost of the links on the way, else fewest")]
    multipath: Annotated[bool, Meta(description="have all hops of equal cost in a route")] = False


def _routing(field: Field) -> Rule:
    nested = table(
        Field("mode", "choice", "how routes are chosen", choices=(SHORTEST_PATH,), required=True),
        Field("multipath", "bool", "have all hops of equal cost in a route"),
    )
    expects = f'"{SHORTEST_PATH}", or an object with "mode" and "multipath"'
    return Rule(field, Literal["shortest-path"] | RoutingRecord, expects, nested=nested)


ROUTING = _routing(Field("routing", "routing", "routes along shortest paths for all nodes"))

HOST_MTU = (256, 65535)
HOST_RULES = table(
    Field("address", "ip", "the host's address in the underlay, IPv4 or IPv6", required=True),
    Field("parent", "ifname", "the host's interface in the underlay", required=True),
    Field("mtu", "int", "MTU of the underlay (1500 by default)", minimum=HOST_MTU[0], maximum=HOST_MTU[1]),
    Field("vars", "variables", "variables for Ansible's inventory"),
)
HostRecord = record("Host", HOST_RULES)


@cache
def between_rules() -> dict[str, Rule]:
    """Return the rules of what makes links between hosts: those of all kinds that can, and their type."""
    kinds = {name: kind.between for name, kind in KINDS.items() if kind.between is not None}
    fields = [Field("type", "choice", "what a link between hosts becomes on each", choices=tuple(kinds))]
    for name, between in kinds.items():
        for field in KINDS[name].fields:
            if field.name == between.number:
                doc = f"which {field.name} a link may get: one number, or a range"
                low, high = max(field.minimum or 0, between.lowest), field.maximum
                fields.append(Field(field.name, "range", doc, minimum=low, maximum=high))
            elif field.name in between.choices:
                fields.append(Field(field.name, field.type, field.doc, choices=between.choices[field.name]))
            elif field.name in between.own:
                fields.append(field)
    return table(*fields)


def default_rules() -> dict[str, list[Rule]]:
    """Return the rules of each key of defaults, one for each kind that has it."""
    found: dict[str, list[Rule]] = {
        "create": [NODE_RULES["create"]],
        "type": [
            make_rule(Field("type", "choice", "the kind of a link that does not say its own", choices=tuple(KINDS)))
        ],
    }
    for kind in KINDS.values():
        for key, rule in (shape(kind).shared | shape(kind).subnets | shape(kind).options).items():
            found.setdefault(key, []).append(rule)
    return found
