"""The states of the links that are drawn: what the file has, and what is there."""

from __future__ import annotations

from kokofast.engine.graph import graph_of
from kokofast.engine.inspect import Seen, SeenEnd, SeenLink, SeenNode
from kokofast.engine.names import name_ends
from kokofast.graph.model import DOWN, EXTRA, MISSING, UP, Graph
from kokofast.plan.observed import Interface
from tests.engine.labs import lab


def end(place: str, title: str, *, up: bool = True, lower_up: bool = True) -> SeenEnd:
    """An end at namespace:interface, whose alias has this title."""
    namespace, _, ifname = place.partition(":")
    interface = Interface(1, ifname, alias=f"kokofast:lab:{title}", up=up, lower_up=lower_up, mtu=1500, mac=bytes(6))
    return SeenEnd(hash(namespace), namespace, interface)


def link(title: str, *ends: SeenEnd, kind: str = "veth") -> SeenLink:
    made = ends or tuple(end(place, title) for place in title.split("--"))
    return SeenLink("lab", kind, list(made))


def seen(*links: SeenLink, namespaces: tuple[str, ...] = ()) -> Seen:
    found = Seen()
    found.links = list(links)
    name_ends(found.links)
    found.namespaces = dict.fromkeys(namespaces, "lab")
    return found


def states(graph: Graph) -> dict[str, str]:
    return {graph.title_of(edge): edge.state for edge in graph.edges}


def test_each_state() -> None:
    pairs = ("a:e0--b:e0", "a:e1--b:e1", "a:e2--b:e2", "a:e3--b:e3", "a:e4--b:e4")
    topology = lab([{"endpoints": pair.split("--")} for pair in pairs])
    down = link(pairs[1], end("a:e1", pairs[1]), end("b:e1", pairs[1], up=False, lower_up=False))
    below = link(pairs[2], end("a:e2", pairs[2], lower_up=False), end("b:e2", pairs[2]))
    half = link(pairs[3], end("a:e3", pairs[3]))
    graph = graph_of(topology, seen(link(pairs[0]), down, below, half, link("a:x0--c:x0"), namespaces=("a", "b", "d")))
    assert states(graph) == {
        "a:e0 -- b:e0": UP,
        "a:e1 -- b:e1": DOWN,
        "a:e2 -- b:e2": DOWN,
        "a:e3 -- b:e3": MISSING,
        "a:e4 -- b:e4": MISSING,
        "a:x0 -- c:x0": EXTRA,
    }
    assert {vertex.name: vertex.state for vertex in graph.vertices} == {"a": "", "b": "", "c": EXTRA, "d": EXTRA}
    details = {graph.title_of(edge): dict(edge.details) for edge in graph.edges}
    assert details["a:e1 -- b:e1"]["b:e1"] == "down, mtu 1500, 00:00:00:00:00:00"
    assert details["a:e2 -- b:e2"]["a:e2"].startswith("lower-layer-down, ")
    assert details["a:e3 -- b:e3"]["b:e3"] == "is not there"


def test_an_end_with_another_name_is_missing_and_not_drawn_twice() -> None:
    title = "a:e0--b:e0"
    topology = lab([{"endpoints": ["a:e0", "b:e0"]}])
    graph = graph_of(topology, seen(link(title, end("a:other", title), end("b:e0", title))))
    assert states(graph) == {"a:e0 -- b:e0": MISSING}


def test_ends_that_the_file_has_the_other_way_round_are_the_same_link() -> None:
    topology = lab([{"endpoints": ["b:e0", "a:e1"]}])
    assert states(graph_of(topology, seen(link("a:e1--b:e0")))) == {"b:e0 -- a:e1": UP}


def test_namespaces_whose_names_say_nothing_are_those_of_the_alias() -> None:
    nodes = {"web": {"pid": 7}, "db": {"pid": 8}}
    topology = lab([{"endpoints": ["web:eth1", "db:eth1"]}], create=False, nodes=nodes)
    title = "web:eth1--db:eth1"
    there = seen(link(title, end("pid:8:eth1", title), end("pid:7:eth1", title)))
    there.links[0].ends = [
        SeenEnd(number, f"pid:{number}", one.interface) for number, one in enumerate(there.links[0].ends)
    ]
    for one in there.links[0].ends:
        one.interface.ifname = "eth1"
    assert states(graph_of(topology, there)) == {"web:eth1 -- db:eth1": UP}


def test_a_lab_without_a_file_is_what_is_there() -> None:
    bridge = link("lab-segments:br0", kind="bridge")
    ports = [link(f"{node}:e0--lab-segments:br0p{number}") for number, node in enumerate("ab")]
    for port in ports:
        port.ends[1].properties["master"] = "br0"
    tunnel = link("a:vx", kind="vxlan")
    tunnel.fields = {"parent": None, "remote": "192.0.2.1", "vni": 7, "learning": False}
    above = link("b:m0", kind="macvlan")
    above.fields = {"parent": "a:e0", "mode": "bridge"}
    half = link("a:e9--c:e9", end("a:e9", "a:e9--c:e9"))
    there = seen(bridge, *ports, tunnel, above, half, namespaces=("a", "b", "alone", "lab-segments"))
    there.nodes = [SeenNode("lab", "a", ["192.0.2.9/32"], 3)]
    graph = graph_of("lab", there)
    assert states(graph) == {
        "a:e0 -- br0": UP,
        "b:e0 -- br0": UP,
        "a:vx -- 192.0.2.1": UP,
        "b:m0 -- a:e0": UP,
        "a:e9 -- ?": MISSING,
    }
    assert {vertex.name for vertex in graph.vertices if vertex.shape == "node"} == {"a", "b", "alone"}
    assert [vertex.state for vertex in graph.vertices if vertex.shape == "lan"] == [UP]
    assert next(one.details for one in graph.vertices if one.name == "a") == (
        ("addresses", "192.0.2.9/32"),
        ("routes", "3"),
    )
    assert graph.counts() == {MISSING: 1, UP: 5}
