"""The graph of a file, or of a lab, with the states of its links as the kernel shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kokofast.engine.inspect import addresses_of
from kokofast.graph.build import Cable, Plug, build, cable_of, host_of, nodes_of, text_of
from kokofast.graph.model import DOWN, EXTRA, MISSING, NODE, UP
from kokofast.kinds import KINDS
from kokofast.plan.ownership import alias_of
from kokofast.topology.model import CALLER
from kokofast.topology.node_kinds import NODES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kokofast.engine.inspect import Seen, SeenEnd, SeenLink
    from kokofast.graph.model import Details, Graph
    from kokofast.topology.model import Link, Topology


def graph_of(source: Topology | str, seen: Seen) -> Graph:
    """Return the graph of a topology with the states of its links, or of the links that are there of a lab."""
    if isinstance(source, str):
        cables = [_cable_of_seen(link, _state_of(link)) for link in seen.links]
        return build(source, _nodes_of_seen(seen, cables), cables)
    cables = list(_joined(source, seen.links))
    nodes = nodes_of(source)
    there = _nodes_of_seen(seen, cables)
    targets = {node.target for node in source.nodes.values() if NODES[node.kind].is_named}
    extra = {name: details for name, details in there.items() if name not in nodes and name not in targets}
    graph = build(source.name, nodes | extra, cables, host=host_of(source))
    for vertex in graph.vertices:
        if vertex.shape == NODE and vertex.name not in nodes:
            vertex.state = EXTRA
    return graph


def _nodes_of_seen(seen: Seen, cables: Iterable[Cable]) -> dict[str, Details]:
    """Return the nodes that have nothing but their namespace, or addresses of the loopback, too."""
    # The name of a namespace in the file may be another one than on this machine: links know both.
    known = {end.namespace: end.node for link in seen.links for end in link.ends}
    nodes: dict[str, Details] = {plug.node: () for cable in cables for plug in cable.plugs}
    nodes |= {known.get(name, name): () for name in seen.namespaces}
    for node in seen.nodes:
        routes = (("routes", str(node.routes)),) if node.routes else ()
        addresses = (("addresses", " ".join(node.addresses)),) if node.addresses else ()
        nodes[known.get(node.namespace, node.namespace)] = (*addresses, *routes)
    return nodes


def _joined(topology: Topology, links: Iterable[SeenLink]) -> Iterator[Cable]:
    """Yield the links of a file with their states, then those that are there and not in it."""
    left = {id(link): link for link in links}
    by_ends = {_cable_of_seen(link, "").key(): link for link in left.values()}
    by_alias = {link.ends[0].interface.alias: link for link in left.values()}
    for link in topology.links:
        cable = cable_of(link)
        # The alias is that of the file where the kernel cannot say which node has which end. The ends are the same
        # where the file has them the other way round now.
        seen = by_alias.get(alias_of(topology.name, link)) or by_ends.get(cable.key())
        if seen is None or left.pop(id(seen), None) is None:
            yield cable._replace(state=MISSING)
            continue
        lacking = _lacking(link, seen)
        details = _details_of(seen)
        if lacking:
            details += tuple((name, "is not there") for name in lacking)
        yield cable._replace(state=MISSING if lacking else _state_of(seen), details=details)
    for seen in left.values():
        yield _cable_of_seen(seen, EXTRA)


def _lacking(link: Link, seen: SeenLink) -> list[str]:
    """Return the ends of a link that are not there, or have another name now."""
    there = [end.interface.ifname for end in seen.ends]
    lacking = []
    for end in link.ends:
        if end.ifname in there:
            there.remove(end.ifname)
        else:
            lacking.append(f"{end.node}:{end.ifname}")
    return lacking


def _state_of(link: SeenLink) -> str:
    kind = KINDS.get(link.kind)
    if kind is not None and len(link.ends) < kind.ends:
        return MISSING
    return UP if all(end.state == "up" for end in link.ends) else DOWN


def _cable_of_seen(link: SeenLink, state: str) -> Cable:
    parent = link.fields.get("parent")
    node, _, ifname = parent.rpartition(":") if isinstance(parent, str) else ("", "", "")
    remote = link.fields.get("remote") or ()
    return Cable(
        link.kind,
        tuple(Plug(end.node, end.interface.ifname, str(end.properties.get("master") or "")) for end in link.ends),
        _details_of(link),
        (node or CALLER, ifname) if parent else None,
        tuple(map(text_of, remote if isinstance(remote, list | tuple) else (remote,))),
        state,
    )


def _details_of(link: SeenLink) -> Details:
    fields = [(name, text_of(value)) for name, value in link.fields.items() if value is not None and value is not False]
    return (*fields, *((str(end), ", ".join(_words_of(end))) for end in link.ends))


def _words_of(end: SeenEnd) -> Iterator[str]:
    yield end.state
    yield from addresses_of(end.interface)
    yield f"mtu {end.interface.mtu}"
    yield end.interface.mac.hex(":")
    yield from (f"{name} {text_of(value)}" for name, value in end.properties.items())
    yield from (f"mirrors {source} {direction}" for source, direction in end.mirrors)
