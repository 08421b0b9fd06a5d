"""batch --prune, with ``ip`` and ``tc`` as witnesses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import ip, links, namespaces
from tests.kernel.conftest import RESULT, Lab, identity, ping, refused_by_the_kernel, run, state

pytestmark = pytest.mark.usefixtures("requires_root")


def filters(node: str, ifname: str) -> str:
    return run(["tc", "-n", node, "filter", "show", "dev", ifname, "ingress"]).stdout


def test_what_left_the_file_goes_and_all_else_stays(lab: Lab) -> None:
    a, b = lab.node("a"), lab.node("b")
    c, d = lab.new("c"), lab.new("d")
    ip(a, "link", "add", "mine", "type", "veth", "peer", "name", "theirs")
    stay: list[Any] = [{"endpoints": [f"{a}:e0:10.0.0.1/24", f"{b}:e0:10.0.0.2/24"]}]
    stay += [
        {"endpoints": [{"node": a, "interface": "tap", "mirror": {"from": "e0", "direction": "ingress"}}, f"{b}:tap"]}
    ]
    go: list[Any] = [{"endpoints": [f"{b}:e1:10.0.1.1/24", f"{c}:e0:10.0.1.2/24"]}, [c, d]]
    go += [
        {"endpoints": [{"node": a, "interface": "old", "mirror": {"from": "e0", "direction": "ingress"}}, f"{b}:old"]}
    ]
    go += [{"type": "macvlan", "endpoint": f"{d}:m0", "parent": f"{a}:e0"}]
    lab.write([*stay, *go])
    lab.batch("--create")
    numbers = {name: link["ifindex"] for name, link in links(a).items() if name != "old"}
    assert filters(a, "e0").count("action order") == 2

    lab.write(stay)
    told = lab.kokofast("batch", lab.file)
    assert told.stderr == "kokofast: 2 links of the lab are not in the file any more and stay; --prune removes them\n"
    assert lab.kokofast("batch", lab.file, "--dry-run", "--exit-code").returncode == 0
    planned = lab.kokofast("batch", lab.file, "--prune", "--dry-run", "--exit-code")
    assert (planned.returncode, planned.stderr) == (4, "")
    as_data = lab.kokofast("batch", lab.file, "--prune", "--dry-run", "--format", "json").stdout
    RESULT.validate(json.loads(as_data))
    assert json.loads(as_data)["plan"][0] == {"action": "delete", "kind": "link", "link": f"{a}:old--{b}:old"}
    assert [line for line in planned.stdout.splitlines() if line[0] == "-"] == [
        f"- link {a}:old--{b}:old",
        f"- link {b}:e1--{c}:e0",
        f"- link {c}:eth0--{d}:eth0",
        f"- link {d}:m0",
        f"- namespace {c}",
        f"- namespace {d}",
    ]
    assert f"{lab.name}: planned, 2 links unchanged, 4 links to remove, 2 namespaces to remove in " in planned.stdout

    result = lab.batch("--prune")
    assert result["links"] == {"total": 2, "created": 0, "updated": 0, "unchanged": 2, "failed": 0, "removed": 4}
    assert (result["status"], result["namespaces"]) == ("applied", {"created": 0, "removed": 2})
    assert {name: link["ifindex"] for name, link in links(a).items()} == numbers
    assert filters(a, "e0").count("action order") == 1
    assert namespaces().isdisjoint((c, d))
    assert sorted(links(b)) == ["e0", "tap"]
    ping(a, "10.0.0.2")
    assert lab.batch("--prune")["status"] == "unchanged"
    assert lab.kokofast("batch", lab.file, "--prune", "--dry-run", "--exit-code").returncode == 0


def test_a_failure_keeps_what_would_go(lab: Lab) -> None:
    a, b = lab.node("a"), lab.node("b")
    lab.write([{"endpoints": [f"{a}:e0", f"{b}:e0"]}, {"endpoints": [f"{a}:e1", f"{b}:e1"]}])
    lab.batch()
    bad = refused_by_the_kernel(b)
    before = state(a, b)
    lab.write([{"endpoints": [f"{a}:e0", f"{b}:e0"]}, {"endpoints": [f"{a}:new", f"{b}:new"]}, bad])
    done = lab.kokofast("batch", lab.file, "--prune", "--format", "json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["links"]["removed"] == 0
    assert state(a, b) == before
    kept = lab.kokofast("batch", lab.file, "--prune", "--keep-going", "--format", "json")
    assert kept.returncode == 3
    assert {"e0", "e1", "new"} <= links(a).keys()


def test_a_namespace_that_was_there_before_stays(lab: Lab) -> None:
    a, b = lab.node("a"), lab.node("b")
    before = identity(f"/run/netns/{b}")
    lab.write([[a, b]])
    lab.batch()
    lab.write([], nodes={"a": {"netns": a}})
    assert lab.batch("--prune")["links"]["removed"] == 1
    assert identity(f"/run/netns/{b}") == before
    assert not links(b)


def test_prune_of_a_sandbox_is_refused(lab: Lab) -> None:
    lab.write([["a", "b"]])
    done = lab.kokofast("batch", lab.file, "--prune", "--sandbox")
    assert (done.returncode, done.stderr) == (
        2,
        "kokofast: --prune is for labs that stay: a --sandbox begins with nothing\n",
    )


def test_what_the_file_sets_at_a_name_is_set_at_the_interface_that_gets_it(lab: Lab) -> None:
    """Mirrors, sysctls and routes are those of the new interface: what the old one has goes with it."""
    a, b, c = lab.node("a"), lab.node("b"), lab.node("c")
    routes = [{"to": "198.51.100.0/24", "via": "10.0.0.2"}]
    nodes = {a: {"netns": a, "routes": routes, "sysctls": {"net.ipv4.conf.e0.rp_filter": 2}}}
    tap: Any = {
        "endpoints": [{"node": a, "interface": "tap", "mirror": {"from": "e0", "direction": "ingress"}}, f"{b}:t"]
    }
    for other in (b, c):
        lab.write([{"endpoints": [f"{a}:e0:10.0.0.1/24", f"{other}:e0:10.0.0.2/24"]}, tap], nodes=nodes)
        lab.batch("--prune")
        assert lab.batch()["status"] == "unchanged"
        assert filters(a, "e0").count("action order") == 1
        assert run(["ip", "netns", "exec", a, "cat", "/proc/sys/net/ipv4/conf/e0/rp_filter"]).stdout == "2\n"
        assert run(["ip", "-n", a, "route", "show", "proto", "75"]).stdout == "198.51.100.0/24 via 10.0.0.2 dev e0 \n"
        ping(a, "10.0.0.2")
    assert sorted(links(b)) == ["t"]
