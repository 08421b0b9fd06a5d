"""The constellation of docs/constellations.md, made where the kernel has netem."""

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


def test_light_takes_its_time_between_two_satellites(tmp_path: Path) -> None:
    def shell(script: str) -> str:
        done = run(["sh", "-e", "-c", f'cd {tmp_path}\nkokofast() {{ {KOKOFAST} "$@"; }}\n{script}'])
        assert done.returncode == 0, done.stderr
        return done.stdout

    try:
        assert "123 links created, 68 namespaces created" in shell(BLOCKS[0])
        links = json.loads((tmp_path / "iridium.json").read_text())["links"]
        delay = float(links[0]["delay"].removesuffix("ms"))
        there = links[0]["endpoints"][1].split(":")[2].partition("/")[0]
        answer = shell(f"ip netns exec s0-0 ping -c 3 -i 0.2 {there}")
        (shortest,) = re.findall(r"min/[^=]*= ([\d.]+)/", answer)
        assert 2 * delay <= float(shortest) < 2 * delay + 20
    finally:
        shell("kokofast destroy iridium.json")
