"""Addresses that change: what the file wants, and nothing of anyone else's."""

from __future__ import annotations

import sys

import pytest

from tests.conftest import ip, ip_json, links, run
from tests.kernel.conftest import Lab, refused_by_the_kernel

pytestmark = pytest.mark.usefixtures("requires_root")


def _seen(node: str) -> list[str]:
    (link,) = ip_json(node, "address", "show", "dev", "x")
    found = [(item["local"], item["prefixlen"]) for item in link["addr_info"] if item.get("scope") != "link"]
    return sorted(f"{local}/{length}" for local, length in found)


@pytest.fixture
def node(lab: Lab) -> str:
    return lab.node("a")


def _batch(lab: Lab, node: str, *addresses: str, **more: object) -> dict[str, object]:
    lab.write([{"endpoints": [{"node": node, "interface": "x", "addresses": list(addresses), **more}, f"{node}:y"]}])
    return lab.batch()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["10.0.0.1/24", "10.0.0.2/24", "10.0.0.3/24"], ["10.0.0.2/24", "10.0.0.3/24"]),
        (["10.0.0.1/24", "10.0.0.2/24"], ["10.0.1.1/24"]),
        (["10.0.0.1/24", "10.0.0.2/24"], ["10.0.0.1/25"]),
        (["10.0.0.1/24", "10.0.0.2/24"], ["2001:db8::1/64"]),
        (["10.0.0.1/24", "2001:db8::1/64"], []),
        (["2001:db8::1/64"], ["2001:db8::1/128"]),
    ],
)
def test_the_addresses_become_those_of_the_file(lab: Lab, node: str, before: list[str], after: list[str]) -> None:
    _batch(lab, node, *before)
    assert _seen(node) == sorted(before)
    assert _batch(lab, node, *after)["links"]["updated"] == 1  # type: ignore[index]
    assert _seen(node) == sorted(after)
    assert lab.batch()["status"] == "unchanged"


def test_an_address_of_the_user_stays(lab: Lab, node: str) -> None:
    _batch(lab, node, "10.0.0.1/24")
    ip(node, "address", "add", "10.0.0.99/24", "dev", "x")
    _batch(lab, node, "10.0.0.50/24")
    assert _seen(node) == ["10.0.0.50/24", "10.0.0.99/24"]


def test_a_refusal_leaves_all_addresses_as_they_were(lab: Lab, node: str) -> None:
    _batch(lab, node, "10.0.0.1/24", "10.0.0.2/24")
    ip(node, "address", "add", "10.0.0.99/24", "dev", "x")
    ip(node, "link", "set", "x", "mtu", "1000")
    # Not the link-local ones, which come and become valid by themselves.
    shown = ("-d", "address", "show", "scope", "global")
    before = ip(node, *shown)
    ends = [{"node": node, "interface": "x", "addresses": ["10.0.0.2/24", "2001:db8::1/64"]}, f"{node}:y"]
    lab.write([{"endpoints": ends}])
    done = lab.kokofast("batch", lab.file)
    assert done.returncode == 1
    assert "$.links[0].endpoints[0].addresses[1]" in done.stderr
    assert "mtu of at least 1280" in done.stderr
    assert ip(node, *shown) == before


def _refused_later(node: str) -> dict[str, object]:
    """A link whose refusal only the kernel tells, after everything that was there before has been changed."""
    return refused_by_the_kernel(node, "z", "2001:db8:9::1/64")


def test_an_mtu_that_costs_ipv6_is_not_set_in_place(lab: Lab, node: str) -> None:
    _batch(lab, node, "10.0.0.1/24")
    ip(node, "address", "add", "2001:db8::99/64", "nodad", "dev", "x")
    shown = ("-d", "address", "show", "scope", "global")
    before = ip(node, *shown)
    end = {"node": node, "interface": "x", "addresses": ["10.0.0.1/24"], "mtu": 1200}
    lab.write([{"endpoints": [end, f"{node}:y"]}])
    done = lab.kokofast("batch", lab.file)
    assert done.returncode == 2
    assert "$.links[0].endpoints[0].mtu: with an mtu of 1200 the kernel removes the IPv6 addresses" in done.stderr
    assert ip(node, *shown) == before
    ip(node, "address", "del", "2001:db8::99/64", "dev", "x")
    assert lab.batch()["links"]["updated"] == 1
    assert lab.batch()["status"] == "unchanged"


def test_an_ipv6_address_of_the_user_with_another_length(lab: Lab, node: str) -> None:
    _batch(lab, node, "10.0.0.1/24")
    ip(node, "address", "add", "2001:db8::5/128", "nodad", "dev", "x")
    shown = ("-d", "address", "show", "scope", "global")
    before = ip(node, *shown)
    end = {"node": node, "interface": "x", "addresses": ["10.0.0.1/24", "2001:db8::5/64"]}
    lab.write([{"endpoints": [end, f"{node}:y"]}])
    done = lab.kokofast("batch", lab.file)
    assert done.returncode == 2
    assert "$.links[0].endpoints[0].addresses" in done.stderr
    assert "prefix length 128" in done.stderr
    assert ip(node, *shown) == before


@pytest.mark.parametrize("up", [True, False])
def test_the_addresses_outlive_a_change_of_up_or_down_that_is_taken_back(lab: Lab, node: str, up: bool) -> None:
    given = ["10.0.0.1/24", "2001:db8::1/64", "2001:db8:1::1/64"]
    _batch(lab, node, *given, up=not up)
    ip(node, "address", "add", "2001:db8::99/64", "nodad", "dev", "x")
    (link,) = ip_json(node, "address", "show", "dev", "x")
    before = _seen(node), link["operstate"]
    assert len(before[0]) == 4
    # One of ours leaves the file as well.
    end = {"node": node, "interface": "x", "addresses": given[:2], "up": up}
    lab.write([{"endpoints": [end, f"{node}:y"]}, _refused_later(node)])
    done = lab.kokofast("batch", lab.file)
    assert done.returncode == 1, done.stderr
    (link,) = ip_json(node, "address", "show", "dev", "x")
    assert (_seen(node), link["operstate"]) == before
    _batch(lab, node, *given, up=not up)
    assert lab.batch()["status"] == "unchanged"


def test_the_users_addresses_outlive_going_down(lab: Lab, node: str) -> None:
    _batch(lab, node, "2001:db8::1/64")
    ip(node, "address", "add", "2001:db8::99/64", "nodad", "dev", "x")
    _batch(lab, node, "2001:db8::1/64", up=False)
    assert _seen(node) == ["2001:db8::1/64", "2001:db8::99/64"]
    done = ip(node, "-d", "link", "show", "x")
    assert ",UP" not in done
    assert lab.batch()["status"] == "unchanged"


@pytest.mark.parametrize("change", [{"up": False}, {"mac": "02:00:00:00:00:77"}, {"mtu": 1400}])
def test_what_stands_on_an_interface_outlives_a_change_that_is_taken_back(
    lab: Lab, node: str, change: dict[str, object]
) -> None:
    _batch(lab, node, "10.0.0.1/24", "2001:db8::1/64")
    ip(node, "link", "set", "y", "addrgenmode", "none")
    ip(node, "address", "add", "fe80::77/64", "nodad", "dev", "x")
    ip(node, "route", "add", "10.7.0.0/16", "via", "10.0.0.9", "table", "77")
    ip(node, "-6", "route", "add", "2001:db8:7::/48", "via", "2001:db8::9", "dev", "x")
    ip(node, "neigh", "add", "10.0.0.8", "lladdr", "02:00:00:00:00:08", "dev", "x", "nud", "permanent")
    ip(node, "link", "add", "um", "link", "x", "type", "macvlan")
    shown = [("route", "show", "table", "77"), ("-6", "route", "show", "2001:db8:7::/48")]
    shown += [("neigh", "show", "10.0.0.8", "dev", "x"), ("link", "show", "um")]  # type: ignore[list-item]
    before = [ip(node, *one) for one in shown], _seen(node)
    end = {"node": node, "interface": "x", "addresses": ["10.0.0.1/24", "2001:db8::1/64"], **change}
    lab.write([{"endpoints": [end, f"{node}:y"]}, _refused_later(node)])
    done = lab.kokofast("batch", lab.file)
    assert done.returncode == 1, done.stderr
    assert ([ip(node, *one) for one in shown], _seen(node)) == before
    assert "fe80::77/64" in ip(node, "address", "show", "dev", "x")


def test_an_address_with_a_lifetime_stays_its_owners(lab: Lab, node: str) -> None:
    _batch(lab, node, "10.0.0.1/24")
    for address in ("10.0.0.5/24", "2001:db8::5/64"):
        more = ["nodad"] if ":" in address else []
        ip(node, "address", "add", address, "dev", "x", "valid_lft", "9000", "preferred_lft", "9000", *more)
    before = _seen(node)
    end = {"node": node, "interface": "x", "addresses": ["10.0.0.1/24", "10.0.0.5/24", "2001:db8::5/64"]}
    lab.write([{"endpoints": [end, f"{node}:y"]}, _refused_later(node)])
    assert lab.kokofast("batch", lab.file).returncode == 1
    assert _seen(node) == before
    lab.write([{"endpoints": [end, f"{node}:y"]}])
    assert lab.batch()["status"] == "unchanged"
    _batch(lab, node, "10.0.0.1/24")
    assert _seen(node) == before
    lab.write([{"endpoints": [{**end, "addresses": ["2001:db8::5/128"]}, f"{node}:y"]}])
    assert lab.kokofast("batch", lab.file).returncode == 2


def test_an_address_of_the_user_with_the_same_number_stays(lab: Lab, node: str) -> None:
    _batch(lab, node)
    ip(node, "address", "add", "10.0.0.1/16", "dev", "x")
    _batch(lab, node, "10.0.0.1/24")
    assert _seen(node) == ["10.0.0.1/16", "10.0.0.1/24"]
    _batch(lab, node)
    assert _seen(node) == ["10.0.0.1/16"]
    assert lab.batch()["status"] == "unchanged"


@pytest.mark.parametrize(("before", "after"), [("10.0.0.1/16", "10.0.0.1/24"), ("2001:db8::1/64", "2001:db8::1/128")])
def test_another_prefix_length_that_is_taken_back(lab: Lab, node: str, before: str, after: str) -> None:
    _batch(lab, node, before)
    end = {"node": node, "interface": "x", "addresses": [after, "2001:db8:2::2/64"], "up": False}
    lab.write([{"endpoints": [end, f"{node}:y"]}, _refused_later(node)])
    assert lab.kokofast("batch", lab.file).returncode == 1
    assert _seen(node) == [before]


def test_a_mac_address_comes_before_the_interface_is_up(lab: Lab, node: str) -> None:
    _batch(lab, node, up=False)
    _batch(lab, node, mac="02:00:00:00:00:55")
    (link,) = ip_json(node, "address", "show", "dev", "x")
    assert "fe80::ff:fe00:55" in [item["local"] for item in link["addr_info"] if item]


def test_what_stands_on_an_interface_keeps_its_mtu_when_another_link_is_refused(lab: Lab, node: str) -> None:
    child = {"type": "macvlan", "endpoint": f"{node}:m0", "parent": f"{node}:x"}
    veth = {"endpoints": [f"{node}:x", f"{node}:y"]}
    lab.write([veth, child])
    lab.batch()
    ip(node, "link", "add", "um0", "link", "x", "type", "macvlan")
    bad = _refused_later(node)
    before = {name: link["mtu"] for name, link in links(node).items()}
    lab.write([{**veth, "mtu": 1400}, child, bad])
    assert lab.kokofast("batch", lab.file).returncode == 1
    assert {name: link["mtu"] for name, link in links(node).items()} == before
    lab.write([{**veth, "mtu": 1400}, child])
    lab.batch()
    assert lab.batch()["status"] == "unchanged"


def _link_local(namespace: str, ifname: str) -> list[dict[str, object]]:
    (link,) = ip_json(namespace, "-6", "address", "show", "dev", ifname, "scope", "link")
    return list(link["addr_info"])


# A tentative address cannot be bound.
DATAGRAM = """
import socket, sys
address, ifname = sys.argv[1:]
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as one:
    one.bind((address, 9, 0, socket.if_nametoindex(ifname)))
"""


@pytest.mark.parametrize("kind", ["veth", "macvlan", "vxlan"])
def test_dad_false_makes_a_link_local_address_that_can_be_used_at_once(lab: Lab, node: str, kind: str) -> None:
    other = lab.node("b")
    end = {"node": node, "interface": "e0", "dad": False}
    link: dict[str, object] = {"endpoints": [end, f"{other}:e0"]}
    if kind != "veth":
        more = {"remote": "192.0.2.1", "vni": 5} if kind == "vxlan" else {}
        link = {"type": kind, "endpoint": end, "parent": f"{node}:up0", **more}
    lab.write([{"endpoints": [f"{node}:up0", f"{other}:up0"]}, link])
    lab.batch()
    # In the same breath: a daemon that starts now can have it.
    (address,) = _link_local(node, "e0")
    assert address.get("nodad") is True
    assert not address.get("tentative")
    used = run(["ip", "netns", "exec", node, sys.executable, "-I", "-c", DATAGRAM, str(address["local"]), "e0"])
    assert used.returncode == 0, used.stderr
    assert lab.batch()["status"] == "unchanged"
    seen = [text for found in lab.inspect() for one in found["endpoints"] for text in one["addresses"]]
    assert f"{address['local']}/64" in seen
    # Once more with the same file, after it was taken away.
    ip(node, "address", "flush", "dev", "e0", "scope", "link")
    assert lab.batch()["links"]["updated"] == 1
    assert _link_local(node, "e0") == [address]


def test_dad_false_on_a_link_that_is_there(lab: Lab, node: str) -> None:
    _batch(lab, node)
    _batch(lab, node, dad=False)
    assert [one.get("nodad") for one in _link_local(node, "x")].count(True) == 1
    assert _batch(lab, node, dad=False)["status"] == "unchanged"
    assert _batch(lab, node)["status"] == "unchanged"
    lab.write([{"endpoints": [{"node": node, "interface": "x", "dad": True}, f"{node}:y"]}])
    done = lab.kokofast("batch", lab.file)
    assert done.returncode == 2
    assert "$.links[0].endpoints[0].dad: " in done.stderr
