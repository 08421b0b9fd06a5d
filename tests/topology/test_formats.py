"""The formats: what is read from each, and what each refuses."""

# ruff: noqa: E501 - a table row is one line, so that file and words are read together

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from kokofast.generators.wiring import generate
from kokofast.topology import (
    TopologyError,
    document,
    dump_csv,
    dump_json,
    load,
    loader,
    read_csv,
    read_json,
)
from kokofast.topology import problems as problems_module
from kokofast.topology import read_yaml as read_yaml_module
from kokofast.topology.model import Topology
from kokofast.topology.read_yaml import resolve
from tests.topology.test_load import HOST_WORDS, problems

BLANK = "; a cell may be blank, but must be there"
QUOTES = "; a cell with {} in it needs double quotes, several addresses may be separated by spaces"

pytestmark = pytest.mark.usefixtures("veth_only")

HEADER = "a_node,a_if,a_ip,b_node,b_if,b_ip,type,mtu,parent,remote,vni,port,id,mode\n"


def content(topology: Topology) -> object:
    ends = [
        (e.node, e.ifname, [a.key() for a in e.addresses], e.mac, e.mtu, e.queues, e.up)
        for link in topology.links
        for e in link.ends
    ]
    nodes = {name: (node.kind, node.target, node.create) for name, node in topology.nodes.items()}
    return topology.name, nodes, ends


@pytest.mark.parametrize("subnet", ["10.0.0.0/8", "2001:db8::/64", None])
def test_one_chain_in_every_format(subnet: str | None) -> None:
    chain = generate("chain", links=20, subnet=subnet)
    in_json = "\n".join(dump_json(chain))
    files = {
        "chain.json": in_json,
        "chain.csv": "\r\n".join(dump_csv(chain)),
        "chain.yaml": yaml.safe_dump(chain),
        "chain.yml": in_json,
        "chain.jsonl": "\n".join(json.dumps(link) for link in chain["links"]),
    }
    loaded = {filename: content(load(text.encode(), filename=filename)) for filename, text in files.items()}
    assert all(found == loaded["chain.json"] for found in loaded.values())
    piped = {filename: content(load(text.encode(), filename="-", name="chain")) for filename, text in files.items()}
    assert piped == loaded


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ('{"links": [{"endpoints": ["a:b", "c:d"]}]}', 1),
        ('{\n"links": []}', 0),
        ('{"endpoints": ["a:b", "c:d"]}', 1),
        ('{"endpoints": ["a:b", "c:d"]}\n{"endpoints": ["a:c", "c:e"]}\n', 2),
        ('  [{"endpoints": ["a:b", "c:d"]}]', 1),
        ("\ufeffa_node,a_if,b_node,b_if\na,b,c,d", 1),
        ("links:\n- endpoints: [a:b, c:d]", 1),
        ("- endpoints: [a:b, c:d]", 1),
    ],
)
def test_sniffing(text: str, count: int) -> None:
    assert len(load(text.encode(), filename="-").links) == count
    assert len(load(text.encode(), filename="/dev/fd/63").links) == count


@pytest.mark.parametrize(
    ("data", "filename", "expected"),
    [
        (b"", "l.json", ["l.json: the file is empty"]),
        (b" \n", "-", ["stdin: the file is empty"]),
        (b"\xef\xbb\xbf", "l.csv", ["l.csv: the file is empty"]),
        (b"[\n\xff]", "l.json", ["l.json:2: not UTF-8: byte 0xff"]),
        (b"a_node\n\0", "l.csv", ["l.csv:2: not text: there is a NUL byte in it"]),
        (b'{"links": [\n  {"mtu": }', "l.json", ["l.json:2:11: not JSON: expecting value"]),
        (b"[]]", "l.json", ["l.json:1:3: not JSON: extra data"]),
        (b"[" * 200_000, "l.json", ["l.json: nested too deeply"]),
        (b'{"a": ' * 200_000, "l.jsonl", ["l.jsonl:1: nested too deeply"]),
        (b'["\\ud800"]', "l.json", ["$[0]: a link must be an object, or a list of its endpoints, not '\\ud800'"]),
        (b'{"links": [], "links": []}', "l.json", ["$.links: the key 'links' is given more than once"]),
        (
            b'[{"endpoints": ["a:b", {"node": "c", "node": "c", "interface": "d"}], "mtu": 70, "mtu": 71}]',
            "l.json",
            [
                "$[0].endpoints[1].node: the key 'node' is given more than once",
                "$[0].mtu: the key 'mtu' is given more than once",
            ],
        ),
        (
            b'{"endpoints": ["a:b", "c:d"], "mtu": 70, "mtu": 71}\n{"x\n[1]\n',
            "l.jsonl",
            [
                "l.jsonl:1 mtu: the key 'mtu' is given more than once",
                "l.jsonl:2:2: not JSON: unterminated string starting at",
                "l.jsonl:3 [0]: must be 'node', 'node:interface[:address,...]' or an object, not 1",
                "l.jsonl:3: a veth link has 2 ends, not 1",
            ],
        ),
        (b"links: [\n", "l.yaml", ["l.yaml:2:1: not YAML: did not find expected node content"]),
        (b"a: \x01", "l.yaml", ["l.yaml: not YAML: control characters are not allowed"]),
        (b"links: &a []\nnodes: *a", "l.yml", ["l.yml:2:8: aliases are not supported; use 'defaults' for what links have in common"]),
        (b"links: !!set {}", "l.yml", ["l.yml:1:8: tags are not supported"]),
        (b"--- []\n--- []", "l.yml", ["l.yml:2:1: a second document in the file; there can be one"]),
        (b"? [a]\n: b", "l.yml", ["l.yml:1:3: a key must be text, not a list or a mapping"]),
        (b"[" * 40, "l.yml", ["l.yml:1:33: nested more than 32 deep"]),
        (b"links: []\nlinks: []", "l.yml", ["$.links: the key 'links' is given more than once"]),
        (b"# nothing", "l.yml", ["$: must be an object with 'links', or a list of links, not null"]),
    ],
)  # fmt: skip
def test_files_that_cannot_be_read(data: bytes, filename: str, expected: list[str]) -> None:
    assert problems(data, filename) == expected


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "1500.0", "1" * 5000])
def test_odd_numbers(number: str) -> None:
    (found,) = problems('[{"endpoints": ["a:b", "c:d"], "mtu": ' + number + "}]", "l.json")
    assert found.startswith(f"$[0].mtu: must be a whole number from 68 to 65535, not the number {number[:20]}")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12:34:56:10:20:30", "12:34:56:10:20:30"),
        ("1:30", "1:30"),
        ("on", "on"),
        ("no", "no"),
        ("yes", "yes"),
        ("n", "n"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("1500", 1500),
        ("-5", -5),
        ("0123", 123),
        ("1_000", "1_000"),
        ("2001-01-01", "2001-01-01"),
        ("10.0.0.1/8", "10.0.0.1/8"),
        ("<<", "<<"),
    ],
)
def test_yaml_scalars_are_those_of_1_2(text: str, value: object) -> None:
    found = resolve(text)
    assert (found, type(found)) == (value, type(value))


def test_yaml_file() -> None:
    text = """
nodes:
  1: {netns: "1"}
  on: {docker: 'on', socket: /run/d.sock}
links:
  - endpoints:
      - {node: on, interface: eth0, mac: 12:34:56:10:20:30, up: false}
      - 1:eth0:2001:db8::1/64
    mtu: 1500
"""
    topology = load(text.encode(), filename="lab.yaml")
    left, right = topology.links[0].ends
    assert (left.node, left.mac, left.up, left.mtu) == ("on", bytes.fromhex("123456102030"), False, 1500)
    assert (right.node, right.addresses[0].text) == ("1", "2001:db8::1/64")
    (found,) = problems(text.replace("1500", "1.5e3"), "lab.yaml")
    assert found == "$.links[0].mtu: must be a whole number from 68 to 65535, not the number 1.5e3"


def test_csv_nodes_and_cells() -> None:
    rows = [
        "docker:clab-r1,eth1,10.0.0.1/24 2001:db8::1/64,netns:r2,eth1,10.0.0.2/24;10.0.0.3/24,veth,1400,,,,,,",
        '"r2", eth2 ,,pid:4711,eth2,,,,,,,,,',
        "path:/run/netns/a:b,e,,host:,eth3,,,,,,,,,",
        "cri:3f2a,e,,podman:x,e,,,,,,,,,",
        "",
    ]
    topology = load((HEADER + "\r\n".join(rows)).encode(), filename="links.csv", create=True)
    nodes = {n.name: (n.kind, n.target, n.create, n.place) for n in topology.nodes.values()}
    assert nodes == {
        "docker:clab-r1": ("docker", "clab-r1", False, "links.csv:2 a_node"),
        "r2": ("netns", "r2", True, "links.csv:2 b_node"),
        "pid:4711": ("pid", "4711", False, "links.csv:3 b_node"),
        "path:/run/netns/a:b": ("path", "/run/netns/a:b", False, "links.csv:4 a_node"),
        "host:": ("host", "", False, "links.csv:4 b_node"),
        "cri:3f2a": ("cri", "3f2a", False, "links.csv:5 a_node"),
        "podman:x": ("podman", "x", False, "links.csv:5 b_node"),
    }
    first, second = topology.links[0].ends
    assert [a.text for a in first.addresses] == ["10.0.0.1/24", "2001:db8::1/64"]
    assert ([a.text for a in second.addresses], second.mtu) == (["10.0.0.2/24", "10.0.0.3/24"], 1400)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a_node,a_if,mtuu\n", ["l.csv:1: unknown column 'mtuu'; did you mean 'mtu'?"]),
        ("a_node,a_if,b_node,b_if,mtuu\na,b,c/,d,1\na,x\n",
         ["l.csv:1: unknown column 'mtuu'; did you mean 'mtu'?",
          "l.csv:2 b_node: the namespace name 'c/' is not a file name: no '/', not '.' or '..'",
          f"l.csv:3: has 2 cells, the header has 5{BLANK}"]),
        ("b_if,mtu,a_node,a_if,b_node\ne/,x,a,b,c:d\n",
         ["l.csv:2 b_if: the interface name 'e/' has a slash or a colon in it",
          "l.csv:2 mtu: must be a whole number from 68 to 65535, not 'x'",
          "l.csv:2 b_node: unknown node kind 'c'; known: cri, docker, host, netns, path, pid, podman"]),
        ("a_node,a_if,b_node,b_if\nhost,x,c,d\n", [f"l.csv:2 a_node: {HOST_WORDS}"]),
        ("a_node,a_if,a_if\n", ["l.csv:1: the column 'a_if' is there more than once"]),
        ("a_if,b_node\n", ["l.csv:1: the column 'a_node' is missing"]),
        ("a_node,a_if,b_node,b_if\na,b,c\n", [f"l.csv:2: has 3 cells, the header has 4{BLANK}"]),
        ("a_node,a_if,b_node,b_if\na,b,c,d,e\n", ["l.csv:2: has 5 cells, the header has 4" + QUOTES.format("','")]),
        ("a_node,a_if,b_node,b_if\n,b,c,d\n", ["l.csv:2 a_node: the node name is empty"]),
        ("a_node,a_if,b_node,b_if\na,b/,c,d\n", ["l.csv:2 a_if: the interface name 'b/' has a slash or a colon in it"]),
        ('a_node,a_if,b_node,b_if\na,"b\nx",c,d\n', ["l.csv:2 a_if: the interface name 'b\\nx' has white space in it"]),
        ("a_node,a_if,b_node,b_if\na,b,../c,d\n", ["l.csv:2 b_node: the namespace name '../c' is not a file name: no '/', not '.' or '..'"]),
        ("a_node,a_if,b_node,b_if\na,b,dcker:c,d\n", ["l.csv:2 b_node: unknown node kind 'dcker'; did you mean 'docker'?"]),
        ("a_node,a_if,b_node,b_if\na,b,pid:x,d\n", ["l.csv:2 b_node: must be a whole number from 1 to 4194304, not 'x'"]),
        ("a_node,a_if,b_node,b_if\na,b,host:x,d\n", ["l.csv:2 b_node: host: takes no name, not 'x'"]),
        ("a_node,a_if,b_node,b_if\na,b,docker:,d\n", ["l.csv:2 b_node: '' is not a container's name or id: letters, digits, '.', '_' or '-', a letter or digit first"]),
        ("a_node,a_if,b_node,b_if,a_ip\na,b,c,d,10.0.0.1/8 x\n", ["l.csv:2 a_ip: 'x' is not an IPv4 or IPv6 address, such as 10.0.0.1/24 or 2001:db8::1/64"]),
        ("a_node,a_if,b_node,b_if,mtu\na,b,c,d,1_500\n", ["l.csv:2 mtu: must be a whole number from 68 to 65535, not '1_500'"]),
        ("a_node,a_if,b_node,b_if,mtu\na,b,c,d,-1\n", ["l.csv:2 mtu: must be a whole number from 68 to 65535, not -1"]),
        ("a_node,a_if,b_node,b_if,type\na,b,c,d,Veth\n", ["l.csv:2 type: unknown link type 'Veth'; did you mean 'veth'?"]),
        ("a_node,a_if,b_node,b_if\na,b,c,d\n\nx,y,a,b\n", ["l.csv:4 b_if: 'a:b' is already the end at l.csv:2 a_if"]),
        ('a_node,a_if,b_node,b_if\na,"b,c,d\n', ["l.csv:2: not CSV: unexpected end of data"]),
    ],
)  # fmt: skip
def test_csv_problems(text: str, expected: list[str]) -> None:
    assert problems(text, "l.csv") == expected


ROW = "a_node,a_if,a_ip,b_node,b_if,b_ip,mtu\na,x,10.0.0.1/24 2001:db8::1/64,b,y,10.0.0.2/24,1400\n"


@pytest.mark.parametrize("filename", ["l.csv", "-"])
@pytest.mark.parametrize(
    "text",
    [
        ROW.replace(",", ";"),
        ROW.replace(",", "\t"),
        "\n" + ROW.replace(",", " ; ").replace("\n", "\r\n"),
        ROW.replace("a_node,a_if", "A_Node,A_IF").replace("mtu", "MTU"),
        ROW.replace("10.0.0.1/24 2001:db8::1/64", '"10.0.0.1/24,2001:db8::1/64"'),
        ROW.replace("10.0.0.1/24 2001:db8::1/64", "10.0.0.1/24; 2001:db8::1/64"),
        ROW.replace(",", ";").replace("10.0.0.1/24 2001:db8::1/64", '"10.0.0.1/24; 2001:db8::1/64"'),
        ROW.replace(",", ";").replace("a_node", '"a_node"'),
    ],
)
def test_csv_as_others_write_it(text: str, filename: str) -> None:
    assert content(load(text.encode(), filename=filename, name="l")) == content(load(ROW.encode(), filename="l.csv"))


def test_unknown_columns_are_named_as_they_are_written() -> None:
    assert problems("A_node;a_if;Mtuu\n", "l.csv") == ["l.csv:1: unknown column 'Mtuu'; did you mean 'mtu'?"]
    assert problems("a_node,A_Node,a_if\n", "l.csv") == ["l.csv:1: the column 'a_node' is there more than once"]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("links:\n\t- endpoints: [a:x, b:x]\n", "l.yaml:2:1"),
        ("links:\n- endpoints:\n  \t- a:x\n  - b:x\n", "l.yaml:3:3"),
        ("links:\n- mtu:\t1500\n\tendpoints: [a:x, b:x]\n", "l.yaml:3:1"),
    ],
)
def test_a_tab_in_yaml_is_named(text: str, place: str) -> None:
    assert problems(text, "l.yaml") == [
        f"{place}: not YAML: there is a tab, which YAML does not allow here; indent by spaces"
    ]


def test_the_limit_of_yaml(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "# " + "x" * (2 << 20) + "\n- endpoints: [a:x, b:x]\n"
    assert len(load(text.encode(), filename="l.yaml").links) == 1
    monkeypatch.setattr(read_yaml_module, "YAML_BYTES_MAX", 1 << 20)
    assert problems(text, "l.yaml") == [
        "l.yaml: is larger than 1 MiB, the limit of YAML; JSON may have 64 MiB, and is read faster"
    ]
    monkeypatch.delattr(yaml, "CSafeLoader")
    assert problems(text, "l.yaml") == [
        "l.yaml: is larger than 2 MiB, the limit of YAML, as PyYAML was built without libyaml; JSON may have 64 MiB, and is read faster"
    ]


FOREIGN = {
    "XML": '<?xml version="1.0"?>\n<topology><node/></topology>\n',
    "Graphviz (DOT)": "# made by hand\nstrict graph lab {\n  a -- b;\n}\n",
    "Pajek": "*Vertices 2\n1 a\n2 b\n*Edges\n1 2\n",
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("extension", ["", ".yaml", ".json", ".csv", ".gml"])
def test_formats_of_others_are_recognised(name: str, extension: str) -> None:
    with pytest.raises(TopologyError) as caught:
        load(FOREIGN[name].encode(), filename=f"lab{extension}")
    (problem,) = caught.value.problems
    assert str(problem).startswith(f"lab{extension}: this is {name}, which is not read; ")


@pytest.mark.parametrize("filename", ["l.json", "l.yaml", "l.csv", "l", "l.jsonl"])
@pytest.mark.parametrize("before", ["", "[\n", "a_node,a_if\n", "links:\n"])
def test_a_conflict_that_git_has_left(filename: str, before: str) -> None:
    text = before + "<<<<<<< HEAD\n=======\n>>>>>>> theirs\n"
    line = 2 if before else 1
    (problem,) = problems(text, filename)
    assert problem == f"{filename}:{line}: a conflict marker of git (<<<<<<<): the two versions were not merged yet"


def test_what_starts_like_a_tag_is_not_taken_for_xml() -> None:
    for text in ("<<: {}\n", "<<<\n", "< 5\n"):
        assert not any("XML" in problem for problem in problems(text, "l.yaml"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[{"endpoints": ["a:b", "c:d"]},\n]', "1:31: not JSON: a comma too many before the ']'"),
        ('{"links": [] ,\n\n }', "1:14: not JSON: a comma too many before the '}'"),
        ("[,]", "1:2: not JSON: a comma too many before the ']'"),
        ("[1,", "1:4: not JSON: expecting value"),
        ("// links\n[]", "1:1: not JSON: there are no comments in JSON; YAML has them, behind a #"),
        ('{"name": "x", # y\n"links": []}', "1:15: not JSON: there are no comments in JSON; YAML has them, behind a #"),
    ],
)
def test_what_people_write_in_json(text: str, expected: str) -> None:
    assert problems(text, "l.json") == [f"l.json:{expected}"]
    if "\n" not in text:
        assert problems(text, "l.jsonl") == [f"l.jsonl:{expected}"]


def test_csv_without_a_header() -> None:
    for row in ("r1,eth1,10.0.0.0/31,r2,eth1,10.0.0.1/31,veth,1400\n", "node_a;if_a;node_b;if_b\na;b;c;d\n"):
        assert problems(row, "l.csv") == [
            "l.csv:1: there is no header: the first line names the columns, as in "
            "'a_node,a_if,a_ip,b_node,b_if,b_ip,type,mtu'"
        ]


def test_csv_cells_with_a_separator_in_them() -> None:
    header, row = "a_node,a_if,a_ip,b_node,b_if", "a,b,10.0.0.1/24;10.0.1.1/24,c,d"
    (link,) = load(f"{header}\n{row}\n".encode(), filename="l.csv").links
    assert [address.text for address in link.ends[0].addresses] == ["10.0.0.1/24", "10.0.1.1/24"]
    for delimiter, name in ((";", "';'"), ("\t", "a tab")):
        other = header.replace(",", delimiter)
        more = problems(f"{other}\n{row.replace(';', delimiter).replace(',', delimiter)}\n", "l.csv")
        assert more == [f"l.csv:2: has 6 cells, the header has 5{QUOTES.format(name)}"]
        mixed = problems(f"{other}\na,b,,c,d\n", "l.csv")
        assert mixed == [f"l.csv:2: has 1 cell, the header has 5; it is separated by ',', the header by {name}"]


def test_what_only_looks_like_a_format_of_others() -> None:
    for text in ('{"nodes": {}, "links": []}', "links:\n- endpoints: [graph:x, node:x]\n", "# graph {\n[]\n"):
        assert load(text.encode(), filename="x.yaml").name == "x"


def test_json_lines_in_the_order_of_the_file() -> None:
    text = '{"mtu": 1, "endpoints": ["a:b", "c:d"], "mtu": 2}\n{"endpoints": 5, "up": 0}\n{x\n'
    places = [problem.split(": ")[0] for problem in problems(text, "l:1.jsonl", name="x")]
    assert places == ["l:1.jsonl:1 mtu", "l:1.jsonl:1 mtu", "l:1.jsonl:2 endpoints", "l:1.jsonl:2 up", "l:1.jsonl:3:2"]


@pytest.mark.parametrize("filename", ["l.json", "l.yaml"])
def test_the_order_of_the_file(filename: str) -> None:
    text = '{"links": [{"up": 1, "endpoints": [{"interface": "/", "node": 5}, 6]}, 4, {}], "x": 1, "nodes": {"n": 1}}'
    places = [problem.split(": ")[0] for problem in problems(text, filename)]
    assert places == [
        "$.links[0].up",
        "$.links[0].endpoints[0].node",
        "$.links[0].endpoints[1]",
        "$.links[1]",
        "$.links[2]",
        "$.x",
        "$.nodes.n",
    ]


def test_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [("l.json", "[" + ",".join(["{}"] * 6) + "]"), ("l.jsonl", "{}\n" * 6)]
    rows += [("l.yaml", "- {}\n" * 6), ("l.csv", "a_node,a_if\n" + "a,b\n" * 6)]
    for module in (document, loader, read_json, read_csv):
        monkeypatch.setattr(module, "LINKS_MAX", 5)
    assert [problems(text, name) for name, text in rows] == [[f"{name}: has more than 5 links"] for name, _ in rows]
    monkeypatch.setattr(problems_module, "PROBLEMS_MAX", 3)
    for module in (document, loader, read_json, read_csv):
        monkeypatch.setattr(module, "LINKS_MAX", 6)
    for name, text in rows:
        found = problems(text, name)
        assert len(found) == 4
        assert found[-1] == "more than 3 problems: the rest was not looked at"
    monkeypatch.setattr(loader, "FILE_BYTES_MAX", 10)
    assert problems(" " * 11, "l.json") == ["l.json: is larger than 0 MiB"]


def test_very_many_keys_of_which_one_is_repeated() -> None:
    # Counting each key by itself would take minutes.
    keys = ", ".join(f'"{number}": 1' for number in range(300_000))
    found = problems(f'{{"links": [], "nodes": {{"a": {{"netns": "x"}}, "a": {{"netns": "y"}}, {keys}}}}}', "l.json")
    assert found[0] == "$.nodes.a: the key 'a' is given more than once"


def test_control_characters_in_the_file_name() -> None:
    options: dict[str, Any] = {"name": "x"}
    assert problems("", "a\x1b.json", **options) == ["a\\x1b.json: the file is empty"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("f.json", '[{"endpoints": ["a:x", "b:x"], "dad": false}]'),
        ("f.json", '{"defaults": {"dad": false}, "links": [{"endpoints": ["a:x", "b:x"]}]}'),
        ("f.yaml", "- endpoints: [a:x, b:x]\n  dad: false\n"),
        ("f.csv", "a_node,a_if,b_node,b_if,dad\na,x,b,x,false\n"),
    ],
)
def test_dad_in_every_format(name: str, text: str) -> None:
    (link,) = load(text.encode(), filename=name).links
    assert [end.dad for end in link.ends] == [False, False]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("f.json", '[{"endpoints": ["a:x", "b:x"], "offload": false}]'),
        ("f.json", '{"defaults": {"offload": false}, "links": [{"endpoints": ["a:x", "b:x"]}]}'),
        ("f.yaml", "- endpoints: [a:x, b:x]\n  offload: false\n"),
        ("f.csv", "a_node,a_if,b_node,b_if,offload\na,x,b,x,false\n"),
    ],
)
def test_offload_in_every_format(name: str, text: str) -> None:
    (link,) = load(text.encode(), filename=name).links
    assert [end.properties for end in link.ends] == [{"offload": False}] * 2


def test_an_end_has_its_own_offload() -> None:
    own = '{"node": "b", "interface": "x", "offload": {"tx": false}}'
    (link,) = load(f'[{{"endpoints": ["a:x", {own}], "offload": true}}]'.encode(), filename="f.json").links
    assert [end.properties["offload"] for end in link.ends] == [True, {"tx": False}]
