"""The constellation of docs/constellations.md, made and played where the kernel has netem."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from tests import ROOT
from tests.kernel.conftest import run

pytestmark = [pytest.mark.usefixtures("requires_root"), pytest.mark.guest]

BLOCKS = re.findall(r"```bash\n(.*?)```", (ROOT / "docs" / "constellations.md").read_text(), re.DOTALL)
KOKOFAST = shlex.join([sys.executable, "-m", "kokofast"])


def test_the_constellation_shown_is_made_and_played(tmp_path: Path) -> None:
    def shell(script: str) -> str:
        done = run(["sh", "-e", "-c", f'cd {tmp_path}\nkokofast() {{ {KOKOFAST} "$@"; }}\n{script}'])
        assert done.returncode == 0, done.stderr
        return done.stdout

    def delay(node: str, end: str) -> float:
        """In milliseconds, as tc shows it."""
        (found,) = json.loads(shell(f"tc -n {node} -j qdisc show dev {end} root"))
        return float(found["options"]["delay"]["delay"]) * 1000

    def milliseconds(link: dict[str, str]) -> float:
        return float(link["delay"].removesuffix("ms"))

    make, tell, play = BLOCKS
    try:
        assert "123 links created, 68 namespaces created" in shell(make)
        links = json.loads((tmp_path / "iridium.json").read_text())["links"]
        there = links[0]["endpoints"][1].split(":")[2].partition("/")[0]
        (shortest,) = re.findall(r"min/[^=]*= ([\d.]+)/", shell(f"ip netns exec s0-0 ping -c 3 -i 0.2 {there}"))
        assert 2 * milliseconds(links[0]) <= float(shortest) < 2 * milliseconds(links[0]) + 20
        shell(tell)
        lines = (tmp_path / "iridium.jsonl").read_text().splitlines()
        epochs = {epoch["at"]: epoch for epoch in map(json.loads, lines)}
        (handover,) = epochs[167]["add"]
        assert "lima:sat:" in handover["endpoints"][0]

        played = [json.loads(line) for line in shell(play).splitlines()]
        assert {line["status"] for line in played[:-1]} <= {"applied", "unchanged"}
        assert played[-2]["at"] == 170
        for link in epochs[170]["set"]:
            for endpoint in link["endpoints"]:
                assert delay(*endpoint.split(":")) == pytest.approx(
                    milliseconds(link), abs=0.002
                )  # tc shows five digits
        satellite, end, address = handover["endpoints"][1].split(":")
        assert delay(satellite, end) == pytest.approx(milliseconds(handover), abs=0.5)
        shell(f"ip netns exec lima ping -c 1 -w 5 {address.partition('/')[0]}")
        (former,) = epochs[167]["remove"]
        satellite, end = former["endpoints"][1].split(":")
        assert run(["ip", "-n", satellite, "link", "show", end]).returncode != 0
    finally:
        shell("kokofast destroy iridium.json")
