"""Hosts: the machines of a lab that is on many, which nodes are on which, and how links between them are made."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

from kokofast.kinds import KINDS
from kokofast.kinds.kind import DEFAULT_MTU
from kokofast.topology.diagnose import repair
from kokofast.topology.document import InvalidNumber, describe
from kokofast.topology.model import CALLER, Between, Host, Hosts, Node
from kokofast.topology.node_kinds import NODES
from kokofast.topology.nodes import identity
from kokofast.topology.problems import Problem, step
from kokofast.topology.rules import INVALID
from kokofast.topology.shapes import HOST_RULES, HostRecord, between_rules
from kokofast.topology.values import check_host_name, quote, refuse_special

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence

    from kokofast.topology.document import Document, Placing
    from kokofast.topology.model import Link, Topology
    from kokofast.topology.nodes import Identity, Nodes
    from kokofast.topology.rules import Report, Rule

TYPE = "type"
SHOWN = 5  # nodes that a message names


def read_hosts(document: Document, problems: list[Problem]) -> Hosts | None:
    """Return the hosts that a document has, or that were given from elsewhere; None for a lab on one machine."""
    root = document.root

    def report(place: str, message: str) -> None:
        problems.append(Problem(place, message))

    if document.given_hosts is not None:
        for key in ("hosts", "between"):
            if getattr(document, key) is not None:
                report(f"{root}{key}", f"the hosts are given in a file of their own as well; leave '{key}' out of one")
        return document.given_hosts
    if document.hosts is None:
        if document.between is not None:
            report(f"{root}between", "is for links between hosts, and the file has no 'hosts'")
        return None
    hosts = parse_hosts(document.hosts, lambda path: f"{root}hosts{path}", report)
    between: Mapping[str, object] = {}
    if document.between is not None:
        between = parse_between(document.between, lambda path, text: report(f"{root}between{path}", text)) or {}
    given = Hosts(hosts, between, lambda path: f"{root}between{path}")
    between_of(given, None, given.at, lambda path, text: report(f"{root}between{path}", text))
    return given


def parse_hosts(raw: object, at: Callable[[str], str], report: Report) -> dict[str, Host]:
    """Return the hosts by name, and report (place, sentence) of what is wrong with them; at() has a path's place."""
    hosts: dict[str, Host] = {}
    if not isinstance(raw, dict) or not raw:
        what = "must have at least one host" if isinstance(raw, dict) else f"must be an object, not {describe(raw)}"
        report(at(""), what)
        return hosts
    addresses: dict[bytes, str] = {}
    for name, given in raw.items():
        host = _parse_host(name, given, partial(_report_at, report, at, step(name)), at)
        if host is None:
            continue
        hosts[name] = host
        other = addresses.setdefault(host.address.packed, name)
        if other != name:
            words = f"{host.address.text} is the address of the host {other} as well; each host has one of its own"
            report(at(f"{step(name)}.address"), words)
    return hosts


def _parse_host(name: str, raw: object, report: Report, at: Callable[[str], str]) -> Host | None:
    try:
        check_host_name(name)
    except ValueError as error:
        report("", str(error))
        return None
    if not isinstance(raw, dict):
        report("", f'must be an object such as {{"address": "10.0.0.1", "parent": "eth0"}}, not {describe(raw)}')
        return None
    good = repair(raw, HOST_RULES, "a host", "", lambda path, text: report("." + path if path else "", text))
    if good is None:
        return None
    record = msgspec.convert(good, HostRecord)
    found: dict[str, Any] = {}
    for key, rule in HOST_RULES.items():
        value = getattr(record, key)
        if value is not UNSET:
            found[key] = rule.parse(value, partial(_report_key, report, key)) if rule.parse else value
    if INVALID in found.values():
        return None
    try:
        refuse_special(found["address"].family, found["address"].packed, found["address"].text)
    except ValueError as error:
        report(".address", str(error))
        return None
    variables = _plain(found.get("vars", {}))
    assert isinstance(variables, dict)
    return Host(name, found["address"], found["parent"], found.get("mtu", DEFAULT_MTU), variables, at(step(name)))


def _report_at(report: Report, at: Callable[[str], str], below: str, path: str, message: str) -> None:
    report(at(below + path), message)


def _report_key(report: Report, key: str, path: str, message: str) -> None:
    report(f".{key}{path}", message)


def _plain(value: object) -> object:
    """Return a value with the numbers that no field of ours can hold as numbers."""
    if isinstance(value, InvalidNumber):
        return float(value.text) if any(one in ".eEnN" for one in value.text) else int(value.text, 0)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def parse_between(raw: object, report: Report) -> dict[str, object] | None:
    """Return the fields of between, or report (path, sentence) of what is wrong and return None."""
    rules = between_rules()
    given = {TYPE: raw} if isinstance(raw, str) else raw
    if not isinstance(given, dict):
        report("", f'must be a type such as "vlan", or an object with "type", not {describe(raw)}')
        return None
    wrong: list[tuple[str, str]] = []

    def note(path: str, message: str) -> None:
        wrong.append((path, message))
        report("" if isinstance(raw, str) else path, message)

    good = repair(given, rules, "it", "", lambda path, text: note("." + path if path else "", text)) or {}
    found = {key: _parsed(rules[key], value, f".{key}", note) for key, value in good.items()}
    return None if wrong else found


def _parsed(rule: Rule, value: object, path: str, note: Report) -> object:
    return rule.parse(value, lambda below, text: note(path + below, text)) if rule.parse else value


def between_of(
    given: Hosts, own: Mapping[str, object] | None, at: Callable[[str], str], report: Report
) -> Between | None:
    """Return how a link is made that says own of itself (None: nothing); None after a report of (path, sentence)."""
    default = next(name for name, kind in KINDS.items() if kind.between is not None)
    common = given.fields
    name = str((own or {}).get(TYPE, common.get(TYPE, default)))
    kind, way = KINDS[name], KINDS[name].between
    assert way is not None
    fields = {field.name: field for field in kind.fields}
    if own is None:
        own, inherited = common, common
    else:
        inherited = common if common.get(TYPE, default) == name else {}
    wrong = [key for key in own if key not in (TYPE, way.number, *way.own)]
    for key in wrong:
        report(f".{key}", f"{kind.article} {name} link has no '{key}'")
    if wrong:
        return None
    values = {**inherited, **own}
    values.pop(TYPE, None)
    numbers = values.pop(way.number, None) if way.number else None
    if way.number and numbers is None:
        numbers = way.lowest, fields[way.number].maximum
    return Between(name, numbers, values, at(""))  # type: ignore[arg-type]


def give_hosts(
    nodes: Nodes, links: Sequence[Link], given: Hosts, apart: Collection[str], placing: Placing | None
) -> None:
    """Give a host to the nodes without one: by placing, and to segments that of most of their ends."""
    if placing is not None:
        placing(nodes.table, links, apart, given.hosts)
    votes: dict[str, dict[str, int]] = {name: {} for name in apart if nodes.table[name].host is None}
    for link in links if votes else ():
        for end, other in zip(link.ends, link.ends[::-1], strict=True):
            host = nodes.table[other.node].host
            if end.node in votes and host is not None:
                votes[end.node][host] = votes[end.node].get(host, 0) + 1
    order = {name: number for number, name in enumerate(given.hosts)}
    used = {end.node for link in links if len(link.ends) > 1 for end in link.ends} if votes else set()
    for name, counts in votes.items():
        if counts or name not in used:
            counts = counts or dict.fromkeys(list(order)[:1], 1)
            nodes.table[name].host = min(counts, key=lambda host: (-counts[host], order.get(host, 0)), default=None)
    for name, node in nodes.table.items():
        if node.host is not None:
            nodes.identity[name] = identity(node)


def own_names(hosts: Iterable[str], nodes: Mapping[str, Node]) -> dict[str, str]:
    """Return the name of each host's own namespace, also where no node is declared for it."""
    return {name: name if name not in nodes or NODES[nodes[name].kind].is_own else f"{name} (host)" for name in hosts}


def namespaces_on(nodes: Nodes, links: Sequence[Link], given: Hosts) -> dict[str, Hashable]:
    """Return the identity of each node and of each host's own namespace; parents become those of their link's host.

    CALLER, of links whose node has no host yet, has None.
    """
    names = own_names(given.hosts, nodes.table)
    for link in links:
        host = nodes.table[link.ends[0].node].host or ""
        if link.parent is not None and link.parent[0] == CALLER and host in given.hosts:
            link.parent = names[host], link.parent[1]
    return {CALLER: None, **own_namespaces(names), **nodes.identity}


def own_namespaces(names: Mapping[str, str]) -> dict[str, Identity]:
    """Return the identity of each host's own namespace, by what own_names() calls it."""
    return {name: identity(Node(host, "host", "", host=host)) for host, name in names.items()}


def check_hosts(nodes: Nodes, links: Sequence[Link], given: Hosts, report: Report) -> None:
    """Report what cannot be on these hosts: interfaces that are there twice, and parents on another host."""
    namespaces: dict[Hashable, Node] = {}
    is_shared = False
    for name, node in nodes.table.items():
        is_shared |= namespaces.setdefault(nodes.identity[name], node) is not node
    taken: dict[tuple[Hashable, str], Link] = {}
    for link in links:
        for end in link.ends:
            node = nodes.table[end.node]
            host = given.hosts.get(node.host or "")
            if host is not None and NODES[node.kind].is_own and end.ifname == host.parent:
                words = f"{host.name} has an interface {end.ifname} already, that of the underlay; choose another name"
                report(end.where("ifname"), words)
            if is_shared:
                other = taken.setdefault((nodes.identity[end.node], end.ifname), link)
                if other is not link:
                    words = f"{end.node}:{end.ifname} is on {node.host} an end of {other.title()} as well, at "
                    report(end.where("ifname"), words + other.place)
        if link.parent is not None and link.parent[0] in nodes.table:
            here, there = nodes.table[link.ends[0].node].host, nodes.table[link.parent[0]].host
            if here != there and here is not None and there is not None:
                words = f"the parent is on the host {there}, and {link.ends[0].node} on {here}: both have to be on one"
                report(link.where("parent"), words)


def without_host(topology: Topology) -> Problem | None:
    """Return a problem that names the nodes without a host; None if all have one."""
    lost = [node for node in topology.nodes.values() if node.host is None]
    if not lost:
        return None
    names = ", ".join(quote(node.name)[1:-1] for node in lost[:SHOWN])
    more = f" and {len(lost) - SHOWN:,} more" if len(lost) > SHOWN else ""
    verb = "has" if len(lost) == 1 else "have"
    cure = "give each a 'host' in 'nodes', or let --place choose"
    return Problem(lost[0].place, f"{names}{more} {verb} no host: {cure}")


def unsplit(topology: Topology, filename: str = "FILE") -> Problem | None:
    """Return a problem that says to split a file with hosts; None for one of a single machine."""
    if not topology.hosts:
        return None
    words = f"the file is for {len(topology.hosts):,} host{'s' * (len(topology.hosts) > 1)}: split it first"
    place = next(iter(topology.hosts.values())).place
    return Problem(place, f"{words} (kokofast split {filename} -o DIR), and use each host's part on that host")
