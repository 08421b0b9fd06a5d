"""What inspect shows."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kokofast.plan.ownership import group_of
from tests.conftest import RunKokofast, ip
from tests.kernel.conftest import Lab, until

pytestmark = pytest.mark.usefixtures("requires_root")

Start = Callable[..., subprocess.Popen[str]]


def ends(link: dict[str, Any], *fields: str) -> list[tuple[object, ...]]:
    return [tuple(end[field] for field in fields) for end in link["endpoints"]]


def table(lab: Lab) -> list[list[str]]:
    """The lines of the table, each split at the gaps between columns."""
    done = lab.kokofast("inspect", lab.name)
    assert done.returncode == 0, done.stderr
    return [[cell.strip() for cell in line.split("  ") if cell] for line in done.stdout.splitlines()]


def process_in(lab: Lab, start: Start, suffix: str) -> int:
    """A process whose namespace has no name by the time it is returned."""
    name = lab.node(suffix)
    process = start("ip", "netns", "exec", name, "sleep", "600")
    comm = Path(f"/proc/{process.pid}/comm")
    until(lambda: comm.read_text() == "sleep\n", "the process is in its namespace")
    ip(None, "netns", "delete", name)
    return process.pid


def test_nodes_have_the_names_of_the_file_and_ends_its_order(lab: Lab, start: Start) -> None:
    pids = [process_in(lab, start, suffix) for suffix in ("z", "y", "x")]
    names = ["web", "db--1", "a:b"]
    nodes = {name: {"pid": pid} for name, pid in zip(names, pids, strict=True)}
    written = [["web:up0", "db--1:down0"], ["web:eth1", "db--1:eth1"], ["a:b:eth0", "web:eth0"]]
    objects = [
        {"endpoints": [dict(zip(("node", "interface"), end.rsplit(":", 1), strict=True)) for end in pair]}
        for pair in written
    ]
    lab.write(objects, nodes=nodes)
    lab.batch()
    found = [[f"{node}:{ifname}" for node, ifname in ends(link, "node", "interface")] for link in lab.inspect()]
    assert sorted(found) == sorted(written)
    titles = dict(zip(names, (f"pid:{pid}" for pid in pids), strict=True))
    for link in lab.inspect():
        assert all(titles[str(node)] == namespace for node, namespace in ends(link, "node", "namespace"))
    assert {row[2] for row in table(lab)[1:-1]} == {" -- ".join(pair) for pair in written}


def test_ends_that_nothing_tells_apart_keep_the_names_of_the_machine(lab: Lab, start: Start) -> None:
    pids = [process_in(lab, start, suffix) for suffix in ("a", "b")]
    lab.write([{"endpoints": ["web:eth0", "db:eth0"]}], nodes={"web": {"pid": pids[0]}, "db": {"pid": pids[1]}})
    lab.batch()
    (link,) = lab.inspect()
    assert set(ends(link, "node")) == {(f"pid:{pid}",) for pid in pids}


def test_an_interface_that_was_moved_or_renamed_is_the_files_end_still(lab: Lab) -> None:
    a, b, c = lab.node("a"), lab.node("b"), lab.node("c")
    lab.write([{"endpoints": [f"{b}:e0", f"{a}:e0"]}, {"endpoints": [f"{b}:e1", f"{a}:e1"]}])
    lab.batch()
    ip(a, "link", "set", "e0", "netns", c)
    ip(a, "link", "set", "e1", "down")
    ip(a, "link", "set", "e1", "name", "other")
    first, second = lab.inspect()
    assert ends(first, "node", "namespace", "interface") == [(b, b, "e0"), (a, c, "e0")]
    assert ends(second, "node", "namespace", "interface") == [(b, b, "e1"), (a, a, "other")]


def test_a_bridge_shows_what_differs_from_the_kernel(lab: Lab) -> None:
    a, b = lab.node("a"), lab.node("b")
    bridge = {"type": "bridge", "group_fwd_mask": 0}
    lab.write([{**bridge, "endpoint": f"{a}:br0"}, {**bridge, "endpoint": f"{b}:br0", "stp": True}])
    lab.batch()
    assert {row[2]: row[-1] for row in table(lab)[1:-1]} == {f"{a}:br0": "-", f"{b}:br0": "stp on"}  # no details


def test_a_tunnel_shows_its_fields_and_a_mirror_its_source(lab: Lab) -> None:
    a, b = lab.bundle(1)
    tunnel = {"type": "vxlan", "endpoint": f"{b}:vx0", "parent": f"{a}:e0", "remote": "192.0.2.9", "vni": 0}
    tunnel6 = {**tunnel, "endpoint": f"{a}:vx6", "remote": "2001:db8::9", "port": 8472, "ttl": 9, "learning": False}
    mirror = {"node": b, "interface": "m0", "mirror": {"from": "e0", "direction": "both"}}
    lab.write([{"endpoints": [f"{a}:e0", f"{b}:e0"]}, tunnel, tunnel6, {"endpoints": [mirror, f"{a}:m1"]}])
    lab.batch()
    found = {str(link["endpoints"][0]["interface"]): link for link in lab.inspect()}
    fields = ("parent", "remote", "vni", "port", "local", "ttl", "learning")
    shown = {name: tuple(found[name].get(field) for field in fields) for name in ("vx0", "vx6")}
    assert shown["vx0"] == (f"{a}:e0", "192.0.2.9", 0, 4789, None, 0, True)
    assert shown["vx6"] == (f"{a}:e0", "2001:db8::9", 0, 8472, None, 9, False)
    assert [end.get("mirrors") for end in found["m0"]["endpoints"]] == [[{"from": "e0", "direction": "both"}], None]
    details = {row[2]: row[-1] for row in table(lab)[1:-1]}
    assert details[f"{b}:vx0"] == f"parent {a}:e0, remote 192.0.2.9, vni 0, port 4789"
    assert details[f"{a}:vx6"] == f"parent {a}:e0, remote 2001:db8::9, vni 0, port 8472, ttl 9, learning off"
    assert details[f"{b}:m0 -- {a}:m1"] == f"{b}:m0 mirrors e0 both"


def test_what_ends_have_is_in_the_table_as_in_json(lab: Lab) -> None:
    a, b = lab.node("a"), lab.node("b")
    port = {"node": a, "interface": "p0", "master": "br0", "altnames": ["uplink", "port-0"], "lacp": True}
    lab.write([
        {"type": "bridge", "endpoint": f"{a}:br0"},
        {"endpoints": [port, f"{b}:p0"]},
        {"endpoints": [f"{a}:e0", f"{b}:e0"], "rate": "10mbit", "link_local": False},
        {"endpoints": [{"node": a, "interface": "e1", "rate": "5mbit"}, f"{b}:e1"], "mtu": 1000},
        {"endpoints": [f"{a}:e2", f"{b}:e2"]},
    ])  # fmt: skip
    lab.batch()
    known = {"node", "namespace", "interface", "ifindex", "mtu", "mac", "up", "state", "addresses"}
    more = {
        f"{end['node']}:{end['interface']}": {name: value for name, value in end.items() if name not in known}
        for link in lab.inspect()
        for end in link["endpoints"]
    }
    assert {title: found for title, found in more.items() if found} == {
        f"{a}:p0": {"master": "br0", "altnames": ["port-0", "uplink"], "lacp": True},
        f"{a}:e0": {"rate": "10mbit", "link_local": False},
        f"{b}:e0": {"rate": "10mbit", "link_local": False},
        f"{a}:e1": {"rate": "5mbit"},
    }
    assert {row[2]: row[6:] for row in table(lab)[1:-1]} == {
        f"{a}:br0": ["group_fwd_mask 65528"],
        f"{a}:p0 -- {b}:p0": [f"{a}:p0 master br0 altnames port-0 uplink lacp on"],
        f"{a}:e0 -- {b}:e0": ["rate 10mbit link_local off"],
        f"{a}:e1 -- {b}:e1": [f"{a}:e1 rate 5mbit"],
        f"{a}:e2 -- {b}:e2": [],
    }


def test_a_macvlan_shows_its_mode_and_a_parent_of_the_callers_namespace_bears_no_node(
    lab: Lab, kokofast: RunKokofast
) -> None:
    here, a = lab.node("here"), lab.node("a")
    ip(here, "link", "add", "up0", "type", "veth", "peer", "name", "far0")
    lab.write([{"type": "macvlan", "endpoint": f"{a}:mv0", "parent": "up0", "mode": "private"}])
    inside = ["ip", "netns", "exec", here, sys.executable, "-m", "kokofast"]
    subprocess.run([*inside, "batch", lab.file], check=True, timeout=60)
    shown = subprocess.run(
        [*inside, "inspect", lab.name, "--format", "json"], check=True, timeout=60, capture_output=True, text=True
    )
    (link,) = json.loads(shown.stdout)
    assert (link["parent"], link["mode"]) == ("up0", "private")
    (link,) = lab.inspect()
    assert link["parent"] == f"{here}:up0"


def test_a_parent_is_named_by_where_it_is(lab: Lab, tmp_path: Path) -> None:
    a, b, hidden = (lab.node(name) for name in "abh")
    file = tmp_path / "hidden"
    file.touch()
    # A namespace without a name and without a process: inspect cannot find it.
    subprocess.run(["mount", "--bind", f"/run/netns/{hidden}", str(file)], check=True)
    try:
        ip(None, "netns", "delete", hidden)
        vxlan = {"type": "vxlan", "remote": "192.0.2.1"}
        links = [
            {"endpoints": [f"{a}:e0", f"{b}:e0"]},
            {"endpoints": [f"{a}:e1", f"{b}:e1"]},
            {**vxlan, "endpoint": f"{b}:v0", "parent": f"{a}:e0", "vni": 5},
            {**vxlan, "endpoint": f"{b}:v1", "parent": "h:lo", "vni": 6},
        ]
        lab.write(links, nodes={"h": {"path": str(file)}})
        lab.batch()
        ip(b, "link", "set", "e1", "name", "moved", "netns", a)
        parents = {
            end["interface"]: link["parent"]
            for link in lab.inspect()
            for end in link["endpoints"][:1]
            if link["type"] == "vxlan"
        }
        assert parents == {"v0": f"{a}:e0", "v1": None}
        assert lab.kokofast("destroy", lab.file).returncode == 0
    finally:
        subprocess.run(["umount", str(file)], check=True)


@pytest.mark.guest
def test_vlan_and_ipvlan_show_their_fields(lab: Lab) -> None:
    a, b = lab.bundle(2)
    vlan = {"type": "vlan", "endpoint": f"{a}:v5", "parent": f"{a}:e0", "id": 5, "protocol": "802.1ad"}
    ipvlan = {"type": "ipvlan", "endpoint": f"{b}:ip0", "parent": f"{a}:e1", "mode": "l3"}
    lab.write([*({"endpoints": [f"{a}:e{n}", f"{b}:e{n}"]} for n in range(2)), vlan, ipvlan])
    lab.batch()
    found = {str(link["endpoints"][0]["interface"]): link for link in lab.inspect()}
    assert (found["v5"]["parent"], found["v5"]["id"], found["v5"]["protocol"]) == (f"{a}:e0", 5, "802.1ad")
    assert (found["ip0"]["parent"], found["ip0"]["mode"]) == (f"{a}:e1", "l3")


def test_an_end_whose_peer_or_parent_is_down_says_so(lab: Lab) -> None:
    a, b = lab.bundle(1)
    on_it = {"type": "macvlan", "endpoint": f"{a}:mv0", "parent": f"{a}:e0"}
    lab.write([{"endpoints": [f"{a}:e0", f"{b}:e0"]}, on_it])
    lab.batch()
    assert {state for link in lab.inspect() for (state,) in ends(link, "state")} == {"up"}
    ip(b, "link", "set", "e0", "down")
    until(
        lambda: (
            [ends(link, "up", "state") for link in lab.inspect()]
            == [[(True, "lower-layer-down"), (False, "down")], [(True, "lower-layer-down")]]
        ),
        "the carrier is gone",
    )
    assert {row[2]: row[3] for row in table(lab)[1:-1]} == {
        f"{a}:e0 -- {b}:e0": "down",
        f"{a}:mv0": "lower-layer-down",
    }


def test_namespaces_without_a_link(lab: Lab, kokofast: RunKokofast) -> None:
    a, b, c = (lab.new(suffix) for suffix in "abc")
    lab.write([{"endpoints": [f"{a}:e0", f"{b}:e0"]}], nodes={c: {"netns": c, "create": True}})
    lab.batch("--create")
    assert [entry for entry in lab.inspect() if entry["type"] == "namespace"] == [
        {"lab": lab.name, "type": "namespace", "name": c, "endpoints": []}
    ]
    *_, header, row, last = table(lab)
    assert (header, row) == (["LAB", "NAMESPACE WITHOUT LINKS"], [lab.name, c])
    assert last == ["1 link, 3 namespaces, 1 lab"]
    ip(a, "link", "delete", "e0")
    assert {entry["name"] for entry in lab.inspect()} == {a, b, c}


def test_a_lab_that_is_not_there(lab: Lab, kokofast: RunKokofast) -> None:
    for form, output in (("table", ""), ("json", "[]\n")):
        done = kokofast("inspect", lab.name, "--format", form)
        assert (done.returncode, done.stdout) == (1, output)
        assert done.stderr == f"kokofast: nothing of the lab {lab.name} is there; 'kokofast inspect' shows all labs\n"


def test_a_lab_that_is_called_nearly_like_it_is_named(lab: Lab) -> None:
    lab.bundle(1)
    lab.batch()
    done = lab.kokofast("destroy", lab.name + "x")
    assert done.returncode == 2
    assert f"to remove the lab {lab.name}: kokofast destroy --name {lab.name}\n" in done.stderr


def test_inspect_takes_no_file(lab: Lab) -> None:
    lab.write([])
    for name in (lab.file, f"./{Path(lab.file).name}"):
        done = lab.kokofast("inspect", name)
        assert (done.returncode, "inspect takes the name of a lab, not a file" in done.stderr) == (2, True)
    assert "not a file" not in lab.kokofast("inspect", "nosuch").stderr


def test_the_names_of_labs_are_safe_for_shells(lab: Lab) -> None:
    a, _ = lab.chain(1)
    lab.batch("--create")
    ip(a, "link", "add", "evil0", "type", "veth", "peer", "name", "evil1")
    for name in ("$(touch x)", "two words"):
        ip(a, "link", "set", "evil0", "alias", f"kokofast:{name}:a:b", "group", str(group_of(name)))
        names = lab.kokofast("inspect", "--format", "labs").stdout.splitlines()
        assert lab.name in names
        assert not any(character in name for name in names for character in "$ ()")
    assert lab.kokofast("inspect", lab.name, "--format", "labs").stdout == f"{lab.name}\n"
