"""Addresses, routes and sysctls of nodes, with ``ip``, ``ping`` and /proc as witnesses."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ip, ip_json, run
from tests.kernel.conftest import Lab, are_unique, ping, refused_by_the_kernel, result_of, state, until

pytestmark = pytest.mark.usefixtures("requires_root")

DEFAULTS = {"create": True, "subnet": "10.77.0.0/16", "subnet6": "2001:db8:77::/48"}
# A packet crosses 64 routers at most unless it is told otherwise, on its way back as well.
FAR = {"net.ipv4.ip_default_ttl": 255, "net.ipv6.conf.all.hop_limit": 255, "net.ipv6.conf.default.hop_limit": 255}
OURS = "75"


def routes(name: str, *more: str) -> dict[str, str]:
    """Network -> gateways and interfaces, of the routes of kokofast; ``proto NAME`` shows others."""
    found = {}
    for family in ("-4", "-6"):
        for one in ip_json(name, "-N", family, "route", "show", *(more or ("proto", OURS))):
            hops = [f"{hop['gateway']} {hop['dev']}" for hop in one.get("nexthops", [])]
            found[one["dst"]] = " ".join(hops) or f"{one.get('gateway', '')} {one['dev']}".strip()
    return found


def sysctl(name: str, path: str) -> str:
    done = run(["ip", "netns", "exec", name, "cat", f"/proc/sys/net/{path}"])
    return done.stdout.strip()


def loopback(name: str) -> set[str]:
    (lo,) = ip_json(name, "address", "show", "dev", "lo")
    return {f"{one['local']}/{one['prefixlen']}" for one in lo["addr_info"]} - {"127.0.0.1/8", "::1/128"}


def mark(name: str) -> list[str]:
    (lo,) = ip_json(name, "link", "show", "dev", "lo")
    return list(lo.get("altnames", []))


def forwards(name: str) -> tuple[str, str]:
    return sysctl(name, "ipv4/ip_forward"), sysctl(name, "ipv6/conf/all/forwarding")


def far_ping(namespace: str, *addresses: str) -> None:
    for address in addresses:
        done = run(["ip", "netns", "exec", namespace, "ping", "-t", "255", "-c", "1", "-w", "20", address])
        assert done.returncode == 0, f"{namespace} to {address}: {done.stdout}{done.stderr}"


def square(lab: Lab) -> list[str]:
    """a - b - d and a - c - d, with loopbacks; ``a`` and ``d`` pass nothing on but at their own corner."""
    return [lab.node(suffix) for suffix in "abcd"]


def square_file(
    lab: Lab,
    names: list[str],
    *,
    cost: int = 1,
    routing: object = "shortest-path",
    more: dict[str, dict[str, Any]] | None = None,
) -> str:
    a, b, c, d = names
    links: list[object] = [[a, b], [b, d], {"endpoints": [a, c], "cost": cost}, [c, d]]
    nodes = {
        name: {
            "netns": name,
            "addresses": [f"10.255.0.{number}", f"2001:db8:ff::{number}"],
            **(more or {}).get(name, {}),
        }
        for number, name in enumerate(names)
    }
    defaults = {key: value for key, value in DEFAULTS.items() if key != "create"}
    extra = {"routing": routing} if routing else {}
    return lab.write(links, nodes=nodes, defaults=defaults, **extra)


def test_a_chain_of_200_nodes(lab: Lab) -> None:
    names = [lab.new(f"r{number}") for number in range(200)]
    nodes = {name: {"netns": name, "sysctls": FAR} for name in (names[0], names[-1])}
    lab.write([[one, two] for one, two in itertools.pairwise(names)], nodes=nodes, defaults=DEFAULTS,
              routing="shortest-path")  # fmt: skip
    planned = json.loads(lab.kokofast("batch", lab.file, "--dry-run", "--format", "json").stdout)
    assert sum(step.get("after", 0) for step in planned["plan"] if step.get("field") == "routes") == 2 * 198 * 199
    assert any("78,804 routes in 200 nodes" in note for note in planned["notes"])
    assert lab.batch()["links"]["created"] == 199
    far_ping(names[0], "10.77.1.141", "2001:db8:77::18d")
    assert lab.batch()["status"] == "unchanged"
    assert lab.destroy()["namespaces"]["removed"] == 200


def test_pairs_of_200_nodes_and_245_links(lab: Lab) -> None:
    chance = random.Random(7)
    names = [lab.new(f"n{number}") for number in range(200)]
    pairs = {(chance.randrange(number), number) for number in range(1, 200)}
    while len(pairs) < 245:
        one, two = sorted(chance.sample(range(200), 2))
        pairs.add((one, two))
    nodes = {name: {"netns": name, "addresses": [f"10.255.0.{number}"]} for number, name in enumerate(names)}
    lab.write([[names[one], names[two]] for one, two in sorted(pairs)], nodes=nodes, defaults=DEFAULTS,
              routing="shortest-path")  # fmt: skip
    assert lab.batch()["links"]["created"] == 245
    for _ in range(200):
        one, two = chance.sample(range(200), 2)
        done = run(["ip", "netns", "exec", names[one], "ping", "-I", f"10.255.0.{one}", "-c", "1", "-w", "5",
                    f"10.255.0.{two}"])  # fmt: skip
        assert done.returncode == 0, f"{one} to {two}: {done.stdout}{done.stderr}"


def test_all_that_a_node_may_have(lab: Lab) -> None:
    a, b = lab.new("a"), lab.new("b")
    nodes = {
        a: {
            "netns": a,
            "addresses": ["10.255.0.1", "2001:db8:ff::1/128"],
            "routes": [
                {"to": "default", "via": "10.0.0.1"},
                {"to": "192.0.2.0/24", "dev": "eth0", "metric": 7},
                {"to": "2001:db8:9::/48", "via": "2001:db8::1"},
                {"to": "::/0", "via": "fe80::1", "dev": "eth0"},
            ],
            "sysctls": {"net.ipv4.ip_forward": 1, "net/ipv4/conf/eth0/rp_filter": 2, "net.ipv4.tcp_rmem": "4096 9 99"},
        }
    }
    lab.write([{"endpoints": [f"{a}:eth0:10.0.0.0/31,2001:db8::/127", f"{b}:eth0:10.0.0.1/31,2001:db8::1/127"]}],
              nodes=nodes, defaults={"create": True})  # fmt: skip
    planned = lab.kokofast("batch", lab.file, "--dry-run").stdout
    assert f"~ {a} +10.255.0.1/32, +2001:db8:ff::1/128, +4 routes\n" in planned
    assert f"~ {a} net.ipv4.ip_forward = 1, net.ipv4.tcp_rmem = 4096 9 99\n" in planned
    lab.batch()
    assert loopback(a) == {"10.255.0.1/32", "2001:db8:ff::1/128"}
    assert routes(a) == {
        "default": "fe80::1 eth0",  # the last one of that name
        "192.0.2.0/24": "eth0",
        "2001:db8:9::/48": "2001:db8::1 eth0",
    }
    assert "default via 10.0.0.1 dev eth0 proto 75" in ip(a, "-N", "route", "show", "default")
    assert "metric 7" in ip(a, "route", "show", "192.0.2.0/24")
    assert sysctl(a, "ipv4/ip_forward") == "1"
    assert sysctl(a, "ipv4/conf/eth0/rp_filter") == "2"
    assert sysctl(a, "ipv4/tcp_rmem").split() == ["4096", "9", "99"]
    assert mark(a) == [f"kokofast:{lab.name}:node"]
    assert mark(b) == []
    assert lab.inspect()[-1] == {
        "lab": lab.name,
        "type": "node",
        "name": a,
        "addresses": ["10.255.0.1/32", "2001:db8:ff::1/128"],
        "routes": 4,
        "endpoints": [],
    }
    shown = lab.kokofast("inspect", lab.name).stdout.splitlines()
    assert shown[-2].split() == [lab.name, a, "10.255.0.1/32", "2001:db8:ff::1/128", "4"]
    before = state(a, b)
    assert lab.batch()["status"] == "unchanged"
    assert state(a, b) == before


def test_costs_and_several_hops(lab: Lab) -> None:
    names = a, b, _, d = square(lab)
    square_file(lab, [*names])
    lab.batch()
    assert routes(a)["10.255.0.3"] == "10.77.0.1 eth0"
    assert forwards(b) == forwards(a) == ("1", "1")
    for one, two in ((a, "3"), (d, "0"), (b, "2")):
        ping(one, f"10.255.0.{two}")
        until(lambda one=one, two=two: answers(one, f"2001:db8:ff::{two}"), "IPv6 is ready")  # type: ignore[misc]
    # Dearer: only what led over that link changes.
    square_file(lab, [*names], cost=9)
    planned = lab.kokofast("batch", lab.file, "--dry-run").stdout
    before = {name: routes(name) for name in names}
    assert lab.batch()["status"] == "applied"
    after = {name: routes(name) for name in names}
    changed = {(name, goal) for name in names for goal in after[name] if after[name][goal] != before[name].get(goal)}
    far = {("a", "2"), ("b", "2"), ("c", "0"), ("c", "1")}  # of two ways of the same cost the first node's was taken
    found = {(name[-1], goal[-1]) for name, goal in changed if goal.startswith("10.255.")}
    assert found == far
    assert {line.split()[1] for line in planned.splitlines() if line.startswith("~")} == {name for name, _ in changed}
    assert lab.batch()["status"] == "unchanged"
    square_file(lab, [*names], routing={"mode": "shortest-path", "multipath": True})
    lab.batch()
    assert routes(a)["10.255.0.3"] == "10.77.0.1 eth0 10.77.0.5 eth1"
    assert routes(a)["2001:db8:ff::3"] == "2001:db8:77::1 eth0 2001:db8:77::5 eth1"
    assert lab.batch()["status"] == "unchanged"
    ping(a, "10.255.0.3")
    square_file(lab, [*names])
    lab.batch()
    assert routes(a)["2001:db8:ff::3"] == "2001:db8:77::1 eth0"
    assert lab.batch()["status"] == "unchanged"


def test_a_route_by_several_neighbours(lab: Lab) -> None:
    a, b, c = (lab.node(name) for name in "abc")
    links = [[f"{a}:x:10.77.0.0/31", f"{b}:x:10.77.0.1/31"], [f"{a}:y:10.77.0.2/31", f"{c}:y:10.77.0.3/31"]]
    goal = "192.0.2.0/24"
    for via, shown in (
        (["10.77.0.1", "10.77.0.3"], "10.77.0.1 x 10.77.0.3 y"),
        (["10.77.0.3"], "10.77.0.3 y"),
        ("10.77.0.1", "10.77.0.1 x"),
        (["10.77.0.3", "10.77.0.1"], "10.77.0.3 y 10.77.0.1 x"),
    ):
        lab.write(links, nodes={a: {"netns": a, "routes": [{"to": goal, "via": via}]}})
        assert lab.batch()["status"] == "applied"
        assert routes(a) == {goal: shown}
        assert lab.batch()["status"] == "unchanged"
    lab.write(links)
    lab.batch()
    assert routes(a) == {}


def answers(namespace: str, address: str) -> bool:
    return run(["ip", "netns", "exec", namespace, "ping", "-c", "1", "-W", "1", address]).returncode == 0


def test_what_leaves_the_file_goes_and_strangers_stay(lab: Lab) -> None:
    names = a, b, _, d = square(lab)
    for name in names:
        ip(name, "link", "set", "lo", "up")
    ip(a, "address", "add", "10.254.0.1/32", "dev", "lo")
    bare = {name: (loopback(name), mark(name)) for name in names}
    square_file(lab, [*names])
    lab.batch()
    strangers = [("198.51.100.0/24", "10.77.0.1"), ("2001:db8:5::/48", "2001:db8:77::1")]
    for goal, via in strangers:
        ip(a, "route", "add", goal, "via", via)
    ip(a, "route", "add", "10.255.0.3", "via", "10.77.0.1", "metric", "5")
    kept = routes(a, "proto", "3")
    assert lab.batch()["status"] == "unchanged"
    square_file(lab, [*names], routing=None)
    lab.batch()
    assert all(routes(name) == {} for name in names)
    assert loopback(d) == {"10.255.0.3/32", "2001:db8:ff::3/128"}
    assert routes(a, "proto", "3") == kept
    lab.write([[a, b]], defaults={key: value for key, value in DEFAULTS.items() if key != "create"})
    lab.batch()
    assert (loopback(a), mark(a)) == bare[a]
    assert routes(a, "proto", "3") == kept
    assert lab.batch()["status"] == "unchanged"
    assert loopback(d)  # a node that left the file stays as it is
    lab.destroy()
    assert {name: (loopback(name), mark(name)) for name in names} == bare


def test_a_strangers_route_in_the_way_is_refused(lab: Lab) -> None:
    names = a, *_ = square(lab)
    square_file(lab, [*names], routing=None)
    lab.batch()
    ip(a, "route", "add", "10.255.0.3", "via", "10.77.0.1", "proto", "static")
    before = [(routes(name), routes(name, "proto", "static"), loopback(name), forwards(name)) for name in names]
    square_file(lab, [*names])
    done = lab.kokofast("batch", lab.file)
    assert done.returncode == 2
    assert (
        f"$.routing: {a} already has a route to 10.255.0.3 (via 10.77.0.1 dev eth0 proto static), which is not ours; "
        "remove that\n"
    ) in done.stderr
    square_file(lab, [*names], routing=None, more={a: {"routes": [{"to": "10.255.0.3", "via": "10.77.0.5"}]}})
    done = lab.kokofast("batch", lab.file)
    assert done.returncode == 2
    assert f"$.nodes.{a}.routes[0]: {a} already has a route" in done.stderr
    assert "or give the node's routes to 10.255.0.3 another metric" in done.stderr
    after = [(routes(name), routes(name, "proto", "static"), loopback(name), forwards(name)) for name in names]
    assert after == before


def test_what_is_refused_takes_all_back(lab: Lab) -> None:
    names = _, b, _, _ = square(lab)
    for name in names:
        ip(name, "link", "set", "lo", "up")
    before, flags = state(*names), [forwards(name) for name in names]
    square_file(lab, [*names], more={b: {"sysctls": {"net.ipv4.conf.eth0.nosuch": 1, "net.ipv4.ip_default_ttl": 99}}})
    done = lab.kokofast("batch", lab.file)
    assert done.returncode == 1
    why = "net.ipv4.conf.eth0.nosuch cannot be set to '1': there is no such sysctl in this namespace"
    assert f"$.nodes.{b}.sysctls: {b}: {why}\n" in done.stderr
    assert state(*names) == before
    assert [forwards(name) for name in names] == flags
    assert sysctl(b, "ipv4/ip_default_ttl") == "64"


def test_a_refused_route_names_its_place(lab: Lab) -> None:
    a, b = lab.node("a"), lab.node("b")
    lab.write([{"endpoints": [f"{a}:eth0:10.0.0.1/24", f"{b}:eth0:10.0.0.2/24"]}],
              nodes={a: {"netns": a, "routes": [{"to": "192.0.2.0/24", "via": "10.0.0.255"}]}})  # fmt: skip
    before = state(a, b)
    done = lab.kokofast("batch", lab.file)
    assert done.returncode == 1
    assert f"$.nodes.{a}.routes[0]: {a}: the route to 192.0.2.0/24: Nexthop has invalid gateway" in done.stderr
    assert state(a, b) == before


def test_a_link_without_addresses_is_noted(lab: Lab) -> None:
    a, b, c = (lab.new(suffix) for suffix in "abc")
    lab.write([[a, b], {"endpoints": [f"{b}:x:10.0.0.1/24", f"{c}:x:10.0.0.2/24"]}], routing="shortest-path",
              defaults={"create": True})  # fmt: skip
    (note,) = (note for note in lab.batch()["notes"] if "route" in note)
    assert note == f"no route leads over {a}:eth0--{b}:eth0: both ends need addresses of one network (subnet)"


def test_two_labs_in_one_namespace(lab: Lab, tmp_path: Path) -> None:
    a, b = lab.node("a"), lab.node("b")
    lab.write([[a, b]], nodes={a: {"netns": a, "addresses": ["10.255.0.1"]}}, routing="shortest-path",
              defaults={"subnet": "10.1.0.0/16"})  # fmt: skip
    lab.batch()
    other = f"{lab.name}x"
    document = {
        "name": other,
        "links": [{"endpoints": [f"{a}:x0:10.2.0.0/31", f"{b}:x0:10.2.0.1/31"]}],
        "nodes": {a: {"netns": a, "addresses": ["10.255.0.2"], "routes": [{"to": "192.0.2.0/24", "via": "10.2.0.1"}]}},
    }
    file = tmp_path / "other.json"
    file.write_text(json.dumps(document))
    try:
        assert lab.kokofast("batch", str(file)).returncode == 0
        assert sorted(mark(a)) == sorted(f"kokofast:{name}:node" for name in (lab.name, other))
        assert lab.batch()["status"] == "unchanged"
        lab.destroy()
        assert loopback(a) == {"10.255.0.2/32"}
        assert routes(a) == {"192.0.2.0/24": "10.2.0.1 x0"}
        assert mark(a) == [f"kokofast:{other}:node"]
    finally:
        assert lab.kokofast("destroy", "--name", other).returncode == 0
    assert (loopback(a), mark(a), routes(a)) == (set(), [], {})


def test_what_a_killed_run_leaves_is_found_without_its_links(lab: Lab) -> None:
    """Killed behind the first messages, or its links deleted by hand: only the loopback tells of it."""
    a, b = lab.node("a"), lab.node("b")
    lab.write([[a, b]], nodes={a: {"netns": a, "addresses": ["10.255.0.1"]}}, routing="shortest-path",
              defaults={"subnet": "10.1.0.0/16"})  # fmt: skip
    lab.batch()
    ip(a, "link", "delete", "eth0")
    assert lab.destroy()["status"] == "destroyed"
    assert (loopback(a), mark(a)) == (set(), [])


def test_with_keep_going_the_nodes_of_a_failed_link_get_nothing(lab: Lab) -> None:
    a, b, c = (lab.node(suffix) for suffix in "abc")
    nodes = {name: {"netns": name, "addresses": [f"10.255.0.{n}"]} for n, name in enumerate((a, b, c))}
    links = [[a, b], [b, c], refused_by_the_kernel(c)]
    lab.write(links, nodes=nodes, routing="shortest-path", defaults={"subnet": "10.1.0.0/16"})
    done = lab.kokofast("batch", lab.file, "--keep-going", "--format", "json")
    assert done.returncode == 3
    refused, told = result_of(done.stdout)["errors"]
    assert refused["source"].startswith("$.links[2]")
    assert (told["source"], told["message"]) == (
        f"$.nodes.{c}",
        f"{c}: its routes, addresses or sysctls were not set: a link failed",
    )
    assert (loopback(a), loopback(c)) == ({"10.255.0.0/32"}, set())
    assert "10.255.0.2" in routes(a)
    assert routes(c) == {}
    lab.write(links[:2], nodes=nodes, routing="shortest-path", defaults={"subnet": "10.1.0.0/16"})
    assert lab.batch()["status"] == "applied"
    ping(a, "10.255.0.2")
    lab.write(links[:1], nodes={a: nodes[a], b: nodes[b]}, routing="shortest-path", defaults={"subnet": "10.1.0.0/16"})
    planned = json.loads(lab.kokofast("batch", lab.file, "--prune", "--dry-run", "--format", "json").stdout)["plan"]
    assert {"action": "delete", "kind": "node", "name": c} in planned
    lab.batch("--prune")
    assert (loopback(c), mark(c), routes(c)) == (set(), [], {})
    assert lab.batch("--prune")["status"] == "unchanged"


def test_segments_are_routed(lab: Lab) -> None:
    a, b, c, d = (lab.new(suffix) for suffix in "abcd")
    first = {"type": "bridge", "endpoints": [f"{a}:eth0:10.5.0.1/24", f"{b}:eth0:10.5.0.2/24", f"{c}:eth0:10.5.0.3/24"]}
    second = {"type": "bridge", "endpoints": [f"{c}:eth1:10.6.0.1/24", f"{d}:eth0:10.6.0.2/24"]}
    lab.write([first, second], defaults={"create": True}, routing="shortest-path")
    lab.batch()
    ping(a, "10.6.0.2")
    ping(d, "10.5.0.2")
    assert routes(a) == {"10.6.0.0/24": "10.5.0.3 eth0"}
    assert lab.batch()["status"] == "unchanged"


def test_a_tenant_who_forges_the_mark_is_asked_for_addresses_only(lab: Lab) -> None:
    """Who has CAP_NET_ADMIN in a namespace may have any number of routes there."""
    a, b, tenant = lab.new("a"), lab.new("b"), lab.node("tenant")
    lab.write([[a, b]], nodes={a: {"netns": a, "addresses": ["10.255.0.1"]}}, defaults=DEFAULTS)
    lab.batch()
    ip(tenant, "link", "set", "lo", "up")
    ip(tenant, "link", "property", "add", "dev", "lo", "altname", f"kokofast:{lab.name}:node")
    ip(tenant, "address", "add", "10.254.0.1/32", "dev", "lo")
    ip(tenant, "route", "add", "192.0.2.0/24", "dev", "lo", "proto", "75")
    nodes = {one["name"]: one for one in lab.inspect() if one["type"] == "node"}
    assert (nodes[tenant]["routes"], nodes[tenant]["addresses"]) == (0, [])
    lab.destroy()
    assert (loopback(tenant), mark(tenant)) == ({"10.254.0.1/32"}, [])
    assert routes(tenant) == {"192.0.2.0/24": "lo"}


def ipv6_addresses(name: str) -> list[str]:
    shown = ip_json(name, "-6", "address", "show")
    return [one["local"] for link in shown for one in link.get("addr_info", [])]


def test_a_node_without_ipv6(lab: Lab) -> None:
    """Neither its links nor its loopback have an IPv6 address; destroy and a second run are as for other sysctls."""
    a, b, new = lab.node("a"), lab.node("b"), lab.new("c")
    links = [[a, b], [b, new]]
    lab.write(links, nodes={a: {"netns": a, "ipv6": False}, new: {"netns": new, "ipv6": False}}, defaults=DEFAULTS)
    planned = lab.batch("--dry-run")["plan"]
    names = [(one["name"], one["after"]) for one in planned if one.get("field") == "sysctls"]
    keys = [f"net.ipv6.conf.{which}.disable_ipv6" for which in ("all", "default")]
    assert names == [(name, {key: "1"}) for name in (a, new) for key in keys]
    lab.batch()
    ping(a, "10.77.0.1")
    assert ipv6_addresses(a) == ipv6_addresses(new) == []
    assert ipv6_addresses(b)
    assert lab.batch()["status"] == "unchanged"
    lab.write(links, nodes={a: {"netns": a, "ipv6": True}, new: {"netns": new, "ipv6": True}}, defaults=DEFAULTS)
    lab.batch()
    ping(a, "2001:db8:77::1")
    assert sysctl(a, "ipv6/conf/default/disable_ipv6") == "0"
    # addresses are never lost by it
    lab.write([["a", b]], nodes={"a": {"netns": a, "ipv6": False}}, defaults={"create": True})
    done = lab.kokofast("batch", lab.file)
    assert done.returncode == 2
    assert "$.nodes.a.ipv6: a has IPv6 addresses (eth0), which would be lost; remove them first" in done.stderr
    assert "2001:db8:77::" in ipv6_addresses(a)


def test_ipv6_is_on_again_where_a_run_without_it_fails(lab: Lab) -> None:
    a, b = lab.node("a"), lab.node("b")
    ip(a, "link", "set", "lo", "up")
    ip(a, "link", "add", "theirs", "up", "type", "veth", "peer", "name", "theirs2")
    ip(a, "link", "set", "theirs2", "up")
    until(lambda: are_unique(a) and state(a).count("fe80") == 2, "its link-local addresses")
    before = state(a, b)
    lab.write(
        [[a, b], refused_by_the_kernel(b)], nodes={a: {"netns": a, "ipv6": False}}, defaults={"subnet": "10.77.0.0/16"}
    )
    narrow = state(b)
    assert lab.kokofast("batch", lab.file).returncode == 1
    until(lambda: are_unique(a) and state(a).count("fe80") == 2, "its link-local addresses")
    assert sysctl(a, "ipv6/conf/default/disable_ipv6") == sysctl(a, "ipv6/conf/theirs/disable_ipv6") == "0"
    assert [state(a), state(b)] == [before.partition(f"\n{b}:\n")[0], narrow]
