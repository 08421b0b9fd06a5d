"""Two labs whose names have the same group: what belongs to one stays when the other goes."""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from pathlib import Path

import pytest

from kokofast.plan.ownership import group_of
from tests.conftest import NamespaceFactory, RunKokofast, ip, links
from tests.kernel.test_mirror import control, filters

pytestmark = pytest.mark.usefixtures("requires_root")


def colliding(stem: str) -> tuple[str, str]:
    """Two lab names of one group: of some thousand names two share the 24 bits."""
    seen: dict[int, str] = {}
    for number in itertools.count():
        name = f"{stem}{number}"
        if (other := seen.setdefault(group_of(name), name)) != name:
            return other, name
    raise AssertionError("unreachable")


@pytest.mark.parametrize("first", [0, 1])
def test_destroying_a_lab_leaves_the_mirrors_of_one_with_its_group(
    netns: NamespaceFactory, kokofast: RunKokofast, tmp_path: Path, counts: Counter[str], first: int
) -> None:
    labs = colliding(f"kft{os.getpid()}-")
    assert group_of(labs[0]) == group_of(labs[1])
    home, away = netns("home"), netns("away")
    ip(home, "link", "add", "up0", "type", "veth", "peer", "name", "up1")
    ip(home, "link", "set", "up0", "up")
    before = control(home)
    for place, lab in enumerate(labs):
        end = {"node": home, "interface": f"m{place}", "mirror": {"from": "up0", "direction": "both"}}
        file = tmp_path / f"{lab}.json"
        file.write_text(json.dumps({"name": lab, "links": [{"endpoints": [end, f"{away}:m{place}"]}]}))
    kept, gone = labs[first], labs[1 - first]
    # The one that stays made the qdisc, or used what the other had made.
    assert kokofast("batch", str(tmp_path / f"{kept}.json")).returncode == 0
    alone, there = control(home), links(home)
    assert kokofast("batch", str(tmp_path / f"{gone}.json")).returncode == 0
    assert len(filters(home, "up0")) == 4
    done = kokofast("destroy", "--name", gone)
    assert done.returncode == 0, done.stderr
    counts["strangers compared"] += 1
    assert control(home) == alone
    assert set(links(home)) == set(there)
    assert kokofast("destroy", "--name", kept).returncode == 0
    assert control(home) == before
