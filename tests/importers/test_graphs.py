"""Graph files of other programs become topologies."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kokofast.importers.edges import read_edges
from kokofast.importers.gml import read_gml
from kokofast.importers.graph import Graph
from kokofast.importers.graphml import read_graphml
from kokofast.importers.importer import Imported, Options
from kokofast.importers.node_names import NodeNames
from kokofast.importers.nodelink import TITLE, edges_key, read_node_link
from kokofast.importers.table import header_of, read_table
from kokofast.topology.loader import load
from kokofast.topology.problems import TopologyError

GML = """# a comment
Creator "nobody"
graph [
  directed 0
  node [ id 7 label "S&atilde;o Paulo" Latitude -23.5 Longitude -46.6 graphics [ x 1 ] ]
  node [ id 2 label "GEANT" Latitude -23.5 Longitude -47.6 ]
  node [ id 9 label "GEANT" ]
  node [ id 4 label "None" ]
  node [ id 5 ]
  edge [ source 7 target 2 LinkSpeed "2.5" LinkSpeedUnits "G" LinkSpeedRaw 2500000000.0 ]
  edge [ source 7 target 2 LinkLabel "155 Mbps" ]
  edge [ source 9 target 4 LinkNote "old" ]
  edge [ source 4 target 4 ]
]
"""


def parts_of(
    graph: Graph, *, distance_delay: bool = False
) -> tuple[dict[str, object], list[str], Callable[[str], str]]:
    """Return the tree, the notes, and what finds places."""
    found: Imported = graph.imported(Options(distance_delay=distance_delay))
    return found.tree, [note.message for note in found.notes], found.place_of


def test_everything_odd_about_gml() -> None:
    tree, notes, place = parts_of(read_gml(GML, "a.gml"), distance_delay=True)
    assert tree["links"] == [
        {"endpoints": ["Sao-Paulo", "GEANT"], "rate": "2.5gbit", "delay": "510us"},
        {"endpoints": ["Sao-Paulo", "GEANT"], "rate": "155mbit", "delay": "510us"},
        {"endpoints": ["GEANT-9", "n4"]},
    ]
    assert tree["nodes"] == {"n5": {"netns": "n5"}}
    assert place("$.links[1].rate") == "a.gml:11"
    assert place("$.nodes.n5") == "a.gml:9"
    assert "1 edge from a node to itself: left out" in notes
    assert "attributes of links that are not kept: LinkNote" in notes
    topology = load(json.dumps(tree).encode(), filename="a.json")
    assert len(topology.links) == 3


GRAPHML = """<?xml version="1.0" encoding="latin-1"?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
<key id="d0" for="edge" attr.name="delay"><default>5ms</default></key>
<graph edgedefault="directed">
<node id="a"><port name="p"/></node><node id="b"/>
<edge source="a" target="b"/>
<edge source="b" target="a"><data key="d0">9ms</data></edge>
</graph></graphml>
"""


def test_two_directions_of_graphml_are_one_link() -> None:
    tree, notes, place = parts_of(read_graphml(GRAPHML, "a.graphml"))
    assert tree["links"] == [{"endpoints": [{"node": "a", "delay": "5ms"}, {"node": "b", "delay": "9ms"}]}]
    assert notes == ["ports of nodes: left out"]
    assert place("$.links[0]") == "a.graphml:6"


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (read_gml, "graph [\n node [ id 1 ]\n edge [ source 1 target 3 ] ]", "x:3: there is no node with the id '3'"),
        (read_gml, "graph [\n a", "x:1: not GML: the file ends before this does"),
        (read_gml, 'graph [\n a "b', "x:2: not GML: a text without its closing quotation mark"),
        (read_gml, "graph [ ]", "x: has no edges, so there is no link to make"),
        (
            read_graphml,
            '<!DOCTYPE graphml [\n<!ENTITY a "b">]><graphml/>',
            "x:2: declares an entity, which is not supported; write the characters themselves",
        ),
        (read_graphml, "<graphml>\n<graph>", "x:2: not XML: no element found"),
        (read_edges, "a b\na", "x:2: 'a' is not an edge: a b [delay [rate]]"),
        (read_edges, "a b 10ms fast", "x:1: 'fast' is not a rate such as 10mbit"),
        (read_table, "source,target\na", "x:2: has 1 cells, the header has 2"),
    ],
)
def test_an_error_names_the_line(read: Callable[[str, str], Graph], text: str, message: str) -> None:
    with pytest.raises(TopologyError) as caught:
        read(text, "x").imported(Options())
    assert str(caught.value) == message


def test_lists_and_tables() -> None:
    tree, _, _ = parts_of(read_edges("% konect\na b\nb, c, 10ms, 1Gbps # fast\nc\td 3\nd e {'weight': 1}\n", "x"))
    assert tree["links"] == [
        {"endpoints": ["a", "b"]},
        {"endpoints": ["b", "c"], "delay": "10ms", "rate": "1gbit"},
        {"endpoints": ["c", "d"], "cost": 3},
        {"endpoints": ["d", "e"]},
    ]
    assert header_of("a_node,b_node") is None
    tree, notes, _ = parts_of(read_table("Delay;From;To;colour\n5 ms;a;b;red\n", "x"))
    assert tree["links"] == [{"endpoints": ["a", "b"], "delay": "5ms"}]
    assert notes == ["attributes of links that are not kept: colour"]


@pytest.mark.parametrize("ends", [(0, 1), ("r1", "r2"), ({"id": "r1"}, {"id": "r2"})])
def test_node_link_json_by_ids_and_indexes(ends: tuple[object, object]) -> None:
    edge: dict[str, object] = {"source": ends[0], "target": ends[1], "bw": 10}
    found: dict[str, object] = {"nodes": [{"id": "r1"}, {"id": "r2"}], "links": [edge]}
    assert edges_key(found) == "links"
    tree, _, place = parts_of(read_node_link(found, "x", lambda path: f"x {path}"))
    assert tree["links"] == [{"endpoints": ["r1", "r2"], "rate": "10mbit"}]
    assert place("$.links[0]") == "x $.links[0]"


WORDS = st.sampled_from(
    ["graph", "node", "edge", "id", "source", "target", "[", "]", "1", "2", '"', "a b", "\n", "<node"]
)


@given(st.text() | st.lists(WORDS).map(" ".join))
def test_no_text_is_a_traceback(text: str) -> None:
    for read in (read_gml, read_graphml, read_edges, read_table):
        try:
            tree, _, _ = parts_of(read(text, "x"), distance_delay=True)
        except TopologyError:
            continue
        load(json.dumps(tree).encode(), filename="x.json")


@pytest.mark.parametrize(
    ("filename", "text", "imported"),
    [
        ("a.gml", GML, "a graph in GML"),
        (
            "a",
            'Creator "x"\nVersion 1.0\nGraph\n[ node [ id 0 ] node [ id 1 ] edge [ source 0 target 1 ] ]',
            "a graph in GML",
        ),
        ("a.xml", GRAPHML, "a graph in GraphML"),
        ("a.json", '{"nodes": [{"id": 1}, {"id": 2}], "edges": [{"source": 1, "target": 2}]}', TITLE),
        ("a.yaml", "links:\n- {source: a, target: b}\n", TITLE),
        (
            "a.json",
            '{"type": "NetworkGraph", "nodes": [{"id": "a"}, {"id": "b"}], "links": [{"source": "a", "target": "b"}]}',
            TITLE,
        ),
        ("a.json", '{"time": 0, "links-add": [{"endpoint1": "a", "endpoint2": "b"}]}', "an epoch of NetSatBench"),
        ("a.csv", "source,target\na,b\n", "a table of edges"),
        ("a.txt", "# nodes\na b 5ms\n\nb c\n", "a list of edges"),
        ("a.tsv", "a\tb\nb\tc\n", "a list of edges"),
    ],
)
def test_a_graph_is_recognised(filename: str, text: str, imported: str) -> None:
    topology = load(text.encode(), filename=filename)
    assert topology.imported == imported
    assert topology.links
    assert all(node.create for node in topology.nodes.values())


def test_the_ordinary_checks_name_the_line() -> None:
    text = "a b\nb c 5ms\n" + "c d 5ms\nc e 500000s\n"
    with pytest.raises(TopologyError) as caught:
        load(text.encode(), filename="x.edges")
    assert [str(problem).partition(": ")[0] for problem in caught.value.problems] == ["x.edges:4"]


def test_options_that_a_file_cannot_have() -> None:
    for text, filename, options, message in (
        (GML, "x.gml", Options(runtime="docker"), "x.gml: has no containers: leave --runtime docker out"),
        (
            "a b\n",
            "x.edges",
            Options(distance_delay=True),
            "x.edges: this is a list of edges, which has no latitudes and ",
        ),
        ('{"links-add": []}', "x.json", Options(runtime="docker"), "x.json:1:1 $: the names of containers are not in "),
    ):
        with pytest.raises(TopologyError) as caught:
            load(text.encode(), filename=filename, options=options)
        assert str(caught.value).startswith(message)


def test_an_epoch_of_netsatbench() -> None:
    text = """{"time": 0,
      "links-add": [{"endpoint1": "a", "endpoint2": "b", "rate": "1mbit", "loss": 1},
                    {"endpoint1": "b"}, 5],
      "run": {"a": ["ls"]}}"""
    with pytest.raises(TopologyError) as caught:
        load(text.encode(), filename="e.json")
    assert [str(problem).partition(" $")[0] for problem in caught.value.problems] == ["e.json:3:21", "e.json:3:41"]
    topology = load(
        text.replace(", 5", "").replace('"endpoint1": "b"', '"endpoint1": "b", "endpoint2": "c"').encode(),
        filename="e.json",
    )
    assert [link.title() for link in topology.links] == ["a:b--b:a", "b:c--c:b"]
    assert [note.message for note in topology.notes] == [
        "is not done: kokofast play does what the epochs of a timeline say"
    ]


def test_labels_that_begin_alike_are_named_in_few_steps() -> None:
    class Counting(set[str]):
        asked = 0

        def __contains__(self, name: object) -> bool:
            self.asked += 1
            return super().__contains__(name)

    names = NodeNames()
    names._taken = taken = Counting()
    made = [names.name(label, label) for label in (f"{'é' * 100}{number}" for number in range(300))]
    assert len(set(made)) == 300
    assert taken.asked < 5 * 300
