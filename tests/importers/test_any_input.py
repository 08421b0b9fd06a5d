"""No input of any importer is an exception of Python, and every problem names a place in the user's file."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kokofast.importers import IMPORTERS
from kokofast.importers.importer import Options
from kokofast.topology import TopologyError, load

# Words of the formats, from which texts are made.
CLAB_WORDS = ["topology:\n", " nodes:\n", " links:\n", "  - endpoints: [a:e1, b:e2]\n", "{{", "${X}", "<<: *x", "&x {"]
WORDS = {
    "containerlab": [*CLAB_WORDS, "  a: {kind: bridge}\n", "name: x\n", "*x", "[", "}", ":", "- ", "  ", "\n"],
    "kathara": ["a[0]=X", "b[0]", "[1]=", "'", '"', "/", "=", "#", "LAB_NAME=", "LAB_", "[sysctl]=net.ipv4.x=1", "\n"],
}
GRAPH_WORDS = [
    "graph [",
    "]",
    "node [",
    "edge [",
    "id 1 ",
    "source 1 ",
    "target 2 ",
    '"',
    "#",
    "&amp;",
    "Latitude 1 ",
    "\n",
]
WORDS |= {
    "gml": GRAPH_WORDS,
    "graphml": ["<graphml>", "<graph>", "</graph>", "<node id='1'/>", "<edge source='1' target='1'", "/>", "<!ENTITY"],
    "nodelink": ['{"links":', '"edges":', "[", "]", "{", "}", '"source":', '"target":', "1", '"a"', ",", '"\\ud800"'],
    "netsatbench": ['{"links-add":', '[{"endpoint1":', '"endpoint2":', '"a"', ",", "}", "]", '"run":', "1"],
    "table": ["source", "target", "from", "to", ",", ";", "\n", '"', "delay", "a", "5ms"],
    "edges": ["a ", "b ", "5ms", "1gbit", "\n", "#", "%", "{", "}", ",", "\t"],
}
PLACE = re.compile(r"(f[.\w]*:\d+|f[.\w]*: |\$)")


def texts(words: list[str]) -> st.SearchStrategy[str]:
    """Draw words of a format, and any text between them."""
    return st.lists(st.sampled_from(words) | st.text(max_size=4), max_size=30).map("".join)


def problems(text: str, filename: str, importer: str | None, options: Options | None = None) -> list[str]:
    """Return what is wrong with a text, read by an importer or by that which recognises it."""
    try:
        load(text.encode(errors="replace"), filename=filename, format=importer, options=options)
    except TopologyError as error:
        return list(map(str, error.problems))
    return []


def check(text: str, filename: str, importer: str | None) -> None:
    """Check that each problem is one printable line that begins with a place in the file."""
    for problem in problems(text, filename, importer):
        assert PLACE.match(problem), problem
        assert problem.isprintable()


@pytest.mark.parametrize("importer", IMPORTERS)
@settings(max_examples=200)
@given(data=st.data())
def test_any_text(importer: str, data: st.DataObject) -> None:
    text = data.draw(texts(WORDS.get(importer, [])))
    check(text, "f.txt", importer)
    check(text, data.draw(st.sampled_from(["f", "f.yaml", "f.json", "f.csv", "f.xml"])), None)


# What a file of containerlab may have, each at a place where it is expected or not.
KEYS = [
    "type",
    "endpoints",
    "endpoint",
    "node",
    "interface",
    "mac",
    "ipv4",
    "ipv6",
    "mtu",
    "kind",
    "network-mode",
    "vni",
]
KEYS += [
    "remote",
    "dst-port",
    "parent-interface",
    "host-interface",
    "mode",
    "group",
    "nodes",
    "links",
    "groups",
    "a",
    "b",
]
VALUES = ["veth", "vxlan", "dummy", "host", "mgmt-net", "macvlan", "a:eth1", "b:e-1/1", "host:x", "c:y", "bridge", "a"]
VALUES += [
    "container:a",
    "container:b",
    "${X}",
    "${X:=5}",
    "{{",
    "10.0.0.1/24",
    "\x1b",
    "\ud800",
    ":",
    "",
    "x" * 300,
    "9" * 30,
]
LEAVES = st.sampled_from(VALUES) | st.none() | st.booleans() | st.integers() | st.floats()
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)
LINKS = st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS[:12], TREES)) | TREES, max_size=4)
NODES = st.dictionaries(st.sampled_from(["a", "b", "host", "", "x/y"]), TREES, max_size=4)
LABS = st.fixed_dictionaries(
    {"nodes": NODES | TREES}, optional={"links": LINKS | TREES, "defaults": TREES, "groups": TREES}
)


@settings(max_examples=300)
@given(LABS, TREES, st.sampled_from([None, "docker"]))
def test_any_tree_of_containerlab(topology: object, other: object, runtime: str | None) -> None:
    tree = {"name": other, "topology": topology, "prefix": other}
    for problem in problems(json.dumps(tree), "f.json", None, Options(runtime=runtime)):
        assert re.match(r"f.json:\d+:\d+ \$", problem), problem
        assert problem.isprintable()


def test_long_lines_take_no_longer_than_short_ones() -> None:
    """Each of these takes hours if a regular expression looks at each pair of characters."""
    for middle in (" " * 300_000, "x" * 300_000, "'x'" * 100_000, "#" * 300_000):
        assert problems(f'a[0]=X\na[1]={middle}"\n', "f", "kathara")
        assert problems(f"#{middle}\n[0]={middle}", "f", "kathara")
    text = "topology: {nodes: {a: , b: }, links: [{endpoints: ['a:%s', 'b:x']}]}"
    for name in ("x" * 300_000, "x-" * 150_000, "${A:-" * 60_000, "$" * 300_000, "/" * 300_000):
        problems(text % name, "f.yaml", None)


@pytest.mark.parametrize("extension", ["xml", "gml", "edges", "csv"])
def test_what_is_long_or_nested_takes_no_longer_than_its_length(extension: str) -> None:
    deep = "graph [ " + "a [ " * 5_000
    comments = "<!-- x -->" * 5_000 + "<svg"
    for text in (
        deep,
        comments,
        "<graphml>" * 5_000,
        "a " + " " * 300_000 + "b,",
        'graph [ a "' + "x" * 300_000,
        "#\n" * 50_000,
    ):
        check(text, f"f.{extension}", None)
    for importer in ("gml", "graphml", "edges", "table"):
        check(deep, "f", importer)
        check("a b " + "x" * 300_000, "f", importer)


def test_aliases_that_stand_for_billions_of_values() -> None:
    lines = ["a: &a0 [x, x]"] + [f"b{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40)]
    with pytest.raises(TopologyError, match="aliases are not supported"):
        load("\n".join(lines).encode(), filename="f.yaml")
