"""A parent that another interface replaces under the same index: nothing of ours stays on a stranger's interface, and a
second run does not take one for the other."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from kokofast.cli.main import run
from kokofast.ops.executor import Executor
from kokofast.plan.operations import CreateLink
from tests.conftest import ip, links
from tests.kernel.conftest import Lab

pytestmark = pytest.mark.usefixtures("requires_root")

INDEX = "50"
KINDS: dict[str, dict[str, Any]] = {
    "macvlan": {"type": "macvlan"},
    "vxlan": {"type": "vxlan", "remote": "192.0.2.2", "vni": 7},
}


def add_parent(node: str, name: str = "up0", index: str = INDEX) -> None:
    ip(node, "link", "add", name, "index", index, "up", "type", "veth")


@pytest.mark.parametrize("number", [1, 400])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["replaced", "renamed"])
def test_while_the_links_are_made(
    lab: Lab,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    counts: Counter[str],
    kind: str,
    way: str,
    number: int,
) -> None:
    """Between the look and the first request. Many links go by way of the event loop, one does not."""
    home, there = lab.node("home"), lab.node("there")
    add_parent(home)
    rows = [{"endpoint": f"{there}:m{item}", "parent": f"{home}:up0", **KINDS[kind]} for item in range(number)]
    lab.write([row | ({"vni": item} if "vni" in row else {}) for item, row in enumerate(rows)])
    execute = Executor.execute
    replaced: list[bool] = []

    def meddle(self: Executor, operations: Sequence[Any]) -> list[Any]:
        if not replaced and any(isinstance(operation, CreateLink) for operation in operations):
            replaced.append(True)
            if way == "replaced":
                ip(home, "link", "delete", "up0")
                add_parent(home, "stranger")
                add_parent(home, "up0", "60")
            else:
                ip(home, "link", "set", "up0", "down", "name", "stranger")
        return execute(self, operations)

    monkeypatch.setattr(Executor, "execute", meddle)
    counts["races"] += 1
    code = run(["batch", str(lab.file), "--format", "json"])
    result = json.loads(capfd.readouterr().out)
    assert (code, result["status"], result["links"]["failed"]) == (1, "rolled_back", number)
    assert "its parent up0 was replaced, renamed or removed" in result["errors"][0]["message"]
    assert links(there) == {}
    counts["left over"] += len(links(there))


@pytest.mark.parametrize("where", ["home", "there"])
def test_between_two_runs(lab: Lab, where: str) -> None:
    """A macvlan on a macvlan is one on that one's parent, which moves away together with it."""
    home, there, away = lab.node("home"), lab.node("there"), lab.node("away")
    add_parent(home)
    node = home if where == "home" else there
    rows = [
        {"type": "macvlan", "endpoint": f"{home}:m0", "parent": f"{home}:up0"},
        {"type": "macvlan", "endpoint": f"{node}:m1", "parent": f"{home}:m0"},
    ]
    lab.write(rows)
    lab.batch()
    assert lab.batch()["status"] == "unchanged"
    ip(home, "link", "set", "up0", "netns", away)
    ip(home, "link", "delete", "m0")
    add_parent(home)
    lab.write(rows[:1])
    lab.batch()
    lab.write(rows)
    done = lab.kokofast("batch", lab.file)
    assert done.returncode == 2, done.stdout
    assert "$.links[1].parent: " in done.stderr
    assert "is there on another parent interface" in done.stderr
