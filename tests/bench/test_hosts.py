"""Labs on simulated hosts: that what is measured is what the report says. Deployments are tested in tests/hosts."""

from __future__ import annotations

import json
from typing import Any

from bench import hosts
from bench.hosts import Line, topology
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
    header, rule, line = hosts.markdown([Line(10, 10_000, 1_000, steps, 6.5, 2.0, 3.0, 4.0, 0.5)]).splitlines()
    assert header.count("|") == rule.count("|") == line.count("|")
    assert line.startswith("| 10 | 10,000 | 1,000 | 1.0 s | ")
    assert line.endswith("| 6.5 s | 2.0 s | 3.0 s | 4.0 s |")
