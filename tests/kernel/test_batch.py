"""The main job, by the command line, with ``ip`` and ``ping`` as witnesses."""

from __future__ import annotations

import ipaddress
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import RunKokofast, addresses, ip, ip_batch, ip_json, links
from tests.kernel.conftest import COMMAND, Lab, identity, ping, present, run, state

pytestmark = pytest.mark.usefixtures("requires_root")


def check_chain(names: list[str], every: int = 1) -> None:
    """Every end of a Lab.chain() is up and has exactly its addresses; every n-th namespace is looked at."""
    for number, name in list(enumerate(names))[::every]:
        wanted = {}
        if number:
            i = number - 1
            wanted["eth0"] = {f"10.{i >> 8}.{i & 255}.1/31", f"2001:db8:{i:x}::1/127"}
        if number < len(names) - 1:
            i = number
            wanted["eth1"] = {f"10.{i >> 8}.{i & 255}.0/31", f"2001:db8:{i:x}::/127"}
        found = {link["ifname"]: link for link in ip_json(name, "address", "show") if link["ifname"].startswith("eth")}
        assert found.keys() == wanted.keys()
        for ifname, link in found.items():
            assert {"UP", "LOWER_UP"} <= set(link["flags"])
            infos = [info for info in link["addr_info"] if info["scope"] == "global"]
            assert not any(info.get("tentative") for info in infos)
            has = {ipaddress.ip_interface(f"{info['local']}/{info['prefixlen']}") for info in infos}
            assert has == {ipaddress.ip_interface(text) for text in wanted[ifname]}


def test_a_trace_of_a_run(lab: Lab, tmp_path: Path) -> None:
    lab.chain(300)
    file = tmp_path / "trace.json"
    result = lab.batch("--create", "--trace", str(file))
    assert result["workers"] >= 1
    assert list(result["seconds"]) == ["read", "survey", "plan", "apply", "total"]
    trace = json.loads(file.read_text())
    spans = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    names = [event["name"] for event in spans]
    assert [event["name"] for event in spans if event["cat"] == "stage"] == ["read", "survey", "plan", "apply"]
    assert {"execute: make namespace", "execute: create link", "execute: configure"} <= set(names)
    assert "send" in names
    (stage,) = [event for event in spans if event["name"] == "apply"]
    for event in spans:
        assert event["dur"] > 0
        if event["name"].startswith("execute"):
            assert stage["ts"] <= event["ts"]
            assert event["ts"] + event["dur"] <= stage["ts"] + stage["dur"] + 1
    made = sum(event["args"]["operations"] for event in spans if event["name"] == "execute: create link")
    assert made == 300
    threads = {event["tid"]: event["args"]["name"] for event in trace["traceEvents"] if event["ph"] == "M"}
    assert {event["tid"] for event in spans} == set(threads)
    assert "main" in threads.values()
    lab.batch("--trace", str(file))
    assert '"dump"' in file.read_text()
    lab.destroy()

    # One that cannot be written is known before anything is touched; one that turns out so takes nothing back.
    def traced(path: object) -> tuple[int, str]:
        done = lab.kokofast("batch", lab.file, "--create", "--quiet", "--trace", str(path))
        return done.returncode, done.stderr

    links = Path(lab.file).read_bytes()
    (tmp_path / "link.json").symlink_to(lab.file)
    os.mkfifo(tmp_path / "fifo")
    for path, why in (
        (tmp_path / "no" / "trace.json", "No such file or directory"),
        (tmp_path, "Is a directory"),
        (lab.file, "it is the file that the links are read from"),
        (tmp_path / "link.json", "it is the file that the links are read from"),
        (tmp_path / "fifo", "No such device or address"),
    ):
        assert traced(path) == (2, f"kokofast: --trace {path}: cannot be written: {why}\n")
        assert lab.inspect() == []
    assert Path(lab.file).read_bytes() == links
    assert traced("-") == (2, "kokofast: --trace -: give a file: standard output is for the result\n")
    assert lab.inspect() == []
    why = "kokofast: --trace /dev/full: cannot be written: No space left on device; what was done stays\n"
    assert traced("/dev/full") == (3, why)
    assert len(lab.inspect()) == 300


def test_a_chain_from_nothing_to_nothing(lab: Lab) -> None:
    names = lab.chain(60)
    result = lab.batch("--create")
    assert result["status"] == "applied"
    assert result["lab"] == lab.name
    assert result["links"] == {"total": 60, "created": 60, "updated": 0, "unchanged": 0, "failed": 0}
    assert result["namespaces"] == {"created": 61}
    check_chain(names, 3)
    for i in (0, 31, 59):
        ping(names[i], f"10.0.{i}.1")
        ping(names[i + 1], f"2001:db8:{i:x}::")
    assert len(lab.inspect()) == 60
    again = lab.batch("--create")
    assert again["status"] == "unchanged"
    assert again["links"] == {"total": 60, "created": 0, "updated": 0, "unchanged": 60, "failed": 0}
    gone = lab.destroy()
    assert (gone["links"]["removed"], gone["namespaces"]["removed"]) == (60, 61)
    assert present(names) == 0
    assert lab.inspect() == []


def test_five_hundred_links(lab: Lab) -> None:
    names = lab.chain(500)
    assert lab.batch("--create")["links"]["created"] == 500
    check_chain(names, 50)
    assert len(lab.inspect()) == 500
    assert lab.batch()["status"] == "unchanged"
    assert lab.destroy()["links"]["removed"] == 500
    assert present(names) == 0


def test_namespaces_that_were_there_survive(lab: Lab) -> None:
    names = [lab.node(f"r{i}") for i in range(13)]
    identities = [identity(f"/run/netns/{name}") for name in names]
    lab.write([{"endpoints": [f"{names[i]}:eth1:10.0.{i}.0/31", f"{names[i + 1]}:eth0"]} for i in range(12)])
    before = state(*names)
    result = lab.batch()
    assert (result["links"]["created"], result["namespaces"]["created"]) == (12, 0)
    assert lab.destroy()["links"]["removed"] == 12
    assert [identity(f"/run/netns/{name}") for name in names] == identities
    assert state(*names) == before


def test_csv(lab: Lab, tmp_path: Path) -> None:
    names = [lab.new(f"c{i}") for i in range(6)]
    rows = ["a_node,a_if,a_ip,b_node,b_if,b_ip,mtu"]
    rows += [f"{names[i]},e1,10.0.{i}.0/31 2001:db8:{i}::/127,{names[i + 1]},e0,10.0.{i}.1/31,1400" for i in range(5)]
    lab.file = str(tmp_path / "links.csv")
    Path(lab.file).write_text("\n".join(rows) + "\n")
    assert lab.batch("--create", "--name", lab.name)["links"]["created"] == 5
    assert links(names[2])["e1"]["mtu"] == 1400
    assert addresses(names[2], "e1") == ["10.0.2.0/31", "2001:db8:2::/127"]
    ping(names[0], "10.0.0.1")
    assert lab.batch("--create", "--name", lab.name)["status"] == "unchanged"
    done = lab.kokofast("destroy", "--name", lab.name)
    assert done.returncode == 0, done.stderr
    assert present(names) == 0


def test_yaml(lab: Lab, tmp_path: Path) -> None:
    a, b = lab.new("a"), lab.new("b")
    lab.file = str(tmp_path / "links.yaml")
    document = {
        "name": lab.name,
        "defaults": {"create": True},
        "links": [{"endpoints": [f"{a}:e0:10.0.0.0/31", f"{b}:e0"]}],
    }
    Path(lab.file).write_text(yaml.safe_dump(document))
    assert lab.batch()["links"]["created"] == 1
    assert addresses(a, "e0") == ["10.0.0.0/31"]
    assert lab.kokofast("destroy", lab.file).returncode == 0
    assert present([a, b]) == 0


def test_standard_input(lab: Lab, kokofast: RunKokofast) -> None:
    a, b = lab.node("a"), lab.node("b")
    lines = f'{{"endpoints": ["{a}:e0", "{b}:e0"]}}\n{{"endpoints": ["{a}:e1", "{b}:e1"]}}\n'
    done = kokofast("batch", "-", "--name", lab.name, input=lines)
    assert done.returncode == 0, done.stderr
    assert set(links(a)) == {"e0", "e1"}


def test_everything_an_end_can_have(lab: Lab) -> None:
    a, b = lab.node("a"), lab.node("b")
    first = {
        "node": a,
        "interface": "fifteen-letters",
        "mac": "02:aa:c1:00:00:01",
        "txqlen": 77,
        "queues": 3,
        "mtu": 9000,
    }
    second = {"node": b, "interface": "e0", "up": False, "addresses": ["10.0.0.1/24", "10.0.1.1/32"], "mtu": 1280}
    lab.write([{"endpoints": [first, second]}])
    lab.batch()
    left, right = links(a)["fifteen-letters"], links(b)["e0"]
    assert (left["address"], left["txqlen"], left["num_tx_queues"], left["mtu"]) == ("02:aa:c1:00:00:01", 77, 3, 9000)
    assert (right["mtu"], right.get("num_rx_queues", 1), right["txqlen"]) == (1280, 1, 1000)
    assert "UP" in left["flags"]
    assert "UP" not in right["flags"]
    assert addresses(b, "e0") == ["10.0.0.1/24", "10.0.1.1/32"]
    assert left["ifalias"] == right["ifalias"] == f"kokofast:{lab.name}:{a}:fifteen-letters--{b}:e0"
    assert lab.batch()["status"] == "unchanged"


def test_queues_auto_is_what_ip_gives(lab: Lab) -> None:
    a, b = lab.node("a"), lab.node("b")
    ip(a, "link", "add", "plain", "type", "veth", "peer", "name", "other")
    lab.write([{"endpoints": [f"{a}:e0", f"{b}:e0"], "queues": "auto"}])
    lab.batch()
    assert links(a)["e0"]["num_tx_queues"] == links(a)["plain"]["num_tx_queues"]
    assert lab.batch()["status"] == "unchanged"


def test_updates(lab: Lab) -> None:
    a, b = lab.node("a"), lab.node("b")
    lab.write([{"endpoints": [f"{a}:e0:10.0.0.1/24,2001:db8::1/64", f"{b}:e0:10.0.0.2/24"]}])
    lab.batch()
    ip(a, "address", "add", "192.0.2.7/32", "dev", "e0")  # somebody else's stays
    index = links(a)["e0"]["ifindex"]
    first = {"node": a, "interface": "e0", "addresses": ["10.0.0.1/24", "10.9.0.1/24"], "mac": "02:00:00:00:00:09"}
    lab.write([{"endpoints": [first, {"node": b, "interface": "e0", "up": False}], "mtu": 1400}])
    result = lab.batch()
    assert (result["status"], result["links"]["updated"]) == ("applied", 1)
    left, right = links(a)["e0"], links(b)["e0"]
    assert (left["mtu"], left["address"], left["ifindex"]) == (1400, "02:00:00:00:00:09", index)
    assert sorted(addresses(a, "e0")) == ["10.0.0.1/24", "10.9.0.1/24", "192.0.2.7/32"]
    assert (right["mtu"], addresses(b, "e0"), "UP" in right["flags"]) == (1400, [], False)
    assert lab.batch()["status"] == "unchanged"


def test_setting_an_end_down_keeps_its_addresses(lab: Lab) -> None:
    # The kernel forgets IPv6 addresses of an interface that goes down.
    a, b = lab.node("a"), lab.node("b")
    ends = [{"node": a, "interface": "e0", "addresses": ["10.0.0.1/24", "2001:db8::1/64"]}, f"{b}:e0"]
    lab.write([{"endpoints": ends}])
    lab.batch()
    lab.write([{"endpoints": [{**ends[0], "up": False}, ends[1]]}])  # type: ignore[dict-item]
    lab.batch()
    assert addresses(a, "e0") == ["10.0.0.1/24", "2001:db8::1/64"]
    assert lab.batch()["status"] == "unchanged"


def test_the_callers_own_namespace(lab: Lab) -> None:
    a = lab.node("a")
    name = f"kft{os.getpid()}"
    try:
        lab.write(
            [{"endpoints": [f"me:{name}:10.255.77.1/30", f"{a}:e0:10.255.77.2/30"]}], nodes={"me": {"host": True}}
        )
        lab.batch()
        assert addresses(None, name) == ["10.255.77.1/30"]
        ping(a, "10.255.77.1")
        seen = {(end["node"], end["namespace"]) for link in lab.inspect() for end in link["endpoints"]}
        assert seen == {("me", "host"), (a, a)}
    finally:
        lab.destroy()
    assert name not in links(None)


def test_a_process_and_a_path_as_nodes(lab: Lab, start: Callable[..., subprocess.Popen[str]]) -> None:
    a = lab.node("a")
    sleeper = start("unshare", "--net", "sh", "-c", "echo ready; exec sleep 600", stdout=subprocess.PIPE)
    assert sleeper.stdout is not None
    assert sleeper.stdout.readline() == "ready\n"
    nodes = {"process": {"pid": sleeper.pid}, "file": {"path": f"/run/netns/{a}"}}
    lab.write([{"endpoints": ["process:e0:10.0.0.1/30", "file:e0:10.0.0.2/30"]}], nodes=nodes)
    lab.batch()
    ping(a, "10.0.0.1")
    assert {end["node"] for link in lab.inspect() for end in link["endpoints"]} == {a, f"pid:{sleeper.pid}"}
    assert lab.batch()["status"] == "unchanged"
    done = lab.kokofast("destroy", lab.file)
    assert done.returncode == 0, done.stderr
    assert links(a) == {}


def test_two_names_of_one_namespace(lab: Lab) -> None:
    a = lab.node("a")
    nodes = {"again": {"path": f"/run/netns/{a}"}}
    lab.write([{"endpoints": [f"{a}:e0", "again:e1"]}, {"endpoints": [f"{a}:e2", "again:e3"]}], nodes=nodes)
    lab.batch()
    assert set(links(a)) == {"e0", "e1", "e2", "e3"}
    assert lab.batch()["status"] == "unchanged"
    assert len(lab.inspect()) == 2
    assert lab.destroy()["links"]["removed"] == 2
    lab.write([{"endpoints": [f"{a}:e0", "again:e1"]}, {"endpoints": [f"{a}:e1", "again:e2"]}], nodes=nodes)
    done = lab.kokofast("batch", lab.file)
    assert done.returncode == 2
    assert "$.links[1].endpoints[0]" in done.stderr
    assert links(a) == {}


def test_ipv6_addresses_can_be_used_at_once(lab: Lab) -> None:
    a, b = lab.node("a"), lab.node("b")
    lab.write([{"endpoints": [f"{a}:e0:2001:db8::1/64", f"{b}:e0:2001:db8::2/64"]}])
    lab.batch()
    (link,) = ip_json(a, "-6", "address", "show", "dev", "e0", "scope", "global")
    (info,) = [info for info in link["addr_info"] if info]
    assert info["local"] == "2001:db8::1"
    assert "tentative" not in info
    ping(a, "2001:db8::2")


@pytest.mark.parametrize("which", ["default", "all"])
def test_ipv6_that_is_switched_off(lab: Lab, which: str) -> None:
    a, b = lab.node("a"), lab.node("b")
    for name in (a, b):
        ip(None, "netns", "exec", name, "sysctl", "-q", "-w", f"net.ipv6.conf.{which}.disable_ipv6=1")
    lab.write(
        [{"endpoints": [f"{a}:e0:2001:db8::1/64", f"{b}:e0:2001:db8::2/64"]}, {"endpoints": [f"{a}:e1", f"{b}:e1"]}]
    )
    lab.batch()
    ping(a, "2001:db8::2")
    assert lab.batch()["status"] == "unchanged"
    off = ip(None, "netns", "exec", a, "sysctl", "-n", "net.ipv6.conf.e1.disable_ipv6").strip()
    assert off == "1"


def test_a_large_index_of_somebody_elses(lab: Lab) -> None:
    a, b = lab.node("a"), lab.node("b")
    ip(a, "link", "add", "far", "index", "2147483647", "type", "veth", "peer", "name", "far2")
    lab.write([{"endpoints": [f"{a}:e0", f"{b}:e0"]}])
    assert lab.batch()["links"]["created"] == 1


def test_two_labs_in_the_same_namespaces(lab: Lab, kokofast: RunKokofast, tmp_path: Path) -> None:
    a, b = lab.node("a"), lab.node("b")
    other: Any = Lab(tmp_path / "other", lab.netns, kokofast)
    (tmp_path / "other").mkdir()
    try:
        lab.write([{"endpoints": [f"{a}:e0", f"{b}:e0"]}])
        other.write([{"endpoints": [f"{a}:x0", f"{b}:x0"]}])
        lab.batch()
        other.batch()
        assert lab.destroy()["links"]["removed"] == 1
        assert set(links(a)) == {"x0"}
        assert len(other.inspect()) == 1
    finally:
        other.destroy()
    assert links(a) == {}


@pytest.mark.parametrize("there", [0, 100])
def test_descriptors_are_few_and_namespaces_many(lab: Lab, there: int) -> None:
    names = lab.chain(200)
    ip_batch(None, *(f"netns add {name}" for name in names[:there]))
    limited = ["prlimit", "--nofile=128:128"]
    done = run([*limited, *COMMAND, "batch", lab.file, "--create"])
    assert done.returncode == 0, done.stderr
    assert present(names) == 201
    again = run([*limited, *COMMAND, "batch", lab.file, "--format", "json"])
    assert '"unchanged": 200' in again.stdout, again.stderr
    gone = run([*limited, *COMMAND, "destroy", lab.file])
    assert gone.returncode == 0, gone.stderr
    assert present(names) == there


@pytest.mark.parametrize("path_first", [True, False])
def test_a_path_to_a_namespace_that_is_to_be_made(lab: Lab, path_first: bool) -> None:
    name, other = lab.new("n"), lab.new("o")
    nodes: dict[str, object] = {"file": {"path": f"/run/netns/{name}"}, name: {"netns": name, "create": True}}
    if not path_first:
        nodes = dict(reversed(nodes.items()))
    nodes[other] = {"netns": other, "create": True}
    lab.write([{"endpoints": ["file:e0:10.0.0.1/30", f"{other}:e0"]}], nodes=nodes)
    assert lab.batch()["namespaces"]["created"] == 2
    assert addresses(name, "e0") == ["10.0.0.1/30"]
    assert lab.batch()["status"] == "unchanged"
    assert lab.destroy()["namespaces"]["removed"] == 2
    assert present([name, other]) == 0


def test_link_local_addresses_of_the_file_are_shown(lab: Lab) -> None:
    a, b = lab.node("a"), lab.node("b")
    lab.write([{"endpoints": [f"{a}:e0:169.254.1.1/30,fe80::1/64", f"{b}:e0:169.254.1.2/30"]}])
    lab.batch()
    (link,) = lab.inspect()
    assert [end["addresses"] for end in link["endpoints"]] == [["169.254.1.1/30", "fe80::1/64"], ["169.254.1.2/30"]]
