"""Hundreds of rounds of batch and destroy: nothing grows, neither in the process nor in the kernel."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.faults import rounds
from tests.faults.machine import Machine, differences, settled
from tests.kernel.conftest import COMMAND, until

pytestmark = pytest.mark.usefixtures("requires_root")

FILE = "/run/links.json"
NODES = 4
LINKS = [
    *(
        {"endpoints": [f"c{n}:e1:10.0.{n}.0/31,2001:db8:{n}::1/64", f"c{n + 1}:e0:10.0.{n}.1/31"]}
        for n in range(NODES - 1)
    ),
    {"endpoints": [{"node": "me", "interface": "x0", "mirror": {"from": "up0", "direction": "both"}}, "c0:x0"]},
    {"type": "vxlan", "endpoint": "c1:v0:10.1.0.1/24", "parent": "up0", "remote": "192.0.2.9", "vni": 7, "mtu": 1400},
    {"type": "macvlan", "endpoint": "c2:m0", "parent": "up0"},
]


@pytest.fixture
def machine() -> Iterator[Machine]:
    made = Machine(user=True)
    try:
        made.must("sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/default/addr_gen_mode; ip link set lo up")
        made.must("sh", "-c", "ip link add up0 type veth peer name up1; ip link set up0 up; ip link set up1 up")
        document = {"name": "again", "nodes": {"me": {"host": True}}, "links": LINKS}
        made.must("sh", "-c", f"cat > {FILE}", input=json.dumps(document))
        yield made
    finally:
        made.close()


def check_namespaces_gone(machine: Machine, counts: Counter[str]) -> None:
    """That the kernel has no network namespace of this machine but its own, whatever might hold one: a name, a mount, a
    descriptor, a process. Its user namespace counts them, so a limit of two lets one be made when there is but one."""
    machine.must("sh", "-c", "echo 2 >/proc/sys/user/max_net_namespaces")
    try:
        # The kernel ends a namespace some time after its last holder let it go.
        until(lambda: machine.run("unshare", "--net", "true").returncode == 0, "all namespaces are gone")
    except AssertionError:
        counts["left over"] += 1
        raise
    machine.must("sh", "-c", "echo 10000 >/proc/sys/user/max_net_namespaces")


def check_growth(seen: list[dict[str, int]], counts: Counter[str], count: int) -> None:
    """seen is what a process holds: before so many rounds, and after each quarter of them."""
    grown = {what: seen[-1][what] - seen[0][what] for what in seen[0]}

    def least(what: str, quarters: int) -> int:
        return min(after[what] - before[what] for before, after in pairwise(seen[::quarters]))

    # What a round keeps every round does, so it grows in every part. What the interpreter and the C library keep
    # settles late, after hundreds of rounds, and may come at once: an arena of a thread is a megabyte. So does our
    # cache of formats (wire/rows.py), which is limited: a datagram of an unusual length adds a dozen objects.
    grown["objects"] = least("objects", 1)
    grown["rss"] = least("rss", 2)
    print(grown)
    bounds = {"objects": count // 8, "rss": 1 << 19}
    too_many = {what: number for what, number in grown.items() if number > bounds.get(what, 0)}
    counts["left over"] += len(too_many)
    assert not too_many, f"{too_many} in {count} rounds: {seen}"


@pytest.mark.parametrize(
    ("objects", "grows"),
    [
        ([0, 10, 20, 30, 40], True),
        ([0, 9, 20, 26, 35], True),
        ([0, 30, 44, 44, 56], False),
        ([0, 5, 10, 15, 20], False),
    ],
)
def test_what_grows_in_every_quarter_is_growth(objects: list[int], grows: bool) -> None:
    counts: Counter[str] = Counter()
    seen = [{"objects": number, "rss": 0} for number in objects]
    if grows:
        with pytest.raises(AssertionError, match="in 40 rounds"):
            check_growth(seen, counts, 40)
    else:
        check_growth(seen, counts, 40)
    assert counts["left over"] == grows


def test_rounds_in_one_process(machine: Machine, counts: Counter[str], long: bool) -> None:
    before = settled([""], machine.prefix)
    count = 500 if long else 40
    command = [*machine.prefix, sys.executable, str(Path(rounds.__file__)), FILE, "15", str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.wait()
        check_namespaces_gone(machine, counts)  # while the process lives, and could hold some
        process.stdin.close()
    assert process.returncode == 0
    counts["rounds"] += count
    check_growth(json.loads(line), counts, count)
    until(lambda: machine.dump([""]) == before, "everything is as before")


def test_rounds_of_many_processes(machine: Machine, counts: Counter[str], long: bool) -> None:
    before = settled([""], machine.prefix)
    look = (
        f"grep -cE '{rounds.OUR_MOUNTS}' /proc/self/mountinfo; ls -A /run /run/netns /run/kokofast; "
        "set -- /proc/[0-9]*; echo $# processes"
    )
    machine.must(*COMMAND, "batch", FILE, "--create", "--quiet")
    machine.must(*COMMAND, "destroy", FILE, "--quiet")
    seen = machine.must("sh", "-c", look)
    count = 100 if long else 3
    for _ in range(count):
        machine.must(*COMMAND, "batch", FILE, "--create", "--quiet")
        machine.must(*COMMAND, "destroy", FILE, "--quiet")
        counts["rounds"] += 1
    assert machine.must("sh", "-c", look) == seen
    check_namespaces_gone(machine, counts)
    after = settled([""], machine.prefix)
    assert after == before, "\n".join(differences(before, after))
