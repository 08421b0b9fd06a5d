"""Links that stand on another interface: vxlan, macvlan, and on a kernel that has them vlan and ipvlan.

tests/engine/test_stacked.py has their order, what is compared and what is refused, on a kernel in memory.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import addresses, ip, ip_batch, ip_json, links
from tests.kernel.conftest import (
    COMMAND,
    Lab,
    Start,
    Watch,
    answers,
    are_unique,
    kill_midway,
    ping,
    refused_by_the_kernel,
    run,
    state,
    until,
)
from tests.vm.marker import IN_GUEST

pytestmark = pytest.mark.usefixtures("requires_root")

MACVLAN_MODES = ("private", "vepa", "bridge", "passthru", "source")


def big_ping(namespace: str, address: str) -> None:
    """A packet of 1,400 bytes there and back that nobody may cut in pieces."""
    command = ["ip", "netns", "exec", namespace, "ping", "-c", "1", "-w", "5", "-M", "do", "-s", "1372", address]
    done = run(command)
    assert done.returncode == 0, done.stdout + done.stderr


def data_of(namespace: str | None, ifname: str) -> dict[str, Any]:
    """What the driver of an interface says of it."""
    data: dict[str, Any] = links(namespace)[ifname]["linkinfo"].get("info_data", {})
    return data


def wire(a: str, b: str, name: str = "up0", number: int = 0, mtu: int = 1500) -> None:
    """An interface of the same name in each of two namespaces, connected, with an IPv4 and an IPv6 address."""
    ip(a, "link", "add", name, "mtu", str(mtu), "type", "veth", "peer", "name", name, "mtu", str(mtu), "netns", b)
    for end, namespace in enumerate((a, b), 1):
        ip_batch(
            namespace,
            # A link-local address would come by itself some time later, and spoil comparisons.
            f"link set {name} addrgenmode none",
            f"address add 192.0.2.{number * 16 + end}/28 dev {name}",
            f"address add 2001:db8:ff:{number}::{end}/64 nodad dev {name}",
            f"link set {name} up",
        )
    for namespace in (a, b):
        until(lambda namespace=namespace: links(namespace)[name]["operstate"] == "UP", "it is up")  # type: ignore[misc]


@pytest.fixture
def hosts(lab: Lab) -> tuple[str, str]:
    """Two namespaces that play hosts, with ``up0`` between them: 192.0.2.1 and .2, 2001:db8:ff:0::1 and ::2."""
    a, b = lab.node("host-a"), lab.node("host-b")
    wire(a, b)
    return a, b


def refused(lab: Lab, place: str, *words: str, code: int = 2) -> None:
    """The lab's file is refused with this place and these words."""
    done = lab.kokofast("batch", lab.file, "--format", "json")
    assert done.returncode == code, done.stdout + done.stderr
    errors = json.loads(done.stdout)["errors"]
    assert [error["source"] for error in errors] == [place], errors
    for word in words:
        assert word in errors[0]["message"], errors


def nets(number: int) -> tuple[tuple[str, str], tuple[str, str]]:
    return (f"192.0.{number}.", "/24"), (f"2001:db8:{number}::", "/64")


def flood(name: str, ifname: str = "vx0") -> list[str]:
    """Where a vxlan sends what it has no other entry for."""
    shown = run(["bridge", "-n", name, "-j", "fdb", "show", "dev", ifname]).stdout
    return sorted(one["dst"] for one in json.loads(shown) if one["mac"] == "00:00:00:00:00:00")


def tunnel(node: str, host: str, remote: str, **more: object) -> dict[str, object]:
    """A vxlan link of the file."""
    return {"type": "vxlan", "endpoint": node, "parent": f"{host}:up0", "remote": remote, "vni": 7, **more}


class TestVxlan:
    @pytest.mark.parametrize(
        ("remotes", "mtu"),
        [(("192.0.2.2", "192.0.2.1"), 1450), (("2001:db8:ff::2", "2001:db8:ff::1"), 1430)],
        ids=["IPv4", "IPv6"],
    )
    def test_two_hosts(self, lab: Lab, hosts: tuple[str, str], remotes: tuple[str, str], mtu: int) -> None:
        a, b = lab.node("ca"), lab.node("cb")
        lab.write(
            [
                tunnel(f"{a}:eth0:10.0.0.1/24,2001:db8:1::1/64", hosts[0], remotes[0]),
                tunnel(f"{b}:eth0:10.0.0.2/24,2001:db8:1::2/64", hosts[1], remotes[1]),
            ]
        )
        before = state(*hosts, a, b)
        assert lab.batch()["links"]["created"] == 2
        ping(a, "10.0.0.2")
        ping(b, "2001:db8:1::1")
        big_ping(a, "10.0.0.2")
        big_ping(b, "10.0.0.1")
        link = links(a)["eth0"]
        assert link["mtu"] == mtu
        data = data_of(a, "eth0")
        assert (data["id"], data["port"], data["learning"]) == (7, 4789, True)
        assert remotes[0] in (data.get("remote"), data.get("remote6"))
        assert addresses(a, "eth0") == ["10.0.0.1/24", "2001:db8:1::1/64"]
        assert lab.batch()["status"] == "unchanged"
        assert lab.destroy()["links"]["removed"] == 2
        assert state(*hosts, a, b) == before

    @pytest.fixture
    def routed(self, lab: Lab) -> tuple[str, str, str]:
        """a, b and c, with a router between them."""
        router, names = lab.node("r"), (lab.node("a"), lab.node("b"), lab.node("c"))
        switch_on = "echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding"
        ip(None, "netns", "exec", router, "sh", "-c", switch_on)
        for number, name in enumerate(names, 1):
            port = (
                "netns",
                router,
                "up",
                "mtu",
                "9000",
                "type",
                "veth",
                "peer",
                "name",
                "up0",
                "mtu",
                "9000",
                "netns",
                name,
            )
            ip(None, "link", "add", name[-15:], *port)
            ip_batch(router, *(f"address add {net}1{length} dev {name[-15:]} nodad" for net, length in nets(number)))
            ip_batch(
                name,
                "link set up0 up",
                *(
                    f"address add {net}2{length} dev up0 {'nodad' if ':' in net else ''}"
                    for net, length in nets(number)
                ),
                *(f"route add default via {net}1" for net, _ in nets(number)),
            )
        return names

    @pytest.mark.parametrize("version", [4, 6])
    def test_several_remotes_by_the_routes(self, lab: Lab, routed: tuple[str, str, str], version: int) -> None:
        def rows(*chosen: int) -> list[dict[str, object]]:
            hosts = {number: f"{nets(number)[version == 6][0]}2" for number in (1, 2, 3)}
            return [
                {
                    "type": "vxlan",
                    "endpoint": f"{name}:vx0:10.0.0.{number}/24",
                    "remote": [hosts[other] for other in chosen if other != number],
                    "vni": 7,
                }
                for number, name in enumerate(routed, 1)
            ]

        a = routed[0]
        until(lambda: are_unique(*routed), "the link-local addresses are known to be unique")
        before = state(*routed)
        lab.write(rows(1, 2, 3))
        notes = lab.batch("--dry-run")["notes"]
        assert f"packets of {1550 if version == 4 else 1570} bytes; give mtu otherwise" in notes[0]
        lab.batch()
        assert links(a)["vx0"]["mtu"] == 1500
        for number in (2, 3):
            ping(a, f"10.0.0.{number}")
        assert len(flood(a)) == 2
        assert lab.batch()["status"] == "unchanged"
        seen = lab.inspect()[0]
        assert ("parent" in seen, seen["remote"]) == (False, rows(1, 2, 3)[0]["remote"])
        # changed in place; what somebody else added is not in the file
        index = links(a)["vx0"]["ifindex"]
        far = "198.51.100.9" if version == 4 else "2001:db8:99::9"
        run(["bridge", "-n", a, "fdb", "append", "00:00:00:00:00:00", "dev", "vx0", "dst", far])
        assert len(flood(a)) == 3
        wanted = rows(1, 2, 3)
        others = [rows(1, 3)[0]["remote"][0], far.replace("9", "8")]  # type: ignore[index]
        wanted[0]["remote"] = others
        lab.write(wanted)
        (planned,) = lab.batch("--dry-run")["plan"]
        assert (planned["field"], len(planned["before"]), planned["after"]) == ("remote", 3, sorted(others))
        before_failure = flood(a)
        lab.write([*wanted, refused_by_the_kernel(a)])
        assert lab.kokofast("batch", lab.file).returncode == 1
        assert flood(a) == before_failure
        lab.write(wanted)
        assert lab.batch()["links"]["updated"] == 1
        assert (flood(a), links(a)["vx0"]["ifindex"]) == (sorted(others), index)
        lab.destroy()
        ip(a, "link", "delete", "narrow")
        assert state(*routed) == before

    def test_one_remote_by_the_routes(self, lab: Lab, routed: tuple[str, str, str]) -> None:
        a, b, _ = routed
        ends = ((a, 1, 2), (b, 2, 1))
        lab.write(
            [
                {
                    "type": "vxlan",
                    "endpoint": f"{name}:vx0:10.0.0.{own}/24",
                    "remote": f"192.0.{other}.2",
                    "vni": 7,
                    "mtu": 1400,
                }
                for name, own, other in ends
            ]
        )
        assert "notes" not in lab.batch()
        ping(a, "10.0.0.2")
        assert lab.batch()["status"] == "unchanged"

    def test_killed_while_remotes_are_set(self, lab: Lab, start: Start, watch: Any) -> None:
        a = lab.node("a")
        hosts = [f"192.0.2.{number}" for number in range(1, 6)]
        lab.write(
            [{"type": "vxlan", "endpoint": f"{a}:vx{i}", "remote": hosts, "vni": i, "mtu": 1400} for i in range(300)]
        )
        sight: Watch = watch(a)
        kill_midway(lab, start, lambda: sight.count() > 5)
        lab.batch()
        assert all(flood(a, f"vx{i}") == hosts for i in (0, 150, 299))
        assert lab.batch()["status"] == "unchanged"

    def test_its_own_port_source_ttl_mtu_and_no_learning(self, lab: Lab, hosts: tuple[str, str]) -> None:
        a, b = lab.node("ca"), lab.node("cb")
        own = {"port": 4790, "ttl": 9, "learning": False, "mtu": 1400}
        lab.write(
            [
                tunnel(f"{a}:eth0:10.0.0.1/24", hosts[0], "192.0.2.2", local="192.0.2.1", **own),
                tunnel(f"{b}:eth0:10.0.0.2/24", hosts[1], "192.0.2.1", local="192.0.2.2", **own),
            ]
        )
        lab.batch()
        data = data_of(a, "eth0")
        assert (data["port"], data["ttl"], data["local"], data["learning"]) == (4790, 9, "192.0.2.1", False)
        assert links(a)["eth0"]["mtu"] == 1400
        ping(a, "10.0.0.2")
        assert lab.batch()["status"] == "unchanged"

    def test_a_multicast_group(self, lab: Lab, hosts: tuple[str, str]) -> None:
        a, b = lab.node("ca"), lab.node("cb")
        nodes = ((a, hosts[0], 1), (b, hosts[1], 2))
        lab.write([tunnel(f"{node}:eth0:10.0.0.{end}/24", host, "239.1.1.1") for node, host, end in nodes])
        lab.batch()
        assert data_of(a, "eth0")["group"] == "239.1.1.1"
        ping(a, "10.0.0.2")
        assert lab.batch()["status"] == "unchanged"

    def test_more_multicast_groups_than_a_socket_may_have(self, lab: Lab, hosts: tuple[str, str]) -> None:
        a, host = lab.node("ca"), hosts[0]
        run(["ip", "netns", "exec", host, "sysctl", "-qw", "net.ipv4.igmp_max_memberships=2"])
        # The same group twice counts once, and another port has a limit of its own.
        where = [("239.1.1.1", 4789), ("239.1.1.2", 4789), ("239.1.1.2", 4789), ("239.1.1.3", 4790)]
        lab.write([tunnel(f"{a}:e{i}", host, group, port=port, vni=i) for i, (group, port) in enumerate(where)])
        lab.batch()
        where.append(("239.1.1.3", 4789))
        lab.write([tunnel(f"{a}:e{i}", host, group, port=port, vni=i) for i, (group, port) in enumerate(where)])
        done = lab.kokofast("batch", lab.file, "--format", "json")
        assert done.returncode == 1
        (error,) = json.loads(done.stdout)["errors"]
        assert (error["source"], error["errno"]) == ("$.links[4].endpoint", errno.ENOBUFS)
        assert "the limit on the multicast groups of a port's tunnels is net.ipv4.igmp_max_member" in error["message"]
        assert links(a).keys() - {"lo"} == {"e0", "e1", "e2", "e3"}

    @pytest.mark.parametrize(("remote", "room"), [("192.0.2.2", 1450), ("2001:db8:ff::2", 1430)])
    def test_an_mtu_that_does_not_fit_is_refused(
        self, lab: Lab, hosts: tuple[str, str], remote: str, room: int
    ) -> None:
        a = lab.node("ca")
        lab.write([tunnel(f"{a}:eth0", hosts[0], remote, mtu=room + 1)])
        refused(lab, "$.links[0].mtu", f"leaves {room}")
        assert links(a) == {}
        lab.write([tunnel(f"{a}:eth0", hosts[0], remote, mtu=room)])
        lab.batch()
        assert links(a)["eth0"]["mtu"] == room


@pytest.mark.parametrize(("kind", "mtu"), [("vxlan", 1300), ("macvlan", 4000)])
def test_the_same_file_gives_the_same_state_when_its_parent_has_changed(
    lab: Lab, hosts: tuple[str, str], kind: str, mtu: int
) -> None:
    a, parent = lab.node("ca"), f"{hosts[0]}:up0"
    link = {"type": "macvlan", "endpoint": f"{a}:x0", "parent": parent}
    lab.write([tunnel(f"{a}:x0", hosts[0], "192.0.2.2") if kind == "vxlan" else link])
    lab.batch()
    for name in hosts:
        ip(name, "link", "set", "up0", "mtu", str(mtu))
    lab.batch()
    assert lab.batch()["status"] == "unchanged"
    followed = links(a)["x0"]["mtu"]
    lab.destroy()
    lab.batch()
    assert links(a)["x0"]["mtu"] == followed == mtu - (50 if kind == "vxlan" else 0)


class TestMacvlan:
    @pytest.mark.parametrize("mode", [*MACVLAN_MODES, "default", None])
    def test_modes(self, lab: Lab, hosts: tuple[str, str], mode: str | None) -> None:
        a = lab.node("ca")
        given = {} if mode is None else {"mode": mode}
        lab.write([{"type": "macvlan", "endpoint": f"{a}:eth0:192.0.2.9/28", "parent": f"{hosts[0]}:up0", **given}])
        before = state(*hosts, a)
        lab.batch()
        assert data_of(a, "eth0")["mode"] == {"default": "vepa", None: "bridge"}.get(mode, mode)
        assert links(a)["eth0"]["mtu"] == 1500
        if mode != "source":  # which lets in only those that it is told of
            ping(a, "192.0.2.2")
        assert lab.batch()["status"] == "unchanged"
        lab.destroy()
        # Its address moved to the parent and back, in passthru.
        assert state(*hosts, a) == before

    def test_containers_of_one_parent_reach_each_other(self, lab: Lab, hosts: tuple[str, str]) -> None:
        names = [lab.node(f"c{number}") for number in range(3)]
        lab.write(
            [
                {
                    "type": "macvlan",
                    "endpoint": {
                        "node": name,
                        "interface": "eth0",
                        "addresses": [f"10.0.0.{number}/24"],
                        "mac": f"02:00:00:00:00:0{number}",
                        "mtu": 1400,
                        "txqlen": 50,
                    },
                    "parent": f"{hosts[0]}:up0",
                }
                for number, name in enumerate(names, 1)
            ]
        )
        lab.batch()
        ping(names[0], "10.0.0.3")
        ping(names[2], "10.0.0.2")
        link = links(names[1])["eth0"]
        assert (link["address"], link["mtu"], link["txqlen"]) == ("02:00:00:00:00:02", 1400, 50)
        assert lab.batch()["status"] == "unchanged"


class TestParents:
    def test_parents_that_later_rows_make(self, lab: Lab) -> None:
        a, b, c = lab.new("a"), lab.new("b"), lab.new("c")
        lab.write(
            [
                {"type": "macvlan", "endpoint": f"{c}:m1:10.3.0.1/24", "parent": f"{c}:vx0"},
                tunnel(f"{c}:vx0:10.2.0.1/24", a, "192.0.2.2"),
                tunnel(f"{c}:vx1:10.2.0.2/24", b, "192.0.2.1"),
                {"type": "macvlan", "endpoint": f"{c}:m0", "parent": f"{a}:up0"},
                {"endpoints": [f"{a}:up0:192.0.2.1/28", f"{b}:up0:192.0.2.2/28"]},
            ]
        )
        assert lab.batch("--create")["links"]["created"] == 5
        assert {name: link["mtu"] for name, link in links(c).items()} == {
            "m0": 1500,
            "vx0": 1450,
            "vx1": 1450,
            "m1": 1450,
        }
        assert lab.batch()["status"] == "unchanged"
        assert lab.destroy()["namespaces"]["removed"] == 3

    def test_names_that_are_taken_where_the_parent_is(self, lab: Lab, hosts: tuple[str, str]) -> None:
        a, b = lab.node("ca"), lab.node("cb")
        for name in ("eth0", "eth1"):
            ip(hosts[0], "link", "add", name, "type", "veth", "peer", "name", f"{name}x")
        lab.write(
            [
                tunnel(f"{a}:eth0", hosts[0], "192.0.2.2"),
                {"type": "macvlan", "endpoint": f"{a}:eth1", "parent": f"{hosts[0]}:up0"},
                # The parent's own name.
                {"type": "macvlan", "endpoint": f"{b}:up0", "parent": f"{hosts[0]}:up0"},
            ]
        )
        before = state(*hosts)
        lab.batch()
        assert (set(links(a)), set(links(b))) == ({"eth0", "eth1"}, {"up0"})
        assert lab.batch()["status"] == "unchanged"
        lab.destroy()
        assert state(*hosts) == before

    def test_an_end_where_the_parent_is(self, lab: Lab, hosts: tuple[str, str]) -> None:
        lab.write(
            [
                tunnel(f"{hosts[0]}:vx0:10.0.0.1/24", hosts[0], "192.0.2.2"),
                tunnel(f"{hosts[1]}:vx0:10.0.0.2/24", hosts[1], "192.0.2.1"),
            ]
        )
        lab.batch()
        ping(hosts[0], "10.0.0.2")
        assert lab.batch()["status"] == "unchanged"

    def test_the_parent_is_in_the_callers_namespace(self, lab: Lab) -> None:
        a = lab.node("ca")
        private = lab.node("caller")
        ip(private, "link", "add", "up0", "type", "veth", "peer", "name", "eth0")
        lab.write(
            [
                {"type": "macvlan", "endpoint": f"{a}:eth0", "parent": "up0"},
                {"type": "vxlan", "endpoint": f"{a}:vx0", "parent": "up0", "remote": "192.0.2.2", "vni": 1},
            ]
        )
        before = state(private, a)
        # Not `ip netns exec`, which would give it another /sys and /run/netns; only the namespace changes.
        inside = ["nsenter", f"--net=/run/netns/{private}", *COMMAND]
        for status in ("applied", "unchanged"):
            done = run([*inside, "batch", lab.file, "--format", "json"])
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout)["status"] == status
        assert set(links(a)) == {"eth0", "vx0"}
        done = run([*inside, "destroy", lab.file])
        assert done.returncode == 0, done.stderr
        assert state(private, a) == before


def mixture(lab: Lab, hosts: tuple[str, str], names: list[str], count: int = 60) -> list[dict[str, Any]]:
    """That many links, of three kinds in turn, between these namespaces and the hosts."""
    rows: list[dict[str, Any]] = []
    for number in range(count):
        node, other = names[number % len(names)], names[(number + 1) % len(names)]
        end = f"{node}:e{number}:10.1.{number}.1/24"
        match number % 3:
            case 0:
                rows.append(tunnel(end, hosts[0], "192.0.2.2") | {"vni": number})
            case 1:
                rows.append({"endpoints": [end, f"{other}:f{number}:10.1.{number}.2/24"]})
            case _:
                rows.append({"type": "macvlan", "endpoint": end, "parent": f"{hosts[1]}:up0"})
    return rows


class TestMany:
    def test_sixty_of_three_kinds(self, lab: Lab, hosts: tuple[str, str]) -> None:
        names = [lab.node(f"c{number}") for number in range(6)]
        lab.write(mixture(lab, hosts, names))
        before = state(*hosts, *names)
        assert lab.batch()["links"] == {"total": 60, "created": 60, "updated": 0, "unchanged": 0, "failed": 0}
        kinds = [link["linkinfo"]["info_kind"] for name in names for link in links(name).values()]
        assert {kind: kinds.count(kind) for kind in kinds} == {"vxlan": 20, "veth": 40, "macvlan": 20}
        assert sorted(link["type"] for link in lab.inspect()) == ["macvlan"] * 20 + ["veth"] * 20 + ["vxlan"] * 20
        assert lab.batch()["status"] == "unchanged"
        assert lab.destroy()["links"]["removed"] == 60
        assert state(*hosts, *names) == before

    def test_what_the_kernel_refuses_takes_all_of_them_back(self, lab: Lab, hosts: tuple[str, str]) -> None:
        names = [lab.node(f"c{number}") for number in range(3)]
        # In a namespace that the file does not have.
        stranger = [
            "link",
            "add",
            "theirs",
            "netns",
            lab.node("x"),
            "type",
            "vxlan",
            "id",
            "500",
            "remote",
            "192.0.2.2",
        ]
        ip(hosts[0], *stranger, "dev", "up0", "dstport", "4789")
        rows = mixture(lab, hosts, names)
        # The same vni, remote and port on one parent: only the kernel knows of the other one.
        rows.insert(40, tunnel(f"{names[0]}:bad", hosts[0], "192.0.2.2", vni=500))
        lab.write(rows)
        before = state(*hosts, *names)
        refused(lab, "$.links[40].vni", "bad", "theirs in ", code=1)
        assert state(*hosts, *names) == before

    def test_killed_and_destroyed(
        self,
        lab: Lab,
        hosts: tuple[str, str],
        watch: Callable[[str], Watch],
        start: Start,
    ) -> None:
        names = [lab.node("c0"), lab.node("c1")]
        rows: list[object] = []
        for number in range(300):
            rows.append({"type": "macvlan", "endpoint": f"{names[0]}:m{number}", "parent": f"{hosts[1]}:up0"})
            rows.append(tunnel(f"{names[1]}:x{number}", hosts[0], "192.0.2.2") | {"vni": number})
        lab.write(rows)
        before = state(*hosts, *names)
        sight = watch(names[0])
        kill_midway(lab, start, lambda: sight.count() > 5)
        assert links(names[0])
        lab.destroy()
        assert state(*hosts, *names) == before


@pytest.fixture
def without_vlan(hosts: tuple[str, str], without: Callable[..., None]) -> None:
    """A kernel without vlan links. Skips where this one has them and its modules are not ours to unload."""
    if IN_GUEST:
        without("8021q")
        return
    done = run(["ip", "-n", hosts[0], "link", "add", "link", "up0", "name", "v0", "type", "vlan", "id", "5"])
    if done.returncode == 0:
        ip(hosts[0], "link", "delete", "v0")
        pytest.skip("this kernel has vlan links: the test runs in the guest")


@pytest.mark.usefixtures("without_vlan")
def test_a_kind_that_the_kernel_does_not_have(lab: Lab, hosts: tuple[str, str]) -> None:
    a = lab.node("ca")
    lab.write(
        [
            {"type": "macvlan", "endpoint": f"{a}:m0", "parent": f"{hosts[0]}:up0"},
            {"type": "vlan", "endpoint": f"{a}:v0", "parent": f"{hosts[0]}:up0", "id": 5},
        ]
    )
    before = state(*hosts, a)
    refused(lab, "$.links[1].type", "this kernel has no vlan links", "8021q", code=1)
    assert state(*hosts, a) == before


@pytest.mark.guest
class TestVlan:
    @pytest.mark.parametrize("protocol", ["802.1Q", "802.1ad", None])
    def test_a_tag(self, lab: Lab, hosts: tuple[str, str], protocol: str | None) -> None:
        a, b = lab.node("ca"), lab.node("cb")
        tag: dict[str, object] = {"type": "vlan", "id": 100} | ({} if protocol is None else {"protocol": protocol})
        lab.write(
            [
                {"endpoint": f"{a}:eth0:10.0.0.1/24", "parent": f"{hosts[0]}:up0", **tag},
                {"endpoint": f"{b}:eth0:10.0.0.2/24", "parent": f"{hosts[1]}:up0", **tag},
            ]
        )
        before = state(*hosts, a, b)
        lab.batch()
        data = data_of(a, "eth0")
        assert (data["protocol"], data["id"], links(a)["eth0"]["mtu"]) == (protocol or "802.1Q", 100, 1500)
        ping(a, "10.0.0.2")
        assert lab.batch()["status"] == "unchanged"
        lab.write([{"endpoint": f"{a}:eth0", "parent": f"{hosts[0]}:up0", **tag, "id": 101}])
        refused(lab, "$.links[0].id", "another id")
        assert lab.destroy()["links"]["removed"] == 2
        assert state(*hosts, a, b) == before

    def test_a_tag_in_a_tag(self, lab: Lab, hosts: tuple[str, str]) -> None:
        rows: list[dict[str, object]] = []
        for end, host in enumerate(hosts, 1):
            inner = {"type": "vlan", "endpoint": f"{host}:inner:10.0.0.{end}/24", "parent": f"{host}:outer", "id": 7}
            outer = {"type": "vlan", "endpoint": f"{host}:outer", "parent": f"{host}:up0", "id": 7}
            rows += [inner, outer | {"protocol": "802.1ad"}]
        lab.write(rows)
        lab.batch()
        assert data_of(hosts[0], "outer")["protocol"] == "802.1ad"
        assert data_of(hosts[0], "inner")["protocol"] == "802.1Q"
        ping(hosts[0], "10.0.0.2")
        assert lab.batch()["status"] == "unchanged"


@pytest.mark.guest
class TestIpvlan:
    @pytest.mark.parametrize("mode", ["l2", "l3", "l3s", None])
    def test_modes(self, lab: Lab, hosts: tuple[str, str], mode: str | None) -> None:
        a, b = lab.node("ca"), lab.node("cb")
        kind = {"type": "ipvlan", "parent": f"{hosts[0]}:up0", **({} if mode is None else {"mode": mode})}
        lab.write([{"endpoint": f"{a}:eth0:10.0.0.1/24", **kind}, {"endpoint": f"{b}:eth0:10.0.0.2/24", **kind}])
        before = state(*hosts, a, b)
        lab.batch()
        assert data_of(a, "eth0")["mode"] == (mode or "l2")
        (parent,) = ip_json(hosts[0], "link", "show", "dev", "up0")
        assert links(a)["eth0"]["address"] == parent["address"]
        ping(a, "10.0.0.2")
        assert lab.batch()["status"] == "unchanged"
        lab.destroy()
        assert state(*hosts, a, b) == before

    def test_it_has_no_mac_address_of_its_own(self, lab: Lab, hosts: tuple[str, str]) -> None:
        a = lab.node("ca")
        end = {"node": a, "interface": "eth0", "mac": "02:00:00:00:00:01"}
        lab.write([{"type": "ipvlan", "endpoint": end, "parent": f"{hosts[0]}:up0"}])
        refused(lab, "$.links[0].endpoint.mac", "parent's MAC")


@pytest.mark.guest
class TestDummy:
    def test_an_interface_without_parent(self, lab: Lab) -> None:
        a, b = lab.node("a"), lab.node("b")
        ip(a, "link", "set", "lo", "up")  # addresses of one's own are reached over it
        before = state(a, b)
        end = {"node": a, "interface": "lo2", "mtu": 9000, "mac": "02:00:00:00:00:07"}
        wanted: list[dict[str, object]] = [
            {"type": "dummy", "endpoint": f"{a}:lo1:10.255.0.1/32,2001:db8:255::1/128"},
            {"type": "dummy", "endpoint": end},
            {"type": "macvlan", "endpoint": f"{b}:m0", "parent": f"{a}:lo1"},
        ]
        lab.write(wanted)
        assert lab.batch()["links"]["created"] == 3
        assert addresses(a, "lo1") == ["10.255.0.1/32", "2001:db8:255::1/128"]
        assert (links(a)["lo2"]["mtu"], links(a)["lo2"]["address"]) == (9000, "02:00:00:00:00:07")
        assert links(a)["lo1"]["linkinfo"]["info_kind"] == "dummy"
        ping(a, "10.255.0.1")
        ping(a, "2001:db8:255::1")
        assert lab.batch()["status"] == "unchanged"
        assert sorted(str(link["type"]) for link in lab.inspect()) == ["dummy", "dummy", "macvlan"]
        wanted[1] = {"type": "dummy", "endpoint": {**end, "mtu": 8000}}
        lab.write(wanted)
        assert lab.batch()["links"]["updated"] == 1
        assert links(a)["lo2"]["mtu"] == 8000
        assert lab.destroy()["links"]["removed"] == 3
        assert state(a, b) == before

    def test_all_is_taken_back(self, lab: Lab) -> None:
        a = lab.node("a")
        before = state(a)
        link = {"type": "dummy", "endpoint": f"{a}:lo1:10.255.0.1/32"}
        narrow = {"type": "dummy", "endpoint": {"node": a, "interface": "lo2", "mtu": 1000}}
        over = {"type": "macvlan", "endpoint": f"{a}:k8:2001:db8:8::1/64", "parent": f"{a}:lo2"}
        lab.write([link, narrow, over])
        assert lab.kokofast("batch", lab.file).returncode == 1
        assert state(a) == before

    def test_one_of_another_kind_is_not_taken_for_it(self, lab: Lab) -> None:
        a = lab.node("a")
        lab.write([{"type": "dummy", "endpoint": f"{a}:lo1"}])
        lab.batch()
        lab.write([{"endpoints": [f"{a}:lo1", f"{a}:lo3"]}])
        assert lab.kokofast("batch", lab.file).returncode == 2


class TestBridge:
    def test_it_joins_what_is_put_on_it(self, lab: Lab) -> None:
        a, b, switch = lab.node("a"), lab.node("b"), lab.node("switch")
        before = state(a, b, switch)
        bridge = {"type": "bridge", "endpoint": f"{switch}:br0:192.0.2.3/24"}
        ends = [[f"{a}:e0:192.0.2.1/24", f"{switch}:p0"], [f"{b}:e0:192.0.2.2/24", f"{switch}:p1"]]
        lab.write([bridge, *({"endpoints": pair} for pair in ends)])
        assert lab.batch()["links"]["created"] == 3
        for port in ("p0", "p1"):
            ip(switch, "link", "set", port, "master", "br0")
        ping(a, "192.0.2.2")
        ping(b, "192.0.2.3")
        assert data_of(switch, "br0").items() >= {"stp_state": 0, "group_fwd_mask": "0xfff8"}.items()
        assert lab.batch()["status"] == "unchanged"
        (seen,) = (link for link in lab.inspect() if link["type"] == "bridge")
        assert (seen["stp"], seen["group_fwd_mask"], "parent" in seen) == (False, 0xFFF8, False)
        lab.destroy()
        assert state(a, b, switch) == before

    def test_another_stp_is_no_change_in_place(self, lab: Lab) -> None:
        a = lab.node("a")
        bridge = {"type": "bridge", "endpoint": f"{a}:br0", "stp": True, "group_fwd_mask": 0}
        lab.write([bridge])
        lab.batch()
        assert data_of(a, "br0").items() >= {"stp_state": 1, "group_fwd_mask": "0"}.items()
        lab.write([{**bridge, "stp": False}])
        refused(lab, "$.links[0].stp", "br0")

    def test_groups_that_it_never_passes_on(self, lab: Lab) -> None:
        lab.write([{"type": "bridge", "endpoint": f"{lab.node('a')}:br0", "group_fwd_mask": 0xFFFF}])
        refused(lab, "$.links[0].group_fwd_mask", "0xfff8")


@pytest.mark.guest
@pytest.mark.parametrize("kind", [{"type": "vlan", "id": 5}, {"type": "ipvlan"}], ids=["vlan", "ipvlan"])
def test_an_mtu_larger_than_the_parents_is_refused(lab: Lab, hosts: tuple[str, str], kind: dict[str, object]) -> None:
    """The kernel refuses the first by ERANGE, and makes the second, which then loses packets."""
    a = lab.node("ca")
    link = {"endpoint": f"{a}:eth0", "parent": f"{hosts[0]}:up0", **kind}
    lab.write([{**link, "mtu": 1501}])
    refused(lab, "$.links[0].mtu", "leaves 1500")
    assert links(a) == {}
    lab.write([{**link, "mtu": 1500}])
    lab.batch()
    assert links(a)["eth0"]["mtu"] == 1500


def test_macvlans_default_mode_is_compared_too(lab: Lab) -> None:
    a, b = lab.node("a"), lab.node("b")
    link = {"type": "macvlan", "endpoint": f"{a}:w", "parent": f"{a}:e", "mode": "default"}
    ends = {"endpoints": [f"{a}:e", f"{b}:e"]}
    lab.write([ends, link])
    lab.batch()
    assert lab.batch()["status"] == "unchanged"
    lab.write([ends, {**link, "mode": "private"}])
    assert lab.kokofast("batch", lab.file).returncode == 2
    ip(a, "link", "set", "w", "type", "macvlan", "mode", "private")
    lab.write([ends, link])
    done = lab.kokofast("batch", lab.file)
    assert done.returncode == 2
    assert "$.links[1].mode" in done.stderr


def test_a_parent_of_the_same_index_in_another_namespace_is_another_parent(lab: Lab) -> None:
    a, b, c = (lab.node(suffix) for suffix in "abc")
    for node in (a, b, c):
        ip(node, "link", "add", "e", "index", "77", "type", "veth", "peer", "name", "p")
        ip(node, "link", "set", "e", "up")
    link = {"type": "macvlan", "endpoint": f"{a}:w", "parent": f"{b}:e"}
    lab.write([link])
    lab.batch()
    assert lab.batch()["status"] == "unchanged"
    before = [{name: link["ifindex"] for name, link in links(node).items()} for node in (a, b, c)]
    for other in (c, a):
        lab.write([{**link, "parent": f"{other}:e"}])
        done = lab.kokofast("batch", lab.file)
        assert done.returncode == 2, done.stdout
        assert "$.links[0].parent" in done.stderr
        assert "another parent" in done.stderr
        assert [{name: link["ifindex"] for name, link in links(node).items()} for node in (a, b, c)] == before
    # And the other way round: it stands on one of its own namespace.
    lab.destroy()
    lab.write([{**link, "parent": f"{a}:e"}])
    lab.batch()
    assert lab.batch()["status"] == "unchanged"
    lab.write([link])
    assert lab.kokofast("batch", lab.file).returncode == 2


def test_a_macvlan_does_not_reach_its_parents_address_but_that_of_another_one(lab: Lab) -> None:
    # As docs/running.md has it.
    a, b = lab.bundle(1)
    inside = {"type": "macvlan", "endpoint": f"{b}:eth0:192.0.2.11/24", "parent": f"{a}:e0"}
    beside = {"type": "macvlan", "endpoint": f"{a}:lan0:192.0.2.10/24", "parent": f"{a}:e0"}
    carrier = {"endpoints": [f"{a}:e0:192.0.2.1/24", f"{b}:e0"]}
    lab.write([carrier, inside])
    lab.batch()
    assert not answers(b, "192.0.2.1")
    lab.write([carrier, inside, beside])
    lab.batch()
    ping(b, "192.0.2.10")
