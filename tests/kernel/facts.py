"""What kernels differ in, asked of the one that runs, by ip and tc: not a line of kokofast is in between.

Each fact is a name and a short answer. docs/notes/kernels.md has those of two kernels; test_kernels.py compares.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import NamespaceFactory, ip_json, links, run

YES, NO = "yes", "no"
KINDS = ("veth", "vxlan", "macvlan", "vlan", "ipvlan", "dummy", "bridge")
ON_PARENT = {
    "vxlan": "id 9 remote 192.0.2.2 dstport 4789",
    "macvlan": "mode bridge",
    "vlan": "id 9",
    "ipvlan": "mode l2",
}


def answer(namespace: str, command: str, tool: str = "ip") -> str:
    """How a command of ip or tc ends: "yes", or what the kernel says, the tool's own words around it left out."""
    done = run([tool, "-n", namespace, *command.split()])
    if done.returncode == 0:
        return YES
    lines = [line for line in done.stderr.splitlines() if not line.startswith(("We have an error", "Command failed"))]
    return lines[0].removeprefix("Error: ").removeprefix("RTNETLINK answers: ").rstrip(".") if lines else "no words"


def done(namespace: str, command: str, tool: str = "ip") -> None:
    """A command that must go well."""
    assert (found := answer(namespace, command, tool)) == YES, f"{command}: {found}"


def measured(netns: NamespaceFactory) -> dict[str, str]:
    """All facts of this kernel."""
    return {name: value for part in (collisions, kinds, control, limits, words, marks) for name, value in part(netns)}


def _plain(netns: NamespaceFactory, mtu: int = 1500) -> str:
    """A namespace with a veth ``up0`` that is up."""
    name = netns("facts")
    done(name, f"link add up0 mtu {mtu} type veth peer name up1")
    done(name, "link set up0 up")
    return name


def _request(name: str, kind: str) -> str:
    """The words of ip for such a link, on up0 when it needs a parent."""
    before, behind = ("", "dev up0") if kind == "vxlan" else ("link up0 " if kind in ON_PARENT else "", "")
    return f"link add {before}name {name} type {kind} {ON_PARENT.get(kind, '')} {behind}"


def collisions(netns: NamespaceFactory) -> Iterator[tuple[str, str]]:
    """From a namespace with an up0, interfaces are made in two others, where nothing is."""
    sender, left, right = _plain(netns), netns("left"), netns("right")
    index = ip_json(sender, "link", "show", "up0")[0]["ifindex"]
    pair = f"type veth peer name x1 netns {right}"
    yield "an end may have a name that the sender's namespace has", answer(sender, f"link add up0 netns {left} {pair}")
    pair = f"type veth peer name x3 netns {right}"
    yield (
        "an end may have an index that the sender's namespace has",
        answer(sender, f"link add x2 index {index} netns {left} {pair}"),
    )
    pair = f"type veth peer name up0 netns {right}"
    yield "the peer may have a name that the sender's namespace has", answer(sender, f"link add x4 netns {left} {pair}")


def kinds(netns: NamespaceFactory) -> Iterator[tuple[str, str]]:
    for number, kind in enumerate(KINDS):
        name = _plain(netns)  # ipvlan and macvlan share no parent
        yield f"{kind} links", answer(name, _request(f"k{number}", kind))
    # The processors that could ever be there, of which a virtual machine may have a few more than are there.
    possible = Path("/sys/devices/system/cpu/possible")
    count = int(possible.read_text().rpartition("-")[2]) + 1 if possible.exists() else os.cpu_count()
    queues = ip_json(name, "link", "show", "up0")[0]["num_tx_queues"]
    yield "queue pairs of a veth by default", "1 for each processor" if queues == count else str(queues)


def control(netns: NamespaceFactory) -> Iterator[tuple[str, str]]:
    name = _plain(netns)
    yield "qdisc ingress", answer(name, "qdisc add dev up0 ingress", "tc")
    yield "clsact where an ingress qdisc is", answer(name, "qdisc add dev up0 clsact", "tc")
    yield "a qdisc replaces the root noqueue: prio", answer(name, "qdisc add dev up0 root handle 1: prio", "tc")
    name = _plain(netns)
    yield "qdisc netem", answer(name, "qdisc add dev up0 root netem delay 1ms", "tc")
    yield "qdisc clsact", answer(name, "qdisc add dev up0 clsact", "tc")
    mirror = "action mirred egress mirror dev lo"
    match = "u32 match u32 0 0"
    yield "classifier matchall", answer(name, f"filter add dev up0 ingress prio 8 matchall {mirror}", "tc")
    yield "classifier flower", answer(name, f"filter add dev up0 ingress prio 10 flower {mirror}", "tc")
    yield "classifier u32", answer(name, f"filter add dev up0 ingress prio 6 {match} {mirror}", "tc")
    done(name, f"filter add dev up0 egress prio 6 {match} {mirror}", "tc")
    shown = run(["tc", "-n", name, "filter", "show", "dev", "up0", "egress"]).stdout
    yield (
        "u32 shows one hook's filters in the other's dump, of the same priority",
        (YES if shown.count("mirred") > 1 else NO),
    )


def limits(netns: NamespaceFactory) -> Iterator[tuple[str, str]]:
    name = _plain(netns)
    for kind in ("veth", *ON_PARENT):
        told, larger = "no such links", "no such links"
        if answer(name, _request("m0", kind)) == YES:
            (end,) = ip_json(name, "link", "show", "m0")
            told, larger = f"{end['min_mtu']} to {end['max_mtu']}", answer(name, "link set m0 mtu 1501")
            done(name, "link delete m0")
        yield f"MTU of {kind}", told
        if kind in ON_PARENT:
            yield f"{kind}: an MTU larger than the parent's", larger


def words(netns: NamespaceFactory) -> Iterator[tuple[str, str]]:
    """What the kernel says of its refusals, by extended acknowledgements where it has any."""
    name = _plain(netns)
    yield "words: an interface is made with an MTU of 10", answer(name, "link add w0 mtu 10 type veth peer name w1")
    yield "words: an MTU of 10 is set", answer(name, "link set up0 mtu 10")
    yield "words: a kind that does not exist", answer(name, "link add w0 type kokofast")
    yield "words: a name that is taken", answer(name, "link add up0 type veth peer name w1")
    yield "words: a peer's name that is taken", answer(name, "link add w0 type veth peer name up1")
    done(name, "link add v0 type vxlan id 7 remote 192.0.2.2 dstport 4789 dev up0")
    yield (
        "words: a vni that is taken",
        answer(name, "link add v1 type vxlan id 7 remote 192.0.2.2 dstport 4789 dev up0"),
    )
    done(name, "address add 10.0.0.1/24 dev up0")
    yield "words: an address that is there", answer(name, "address add 10.0.0.1/24 dev up0")
    small = _plain(netns, 1000)
    yield "words: an IPv6 address on an MTU of 1000", answer(small, "address add 2001:db8::1/64 dev up0")
    done(name, "link add link up1 name n0 type macvlan mode passthru")
    yield "words: a second passthru macvlan", answer(name, "link add link up1 name n1 type macvlan mode passthru")
    yield "words: a qdisc that does not exist", answer(name, "qdisc add dev up0 root kokofast", "tc")


def marks(netns: NamespaceFactory) -> Iterator[tuple[str, str]]:
    """What the marks of ownership stand on."""
    name = _plain(netns)
    done(name, "link add a0 alias given group 77 type veth peer name a1")
    (end,) = ip_json(name, "link", "show", "a0")
    yield "an alias takes effect when an interface is created", YES if end.get("ifalias") == "given" else NO
    yield "a group takes effect when an interface is created", YES if end["group"] == "77" else NO
    done(name, "link delete group 77")
    yield "one request deletes a group", NO if "a0" in links(name) else YES
