"""What the answers of tasks come to, on a host and on all; no host is asked."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from kokofast.hosts.ansible import AnsibleError, Answer, Play, play
from kokofast.hosts.inventory import inventory
from kokofast.hosts.outcome import CHECK, KEEP, REMOVE, REVERT, WAIT, WIRE, Outcomes
from kokofast.hosts.places import locate
from kokofast.topology import load
from kokofast.topology.loader import load_hosts
from kokofast.topology.problems import TopologyError

WAITS = {"waiting": True, "lab": "x"}
LOST = {"msg": "Failed to connect to the host via ssh: ssh: connect to host 10.0.0.2 port 22: Connection refused"}


def result(status: str, *errors: str) -> dict[str, Any]:
    found = {"status": status, "errors": [{"source": "$.links[0]", "message": one, "errno": 17} for one in errors]}
    return {"result": found, **({"msg": errors[0]} if errors else {})}


Told = tuple[str, str, str, dict[str, Any]]
PLANNED: list[Told] = [(CHECK, host, "ok", result("planned")) for host in ("a", "b")]
WIRED: list[Told] = [*PLANNED, *((WIRE, host, "ok", WAITS) for host in ("a", "b"))]
WAITED: list[Told] = [*WIRED, *((WAIT, host, "ok", {}) for host in ("a", "b"))]
REVERTED: Told = (REVERT, "a", "ok", result("rolled_back", "not confirmed"))


@pytest.mark.parametrize(
    ("answers", "status", "of_a", "of_b", "message"),
    [
        ([], "rolled_back", "unasked", "unasked", None),
        (PLANNED, "planned", "planned", "planned", None),
        ([PLANNED[0], (CHECK, "b", "ok", result("unchanged"))], "planned", "planned", "unchanged", None),
        ([PLANNED[0], (CHECK, "b", "failed", result("invalid", "no"))], "invalid", "planned", "invalid", "no"),
        (
            [PLANNED[0], (CHECK, "b", "unreachable", LOST)],
            *("rolled_back", "planned", "unreachable"),
            "cannot be reached: ssh: connect to host 10.0.0.2 port 22: Connection refused",
        ),
        ([PLANNED[0], (CHECK, "b", "failed", {"msg": "no sudo"})], "rolled_back", "planned", "failed", "no sudo"),
        ([("Copy the wheels", "b", "failed", {"msg": "full"})], "rolled_back", "unasked", "failed", "full"),
        (WIRED, "rolled_back", "waiting", "waiting", None),
        (
            [*WAITED, (KEEP, "a", "ok", result("applied")), (KEEP, "b", "ok", result("applied"))],
            *("applied", "applied", "applied", None),
        ),
        (
            [*WIRED[:3], (WIRE, "b", "failed", result("rolled_back", "taken")), REVERTED],
            *("rolled_back", "rolled_back", "rolled_back", "taken"),
        ),
        (
            [*WIRED, (WAIT, "b", "unreachable", LOST), REVERTED, (REVERT, "b", "unreachable", LOST)],
            *("rolled_back", "rolled_back", "unreachable"),
            "cannot be reached: ssh: connect to host 10.0.0.2 port 22: Connection refused; "
            "what was made there is taken back within 60 s, by the host itself",
        ),
        (
            [*WIRED, (WAIT, "b", "failed", {"msg": "5 s"}), REVERTED, (REVERT, "b", "failed", {"msg": "none waits"})],
            *("rolled_back", "rolled_back", "rolled_back"),
            "its 60 seconds were nearly over before the last host was wired; give more by --confirm-within",
        ),
        (
            [*WAITED, (KEEP, "a", "ok", result("applied")), (KEEP, "b", "failed", {"msg": "too late"})],
            *("partial", "applied", "failed", "too late"),
        ),
        (
            [*WAITED, (KEEP, "a", "ok", result("applied")), (KEEP, "b", "unreachable", {"msg": "gone"})],
            *("partial", "applied", "unreachable"),
            "cannot be reached: gone; whether its links stay is not known: run deploy again",
        ),
        (
            [*WIRED[:3], (WIRE, "b", "failed", result("partial", "left"))],
            *("partial", "waiting", "partial", "left"),
        ),
        (
            [(REMOVE, "a", "ok", result("destroyed")), (REMOVE, "b", "ok", result("unchanged"))],
            *("destroyed", "destroyed", "unchanged", None),
        ),
        (
            [(REMOVE, "a", "ok", result("destroyed")), (REMOVE, "b", "unreachable", {"msg": "gone"})],
            *("partial", "destroyed", "unreachable", "cannot be reached: gone"),
        ),
    ],
)
def test_what_answers_come_to(answers: list[Told], status: str, of_a: str, of_b: str, message: str | None) -> None:
    outcomes = Outcomes(["a", "b"], 60.0)
    for told in answers:
        outcomes.take(Answer(*told))
    for host in ("a", "b"):  # as the playbook ends, when something failed
        outcomes.take(Answer("Nothing was kept", host, "failed", {"msg": "see above"}))
    assert outcomes.status() == status
    assert [outcomes.hosts[host].status for host in ("a", "b")] == [of_a, of_b]
    assert [error.message for error in outcomes.errors()] == ([message] if message else [])
    assert all(error.host == "b" for error in outcomes.errors())


WHOLE = b"""\
nodes:
  r1: {netns: r1}
links:
  - endpoints: ["r1:e0", "r2:e0"]
  - endpoints: ["r1:e1", "r3:e0"]
  - ["r1:e2", "r4:e0"]
"""
PART = {
    "links": [
        {"type": "vxlan", "endpoint": "r1:e1:10.0.0.1/31"},
        {"endpoints": [{"node": "r1", "interface": "e0"}]},
        ["r1:e2:10.0.1.1/31", "r4:e0:10.0.1.0/31"],
    ]
}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("$.links[0].mtu", ("$.links[1]", "all.yaml:5:5", "r1:e1 -- r3:e0")),
        ("$.links[1]", ("$.links[0]", "all.yaml:4:5", "r1:e0 -- r2:e0")),
        ("$.links[2][1]", ("$.links[2]", "all.yaml:6:5", "r1:e2 -- r4:e0")),
        ("$.nodes.r1", ("$.nodes.r1", "all.yaml:2:3", "r1")),
        ("$.links[7]", None),
        ("$.nodes.r9", None),
        ("$.name", None),
    ],
)
def test_a_place_in_a_part_is_told_as_that_in_the_file(source: str, found: tuple[str, str, str] | None) -> None:
    topology = load(WHOLE, filename="all.yaml")
    assert locate(source, PART, topology) == found


def test_the_inventory_becomes_root_unless_it_logs_in_as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    text = json.dumps(
        {
            "hosts": {
                "a": {"address": "10.0.0.1", "parent": "eth0"},
                "b": {
                    "address": "10.0.0.2",
                    "parent": "eth0",
                    "vars": {"ansible_user": "root", "ansible_host": "b.lab"},
                },
                "c": {"address": "2001:db8::3", "parent": "eth0", "vars": {"ansible_become": False}},
            }
        }
    )
    hosts = list(load_hosts(text.encode(), filename="hosts.json").hosts.values())
    assert inventory(hosts)["all"]["hosts"] == {
        "a": {"ansible_host": "10.0.0.1", "ansible_become": True},
        "b": {"ansible_host": "b.lab", "ansible_user": "root"},
        "c": {"ansible_host": "2001:db8::3", "ansible_become": False},
    }
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert inventory(hosts)["all"]["hosts"]["a"] == {"ansible_host": "10.0.0.1"}


def test_a_host_with_the_name_of_a_group_is_refused() -> None:
    text = '{"hosts": {"all": {"address": "10.0.0.1", "parent": "eth0"}}}'
    hosts = load_hosts(text.encode(), filename="hosts.json").hosts
    with pytest.raises(
        TopologyError, match=r"^hosts\.json \$\.hosts\.all: 'all' is the name of a group in Ansible; give"
    ):
        inventory(hosts.values())


@pytest.mark.parametrize(("lacks", "message"), [("library", "ansible-runner"), ("program", "ansible-playbook")])
def test_without_ansible_the_cure_is_told(
    lacks: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if lacks == "library":
        monkeypatch.setitem(sys.modules, "ansible_runner", None)
    else:
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
        monkeypatch.setenv("PATH", str(tmp_path))
    this = Play("destroy", tmp_path, {"all": {"hosts": {}}}, {})
    with pytest.raises(AnsibleError, match=rf"^hosts need {message}: pip install 'kokofast\[hosts\]'$"):
        play(this, print, print)


def test_names_of_the_user_are_no_templates(tmp_path: Path) -> None:
    text = "{{ lookup('pipe', 'touch here') }}"
    (tmp_path / "hosts.json").write_text("")
    with pytest.raises(AnsibleError):  # there is no such playbook
        play(
            Play("none", tmp_path, {"all": {"hosts": {}}}, {"kokofast_lab": text, "kokofast_force": True}), print, print
        )
    assert (tmp_path / "variables.yml").read_text() == f'kokofast_lab: !unsafe "{text}"\nkokofast_force: true\n'
