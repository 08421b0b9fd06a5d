"""A batch with --replace that fails at any call, or is killed at any moment.

KOKOFAST_SEED=N repeats a choice.
"""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from difflib import unified_diff
from typing import Any

import pytest

from kokofast.engine.result import Result
from kokofast.host.kernel import LinuxKernel
from kokofast.topology import load
from kokofast.topology.model import Topology
from tests.conftest import ip, links
from tests.faults.injection import Faults, injected
from tests.faults.test_injection import faults_of
from tests.kernel.conftest import COMMAND, Lab
from tests.kernel.test_replace import lasting, quiet
from tests.runs import apply, destroy

pytestmark = pytest.mark.usefixtures("requires_root")

ROUNDS, LONG_ROUNDS = 6, 60
CALLS = 40  # of some hundreds, in the short form


def rows(names: list[str], variant: int) -> list[Any]:
    """Each of these but the last is another one in the second variant, or on another one that is."""
    a, b, c = names
    other = b if variant else c
    tap = {"node": a, "interface": "tap", "addresses": [], "mirror": {"from": "e0"}}
    return [
        {"endpoints": [{"node": a, "interface": "e0", "rate": "5mbit"}, f"{other}:e0"]},
        {"type": "macvlan", "endpoint": f"{c}:m0:10.9.0.1/24", "parent": f"{a}:e0"},
        {"type": "vxlan", "endpoint": f"{b}:t0", "parent": f"{a}:e0", "remote": "192.0.2.9", "vni": 7 + variant},
        {"type": "bridge", "endpoint": f"{b}:sw", "mac": "02:00:00:00:00:0b", "stp": bool(variant)},
        {"endpoints": [{"node": b, "interface": "p0", "master": "sw", "addresses": []}, f"{c}:p0"]},
        {"endpoints": [tap, {"node": b, "interface": "tap", "addresses": []}], "queues": 1 + variant},
        {"endpoints": [f"{a}:s0", f"{c}:s0"]},
    ]


def topology(lab: str, names: list[str], variant: int) -> Topology:
    document = {
        "name": lab,
        "links": rows(names, variant),
        "routing": "shortest-path",
        "defaults": {"subnet": "10.7.0.0/16", "subnet6": "2001:db8:7::/48"},
        "nodes": {name: {"netns": name, "addresses": [f"10.255.0.{n}"]} for n, name in enumerate(names)},
    }
    return load(json.dumps(document).encode(), filename="lab.json")


async def run(wanted: Topology, faults: Faults, *, replace: bool = True) -> Result:
    kernel = LinuxKernel(64)
    try:
        with injected(faults):
            return await apply(wanted, kernel=kernel, jobs=1, replace=replace)
    finally:
        kernel.close()


async def test_whichever_call_fails_it_is_all_or_nothing(
    lab: Lab, counts: Counter[str], chance: random.Random, long: bool
) -> None:
    names = [quiet(lab, name) for name in "abc"]
    ip(names[0], "link", "add", "mine", "type", "bridge")
    first, second = (topology(lab.name, names, variant) for variant in (0, 1))
    whole = Faults()
    assert (await run(first, Faults(), replace=False)).status == "applied"
    result = await run(second, whole)
    assert result.errors == []
    assert (result.status, result.links["replaced"], result.links["updated"]) == ("applied", 5, 1)
    numbers = range(1, len(whole.passed) + 1)
    chosen = list(numbers) if long else sorted(chance.sample(numbers, CALLS))
    rolled_back = 0
    for number in chosen:
        assert (await run(first, Faults())).status in ("applied", "unchanged")
        before = lasting(*names)
        faults = Faults({number: chance.choice(faults_of(whole.passed[number - 1]))})
        result = await run(second, faults)
        counts["faults injected"] += len(faults.hit)
        told = f"[{faults}] {result.status}: {[str(error) for error in result.errors]} left {result.left}"
        if result.left:  # see ops.mirror: a qdisc whose maker is not known
            assert all("which may be ours" in line for line in result.left), told
            await destroy(lab.name)
            continue
        if result.status == "applied":
            assert (await run(second, Faults(), replace=False)).status == "unchanged", told
            continue
        assert result.status in ("rolled_back", "invalid"), told
        after = lasting(*names)
        changed = "\n".join(unified_diff(before.splitlines(), after.splitlines(), "before", "after", n=0))
        assert after == before, f"{told}\n{changed}"
        rolled_back += 1
    assert rolled_back > len(chosen) / 3


def test_a_killed_run_is_ended_by_the_next_or_destroyed(
    lab: Lab, start: Callable[..., subprocess.Popen[str]], counts: Counter[str], chance: random.Random, long: bool
) -> None:
    names = [quiet(lab, name) for name in "abc"]
    ip(names[0], "link", "add", "mine", "type", "bridge")
    strangers = lasting(*names)
    # Enough of them that a kill hits the work, and a bad one in every second round: so a rollback is killed as well.
    many = [[{"endpoints": [f"{names[0]}:x{n}", f"{names[1 + v]}:x{n}"]} for n in range(60)] for v in (0, 1)]
    wanted = [[*rows(names, v), *many[v]] for v in (0, 1)]
    bad = {"type": "macvlan", "endpoint": f"{names[2]}:bad:2001:db8::1/64", "parent": f"{names[0]}:x0", "mtu": 1000}

    def begin(variant: int, *more: object) -> subprocess.Popen[str]:
        lab.write([*wanted[variant], *more])
        return start(*COMMAND, "batch", lab.file, "--replace", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    lab.write(wanted[0])
    lab.batch()
    began = time.monotonic()
    assert begin(1).wait(timeout=60) == 0
    seconds = time.monotonic() - began
    for number in range(LONG_ROUNDS if long else ROUNDS):
        variant = number % 2
        process = begin(variant, *([bad] if number % 3 else []))
        time.sleep(chance.uniform(0.3, 1.0) * seconds)  # the moment is what is random here
        process.kill()
        counts["kills"] += process.wait() == -signal.SIGKILL
        if number % 3 == 2:
            lab.destroy()
            left = lasting(*names)
            counts["left over"] += left != strangers
            assert left == strangers
        lab.write(wanted[variant])
        assert lab.batch("--replace")["status"] in ("applied", "unchanged")
        assert lab.batch("--prune")["links"]["removed"] == 0
        assert lab.batch()["status"] == "unchanged"
        expected = {"e0", "mine", "s0", "tap", *(f"x{n}" for n in range(60))}
        assert links(names[0]).keys() == expected


def test_signals_take_all_back(
    lab: Lab, start: Callable[..., subprocess.Popen[str]], chance: random.Random, long: bool
) -> None:
    names = [quiet(lab, name) for name in "abc"]
    lab.write(rows(names, 0))
    lab.batch()
    before = lasting(*names)
    lab.write(rows(names, 1))
    stopped = 0
    for _ in range(LONG_ROUNDS if long else ROUNDS):
        process = start(*COMMAND, "batch", lab.file, "--replace", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(chance.uniform(0.2, 0.6))  # the moment is what is random here
        process.send_signal(chance.choice((signal.SIGINT, signal.SIGTERM)))
        _, told = process.communicate(timeout=60)
        if process.returncode == 0:
            assert lab.batch()["status"] == "unchanged"
            lab.destroy()
            lab.write(rows(names, 0))
            lab.batch()
            before = lasting(*names)
            lab.write(rows(names, 1))
            continue
        stopped += 1
        assert not re.search("could not be taken back", told)
        assert lasting(*names) == before
