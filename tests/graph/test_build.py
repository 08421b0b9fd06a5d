"""What is drawn of a topology."""

from __future__ import annotations

import json

from kokofast.graph.build import Cable, Plug, build, graph_of_file
from kokofast.graph.model import DOWN, EXTRA, FAR, LAN, MISSING, NODE, UNKNOWN, UP, Edge, Graph, Vertex
from kokofast.topology import load

Links = list[object]


def drawn(links: Links, **more: object) -> Graph:
    document = {"name": "lab", "defaults": {"create": True}, "links": links, **more}
    return graph_of_file(load(json.dumps(document).encode(), filename="lab.json"))


def edges(graph: Graph) -> list[str]:
    return [f"{edge.kind} {graph.title_of(edge)}" for edge in graph.edges]


def vertices(graph: Graph) -> list[str]:
    return [f"{vertex.shape} {vertex.name}" for vertex in graph.vertices]


def test_nodes_and_links_with_what_the_file_says_of_them() -> None:
    end = {"node": "b", "interface": "e1", "up": False, "mirror": {"from": "e0", "direction": "both"}}
    graph = drawn(
        [["a:e0:10.0.0.1/24", "b:e0"], {"endpoints": ["a:e1", end], "mtu": 1400, "delay": "10ms", "rate": "1gbit"}],
        nodes={"alone": {"netns": "other", "addresses": ["192.0.2.1/32"]}},
    )
    assert edges(graph) == ["veth a:e0 -- b:e0", "veth a:e1 -- b:e1"]
    assert vertices(graph) == ["node alone", "node a", "node b"]
    assert graph.vertices[0].details == (("netns", "other"), ("addresses", "192.0.2.1/32"))
    assert graph.edges[0].details == (("a:e0", "10.0.0.1/24"), ("b:e0", "-"))
    shaped = "mtu 1400, {}delay 10ms, rate 1gbit"
    assert graph.edges[1].details == (
        ("a:e1", shaped.format("")),
        ("b:e1", f"{shaped.format('down, ')}, mirrors e0 both"),
    )
    assert graph.counts() == {UNKNOWN: 2}


def test_a_segment_is_a_lan_and_a_bridge_of_a_node_is_in_it() -> None:
    graph = drawn(
        [
            {"type": "bridge", "endpoints": ["a:e0", "b:e0", "c:e0"]},
            {"type": "bridge", "endpoints": ["a:e1", "b:e1"], "bridge": "switch:br9"},
            {"type": "bridge", "endpoints": ["c:e2"]},
        ]
    )
    assert sorted(vertices(graph)) == ["far bridge", "lan br0", "lan br2", "node a", "node b", "node c", "node switch"]
    # The ports of a LAN are not the user's.
    assert edges(graph) == [
        *(f"veth {name}:e0 -- br0" for name in "abc"),
        "bridge switch:br9 -- bridge",
        "veth a:e1 -- switch:br9p0",
        "veth b:e1 -- switch:br9p1",
        "veth c:e2 -- br2",
    ]
    assert graph.counts() == {UNKNOWN: 9}  # the links of which they consist, as batch counts them


def test_links_with_one_end_lead_to_their_parents_and_remotes() -> None:
    above = {"type": "macvlan", "mode": "bridge"}
    tunnel = {"type": "vxlan", "vni": 7}
    graph = drawn(
        [
            {**above, "endpoint": "a:m0", "parent": "up0"},
            {**above, "endpoint": "b:m0", "parent": "up0"},
            {**above, "endpoint": "a:m1", "parent": "b:m0"},
            {**above, "endpoint": "b:m2", "parent": "b:m0"},
            {**tunnel, "endpoint": "a:vx", "remote": "192.0.2.1"},
            {**tunnel, "endpoint": "b:vx", "remote": [f"192.0.2.{number}" for number in range(1, 6)]},
            {"type": "dummy", "endpoint": "a:d0"},
            {"type": "dummy", "endpoint": "a:d1"},
        ]
    )
    assert edges(graph) == [
        "macvlan a:m0 -- host:up0",
        "macvlan b:m0 -- host:up0",
        "macvlan a:m1 -- b:m0",
        "macvlan b:m2 -- b:m0",
        "vxlan a:vx -- 192.0.2.1",
        "vxlan b:vx -- 192.0.2.1 192.0.2.2 192.0.2.3 +2",
        "dummy a:d0 -- dummy",
        "dummy a:d1 -- dummy",
    ]
    assert [vertex.name for vertex in graph.vertices if vertex.shape == FAR].count("host:up0") == 1
    assert len({edge.second for edge in graph.edges[-2:]}) == 2
    assert ("vni", "7") in graph.edges[4].details


def test_the_callers_namespace_is_the_node_that_the_file_has_for_it() -> None:
    links: Links = [["me:e0", "a:e0"], {"type": "macvlan", "endpoint": "a:m0", "parent": "up0"}]
    assert edges(drawn(links, nodes={"me": {"host": True}}))[1] == "macvlan a:m0 -- me:up0"


def test_parallel_links_bend_apart_and_loops_are_numbered() -> None:
    graph = drawn([["a", "b"], ["b", "a"], ["a", "b"], ["b", "c"], ["c", "c"], ["c", "c"], ["a", "c"], ["c", "a"]])
    # b -> a bends to the other side as seen from b, and so the three are beside each other.
    assert graph.bends() == [-2, 0, 2, 0, 0, 1, -1, -1]


def test_many_parallel_links_and_loops_take_no_more_room_than_some() -> None:
    graph = drawn([*[["a", "b"]] * 1000, *[["c", "c"]] * 100])
    bends, loops = graph.bends()[:1000], graph.bends()[1000:]
    assert (len(set(bends)), len(set(loops))) == (1000, 100)
    assert max(map(abs, bends)) < 8
    assert 6 < max(loops) < 7  # once around


def test_the_states_are_counted_in_the_order_of_the_legend() -> None:
    lan = Vertex("br0", LAN, MISSING)
    made = [Edge(0, 1, ("", ""), "veth", state) for state in (UP, UP, EXTRA, DOWN)]
    graph = Graph("lab", [Vertex("a"), lan, Vertex("b", NODE, EXTRA)], made)
    assert list(graph.counts().items()) == [(DOWN, 1), (MISSING, 1), (EXTRA, 1), (UP, 2)]


def test_what_cannot_be_printed_is_escaped() -> None:
    cable = Cable("veth", (Plug("a\n\x1b", "e\udc80"),), (("\x00", "x\ny"),))
    graph = build("lab", {"z\u202e": (("k", "\r"),)}, [cable])
    assert vertices(graph) == ["node z\\u202e", "node a\\n\\x1b", "far ?"]
    assert edges(graph) == ["veth a\\n\\x1b:e\\udc80 -- ?"]
    assert graph.vertices[0].details + graph.edges[0].details == (("k", "\\r"), ("\\x00", "x\\ny"))
