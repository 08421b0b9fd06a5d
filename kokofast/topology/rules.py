"""The fields of a topology file, each declared once for all formats and the JSON Schema.

A Field has name, type and limits. TYPES maps a type to the annotation that msgspec checks in C, and words for its
failure. What msgspec cannot check (is this text an address?) is a function of values.py.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial, reduce
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from kokofast.ends import ENDS
from kokofast.ends import fields as property_fields
from kokofast.ends.offload import OFFLOADS
from kokofast.kinds import KINDS
from kokofast.kinds.fields import Field
from kokofast.kinds.kind import Kind
from kokofast.topology import units, values
from kokofast.topology.model import AF_INET, AF_INET6, Address, Mirror, Route
from kokofast.topology.node_kinds import NODES
from kokofast.topology.routes import SHORTEST_PATH, make_route, parse_gateway, parse_goal
from kokofast.topology.subnets import parse_subnet
from kokofast.topology.sysctls import parse_sysctls

DEFAULT_KIND = "veth"
COST_MAX = 65535  # of OSPF as well

Complain = Callable[[str, str], None]  # path below the value, message
Parse = Callable[[Any, Complain], object]


class Invalid:
    """A parser returns INVALID after it reported a problem."""


INVALID = Invalid()


class Rule:
    """How a field is checked: msgspec checks annotation, expects describes it, parse then converts the value.

    nested has the rules of an object's keys.
    """

    __slots__ = ("annotation", "expects", "field", "nested", "parse")

    def __init__(
        self,
        field: Field,
        annotation: Any,
        expects: str,
        parse: Parse | None = None,
        nested: Mapping[str, Rule] | None = None,
    ) -> None:
        self.field = field
        self.annotation = annotation
        self.expects = expects
        self.parse = parse
        self.nested = nested


def one(check: Callable[[str], object]) -> Parse:
    """Return a parser of a text, made of a function that raises ValueError."""

    def parse(value: str, complain: Complain) -> object:
        try:
            return check(value)
        except ValueError as error:
            complain("", str(error))
            return INVALID

    return parse


def parse_addresses(texts: list[str], complain: Complain) -> tuple[Address, ...] | Invalid:
    """Parse the addresses of one end, and report every invalid one."""
    found: dict[object, Address] = {}
    complaints = 0
    for index, text in enumerate(texts):
        try:
            address = values.parse_address(text)
            # The kernel keeps an IPv6 address once an interface, an IPv4 address once for each prefix length.
            key = address.packed if ":" in text else address.key()
            if key in found:
                raise ValueError(f"the address {values.quote(text)} is given twice")
            found[key] = address
        except ValueError as error:
            complain(f"[{index}]", str(error))
            complaints += 1
    return INVALID if complaints else tuple(found.values())


def _parse_queues(value: int | str, complain: Complain) -> int | None:
    return None if isinstance(value, str) else value


def _parse_ips(given: str | list[str], complain: Complain) -> object:
    if isinstance(given, str):
        return one(values.parse_ip)(given, complain)
    if not 0 < len(given) <= values.REMOTES_MAX:
        complain("", f"a list has 1 to {values.REMOTES_MAX:,} addresses, not {len(given):,}")
        return INVALID
    found: dict[bytes, object] = {}
    for index, text in enumerate(given):
        address = one(values.parse_ip)(text, partial(_complain_at, complain, f"[{index}]"))
        if isinstance(address, Address) and address.packed in found:
            complain(f"[{index}]", f"the address {values.quote(text)} is given twice")
        found[address.packed if isinstance(address, Address) else b""] = address
    return INVALID if len(found) < len(given) or b"" in found else tuple(found.values())


def _complain_at(complain: Complain, at: str, path: str, message: str) -> None:
    complain(at + path, message)


def _parse_parent(text: str) -> str:
    values.check_ifname(text.rpartition(":")[2])
    return text


def _parse_text(text: str) -> str:
    if len(text.encode(errors="replace")) > values.TEXT_BYTES:
        raise ValueError(f"{values.quote(text)} is longer than {values.TEXT_BYTES} bytes")
    if not text.isprintable():
        raise ValueError(f"{values.quote(text)} has a control character in it")
    return text


class MirrorRecord(msgspec.Struct, rename={"source": "from"}, forbid_unknown_fields=True):
    """The traffic to copy to this end."""

    source: Annotated[str, Meta(description="interface of the same namespace whose traffic is copied")]
    direction: Literal["both", "ingress", "egress"] = "both"


def _parse_mirror(record: MirrorRecord, complain: Complain) -> object:
    source = one(values.check_ifname)(record.source, lambda path, message: complain(".from", message))
    return source if isinstance(source, Invalid) else Mirror(str(source), record.direction)


def _int(field: Field) -> Rule:
    low, high = field.minimum, field.maximum
    bounds = " ".join(f"{word} {bound}" for word, bound in (("from", low), ("to", high)) if bound is not None)
    return Rule(field, Annotated[int, Meta(ge=low, le=high)], f"a whole number {bounds}".strip())


def _choice(field: Field) -> Rule:
    return Rule(field, Literal[field.choices], "one of " + ", ".join(field.choices))


def _queues(field: Field) -> Rule:
    number = _int(field)
    return Rule(field, number.annotation | Literal["auto"], f'{number.expects}, or "auto"', _parse_queues)


def _mirror(field: Field) -> Rule:
    nested = {
        "from": make_rule(Field("from", "ifname", "the interface", required=True)),
        "direction": make_rule(Field("direction", "choice", "which way", choices=("both", "ingress", "egress"))),
    }
    return Rule(field, MirrorRecord, 'an object with "from" and "direction"', _parse_mirror, nested)


@cache
def _offload_record() -> tuple[dict[str, Rule], type[msgspec.Struct]]:
    # Once: the schema has one definition for all link kinds.
    nested = table(*(Field(name, "bool", doc) for name, doc in OFFLOADS.items()))
    return nested, record("Offload", nested)


def _offload(field: Field) -> Rule:
    nested, made = _offload_record()

    def parse(given: Any, complain: Complain) -> object:
        if isinstance(given, bool):
            return given
        found = {name: getattr(given, name) for name in nested if getattr(given, name) is not UNSET}
        if not found:
            complain("", f"an object has some of {', '.join(nested)}; it is empty")
        return found or INVALID

    expects = "true, false, or an object of " + ", ".join(nested)
    return Rule(field, bool | made, expects, parse, nested)


def _routes(field: Field) -> Rule:
    nested = table(
        Field("to", "goal", "default, a network, or an address", required=True),
        Field("via", "gateway", "the neighbour's address"),
        Field("dev", "ifname", "the end that packets leave by"),
        Field("metric", "int", "of several routes to one network the lowest counts", minimum=0, maximum=values.U32_MAX),
    )

    def parse(records: list[Any], complain: Complain) -> object:
        found: list[Route] = []
        for index, given in enumerate(records):
            at = f"[{index}]"
            parsed = {key: _parsed(rule, getattr(given, key), f"{at}.{key}", complain) for key, rule in nested.items()}
            if INVALID in parsed.values():
                continue
            try:
                found.append(make_route(parsed))
            except ValueError as error:
                complain(at, str(error))
        return tuple(found) if len(found) == len(records) else INVALID

    expects = 'a list of routes such as {"to": "default", "via": "10.0.0.1"}'
    return Rule(field, list[record("Route", nested)], expects, parse, nested)  # type: ignore[misc]


def _parsed(rule: Rule, value: object, path: str, complain: Complain) -> object:
    """Return what the rule's parser makes of a value; None where there is none."""
    if value is UNSET or rule.parse is None:
        return None if value is UNSET else value
    return rule.parse(value, lambda below, message: complain(path + below, message))


def _parse_sysctls(given: dict[str, int | str], complain: Complain) -> object:
    found = parse_sysctls(given, complain)
    return INVALID if found is None else found


def _text(expects: str, parse: Parse | None, **schema: object) -> Callable[[Field], Rule]:
    """Return a type that is text for msgspec and that parse checks further; schema is for the JSON Schema."""
    annotation = Annotated[str, Meta(extra_json_schema=dict(schema))] if schema else str
    return lambda field: Rule(field, annotation, expects, parse)


# The types of kinds.fields.Field.
TYPES: dict[str, Callable[[Field], Rule]] = {
    "int": _int,
    "bool": lambda field: Rule(field, bool, "true or false"),
    "choice": _choice,
    "str": _text("text", one(_parse_text)),
    "ip": _text("an IP address in text", one(values.parse_ip)),
    "ips": lambda field: Rule(
        field,
        str | list[str],
        "an IP address in text, or a list of them",
        _parse_ips,
    ),
    "interface": _text("an interface's name, or node:interface", one(_parse_parent), minLength=1),
    "ifname": _text("an interface's name", one(values.check_ifname), minLength=1, maxLength=values.IFNAME_BYTES),
    "node": _text("a node's name", None, minLength=1, maxLength=values.NODE_NAME_BYTES),
    "mac": _text("a MAC address in text", one(values.parse_mac), examples=["02:aa:c1:00:00:01"]),
    "subnet": _text("a subnet in text", one(partial(parse_subnet, family=AF_INET)), examples=["10.0.0.0/16"]),
    "subnet6": _text("a subnet in text", one(partial(parse_subnet, family=AF_INET6)), examples=["2001:db8::/48"]),
    "addresses": lambda field: Rule(field, list[str], "a list of addresses in text", parse_addresses),
    "texts": lambda field: Rule(field, list[str], "a list of texts"),
    "queues": _queues,
    "goal": _text('"default" or a network in text', one(parse_goal), examples=["default", "10.0.0.0/8"]),
    "gateway": _text("an IP address in text", one(parse_gateway), examples=["10.0.0.1"]),
    "routes": _routes,
    "sysctls": lambda field: Rule(
        field, dict[str, int | str], 'an object such as {"net.ipv4.ip_forward": 1}', _parse_sysctls
    ),
    "mirror": _mirror,
    "offload": _offload,
    "time": _text('a time in text, such as "20ms"', one(units.parse_time), examples=["20ms"]),
    "rate": _text('a rate in text, such as "10mbit"', one(units.parse_rate), examples=["10mbit"]),
    "share": _text('a percentage in text, such as "0.1%"', one(units.parse_share), examples=["0.1%"]),
    "netns": _text("a namespace's name", one(values.check_netns_name), minLength=1),
    "container": _text("a container's name or id in text", one(values.check_container), minLength=1),
    "cri_container": _text(
        "a container's id or name, or namespace/pod/name, in text", one(values.check_cri_container), minLength=1
    ),
    "path": _text("an absolute path", one(values.check_path), pattern="^/"),
    "socket": _text("the absolute path of a socket", one(values.check_socket)),
    "true": lambda field: Rule(field, Annotated[bool, Meta(extra_json_schema={"const": True})], "true"),
}


def make_rule(field: Field) -> Rule:
    """Return the rule of a field, with its doc for the schema."""
    rule = TYPES[field.type](field)
    if field.check is not None:
        rule.parse = _checked(field.check)
    if field.doc:
        rule.annotation = Annotated[rule.annotation, Meta(description=field.doc)]
    return rule


def _checked(check: Callable[[Any], Iterable[tuple[str, str]]]) -> Parse:
    """Return a parser of a field that brings its check along."""

    def parse(value: object, complain: Complain) -> object:
        wrong = list(check(value))
        for path, message in wrong:
            complain(path, message)
        return INVALID if wrong else value

    return parse


def table(*fields: Field) -> dict[str, Rule]:
    """Return the rules by key in the file."""
    return {field.name: make_rule(field) for field in fields}


def record(name: str, rules: Mapping[str, Rule]) -> type[msgspec.Struct]:
    """Return the msgspec struct of an object with these keys. Optional ones are UNSET when absent."""
    required = [(key, rule.annotation) for key, rule in rules.items() if rule.field.required]
    optional = [(key, rule.annotation | UnsetType, UNSET) for key, rule in rules.items() if not rule.field.required]
    return msgspec.defstruct(name, [*required, *optional], forbid_unknown_fields=True)


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


# Those of modules of kokofast.ends.
PROPERTY_KEYS = frozenset(field.name for found in ENDS.values() for field in found.all_fields())


IDENTITY = (
    Field("node", "node", "the node the end is in", required=True),
    Field("interface", "ifname", "the end's interface name; eth0, eth1, ... unless given"),
)


SUBNET_RULES = table(
    Field("subnet", "subnet", "IPv4 subnet; links without addresses get two of it"),
    Field("subnet6", "subnet6", "IPv6 subnet; links without addresses get two of it"),
)


class Shape:
    """The rules of links of one kind in the file, and the structs made of them."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.ends_key = "endpoints" if kind.ends == 2 else "endpoint"
        self.shared = table(*shared_fields(kind))
        self.options = table(*kind.fields)
        self.subnets = SUBNET_RULES if kind.ends == 2 else {}
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
        self.link = {self.ends_key: ends_rule, "type": type_rule} | self.shared | self.subnets | self.options
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

FILE_KEYS = ("name", "defaults", "routing", "nodes", "links")
SCHEMA_KEY = "$schema"  # for editors, ignored by us


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


def union(annotations: list[Any]) -> Any:
    """Return the union of these types."""
    return reduce(operator.or_, annotations)
