"""Labs on simulated hosts: that what is measured is what the report says. Deployments are tested in tests/hosts."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from bench import hosts
from bench.host_failures import Failure, check_error
from bench.host_lab import Ran, check_change, check_same, topology, with_one_change
from bench.hosts import Line
from bench.links import WrongState
from bench.underlay import picture
from kokofast.splitting.split import split
from kokofast.topology.loader import load_to_split


def test_the_lab_has_as_many_links_as_the_report_says() -> None:
    names = ["h1", "h2", "h3"]
    whole: dict[str, Any] = topology(names, 5, 2)
    whole["hosts"] = {name: {"address": f"192.0.2.{number}", "parent": "eth0"} for number, name in enumerate(names, 1)}
    found = split(*load_to_split(json.dumps(whole).encode(), filename="x.json"))
    assert len(found.topology.links) == 3 * 7
    assert len(found.joints) == 3 * 2
    assert {(len(part.links), part.between) for part in found.parts.values()} == {(5 + 2 * 2, 2 * 2)}


def test_the_table_has_a_column_for_each_step() -> None:
    steps = dict.fromkeys(hosts.STEPS, 1.0)
    after = dict(zip(hosts.AFTER, (2.0, 2.5, 2.75, 3.0), strict=True))
    header, rule, line = hosts.markdown([Line(10, 10_000, 1_000, steps, 6.5, after, 4.0, 0.5)]).splitlines()
    assert header.count("|") == rule.count("|") == line.count("|")
    assert line.startswith("| 10 | 10,000 | 1,000 | 1.0 s | ")
    assert line.endswith("| 6.5 s | 2.0 s | 2.5 s | 2.8 s | 3.0 s | 4.0 s |")


OUTPUT = """\
1: lo: <LOOPBACK,UP> mtu 65536 qdisc noqueue state UNKNOWN mode DEFAULT
qdisc noqueue 0: dev lo root refcnt 2
r1
-- r1
{}: left@if{}: <BROADCAST,UP> mtu 1500 qdisc noqueue state UP link/ether {} link-netnsid 0
1: lo: <LOOPBACK,UP> mtu 65536 qdisc noqueue state UNKNOWN mode DEFAULT
{}: left    inet 10.0.0.1/30 scope global left\\       valid_lft forever preferred_lft forever
"""


def test_pictures_differ_by_what_a_file_sets_only() -> None:
    one, other = (picture(OUTPUT.format(*words)) for words in (("2", "3", "ae:01", "2"), ("9", "7", "ae:02", "9")))
    assert one == other
    assert one != picture(OUTPUT.format("2", "3", "ae:01", "2").replace("mtu 1500", "mtu 1400"))
    assert "-- r1\nleft    inet 10.0.0.1/30\nleft: <BROADCAST,UP> mtu 1500 qdisc noqueue\nlo: " in one


NODE = "-- n{0}\nleft: <UP> mtu 1500 qdisc noqueue\nright: <UP> mtu 1500 qdisc noqueue\n"
BEFORE = {name: NODE.format(1) + NODE.format(2) for name in ("h1", "h2")}


def changed(namespaces: str, mtu: int) -> dict[str, str]:
    """The pictures after the MTU of left in these namespaces of h2 was changed."""
    found = BEFORE["h2"]
    for number in namespaces:
        found = found.replace(f"-- n{number}\nleft: <UP> mtu 1500", f"-- n{number}\nleft: <UP> mtu {mtu}")
    return {**BEFORE, "h2": found}


def told(status: str = "applied", other: str = "unchanged", **links: int) -> dict[str, Any]:
    return {
        "hosts": {
            "h1": {"status": other, "links": {"total": 2, "unchanged": 2}},
            "h2": {"status": status, "links": {"total": 2, **links}},
        }
    }


def test_a_change_of_one_link_passes() -> None:
    check_change("x", "h2", told(updated=1, unchanged=1), BEFORE, changed("12", 1400))


@pytest.mark.parametrize(
    ("ran", "after"),
    [
        (told(updated=2), changed("12", 1400)),
        (told(updated=1, created=1), changed("12", 1400)),
        (told("unchanged", unchanged=2), changed("12", 1400)),
        (told(other="applied", updated=1), changed("12", 1400)),
        (told(updated=1), changed("1", 1400)),
        (told(updated=1), changed("12", 1300)),
        (told(updated=1), BEFORE),
        (told(updated=1), {**changed("12", 1400), "h1": ""}),
    ],
)
def test_any_other_change_is_wrong(ran: dict[str, Any], after: dict[str, str]) -> None:
    with pytest.raises(WrongState, match=r"^the change of x on h2"):
        check_change("x", "h2", ran, BEFORE, after)


def test_what_is_left_is_told() -> None:
    check_same(BEFORE, copy.deepcopy(BEFORE), "it")
    with pytest.raises(WrongState, match=r"^it: h2 is not as before: - -- n1 left: <UP> mtu 1500 qdisc noqueue; "):
        check_same(BEFORE, changed("1", 1400), "it")


def test_the_change_is_one_link_of_the_file() -> None:
    whole = topology(["h1", "h2"], 5, 2)
    other = with_one_change(whole, 3)
    assert [number for number in range(14) if whole["links"][number] != other["links"][number]] == [3]
    assert other["links"][3] == {"endpoints": whole["links"][3], "mtu": 1400}


ERROR = {"host": "h2", "source": "$.links[3]", "message": "a -- b: taken"}


def test_a_failure_names_the_host_and_the_cause() -> None:
    ran = Ran(2, {"errors": [ERROR]}, "kokofast: on h2: a -- b: taken", 1.5)
    assert check_error(ran, "h2", "taken") == ERROR
    wrong = [
        (ran._replace(code=0), "h2", "taken"),
        (ran._replace(messages="kokofast: taken"), "h2", "taken"),
        (ran, "h1", "taken"),
        (ran, "h2", "reached"),
        (ran._replace(found={"errors": []}), "h2", "taken"),
    ]
    for one in wrong:
        with pytest.raises(WrongState, match=r"^a deployment that must fail on "):
            check_error(*one)


def test_a_failure_is_a_note_of_the_report() -> None:
    assert str(Failure("x", 1.0, 0.0, 2.0)) == "x: deploy fails after 1.0 s; a second one takes 2.0 s"
    assert "after 1.0 s, and the host was as before 60.0 s later; a" in str(Failure("x", 1.0, 60.0, 2.0))
