"""What the answers of verify on several hosts come to; no host is asked."""

from __future__ import annotations

from typing import Any

import pytest

from kokofast.hosts.ansible import Answer
from kokofast.hosts.checks import VERIFY, Checks
from kokofast.splitting.across import across
from kokofast.splitting.split import split
from kokofast.topology.loader import load_to_split

FILE = b"""\
name: lab
hosts:
  h1: {address: 192.0.2.1, parent: eth0}
  h2: {address: 192.0.2.2, parent: eth0}
nodes:
  a: {host: h1}
  b: {host: h1}
  c: {host: h2}
links:
  - ["a:x", "b:x"]
  - ["c:y:10.0.0.1/30", "b:y:10.0.0.2/30"]
"""


def answer(host: str, state: str = "ok", *links: tuple[str, str], errors: list[dict[str, Any]] | None = None) -> Answer:
    counts = {"ok": 1, "unchecked": 0, "failed": len(links)}
    failed = [
        {
            "lab": "lab",
            "link": title,
            "type": "vxlan",
            "state": "failed",
            "problems": [{"check": "down", "message": why}],
        }
        for title, why in links
    ]
    return Answer(VERIFY, host, state, {"counts": counts, "links": failed, "errors": errors or [], "msg": "bad"})


def test_a_link_between_hosts_is_one_with_what_both_say() -> None:
    topology, _ = load_to_split(FILE, filename="lab.yaml")
    checks = Checks(["h1", "h2"])
    checks.take(answer("h1", "failed", ("b:y", "one"), ("a:x -- b:x", "two")))
    checks.take(answer("h2", "failed", ("c:y", "three")))
    assert [one.as_dict() for one in checks.failed(topology)] == [
        {
            "link": "a:x -- b:x",
            "type": "vxlan",
            "source": "$.links[0]",
            "position": "lab.yaml:10:5",
            "problems": [{"host": "h1", "check": "down", "message": "two"}],
        },
        {
            "link": "c:y -- b:y",
            "type": "vxlan",
            "source": "$.links[1]",
            "position": "lab.yaml:11:5",
            "problems": [
                {"host": "h1", "check": "down", "message": "one"},
                {"host": "h2", "check": "down", "message": "three"},
            ],
        },
    ]
    assert not checks.ok()
    assert not checks.errors()


def test_without_a_file_each_end_is_a_link() -> None:
    checks = Checks(())
    checks.take(answer("h1", "failed", ("b:y", "one")))
    checks.take(answer("h2", "failed", ("b:y", "three")))
    assert [(one.title, one.source, one.problems) for one in checks.failed(None)] == [
        ("b:y", "", [("h1", "down", "one")]),
        ("b:y", "", [("h2", "down", "three")]),
    ]


@pytest.mark.parametrize(
    ("answers", "ok", "states", "messages"),
    [
        ([], False, ["unasked", "unasked"], []),
        ([answer("h1"), answer("h2")], True, ["ok", "ok"], []),
        ([answer("h1")], False, ["ok", "unasked"], []),
        (
            [answer("h1"), Answer(VERIFY, "h2", "unreachable", {"msg": "Failed to connect via ssh: ssh: refused"})],
            *(False, ["ok", "unreachable"], ["cannot be reached: ssh: refused"]),
        ),
        (
            [answer("h1"), Answer(VERIFY, "h2", "failed", {"msg": "kokofast is not on this host"})],
            *(False, ["ok", "failed"], ["kokofast is not on this host"]),
        ),
        (
            [answer("h1"), answer("h2", "failed", errors=[{"source": "$.nodes.c", "message": "no namespace"}])],
            *(False, ["ok", "failed"], ["no namespace"]),
        ),
        ([answer("h1"), answer("h2", "failed")], False, ["ok", "failed"], ["bad"]),
    ],
)
def test_what_answers_come_to(answers: list[Answer], ok: bool, states: list[str], messages: list[str]) -> None:
    checks = Checks(["h1", "h2"])
    for one in answers:
        checks.take(one)
    assert checks.ok() == ok
    assert [host.state for host in checks.hosts.values()] == states
    assert [error.message for error in checks.errors()] == messages


def test_each_host_gets_the_other_ends_of_its_links() -> None:
    found = across(split(*load_to_split(FILE, filename="lab.yaml")), bytes(16))
    assert found["h1"]["nonce"] == found["h2"]["nonce"] == 32 * "0"
    assert found["h1"]["within"] == 22.0
    common = {"number": 0}
    assert found["h1"]["links"] == [
        {**common, "end": "b:y", "side": 1, "host": "h2", "far": "c:y", "addresses": ["10.0.0.1/30"]}
    ]
    assert found["h2"]["links"] == [
        {**common, "end": "c:y", "side": 0, "host": "h1", "far": "b:y", "addresses": ["10.0.0.2/30"]}
    ]
