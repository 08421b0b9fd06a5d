"""load() on any bytes: a Topology, or TopologyError with problems that can be printed.

The first byte of an input chooses the format, the rest is the file.
"""

from __future__ import annotations

import gc
import json

from kokofast.kinds import KINDS
from kokofast.topology import TopologyError, load
from kokofast.topology.problems import Problem
from kokofast.topology.values import check_ifname

FILENAMES = ("links.json", "links.jsonl", "links.yaml", "links.csv", "-")


def must_answer(data: bytes, filename: str) -> None:
    """Whatever the bytes: a topology that is one, or problems of one printable line each, none twice."""
    collecting = gc.isenabled()
    problems: list[Problem] | None = None
    try:
        topology = load(data, filename=filename)
    except TopologyError as error:
        problems = error.problems
    if problems is not None:
        assert problems
        assert all(str(problem).isprintable() for problem in problems)
        assert len(set(problems)) == len(problems)
    else:
        for link in topology.links:
            assert len(link.ends) == KINDS[link.kind].ends
            assert all(end.node in topology.nodes and check_ifname(end.ifname) for end in link.ends)
    assert gc.isenabled() == collecting


TREE = {
    "name": "lab",
    "defaults": {"mtu": 9000, "create": True},
    "nodes": {"a": {"docker": "web", "socket": "/run/d.sock"}, "b": {"pid": 4711}, "c": {"host": True}},
    "links": [
        {"endpoints": ["a:eth1:10.0.0.0/31,2001:db8::/127", "d:eth1"], "mtu": 1400, "delay": "20ms", "loss": "0.1%"},
        {"endpoints": [{"node": "a", "interface": "e", "mac": "02:aa:c1:00:00:01", "mirror": {"from": "x"}}, "b:e"]},
        {"type": "vxlan", "endpoint": "d:vx0", "parent": "a:eth1", "remote": "192.0.2.9", "vni": 100},
        {"type": "vlan", "endpoint": "d:v", "parent": "eth0", "id": 5, "queues": "auto", "up": False},
    ],
}
TEXT = json.dumps(TREE)
YAML = """\
name: lab
defaults: {mtu: 9000}
nodes:
  a: {netns: "x"}
links:
- endpoints: [a:eth1:10.0.0.1/8, 'b:eth1']
  mtu: 1_500
- {type: macvlan, endpoint: "c:e", parent: eth0, mode: !!str bridge}
- &x [*x, 1e5, .nan, 0x1f, ~]
"""
CSV = """\
a_node,a_if,a_ip,b_node,b_if,b_ip,type,mtu,parent,remote,vni,port,id,mode
r1,eth1,10.0.0.0/31,r2,eth1,10.0.0.1/31,,,,,,,,
netns:r2,eth2,10.0.0.2/31 2001:db8::/127,"pid:7",eth1,,veth,1400,,,,,,
host:,vx,,,,,vxlan,,eth0,192.0.2.9,7,,,
"""
LINES = "".join(json.dumps(link) + "\n" for link in TREE["links"])
SEEDS = [
    bytes((number,)) + text.encode()
    for numbers, text in (
        ((0, 4), TEXT),
        ((0, 2, 4), json.dumps(TREE["links"])),
        ((1, 4), LINES),
        ((2, 4), YAML),
        ((3, 4), CSV),
        ((0, 1, 4), '{"links": [{"links": 1, "links": NaN, "\\ud800": 1e400, "a": "\\u001b[31m\\u202e"}]}'),
        ((2,), "{? [a]: b, ? &a *a : !t c}\n---\n- |\n  x\x85y\n"),
        ((3,), '\ufeffa_node,a_if,\x0b"b_no""de"\r\na,"b\r\nc'),
    )
    for number in numbers
]


def run_one(data: bytes) -> None:
    """One input of the fuzzer; any exception is a finding."""
    if data:
        must_answer(data[1:], FILENAMES[data[0] % len(FILENAMES)])
