"""What is refused before the kernel is touched, and what the kernel refuses."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from tests.conftest import RunKokofast, ip, links, run
from tests.kernel.conftest import COMMAND, Lab, present, refused_by_the_kernel, state, until

pytestmark = pytest.mark.usefixtures("requires_root")


def test_a_file_with_faults_is_refused_with_all_of_them_and_nothing_is_touched(lab: Lab) -> None:
    a, b, c = lab.node("a"), lab.node("b"), lab.new("c")
    lab.write(
        [
            {"endpoints": [f"{a}:e0", f"{b}:e0"], "mtu": 10},
            {"endpoints": [f"{a}:e1", f"{c}:e1"]},
            {"endpoints": [f"{a}:e1", f"{b}:e2"]},
            {"endpoints": [f"{a}:e3", f"{b}:sixteen-letters-"]},
        ]
    )
    before = state(a, b)
    done = lab.kokofast("batch", lab.file, "--create")
    assert done.returncode == 2
    assert done.stdout == ""
    for place in ("$.links[0].mtu", "$.links[2].endpoints[0]", "$.links[3].endpoints[1]"):
        assert place in done.stderr
    assert state(a, b) == before
    assert present([c]) == 0


def test_a_parent_at_a_node_that_is_declared_wrong(lab: Lab) -> None:
    a, b = lab.node("a"), lab.node("b")
    lab.write(
        [{"type": "macvlan", "endpoint": f"{b}:m0", "parent": f"{a}:e0"}, {"endpoints": [f"{b}:lo", f"{b}:e0"]}],
        nodes={a: {"addresses": ["10.255.0.1"]}},
    )
    for more in ((), ("--dry-run",)):
        done = lab.kokofast("batch", lab.file, *more)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"$.nodes.{a}" in done.stderr
        assert "$.links[1].endpoints[0]" in done.stderr
        assert "Traceback" not in done.stderr


def test_what_only_the_machine_shows_is_refused_all_at_once_too(lab: Lab) -> None:
    a, b, c = lab.node("a"), lab.node("b"), lab.new("c")
    ip(a, "link", "add", "taken", "type", "veth", "peer", "name", "other")
    not_a_namespace = Path(lab.file).with_name("plain")
    not_a_namespace.write_text("")
    nodes = {
        "dead": {"pid": 4194304},
        "again": {"path": f"/run/netns/../netns/{b}"},
        "plain": {"path": str(not_a_namespace)},
        "gone": {"path": "/nowhere"},
    }
    lab.write(
        [
            {"endpoints": [f"{a}:taken", f"{b}:e0"]},
            {"endpoints": ["dead:e0", f"{b}:e1"]},
            {"endpoints": [f"{c}:e0", f"{b}:e2"]},
            {"endpoints": ["again:e0", f"{a}:e3"]},
            {"endpoints": ["plain:e2", "gone:e3"]},
        ],
        nodes=nodes,
    )
    before = state(a, b)
    done = lab.kokofast("batch", lab.file, "--format", "json")
    assert done.returncode == 2
    result = json.loads(done.stdout)
    assert result["status"] == "invalid"
    places = sorted(error["source"].split(".endpoints")[0] for error in result["errors"])
    assert places == [
        "$.links[0]",
        "$.links[2]",
        "$.links[3]",
        "$.nodes.dead",
        "$.nodes.gone",
        "$.nodes.plain",
    ], done.stderr
    assert "--create" in done.stderr
    assert state(a, b) == before
    assert present([c]) == 0


def prepared(lab: Lab) -> tuple[list[str], str]:
    """Two namespaces with something in them, and a lab of one link that stands; returns them and their state."""
    a, b = lab.node("a"), lab.node("b")
    for name in (a, b):
        ip(name, "link", "add", "own", "type", "veth", "peer", "name", "own2")
        ip(name, "address", "add", "198.51.100.1/24", "dev", "own")
    refused_by_the_kernel(b)  # has a parent made, for mixed()
    lab.write([{"endpoints": [f"{a}:e0:10.0.0.1/24", f"{b}:e0:10.0.0.2/24"]}])
    lab.batch()
    for name in (a, b):
        ip(name, "address", "flush", "dev", "e0", "scope", "link")  # its state changes by itself for a while
        until(lambda name=name: links(name)["e0"]["operstate"] == "UP", "the link is up")  # type: ignore[misc]
    return [a, b], state(a, b)


def mixed(lab: Lab, a: str, b: str, *names: str) -> None:
    """A new content of the file: an update, forty new links, one of them refused by the kernel, more namespaces."""
    more: list[object] = [{"endpoints": [f"{a}:x{i}:10.1.{i}.1/24", f"{b}:x{i}"]} for i in range(40)]
    more += [{"endpoints": [f"{a}:{name[-2:]}", f"{name}:e0"]} for name in names]
    update = {"endpoints": [f"{a}:e0:10.0.0.1/24,10.7.0.1/24", f"{b}:e0"], "mtu": 1400}
    lab.write([update, *more[:20], refused_by_the_kernel(b, "bad"), *more[20:]])


def test_the_kernel_refuses_in_the_middle(lab: Lab) -> None:
    (a, b), before = prepared(lab)
    c, d = lab.new("c"), lab.new("d")
    mixed(lab, a, b, c, d)
    done = lab.kokofast("batch", lab.file, "--create", "--format", "json")
    assert done.returncode == 1
    result = json.loads(done.stdout)
    assert result["status"] == "rolled_back"
    assert "left" not in result
    (error,) = result["errors"]
    assert error["source"].startswith("$.links[21].endpoint")
    assert error["errno"] == 22
    assert "$.links[21].endpoint" in done.stderr
    assert "EINVAL" in done.stderr
    assert present([c, d]) == 0
    assert state(a, b) == before


def test_keep_going_keeps_the_others(lab: Lab) -> None:
    (a, b), _ = prepared(lab)
    mixed(lab, a, b)
    done = lab.kokofast("batch", lab.file, "--keep-going", "--format", "json")
    assert done.returncode == 3
    result = json.loads(done.stdout)
    assert result["status"] == "partial"
    assert result["links"] == {"total": 42, "created": 40, "updated": 1, "unchanged": 0, "failed": 1}
    assert "bad" not in links(a)
    assert "bad" not in links(b)
    assert len(lab.inspect()) == 41


def test_a_dry_run_touches_nothing(lab: Lab) -> None:
    (a, b), before = prepared(lab)
    c = lab.new("c")
    mixed(lab, a, b, c)
    for arguments, code in ((["--dry-run"], 0), (["--dry-run", "--exit-code"], 4)):
        done = lab.kokofast("batch", lab.file, "--create", *arguments)
        assert done.returncode == code, done.stderr
        assert f"+ namespace {c}\n" in done.stdout
        assert f"+ veth {a}:x0:10.1.0.1/24--{b}:x0\n" in done.stdout
        assert f"~ {a}:e0 +10.7.0.1/24\n" in done.stdout
        assert f"~ {a}:e0 mtu 1500 -> 1400\n" in done.stdout
    assert state(a, b) == before
    assert present([c]) == 0


def test_a_dry_run_with_nothing_to_do(lab: Lab) -> None:
    prepared(lab)
    done = lab.kokofast("batch", lab.file, "--dry-run", "--exit-code")
    assert done.returncode == 0, done.stderr


def test_quiet_prints_nothing(lab: Lab) -> None:
    prepared(lab)
    done = lab.kokofast("batch", lab.file, "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_somebody_made_of_our_link_is_not_taken_for_it(lab: Lab) -> None:
    (a, _b), _ = prepared(lab)
    ip(a, "link", "set", "e0", "down")
    ip(a, "link", "set", "e0", "name", "moved")
    done = lab.kokofast("batch", lab.file)
    assert done.returncode == 2
    assert f"{a}:e0 of this link was renamed or moved: it is {a}:moved" in done.stderr
    assert lab.destroy()["links"]["removed"] == 1
    assert "moved" not in links(a)


def test_destroy_by_file_needs_no_namespace_of_it(lab: Lab, kokofast: RunKokofast) -> None:
    lab.write([{"endpoints": [f"{lab.new('x')}:e0", f"{lab.new('y')}:e0"]}])
    done = kokofast("destroy", lab.file)
    assert done.returncode == 0, done.stderr
    assert "unchanged" in done.stdout
    seconds = json.loads(kokofast("destroy", lab.file, "--format", "json").stdout)["seconds"]
    assert seconds["total"] >= seconds["read"] > 0
    assert "read" not in json.loads(kokofast("destroy", "--name", lab.name, "--format", "json").stdout)["seconds"]


def parented(a: str, name: str, parent: str, mode: str = "bridge") -> dict[str, object]:
    return {"type": "macvlan", "endpoint": f"{a}:{name}", "parent": f"{a}:{parent}", "mode": mode}


def test_what_keeps_a_macvlan_from_its_parent_is_found_by_a_dry_run(lab: Lab) -> None:
    a = lab.node("a")
    for name in ("port", "used", "alone", "named"):
        ip(a, "link", "add", name, "type", "veth", "peer", "name", f"{name}1")
    ip(a, "link", "add", "br0", "type", "bridge")
    ip(a, "link", "set", "port", "master", "br0")
    ip(a, "link", "add", "m0", "link", "used", "type", "macvlan", "mode", "bridge")
    ip(a, "link", "add", "m1", "link", "alone", "type", "macvlan", "mode", "passthru")
    ip(a, "link", "property", "add", "dev", "named", "altname", "a-rather-long-other-name", "altname", "short")
    ip(a, "link", "property", "add", "dev", "named", "altname", "brief")
    ip(a, "link", "add", "v0", "type", "vxlan", "id", "5", "remote", "192.0.2.1", "dev", "used", "dstport", "4789")
    lab.write(
        [
            parented(a, "e0", "port"),
            parented(a, "e1", "used", "passthru"),
            parented(a, "e2", "alone"),
            parented(a, "e3", "brief"),
            {"endpoints": [f"{a}:short", f"{a}:e4"]},
            {"type": "vxlan", "endpoint": f"{a}:e5", "parent": f"{a}:named", "remote": "192.0.2.2", "vni": 5},
        ]
    )
    before = state(a)
    for more in ([], ["--dry-run"]):
        done = lab.kokofast("batch", lab.file, *more)
        assert done.returncode == 2
        for said in (
            "$.links[0].parent: port is a port of the bridge br0",
            "$.links[1].mode: used is the parent of the macvlan m0 already, and mode passthru of this one",
            "$.links[2].parent: alone is the parent of the macvlan m1 already, and mode passthru of that one",
            f"$.links[3].parent: parent interface brief not found in {a}; it is another name (altname) of named",
            f"$.links[4].endpoints[0]: short is another name (altname) of the interface named in {a}",
            "$.links[5].vni: v0, a vxlan whose parent is in the same namespace, has this vni already",
        ):
            assert said in done.stderr
    assert state(a) == before


MOVED = [
    (["macvlan", "mode", "bridge"], "up0 is the parent of the macvlan x0 in {b} already, and mode passthru of"),
    (
        ["vxlan", "id", "5", "remote", "192.0.2.1", "dstport", "4789"],
        "x0 in {b}, a vxlan whose parent is in the same namespace, has this vni already",
    ),
]


@pytest.mark.parametrize(("made", "said"), MOVED, ids=["macvlan", "vxlan"])
@pytest.mark.parametrize("is_node", [False, True], ids=["strange", "node"])
def test_what_is_on_a_parent_from_another_namespace_is_named(
    lab: Lab, made: list[str], said: str, is_node: bool
) -> None:
    """A dry run looks into all namespaces, a batch into those of its file; else the kernel refuses, and then it looks
    for what is in the way."""
    a, b = lab.node("a"), lab.node("b")
    ip(a, "link", "add", "up0", "type", "veth", "peer", "name", "up1")
    on = ["dev", "up0"] if made[0] == "vxlan" else []
    ip(a, "link", "add", *([] if on else ["link", "up0"]), "name", "x0", "type", *made, *on)
    ip(a, "link", "set", "x0", "netns", b)
    tunnel = {"type": "vxlan", "endpoint": f"{a}:e0", "parent": f"{a}:up0", "remote": "192.0.2.2", "vni": 5}
    link, place = (tunnel, "vni") if on else (parented(a, "e0", "up0", "passthru"), "mode")
    lab.write([link], nodes={b: {"netns": b}} if is_node else {})
    before = state(a)
    told = said.format(b=b)
    for options, code in ((["--dry-run"], 2), ([], 2 if is_node else 1)):
        done = lab.kokofast("batch", lab.file, *options)
        assert done.returncode == code, done.stderr
        assert f"$.links[0].{place}: " in done.stderr
        assert told in done.stderr
    assert state(a) == before


def test_one_of_many_namespaces_has_what_is_in_the_way(lab: Lab) -> None:
    """More than may be open at a time."""
    a, *names = (lab.node(f"n{number}") for number in range(80))
    ip(a, "link", "add", "up0", "type", "veth", "peer", "name", "up1")
    ip(a, "link", "add", "x0", "type", "vxlan", "id", "5", "remote", "192.0.2.1", "dstport", "4789", "dev", "up0")
    ip(a, "link", "set", "x0", "netns", names[-1])
    lab.write([{"type": "vxlan", "endpoint": f"{a}:e0", "parent": f"{a}:up0", "remote": "192.0.2.2", "vni": 5}])
    command = f"ulimit -n 64; exec {shlex.join([*COMMAND, 'batch', lab.file])} --dry-run"
    done = run(["sh", "-c", command])
    assert done.returncode == 2
    assert f"$.links[0].vni: x0 in {names[-1]}, a vxlan" in done.stderr


def test_a_mac_address_that_is_taken_on_the_parent_is_told(lab: Lab) -> None:
    a = lab.node("a")
    ip(a, "link", "add", "up0", "type", "veth", "peer", "name", "up1")
    mac = links(a)["up0"]["address"]
    lab.write([{**parented(a, "e0", "up0"), "mac": mac}])
    done = lab.kokofast("batch", lab.file)
    assert done.returncode == 1
    assert "its MAC address is that of its parent" in done.stderr
