"""pyroute2, the usual netlink library of Python programs; in one process."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from bench.contender import Contender, plain, write
from bench.scenario import Scenario

PROGRAM = Path(__file__).with_name("links_pyroute2.py")


class Pyroute2(Contender):
    """links_pyroute2.py, as a whole process."""

    name = "pyroute2"
    estimate = 30.0

    def missing(self) -> str | None:
        found = importlib.util.find_spec("pyroute2")
        return None if found else "no pyroute2 in this interpreter (pip install pyroute2)"

    def up(self, scenario: Scenario, directory: Path) -> list[str]:
        file = write(directory / "pyroute2.links", plain(list(scenario.links())))
        return [sys.executable, str(PROGRAM), "up", file]

    def destroy(self, scenario: Scenario, directory: Path) -> list[str]:
        return [sys.executable, str(PROGRAM), "destroy", str(directory / "pyroute2.links")]
