"""Nodes: those that the file declares, and named namespaces that links use without a declaration."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import msgspec
from msgspec import UNSET

from kokofast.topology.diagnose import repair
from kokofast.topology.document import Document, describe
from kokofast.topology.model import CALLER, Node
from kokofast.topology.node_kinds import CONTAINER_KINDS, NODES
from kokofast.topology.problems import Problem, unknown
from kokofast.topology.rules import INVALID
from kokofast.topology.shapes import NODE_KINDS, NODE_RULES, NodeRecord
from kokofast.topology.sysctls import DISABLE_IPV6, name_of
from kokofast.topology.values import check_netns_name, check_node_name

# A path in these folders is a named namespace; ip-netns(8).
NETNS_FOLDERS = ("/run/netns/", "/var/run/netns/")

# The kind of a node that is the caller's namespace, and the key of a node's host. As the name of a node it has to be
# declared: it could mean the caller's namespace, or one of that name.
HOST = "host"
NAMED = "netns"
CALLER_HINT = """\
for the caller's namespace: "nodes": {"host": {"host": true}}, in CSV host:; \
for one of that name: {"host": {"netns": "host"}}, in CSV netns:host"""

Identity = tuple[str, str, str | None, str | None]


class Nodes:
    """The nodes of one file; use() adds those that are not declared."""

    def __init__(
        self, document: Document, create: bool, problems: list[Problem], hosts: Collection[str] | None = None
    ) -> None:
        self.table: dict[str, Node] = {}
        # Two nodes may be one namespace: an interface belongs to an identity, not to a name.
        self.identity: dict[str, Identity] = {}
        self._create = create
        self._hosts = hosts
        self._problems = problems
        self._broken = set(document.broken)
        declared = document.nodes if isinstance(document.nodes, dict) else {}
        for name, raw in declared.items():
            node = self._declare(name, raw, document.node_at)
            if node is None:
                self._broken.add(name)
            else:
                self.add(node)
        self.colon_names = {name for name in self.table if ":" in name}

    def use(self, name: str, place: str) -> Node | None:
        """Return the node of that name, for an end at place; None after reporting a problem."""
        node = self.table.get(name)
        if node is not None or name in self._broken:
            return node
        try:
            if not name:
                raise ValueError("the node name is empty")
            if self._hosts is not None and name in self._hosts:
                own, other = f'{{"{name}": {{"host": true}}}}', f'{{"{name}": {{"netns": "{name}"}}}}'
                raise ValueError(f"{name} is a host; declare the node: {own} for its own namespace, else {other}")
            check_netns_name(name)
            kind, colon, _ = name.partition(":")
            if colon and kind in NODE_KINDS:
                raise ValueError(f'\'{kind}:\' is for CSV; declare the node: "nodes": {{"NAME": {{"{kind}": ...}}}}')
            if name == HOST:
                # "host:eth0" is hardly meant as a namespace of that name.
                raise ValueError(f"'{HOST}' is not declared: {CALLER_HINT}")
        except ValueError as error:
            self._problems.append(Problem(place, str(error)))
            return None
        return self.add(Node(name, "netns", name, create=self._create, place=place))

    def report_to(self, problems: list[Problem]) -> None:
        """Append further problems to this list."""
        self._problems = problems

    def add(self, node: Node) -> Node:
        """Add a node that is valid, and return it."""
        self.table[node.name] = node
        self.identity[node.name] = identity(node)
        return node

    def _declare(self, name: str, raw: object, at: Callable[[str, str], str]) -> Node | None:
        def report(path: str, message: str) -> None:
            self._problems.append(Problem(at(name, path), message))

        before = len(self._problems)
        try:
            check_node_name(name)
        except ValueError as error:
            report("", str(error))
        if not isinstance(raw, dict):
            report("", f'must be an object such as {{"netns": "r1"}}, not {describe(raw)}')
            return None
        node = self._build(name, raw, report)
        if node is None or len(self._problems) > before:
            return None
        node.place = at(name, "")
        return node

    def _build(self, name: str, raw: dict[str, object], report: Callable[[str, str], None]) -> Node | None:
        kinds = [key for key in NODE_KINDS if key in raw and not (key == HOST and isinstance(raw[key], str))]
        if not kinds and HOST in raw:
            kinds = [NAMED]
            raw = raw | {NAMED: name}
        if len(kinds) != 1:
            has = " and ".join(kinds) or "none"
            report("", f"a node has exactly one of {', '.join(NODE_KINDS)}; this one has {has}")
        try:
            record = msgspec.convert(raw, NodeRecord)
        except (msgspec.ValidationError, UnicodeError):  # a key with half a surrogate pair
            good = repair(raw, NODE_RULES, "a node", "", report)
            record = msgspec.convert(good, NodeRecord)
        values: dict[str, object] = {}
        for key, rule in NODE_RULES.items():
            value = getattr(record, key)
            if value is UNSET or (isinstance(value, str) and key == HOST):
                continue
            values[key] = rule.parse(value, partial(_report_key, report, key)) if rule.parse else value
        if len(kinds) != 1:
            return None
        kind = kinds[0]
        if values.get("host") is False:
            report("host", "must be true, not false")
        if "create" in values and not NODES[kind].is_named:
            report("create", f"only a netns node can be created, not a {kind} node")
        if "socket" in values and kind not in CONTAINER_KINDS:
            report("socket", f"a {kind} node has no socket; {', '.join(CONTAINER_KINDS)} nodes do")
        create = bool(values.get("create", self._create)) if NODES[kind].is_named else False
        socket = values.get("socket")
        target = "" if kind == HOST else str(values.get(kind, ""))
        more: dict[str, Any] = {
            key: values[key]
            for key in ("addresses", "routes", "sysctls", "ipv6", "tags")
            if values.get(key, INVALID) is not INVALID
        }
        if "ipv6" in more:
            switched = dict.fromkeys(DISABLE_IPV6, "0" if more["ipv6"] else "1")
            given = more.get("sysctls", {})
            for path in given.keys() & switched.keys():
                if given[path] != switched[path]:
                    report("ipv6", f"the node's sysctls set {name_of(path)} to {given[path]}; leave one of the two out")
            more["sysctls"] = switched | given
        host = self._host_of(name, kind, raw.get(HOST), report)
        return Node(
            name, kind, target, create=create, socket=None if socket is None else str(socket), host=host, **more
        )

    def _host_of(self, name: str, kind: str, given: object, report: Callable[[str, str], None]) -> str | None:
        """Return the host of a node, and report one that is not there."""
        hosts = self._hosts
        if hosts is None:
            if isinstance(given, str):
                report(HOST, "the file has no 'hosts'; add them, or leave this out")
            return None
        if kind == HOST:
            if name not in hosts and hosts:
                words = f"true is the own namespace of a host, so the node has the name of one: {', '.join(hosts)}"
                report(HOST, words)
            return name
        if isinstance(given, str) and given not in hosts and hosts:
            report(HOST, unknown("host", given, hosts))
        return given if isinstance(given, str) else None


def _report_key(report: Callable[[str, str], None], key: str, path: str, message: str) -> None:
    report(key + path, message)


def identity(node: Node) -> Identity:
    """Return the identity of the node's namespace, as far as the file shows it, with the host that it is on."""
    if node.kind == "path":
        for folder in NETNS_FOLDERS:
            if node.target.startswith(folder):
                return NAMED, node.target.removeprefix(folder), None, node.host
    return node.kind, node.target, node.socket, node.host


# Of the caller's namespace, which has a node only where the file declares one.
CALLERS = identity(Node(CALLER, HOST, ""))
