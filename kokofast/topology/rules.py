"""The types of fields: how a value of a topology file is checked and parsed, for all formats and the JSON Schema.

A Field has name, type and limits. TYPES maps a type to the annotation that msgspec checks in C, and words for its
failure. What msgspec cannot check (is this text an address?) is a function of values.py. shapes.py says which fields
there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from kokofast.ends.offload import OFFLOADS
from kokofast.kinds.fields import Field
from kokofast.topology import units, values
from kokofast.topology.model import AF_INET, AF_INET6, Address, Mirror, Route
from kokofast.topology.problems import step
from kokofast.topology.routes import make_route, parse_gateway, parse_goal
from kokofast.topology.subnets import parse_subnet
from kokofast.topology.sysctls import parse_sysctls

Report = Callable[[str, str], None]  # path below the value, message
Parse = Callable[[Any, Report], object]


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

    def parse(value: str, report: Report) -> object:
        try:
            return check(value)
        except ValueError as error:
            report("", str(error))
            return INVALID

    return parse


def parse_addresses(texts: list[str], report: Report) -> tuple[Address, ...] | Invalid:
    """Parse the addresses of one end, and report every invalid one."""
    found: dict[object, Address] = {}
    is_valid = True
    for index, text in enumerate(texts):
        try:
            address = values.parse_address(text)
            # The kernel keeps an IPv6 address once an interface, an IPv4 address once for each prefix length.
            key = address.packed if ":" in text else address.key()
            if key in found:
                raise ValueError(f"the address {values.quote(text)} is given twice")
            found[key] = address
        except ValueError as error:
            report(f"[{index}]", str(error))
            is_valid = False
    return tuple(found.values()) if is_valid else INVALID


def _parse_queues(value: int | str, report: Report) -> int | None:
    return None if isinstance(value, str) else value


def _parse_ips(given: str | list[str], report: Report) -> object:
    if isinstance(given, str):
        return one(values.parse_ip)(given, report)
    if not 0 < len(given) <= values.REMOTES_MAX:
        report("", f"a list has 1 to {values.REMOTES_MAX:,} addresses, not {len(given):,}")
        return INVALID
    found: dict[bytes, object] = {}
    for index, text in enumerate(given):
        address = one(values.parse_ip)(text, partial(_report_below, report, f"[{index}]"))
        if isinstance(address, Address) and address.packed in found:
            report(f"[{index}]", f"the address {values.quote(text)} is given twice")
        found[address.packed if isinstance(address, Address) else b""] = address
    return INVALID if len(found) < len(given) or b"" in found else tuple(found.values())


def _parse_gateways(given: str | list[str], report: Report) -> object:
    if isinstance(given, str):
        return one(parse_gateway)(given, report)
    if not 0 < len(given) <= values.REMOTES_MAX:
        report("", f"a list has 1 to {values.REMOTES_MAX:,} addresses, not {len(given):,}")
        return INVALID
    found: dict[bytes, object] = {}
    for index, text in enumerate(given):
        address = one(parse_gateway)(text, partial(_report_below, report, f"[{index}]"))
        if isinstance(address, Address) and address.packed in found:
            report(f"[{index}]", f"the address {values.quote(text)} is given twice")
        found[address.packed if isinstance(address, Address) else b""] = address
    return INVALID if len(found) < len(given) or b"" in found else tuple(found.values())


def _report_below(report: Report, at: str, path: str, message: str) -> None:
    report(at + path, message)


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


def _parse_mirror(record: MirrorRecord, report: Report) -> object:
    source = one(values.check_ifname)(record.source, lambda path, message: report(".from", message))
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

    def parse(given: Any, report: Report) -> object:
        if isinstance(given, bool):
            return given
        found = {name: getattr(given, name) for name in nested if getattr(given, name) is not UNSET}
        if not found:
            report("", f"an object has some of {', '.join(nested)}; it is empty")
        return found or INVALID

    expects = "true, false, or an object of " + ", ".join(nested)
    return Rule(field, bool | made, expects, parse, nested)


def _routes(field: Field) -> Rule:
    nested = table(
        Field("to", "goal", "default, a network, or an address", required=True),
        Field("via", "gateways", "the neighbour's address; or a list of those of several, one for each flow"),
        Field("dev", "ifname", "the end that packets leave by"),
        Field("metric", "int", "of several routes to one network the lowest counts", minimum=0, maximum=values.U32_MAX),
    )

    def parse(records: list[Any], report: Report) -> object:
        found: list[Route] = []
        for index, given in enumerate(records):
            at = f"[{index}]"
            parsed = {key: _parsed(rule, getattr(given, key), f"{at}.{key}", report) for key, rule in nested.items()}
            if INVALID in parsed.values():
                continue
            try:
                found.append(make_route(parsed))
            except ValueError as error:
                report(at, str(error))
        return tuple(found) if len(found) == len(records) else INVALID

    expects = 'a list of routes such as {"to": "default", "via": "10.0.0.1"}'
    return Rule(field, list[record("Route", nested)], expects, parse, nested)  # type: ignore[misc]


def _parsed(rule: Rule, value: object, path: str, report: Report) -> object:
    """Return what the rule's parser makes of a value; None where there is none."""
    if value is UNSET or rule.parse is None:
        return None if value is UNSET else value
    return rule.parse(value, lambda below, message: report(path + below, message))


def _parse_sysctls(given: dict[str, int | str], report: Report) -> object:
    found = parse_sysctls(given, report)
    return INVALID if found is None else found


def _text(expects: str, parse: Parse | None, **schema: object) -> Callable[[Field], Rule]:
    """Return a type that is text for msgspec and that parse checks further; schema is for the JSON Schema."""
    annotation = Annotated[str, Meta(extra_json_schema=dict(schema))] if schema else str
    return lambda field: Rule(field, annotation, expects, parse)


def _tags(given: dict[str, str], report: Report) -> object:
    found = {key: one(_parse_text)(text, partial(_report_below, report, step(key))) for key, text in given.items()}
    return INVALID if INVALID in found.values() else found


def _range(field: Field) -> Rule:
    """Return a type for a whole number, or for the first and the last one of a range in text."""
    low, high = field.minimum or 0, field.maximum or 0

    def parse(given: int | str, report: Report) -> object:
        first, dash, last = str(given).partition("-")
        texts = (first, last if dash else first)
        if all(text.isascii() and text.isdigit() and len(text) <= 10 for text in texts):
            numbers = int(texts[0]), int(texts[1])
            if low <= numbers[0] <= numbers[1] <= high:
                return numbers
        report("", f'must be a number from {low} to {high}, or a range such as "{low}-{high}", not {given!r:.40}')
        return INVALID

    return Rule(field, int | str, f'a whole number, or a range such as "{low}-{high}"', parse)


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
    "gateways": lambda field: Rule(field, str | list[str], "an IP address in text, or a list of them", _parse_gateways),
    "routes": _routes,
    "sysctls": lambda field: Rule(
        field, dict[str, int | str], 'an object such as {"net.ipv4.ip_forward": 1}', _parse_sysctls
    ),
    "range": _range,
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
    # The namespace of the caller; or the host of a node that is something else.
    "host": lambda field: Rule(
        field,
        Annotated[bool, Meta(extra_json_schema={"const": True})] | Annotated[str, Meta(min_length=1)],
        "true, or the name of a host",
    ),
    "tags": lambda field: Rule(field, dict[str, str], "an object of texts", _tags),
    "variables": lambda field: Rule(field, dict[str, Any], "an object"),
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

    def parse(value: object, report: Report) -> object:
        wrong = list(check(value))
        for path, message in wrong:
            report(path, message)
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
