"""batch --replace, with ``ip`` and ``tc`` as witnesses."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import trio

import kokofast
from tests.conftest import ip, links
from tests.kernel.conftest import Lab, ping, refused_by_the_kernel, result_of, run, state

pytestmark = pytest.mark.usefixtures("requires_root")


def quiet(lab: Lab, suffix: str) -> str:
    """A namespace whose interfaces show the same from the first moment on: without link-local addresses and DAD."""
    name = lab.node(suffix)
    for key, value in (("accept_dad", 0), ("addr_gen_mode", 1)):
        run(["ip", "netns", "exec", name, "sh", "-c", f"echo {value} >/proc/sys/net/ipv6/conf/default/{key}"])
    return name


def lasting(*names: str) -> str:
    """What ``ip`` and ``tc`` show, but for what follows from the rest some time later."""
    tc = ["\n".join(sorted(run(["tc", "-n", name, "-d", "qdisc", "show"]).stdout.splitlines())) for name in names]
    filters = [
        re.sub(r"(index|ref|bind) \d+", "", run(["tc", "-n", name, "filter", "show", "dev", item, way]).stdout)
        for name in names
        for item in links(name)
        for way in ("ingress", "egress")
    ]
    text = "\n".join([state(*names), *tc, *filters])
    return re.sub(r"promiscuity \d|state \w+|bridge_id \S+|\w+_timer +\S+|refcnt \d+|(fh|ht) [\w:]+", "", text)


def plan(lab: Lab, *more: str) -> list[str]:
    done = lab.kokofast("batch", lab.file, "--replace", "--dry-run", "--exit-code", *more)
    assert (done.returncode, done.stderr) == (4, "")
    return done.stdout.splitlines()


def refusal(lab: Lab) -> dict[str, Any]:
    done = lab.kokofast("batch", lab.file, "--replace", "--format", "json")
    assert done.returncode == 2, done.stderr
    (error,) = result_of(done.stdout)["errors"]
    return dict(error)


def test_links_that_cannot_be_changed_are_replaced(lab: Lab) -> None:
    a, b, c = (lab.node(name) for name in "abc")
    ip(a, "link", "add", "mine", "type", "veth", "peer", "name", "theirs")
    upper = {"type": "macvlan", "endpoint": f"{c}:m0:10.1.0.2/24", "parent": f"{a}:e0"}
    tunnel = {"type": "vxlan", "endpoint": f"{c}:t0", "parent": f"{a}:mine", "remote": "192.0.2.9", "vni": 7}
    stay = {"endpoints": [f"{a}:s0", f"{b}:s0"]}
    lab.write([{"endpoints": [f"{a}:e0:10.1.0.1/24", f"{c}:e0"]}, upper, tunnel, stay])
    lab.batch()
    same = links(a)["s0"]["ifindex"]

    lab.write([{"endpoints": [f"{a}:e0:10.1.0.1/24", f"{b}:e0:10.1.0.3/24"]}, upper, tunnel | {"vni": 8}, stay])
    told = lab.kokofast("batch", lab.file)
    assert told.returncode == 2
    assert told.stderr.count("--replace") == 2
    assert plan(lab)[:3] == [
        f"-/+ veth {a}:e0:10.1.0.1/24--{b}:e0:10.1.0.3/24 (link {a}:e0--{c}:e0 -> {a}:e0--{b}:e0)",
        f"-/+ macvlan {c}:m0:10.1.0.2/24",
        f"-/+ vxlan {c}:t0 (vni 7 -> 8)",
    ]
    assert f"{lab.name}: planned, 1 link unchanged, 3 links to replace in " in plan(lab)[3]
    done = lab.kokofast("batch", lab.file, "--replace", "--dry-run", "--format", "json")
    assert result_of(done.stdout)["plan"][2]["changes"] == [{"field": "vni", "before": 7, "after": 8}]
    result = lab.batch("--replace")
    assert result["links"] == {
        "total": 4, "created": 0, "updated": 0, "unchanged": 1, "failed": 0, "replaced": 3
    }  # fmt: skip
    assert links(a)["s0"]["ifindex"] == same
    assert sorted(links(c)) == ["m0", "t0"]
    assert links(c)["t0"]["linkinfo"]["info_data"]["id"] == 8
    ping(a, "10.1.0.3")
    ping(b, "10.1.0.2")
    again = lab.batch("--replace")
    assert (again["status"], again["links"]["replaced"]) == ("unchanged", 0)
    assert lab.kokofast("batch", lab.file, "--replace", "--dry-run", "--exit-code").returncode == 0


@pytest.mark.parametrize("multipath", [False, True])
def test_after_a_failure_they_have_all_that_they_had(lab: Lab, multipath: bool) -> None:
    a, b, c = (quiet(lab, name) for name in "abc")
    bad = refused_by_the_kernel(c)
    ip(a, "link", "add", "theirs", "type", "bridge")
    first = {
        "endpoints": [
            {
                "node": a,
                "interface": "e0",
                "mac": "02:00:00:00:00:01",
                "altnames": ["uplink"],
                "txqlen": 7,
                "mtu": 1400,
            },
            {"node": b, "interface": "e0", "rate": "10mbit", "mtu": 1400},
        ]
    }
    second = {"endpoints": [f"{a}:e1", f"{b}:e1"]}
    port = {"endpoints": [{"node": a, "interface": "p0", "master": "theirs", "addresses": []},
                          {"node": b, "interface": "p0", "addresses": []}]}  # fmt: skip
    tap = {"endpoints": [{"node": a, "interface": "tap", "addresses": [], "mirror": {"from": "e0"}},
                         {"node": b, "interface": "tap", "addresses": [], "up": False}]}  # fmt: skip
    upper = {"type": "macvlan", "endpoint": f"{c}:m0:10.9.0.1/24", "parent": f"{a}:e0"}
    tunnel = {"type": "vxlan", "endpoint": f"{c}:t0", "parent": f"{a}:e0", "remote": "192.0.2.9", "vni": 7, "ttl": 3}
    switch = {"type": "bridge", "endpoint": f"{b}:sw", "mac": "02:00:00:00:00:0b", "mtu": 1450}
    into = {
        "endpoints": [{"node": b, "interface": "p1", "master": "sw", "lacp": True, "addresses": []}, f"{c}:p1"],
    }
    have: list[dict[str, Any]] = [first, second, port, tap, upper, tunnel, switch, into]
    more: dict[str, Any] = {
        "routing": {"mode": "shortest-path", "multipath": multipath},
        "defaults": {"subnet": "10.7.0.0/16", "subnet6": "2001:db8:7::/48"},
        "nodes": {
            a: {"netns": a, "addresses": ["10.255.0.1"], "sysctls": {"net.ipv4.conf.e0.rp_filter": 2}},
            b: {"netns": b, "addresses": ["10.255.0.2", "2001:db8:ff::2"]},
        },
    }
    lab.write(have, **more)
    lab.batch()
    before = lasting(a, b, c)
    assert ("nexthop" in ip(a, "route", "show", "proto", "75")) is multipath
    changed: list[Any] = [{**one, "queues": 2} for one in have[:4]]
    changed += [upper | {"mode": "private"}, tunnel | {"vni": 8}, switch | {"stp": True}, into]
    lab.write([*changed, bad], **more)
    done = lab.kokofast("batch", lab.file, "--replace")
    assert done.returncode == 1, done.stderr
    assert lasting(a, b, c) == before
    lab.write(have, **more)
    assert lab.batch()["status"] == "unchanged"
    lab.write(changed, **more)
    assert lab.batch("--replace")["links"]["replaced"] == 7
    ping(a, "10.255.0.2")
    assert run(["ip", "netns", "exec", a, "cat", "/proc/sys/net/ipv4/conf/e0/rp_filter"]).stdout == "2\n"
    assert links(a)["p0"]["master"] == "theirs"
    assert links(b)["p1"]["master"] == "sw"
    assert lab.batch()["status"] == "unchanged"


def test_with_keep_going_only_what_fails_is_given_back(lab: Lab) -> None:
    a, b, c = (quiet(lab, name) for name in "abc")
    bad = refused_by_the_kernel(c)
    rows = [{"endpoints": [f"{a}:e{n}:10.0.{n}.1/24", f"{b}:e{n}:10.0.{n}.2/24"]} for n in range(2)]
    lab.write(rows)
    lab.batch()
    kept = links(a)["e1"]["ifindex"]
    # The second one is to be on a parent that is too small for its address: only the kernel finds that out.
    lab.write([rows[0] | {"queues": 2}, bad | {"endpoint": f"{b}:e1:2001:db8::1/64"}])
    done = lab.kokofast("batch", lab.file, "--replace", "--keep-going", "--format", "json")
    assert done.returncode == 3
    result = result_of(done.stdout)
    assert (result["links"]["replaced"], result["links"]["failed"], result["links"]["created"]) == (1, 1, 0)
    assert links(a)["e1"]["ifindex"] == kept
    ping(a, "10.0.0.2")
    ping(a, "10.0.1.2")


STRANGERS = {
    "address": ("address add 192.0.2.9/32 dev e0", "address 192.0.2.9/32, which is not ours"),
    "link-local address": ("address add fe80::99/64 dev e0", "address fe80::99/64, which is not ours"),
    "route": ("route add 198.51.100.0/24 dev e0", "a route to 198.51.100.0/24, which is not ours"),
    "route of another table": ("route add default via 10.0.0.2 table 7", "a route to default, which is not ours"),
    "IPv6 route": ("-6 route add 2001:db8:9::/48 dev e0", "a route to 2001:db8:9::/48, which is not ours"),
    "altname": ("link property add dev e0 altname theirs", "the alternative name theirs"),
    "child": ("link add link e0 name up type macvlan", "up, which is not of this lab, is on it"),
    "child elsewhere": ("link add link e0 name up netns OTHER type macvlan", "OTHER:up, which is not of this lab"),
    "master": ("link set e0 master sw0", "it has a master that the file does not give it"),
}


@pytest.mark.parametrize("what", STRANGERS)
def test_what_others_have_put_on_it_is_not_lost(lab: Lab, what: str) -> None:
    a, b, other = lab.node("a"), lab.node("b"), lab.node("other")
    row = {"endpoints": [f"{a}:e0:10.0.0.1/24", f"{b}:e0:10.0.0.2/24"]}
    lab.write([row])
    lab.batch()
    command, words = (text.replace("OTHER", other) for text in STRANGERS[what])
    ip(a, "link", "add", "sw0", "type", "bridge")
    ip(a, *command.split())
    before = links(a)
    lab.write([row | {"queues": 2}])
    error = refusal(lab)
    assert error["source"] == "$.links[0].queues"
    assert error["message"].startswith(f"{a}:e0 is not replaced: ")
    assert words in error["message"]
    assert ";" in error["message"]
    assert lab.kokofast("batch", lab.file, "--replace", "--dry-run").returncode == 2
    assert {name: link["ifindex"] for name, link in links(a).items()} == {
        name: link["ifindex"] for name, link in before.items()
    }


@pytest.mark.parametrize("what", ["root", "clsact", "filter in ours", "mirror to it"])
def test_qdiscs_and_filters_of_others_are_not_lost(lab: Lab, what: str) -> None:
    a, b = lab.node("a"), lab.node("b")
    row = {"endpoints": [f"{a}:e0", f"{b}:e0"]}
    tap = {"endpoints": [{"node": a, "interface": "tap", "mirror": {"from": "e0"}}, f"{b}:tap"]}
    lab.write([row, tap])
    lab.batch()
    ip(a, "link", "add", "mine", "type", "veth", "peer", "name", "theirs")
    shapes = {
        "root": ["qdisc add dev tap root tbf rate 1mbit burst 10k latency 10ms"],
        "clsact": ["qdisc add dev tap clsact"],
        "filter in ours": ["filter add dev e0 ingress protocol all prio 9 u32 match u32 0 0 classid 1:1"],
        "mirror to it": [
            "qdisc add dev mine clsact",
            "filter add dev mine ingress protocol all prio 9 u32 match u32 0 0 action mirred egress mirror dev e0",
        ],
    }
    for command in shapes[what]:
        done = run(["tc", "-n", a, *command.split()])
        assert done.returncode == 0, done.stderr
    lab.write([row | {"queues": 2}, tap | {"queues": 2}])
    error = refusal(lab)
    assert error["message"].startswith((f"{a}:e0 is not replaced: ", f"{a}:tap is not replaced: "))
    assert "tc" in error["message"].partition(";")[2]


def test_ports_of_others_are_not_lost(lab: Lab) -> None:
    a = lab.node("a")
    lab.write([{"type": "bridge", "endpoint": f"{a}:sw"}])
    lab.batch()
    ip(a, "link", "add", "mine", "type", "veth", "peer", "name", "theirs")
    ip(a, "link", "set", "mine", "master", "sw")
    lab.write([{"type": "bridge", "endpoint": f"{a}:sw", "stp": True}])
    assert f"{a}:mine, to which the file gives no such master, is a port of it" in refusal(lab)["message"]
    assert links(a)["mine"]["master"] == "sw"


def test_a_strangers_interface_is_never_replaced(lab: Lab) -> None:
    a, b = lab.node("a"), lab.node("b")
    ip(a, "link", "add", "e0", "type", "veth", "peer", "name", "theirs")
    lab.write([{"endpoints": [f"{a}:e0", f"{b}:e0"]}])
    assert "not ours" in refusal(lab)["message"]
    assert links(a)["e0"]["linkinfo"]["info_kind"] == "veth"
    assert "theirs" in links(a)


def test_an_end_in_the_middle_of_a_segment(lab: Lab) -> None:
    """It renumbers the ports behind it."""
    names = [lab.node(name) for name in "abcd"]
    ends = [f"{name}:e0:192.0.2.{number}/24" for number, name in enumerate(names, 1)]
    lab.write([{"type": "bridge", "endpoints": [ends[0], ends[1], ends[2]]}])
    lab.batch()
    kept = links(names[0])["e0"]["ifindex"]
    lab.write([{"type": "bridge", "endpoints": [ends[0], ends[3], ends[1], ends[2]]}])
    result = lab.batch("--replace", "--prune")
    # Those that are not in the file by that title any more are removed, others made.
    assert (result["links"]["unchanged"], result["links"]["created"], result["links"]["removed"]) == (2, 3, 2)
    for number in (2, 3, 4):
        ping(names[0], f"192.0.2.{number}")
    assert links(names[0])["e0"]["ifindex"] == kept
    assert lab.batch("--replace", "--prune")["status"] == "unchanged"
    lab.write([{"type": "bridge", "endpoints": [ends[0], ends[2]]}])
    result = lab.batch("--replace", "--prune")
    assert result["links"]["unchanged"] == 2
    assert (result["links"]["created"], result["links"]["removed"]) == (1, 3)
    ping(names[2], "192.0.2.1")
    assert not links(names[1])
    assert lab.batch("--replace", "--prune")["status"] == "unchanged"


def test_an_end_that_has_left_the_file_is_found(lab: Lab) -> None:
    a, b, c = (lab.node(name) for name in "abc")
    lab.write([{"endpoints": [f"{a}:e0", f"{b}:e0"]}])
    lab.batch()
    lab.write([{"endpoints": [f"{a}:e0", f"{c}:e0"]}])
    assert lab.batch("--replace")["links"]["replaced"] == 1
    assert not links(b)
    assert links(c)["e0"]["ifindex"]


def test_the_library(lab: Lab) -> None:
    a, b = lab.node("a"), lab.node("b")
    row = {"endpoints": [f"{a}:e0", f"{b}:e0"]}
    for rows, status in (([row], "applied"), ([row | {"queues": 2}], "applied")):
        lab.write(rows)
        result = trio.run(lambda: kokofast.apply(kokofast.load(lab.file), replace=True))
        assert result.status == status
    assert result.links["replaced"] == 1


def test_replace_in_a_sandbox_is_refused(lab: Lab) -> None:
    lab.write([["a", "b"]])
    done = lab.kokofast("batch", lab.file, "--replace", "--sandbox")
    assert (done.returncode, done.stderr) == (
        2,
        "kokofast: --replace is for labs that stay: a --sandbox begins with nothing\n",
    )


@pytest.mark.guest
@pytest.mark.parametrize(
    ("have", "change", "field"),
    [
        ({"type": "vlan", "id": 5}, {"id": 6}, "id"),
        ({"type": "vlan", "id": 5}, {"protocol": "802.1ad"}, "protocol"),
        ({"type": "ipvlan"}, {"mode": "l3"}, "mode"),
        ({"type": "macvlan"}, {"mode": "passthru"}, "mode"),
    ],
)
def test_kinds_on_a_parent(lab: Lab, have: dict[str, Any], change: dict[str, Any], field: str) -> None:
    a, b = quiet(lab, "a"), quiet(lab, "b")
    bad = refused_by_the_kernel(b)
    ip(a, "link", "add", "up0", "up", "type", "veth", "peer", "name", "up1")
    ip(a, "link", "set", "up1", "up")
    row = {"endpoint": f"{b}:x0:10.0.0.1/24", "parent": f"{a}:up0", "delay": "3ms", **have}
    lab.write([row])
    lab.batch()
    before = lasting(a, b)
    lab.write([{**row, **change}, bad])
    assert lab.kokofast("batch", lab.file, "--replace").returncode == 1
    assert lasting(a, b) == before
    lab.write([{**row, **change}])
    done = lab.kokofast("batch", lab.file, "--replace", "--dry-run", "--format", "json")
    ((step,),) = [json.loads(done.stdout)["plan"]]
    assert [one["field"] for one in step["changes"]] == [field]
    assert lab.batch("--replace")["links"]["replaced"] == 1
    assert lab.batch()["status"] == "unchanged"


@pytest.mark.guest
def test_a_dummy_becomes_a_link(lab: Lab) -> None:
    a, b = lab.node("a"), lab.node("b")
    lab.write([{"type": "dummy", "endpoint": f"{a}:e0"}])
    lab.batch()
    lab.write([{"endpoints": [f"{a}:e0:10.0.0.1/24", f"{b}:e0:10.0.0.2/24"]}])
    lab.batch("--replace")
    ping(a, "10.0.0.2")
