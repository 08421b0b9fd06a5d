"""Parse koko's options: argv -> Create, Delete or Show. Pure."""

from __future__ import annotations

from kokofast.kinds import KINDS
from kokofast.topology.model import AF_INET6, End, Link, Mirror, Node, Topology
from kokofast.topology.node_kinds import NODES
from kokofast.topology.values import (
    check_container,
    check_cri_container,
    check_ifname,
    check_netns_name,
    check_path,
    parse_address,
    parse_ip,
    parse_pid,
    quote,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from kokofast.kinds.fields import Field
    from kokofast.topology.model import Address
    from kokofast.topology.node_kinds import NodeKind

LAB = "koko"  # the lab of all links made by this command line

ENDPOINTS = {kind.letter: kind for kind in NODES.values() if kind.letter}
# koko's README calls -x -X in one place.
PARENTS = {"x": "vxlan", "X": "vxlan", "V": "vlan", "M": "macvlan"}
HELP, VERSION = "h", "v"

PARENT_SYNTAX = {
    "vxlan": "PARENT,REMOTE,VNI[,port=PORT][,mtu=MTU]",
    "vlan": "PARENT,ID",
    "macvlan": "PARENT,MODE",
}
COMMANDS = frozenset(("batch", "destroy", "inspect", "validate", "schema", "generate"))  # of the other command line
DIRECTIONS = ("ingress", "egress", "both")
MACVLAN_MODES = ("default", "private", "vepa", "bridge", "passthru")
MIRROR = "mirror"


class UsageError(Exception):
    """An error of the command line, in one sentence."""


class Create:
    """Make the one link of this topology."""

    __slots__ = ("topology",)

    def __init__(self, topology: Topology) -> None:
        self.topology = topology


class Delete:
    """Delete the interface ifname in the node's namespace. place is the option as given."""

    __slots__ = ("ifname", "node", "place")

    def __init__(self, node: Node, ifname: str, place: str) -> None:
        self.node = node
        self.ifname = ifname
        self.place = place


class Show:
    """Print HELP or VERSION."""

    __slots__ = ("what",)

    def __init__(self, what: str) -> None:
        self.what = what


def parse(argv: list[str]) -> Create | Delete | Show:
    """Parse a command line in koko's grammar. Raises UsageError."""
    nodes: dict[str, Node] = {}
    ends: list[End] = []
    parents: list[_Parent] = []
    deletions: list[Delete] = []
    for letter, value in _split(argv):
        if letter in (HELP, VERSION):
            return Show(letter)
        place = f"-{letter} {quote(value)}"
        try:
            if letter in PARENTS:
                parents.append(_Parent(PARENTS[letter], value, place))
                continue
            node, end = _endpoint(ENDPOINTS[letter.lower()], value, place)
        except ValueError as error:
            raise UsageError(f"{place}: {error}") from None
        if letter in ENDPOINTS:
            nodes[node.name] = node
            ends.append(end)
        else:
            deletions.append(Delete(node, end.ifname, place))
    if deletions:
        if len(deletions) + len(ends) + len(parents) > 1:
            raise UsageError(f"{deletions[0].place} deletes an interface, so it must be the only option")
        return deletions[0]
    return Create(Topology(LAB, nodes, (_link(ends, parents),)))


def _split(argv: list[str]) -> list[tuple[str, str]]:
    """Split into (letter, value), as getopt(3) does: -n VALUE or -nVALUE."""
    found: list[tuple[str, str]] = []
    words = iter(argv)
    for word in words:
        letter, rest = word[1:2], word[2:]
        if not word.startswith("-") or not letter:
            raise UsageError(f"{quote(word)} has no option such as -n in front of it")
        if letter in (HELP, VERSION):
            found.append((letter, ""))
            continue
        if letter not in PARENTS and letter.lower() not in ENDPOINTS:
            command = next((item for item in argv if item in COMMANDS), None)
            hint = (
                ""
                if command is None
                else f" in front of a command; options go behind it: kokofast {command} {word} ..."
            )
            raise UsageError(f"there is no option {quote(word if letter == '-' else word[:2])}{hint}")
        if not rest:
            following = next(words, None)
            if following is None:
                raise UsageError(f"-{letter} needs a value: -{letter} {syntax_of(letter)}")
            rest = following
        found.append((letter, rest))
    return found


def syntax_of(letter: str) -> str:
    """Return the syntax of an option's value."""
    if letter in PARENTS:
        return PARENT_SYNTAX[PARENTS[letter]]
    target = ENDPOINTS[letter.lower()].word
    link = f"{target},LINK" if target else "LINK"
    return f"{link}[,ADDRESS/LENGTH,...]" if letter in ENDPOINTS else link


def _link(ends: list[End], parents: list[_Parent]) -> Link:
    if len(parents) > 1:
        raise UsageError(f"{parents[0].place} and {parents[1].place}: a link has one parent interface")
    if parents:
        parent = parents[0]
        if len(ends) != 1:
            raise UsageError(f"{parent.place} makes a link with one end: give one endpoint, not {len(ends)}")
        ends[0].mtu = parent.mtu
        if parent.mtu is not None:
            ends[0].places = {"mtu": parent.place}
        return Link(parent.kind, tuple(ends), options=parent.options, place=parent.place)
    if len(ends) == 1:
        raise UsageError(
            f"{ends[0].place}: the other end is missing: give another endpoint, or a parent interface (-x, -V, -M)"
        )
    if len(ends) != 2:
        raise UsageError(f"a link has two ends, not {len(ends)}")
    return Link("veth", tuple(ends), place=ends[0].place)


def _endpoint(kind: NodeKind, value: str, place: str) -> tuple[Node, End]:
    """Parse an endpoint option's value. Raises ValueError."""
    target, rest = "", value
    if kind.word:
        target, comma, rest = value.partition(",")
        if not target:
            raise ValueError(f"the {kind.word.lower()} is missing")
        if not comma:
            raise ValueError(f"the name of the link is missing: {kind.word},LINK[,ADDRESS/LENGTH,...]")
    ifname, *items = rest.split(",")
    node = _node(kind.name, target, place)
    addresses, mirror = _items(items)
    end = End(node.name, check_ifname(ifname), addresses=addresses, mirror=mirror, place=place)
    return node, end


def _node(kind: str, target: str, place: str) -> Node:
    """Build the node, under a name that no other target has. Raises ValueError."""
    if kind == "netns" and target.startswith("/"):
        kind = "path"  # koko's usage text promises it
    if kind == "path":
        return Node(target, kind, check_path(target), place=place)
    if kind == "netns":
        name = target if ":" not in target else f"netns:{target}"
        return Node(name, kind, check_netns_name(target), place=place)
    if kind == "pid":
        target = str(parse_pid(target))
    elif kind == "docker":
        check_container(target)
    elif kind == "cri":
        check_cri_container(target)
    return Node(f"{kind}:{target}", kind, target, place=place)


def _items(items: list[str]) -> tuple[tuple[Address, ...], Mirror | None]:
    """Parse what follows the link's name: addresses, and mirror:DIR:IF or mirror:DIR,IF. Raises ValueError."""
    addresses: dict[object, Address] = {}
    mirror: Mirror | None = None
    waiting = iter(items)
    for item in waiting:
        if item == MIRROR or item.startswith(f"{MIRROR}:"):
            if mirror is not None:
                raise ValueError(f"{quote(item)} is a second mirror; an end can have one")
            mirror = _mirror(item, waiting)
            continue
        address = parse_address(item)
        if "/" not in item:
            raise ValueError(f"{quote(item)} has no prefix length, such as {item}/{address.prefixlen}")
        # The kernel keeps an IPv6 address once an interface, an IPv4 address once for each prefix length.
        key = address.packed if address.family == AF_INET6 else address.key()
        if addresses.setdefault(key, address) is not address:
            raise ValueError(f"the address {quote(item)} is given twice")
    return tuple(addresses.values()), mirror


def _mirror(item: str, following: Iterator[str]) -> Mirror:
    _, _, rest = item.partition(":")
    direction, colon, source = rest.partition(":")
    if direction not in DIRECTIONS:
        raise ValueError(f"{quote(direction)} is not a direction to mirror: {', '.join(DIRECTIONS)}")
    if not colon:
        source = next(following, "")
    if not source:
        raise ValueError(f"{quote(item)} does not say which interface to mirror: {MIRROR}:{direction}:INTERFACE")
    return Mirror(check_ifname(source), direction)


class _Parent:
    """The value of -x, -V or -M. Raises ValueError."""

    __slots__ = ("kind", "mtu", "options", "place")

    def __init__(self, kind: str, value: str, place: str) -> None:
        self.kind = kind
        self.place = place
        self.mtu: int | None = None
        fields = {field.name: field for field in KINDS[kind].fields}
        self.options: dict[str, object] = {
            name: field.default for name, field in fields.items() if field.default is not None
        }
        syntax = PARENT_SYNTAX[kind]
        parts = value.split(",")
        count = syntax.partition("[")[0].count(",") + 1
        if len(parts) < count or (len(parts) > count and "[" not in syntax):
            raise ValueError(f"it takes {count} values: {syntax}")
        if not parts[0]:
            raise ValueError("the parent interface is missing")
        self.options["parent"] = check_ifname(parts[0])
        if kind == "vxlan":
            self.options["remote"] = parse_ip(parts[1])
            self.options["vni"] = _number(fields["vni"], parts[2])
            self._keywords(parts[count:], fields["port"])
        elif kind == "vlan":
            self.options["id"] = _number(fields["id"], parts[1])
        else:
            if parts[1] not in MACVLAN_MODES:
                raise ValueError(f"{quote(parts[1])} is not a mode: {', '.join(MACVLAN_MODES)}")
            self.options["mode"] = parts[1]

    def _keywords(self, parts: list[str], port: Field) -> None:
        seen: set[str] = set()
        for part in parts:
            key, equals, text = part.partition("=")
            if key not in ("port", "mtu") or not equals:
                raise ValueError(f"{quote(part)} is neither port=PORT nor mtu=MTU")
            if key in seen:
                raise ValueError(f"{key} is given twice")
            seen.add(key)
            if key == "port":
                self.options[key] = _number(port, text)
            else:
                low, high = KINDS[self.kind].mtu
                self.mtu = _integer(key, text, low, high)


def _number(field: Field, text: str) -> int:
    assert field.minimum is not None
    assert field.maximum is not None
    return _integer(field.name, text, field.minimum, field.maximum)


def _integer(name: str, text: str, low: int, high: int) -> int:
    # int() also takes ' 1', '1_0' and the digits of other scripts.
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and low <= int(text) <= high):
        raise ValueError(f"{name} {quote(text)} is not a whole number from {low} to {high}")
    return int(text)
