"""From one drawn topology to another by batch --prune --replace, with a drawn fault.

Either all of the new one is there, or all is as it was. What others have is not touched, the next run completes the
file, and destroy leaves nothing.

``pytest --long`` draws more. A failure names the number of its walk: walk(make_kernel, NUMBER) repeats it.
"""

from __future__ import annotations

import errno
import random
from typing import Any

import pytest

from kokofast.drivers import Stopped
from kokofast.drivers.inline import InlineDriver, drive
from kokofast.engine.result import Result
from kokofast.plan.ownership import APART, group_of, lab_of_alias
from kokofast.topology.model import Topology
from kokofast.topology.problems import TopologyError
from kokofast.wire.link import RTM_NEWLINK
from kokofast.wire.message import Request
from tests.engine.conftest import KernelFactory
from tests.engine.fake import FakeKernel
from tests.engine.fake_filters import target_of
from tests.engine.fake_links import FakeLink
from tests.engine.labs import lab
from tests.runs import StopWhen, apply, destroy

Row = dict[str, Any]
Place = tuple[str, str]  # namespace, interface

PARTS, LONG_PARTS, WALKS = 4, 60, 25
STAY = "abc"  # d is made by the lab
NODES = "aaabbbccd"
NAMES = ("e0", "e1", "e2", "e3")
SPARE_NAMES = ("l0", "l1", "l2")
FAULTS = ("none", "refused", "refused", "lost before", "lost after", "link", "link", "two", "signal", "killed")


class Draw:
    """A drawn topology."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.free = {node: list(NAMES) for node in STAY + "d"}
        self.there: list[Place] = []
        self.bridges: list[Place] = []
        self.rows: list[Row] = []
        for names in self.free.values():
            chance.shuffle(names)
        for _ in range(chance.randrange(1, 7)):
            self._draw_link(chance.choice(["veth"] * 6 + ["dummy", "macvlan", "vlan", "vxlan", "bridge", "segment"]))

    def _is(self, probability: float) -> bool:
        return self.chance.random() < probability

    def _place(self) -> Place | None:
        node = self.chance.choice(NODES)
        return (node, self.free[node].pop()) if self.free[node] else None

    def _draw_link(self, kind: str) -> None:
        first, second = self._place(), self._place() if kind in ("veth", "segment") else None
        if first is None or (second is None and kind == "veth"):
            return
        row: Row = {} if kind == "veth" else {"type": "bridge" if kind == "segment" else kind}
        places = [place for place in (first, second) if place is not None]
        if kind in ("veth", "segment"):
            row["endpoints"] = [self._end(place, is_veth=True, is_port=kind == "veth") for place in places]
        else:
            row["endpoint"] = self._end(first)
        if kind in ("bridge", "segment"):
            row["stp"] = self._is(0.3)
        elif kind in ("macvlan", "vlan", "vxlan"):
            if not self.there:
                return
            row["parent"] = ":".join(self.chance.choice(self.there))
            row |= {"remote": self._remote()} if kind == "vxlan" else {}
        (self.bridges if kind == "bridge" else self.there).extend(places)
        self.rows.append(row)

    def _remote(self) -> object:
        return self.chance.choice(["192.0.2.1", ["192.0.2.1", "192.0.2.2"], ["192.0.2.3"]])

    def _end(self, place: Place, *, is_veth: bool = False, is_port: bool = False) -> Row:
        node, name = place
        chance = self.chance
        end: Row = {"node": node, "interface": name, "addresses": []}
        end["addresses"] += [f"10.{chance.randrange(4)}.0.{chance.randrange(1, 9)}/24"] * self._is(0.5)
        end["addresses"] += [f"2001:db8::{chance.randrange(1, 99)}/64"] * self._is(0.2)
        choices: list[tuple[float, str, list[object]]] = [
            (0.15, "mtu", [1300, 1400, 1500]),
            (0.1, "txqlen", [0, 77]),
            (0.15, "up", [False]),
            (0.08, "rate", ["5mbit", "6mbit"]),
            (0.08, "link_local", [True, False]),
            (0.2, "altnames", [[spare] for spare in (*SPARE_NAMES, *self.free[node])]),
        ]
        if is_veth:
            sources: list[object] = [
                {"from": other, "direction": way}
                for there, other in self.there
                if there == node
                for way in ("ingress", "egress", "both")
            ]
            choices += [
                (0.15, "queues", [1, 2, 3]),
                (0.1, "mac", [f"02:00:00:00:00:{number:02x}" for number in range(1, 20)]),
                (0.1, "offload", [False, {"gro": False}]),
                (0.2, "mirror", sources),
                (0.5 * is_port, "master", [other for there, other in self.bridges if there == node]),
            ]
        end |= {name: chance.choice(values) for share, name, values in choices if values and self._is(share)}
        for spare in end.get("altnames", ()):
            if spare in self.free[node]:
                self.free[node].remove(spare)
        return end


def ends_of(row: Row) -> list[Row]:
    return row["endpoints"] if "endpoints" in row else [row["endpoint"]]


def tagged(rows: list[Row]) -> list[Row]:
    """Links with the id or the vni of their place: one that moves gets another one, as the old one goes last."""
    for row in rows:
        for kind, field in (("vlan", "id"), ("vxlan", "vni")):
            if row.get("type") == kind:
                end = row["endpoint"]
                row[field] = 5 + 10 * "abcd".index(end["node"]) + NAMES.index(end["interface"])
    return rows


def changed(rows: list[Row], chance: random.Random) -> list[Row]:
    """Another topology, mostly made of the same links: some go, come, or have each other's places."""
    if chance.random() < 0.4:
        return Draw(chance).rows
    new = [{**row, **{key: _copy(row[key]) for key in ("endpoints", "endpoint") if key in row}} for row in rows]
    for _ in range(chance.choice([1, 1, 2, 3])):
        how = chance.choice(["less", "order", "more", "cycle", "cycle", "rename", "move"])
        ends = [end for row in new for end in ends_of(row)]
        if how == "less" and len(new) > 1:
            new.pop(chance.randrange(len(new)))
        elif how == "order":
            chance.shuffle(new)
        elif how == "more":
            new += Draw(chance).rows[:2]
        elif how == "cycle":
            chosen = chance.sample(ends, min(len(ends), chance.choice([2, 3])))
            places = [(end["node"], end["interface"]) for end in chosen]
            for end, place in zip(chosen, [*places[1:], *places[:1]], strict=True):
                end["node"], end["interface"] = place
        elif how == "rename":
            chance.choice(ends)["interface"] = chance.choice(NAMES)
        else:
            chance.choice(ends)["node"] = chance.choice(NODES)
    return new


def _copy(value: Any) -> Any:
    return [dict(one) for one in value] if isinstance(value, list) else dict(value)


def run(kernel: FakeKernel, topology: Topology, driver: InlineDriver | None = None, **options: Any) -> Result:
    return drive(apply(topology, kernel=kernel, driver=driver or InlineDriver(), **options))


def is_ours(link: FakeLink) -> bool:
    return link.name != "lo" and (lab_of_alias(link.alias) == "lab" or link.group & ~APART == group_of("lab"))


def ours(kernel: FakeKernel) -> dict[Place, FakeLink]:
    return {
        (path.removeprefix("/run/netns/"), link.name): link
        for path, namespace in kernel.namespaces.items()
        for link in namespace.links.values()
        if is_ours(link)
    }


def of_others(kernel: FakeKernel) -> list[object]:
    return [
        {key: value for key, value in link.state().items() if key != "control"}
        for namespace in kernel.namespaces.values()
        for link in namespace.links.values()
        if link.name != "lo" and not is_ours(link)
    ]


class World:
    """A machine with interfaces of others, among them a lab in the same namespaces; each is the same for a number."""

    def __init__(self, make_kernel: KernelFactory, number: int) -> None:
        self.make_kernel = make_kernel
        self.number = number

    def make(self) -> FakeKernel:
        chance = random.Random(self.number)
        kernel = self.make_kernel(*STAY)
        kernel["a"].add("eth0", index=50, kind="dummy").altnames = (chance.choice(["theirs", "l0"]),)
        kernel[chance.choice(STAY)].add("e0", index=60, kind="dummy")
        rows: list[Row] = [{"endpoints": ["a:o0", "b:o0"]}, {"endpoints": [f"b:{chance.choice(['o1', 'e3'])}", "c:o1"]}]
        assert run(kernel, lab(rows, name="other")).status == "applied"
        return kernel

    def is_possible(self, rows: list[Row]) -> bool:
        try:
            return bool(rows) and run(self.make(), lab(rows)).status == "applied"
        except TopologyError:
            return False


def plan_fault(kernel: FakeKernel, kind: str, wanted: Topology, chance: random.Random) -> InlineDriver | None:
    """Let something fail; return the driver of a run that a signal stops."""
    kernel.count_from_here()
    number = chance.randrange(1, 40)
    if kind in ("refused", "two"):
        kernel.refuse[number] = chance.choice([errno.EPERM, errno.ENOMEM, errno.EBUSY])
    if kind == "two":
        kernel.refuse[number + chance.randrange(1, 20)] = errno.ENOMEM
    if kind.startswith("lost"):
        kernel.lose[number] = kind == "lost after"
    if kind == "signal":
        return InlineDriver(StopWhen(lambda: len(kernel.requests) >= number))
    name = repr(chance.choice([end.ifname for link in wanted.links for end in link.ends]))
    failed: list[int] = []

    def fail(request: Request) -> None:
        is_link = request.type == RTM_NEWLINK and name in repr(request.attributes) and not failed
        if is_link if kind == "link" else len(kernel.requests) > number:
            failed.append(1)
            kernel.refuse[len(kernel.requests)] = errno.EPERM

    if kind in ("link", "killed"):
        kernel.before = fail
    return None


def check_is(kernel: FakeKernel, topology: Topology) -> None:
    """The lab is what the file says, and nothing else."""
    wanted = {
        (topology.nodes[end.node].target, end.ifname): (link, end) for link in topology.links for end in link.ends
    }
    have = ours(kernel)
    assert have.keys() == wanted.keys()
    filters = [
        (namespace, target_of(options))
        for namespace in kernel.namespaces.values()
        for found in namespace.links.values()
        for options in found.control.filters.values()
    ]
    assert all(target in namespace.links for namespace, target in filters), "a mirror leads nowhere"
    assert len(filters) == sum(len(end.mirror.directions()) for _, end in wanted.values() if end.mirror is not None)
    for (node, ifname), (link, end) in wanted.items():
        found = have[node, ifname]
        assert (found.kind, found.group, found.up) == (link.kind, group_of("lab"), end.up), ifname
        assert {(one.family, one.packed, one.prefixlen) for one in end.addresses} <= found.addresses.keys()
        altnames: Any = end.properties.get("altnames", found.altnames)
        assert sorted(found.altnames) == sorted(altnames)
        master = kernel[node].links.get(found.master)
        assert "master" not in end.properties or (master is not None and master.name == end.properties["master"])
        if link.kind == "veth":
            other = link.ends[0] if end is link.ends[1] else link.ends[1]
            assert found.peer is not None
            assert found.peer[0].links[found.peer[1]] is have[topology.nodes[other.node].target, other.ifname]


def walk(make_kernel: KernelFactory, number: int) -> str:
    """Go from one topology to another; return how that ended."""
    chance = random.Random(number)
    world = World(make_kernel, number)
    rows: list[Row] = []
    while not world.is_possible(rows):
        rows = tagged(Draw(chance).rows)
    new: list[Row] = []
    while not world.is_possible(new):
        new = tagged(changed(rows, chance))
    kernel = world.make()
    others, empty = of_others(kernel), kernel.state()
    first, second = lab(rows), lab(new)
    assert run(kernel, first).status == "applied"
    assert run(kernel, first).status == "unchanged"
    check_is(kernel, first)
    before = kernel.state()
    kind, keep_going = chance.choice(FAULTS), chance.random() < 0.4
    driver = plan_fault(kernel, kind, second, chance)
    try:
        result = run(kernel, second, driver, keep_going=keep_going, prune=True, replace=True)
    except Stopped:
        result = Result("lab", "rolled_back")
    kernel.before = None
    kernel.refuse.clear()
    kernel.lose.clear()
    assert of_others(kernel) == others
    told = f"{kind}: {result.status} {result.errors} {result.left}"
    # An answer that is lost does not tell whose an empty qdisc is.
    assert not result.left or kind in ("two", "killed") or "which may be ours" in result.left[0], told
    if result.status in ("invalid", "rolled_back"):
        assert result.left or kind == "killed" or kernel.state() == before, told
    elif result.status == "partial":
        assert result.errors, told
        if kind != "killed":
            assert {link.group for link in ours(kernel).values()} <= {group_of("lab")}, told
            assert not any(name.startswith("gone") for _, name in ours(kernel)), told
    else:
        check_is(kernel, second)
        assert run(kernel, second).status == "unchanged", told
    if result.status != "invalid":
        again = run(kernel, second, prune=True, replace=True)
        assert again.status in ("applied", "unchanged"), (told, again.errors)
        if "a mirror cannot be removed" not in told:
            check_is(kernel, second)
        assert of_others(kernel) == others
    assert drive(destroy("lab", kernel=kernel, driver=InlineDriver())).errors == []
    assert kernel.state() == empty
    return result.status


@pytest.mark.parametrize("part", range(LONG_PARTS))
def test_it_is_all_of_the_new_topology_or_all_of_the_old(
    make_kernel: KernelFactory, part: int, request: pytest.FixtureRequest
) -> None:
    if part >= PARTS and not request.config.getoption("--long"):
        return
    found = {walk(make_kernel, number) for number in range(part * WALKS, (part + 1) * WALKS)}
    assert found >= {"applied", "rolled_back"}
