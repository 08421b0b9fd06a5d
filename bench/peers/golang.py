"""A Go program of github.com/vishvananda/netlink, the library of koko and of container engines, in one process."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from bench.contender import Contender, plain, write
from bench.scenario import Scenario

SOURCE = Path(__file__).with_name("links.go")
GOPATH = Path("/usr/share/gocode")  # where Debian puts the sources of its Go packages
LIBRARY = GOPATH / "src/github.com/vishvananda/netlink"
PACKAGES = "golang-go golang-github-vishvananda-netlink-dev"


class Go(Contender):
    """links.go, as a whole process.

    Args:
        binary: The compiled program; None: it could not be compiled.
        goroutines: How many send requests.
    """

    def __init__(self, binary: Path | None, goroutines: int) -> None:
        self.binary = binary
        self.goroutines = goroutines
        self.name = f"go-{goroutines}"
        self.estimate = 20.0 if goroutines == 1 else 6.6

    def missing(self) -> str | None:
        return None if self.binary else f"no Go, or not its netlink library, here (apt-get install {PACKAGES})"

    def up(self, scenario: Scenario, directory: Path) -> list[str]:
        return self._command("up", write(directory / "go.links", plain(list(scenario.links()))))

    def destroy(self, scenario: Scenario, directory: Path) -> list[str]:
        return self._command("destroy", str(directory / "go.links"))

    def _command(self, action: str, file: str) -> list[str]:
        return [str(self.binary), "-goroutines", str(self.goroutines), action, file]

    @staticmethod
    def compile(directory: Path) -> Path | None:
        """Compile links.go into the directory; None when this machine cannot. It fetches nothing."""
        if shutil.which("go") is None or not LIBRARY.is_dir():
            return None
        binary = directory / "links-go"
        settings = {
            "GO111MODULE": "off",
            "GOPATH": str(GOPATH),
            "GOFLAGS": "",
            "CGO_ENABLED": "0",
            "GOTOOLCHAIN": "local",
        }
        done = subprocess.run(
            ["go", "build", "-o", str(binary), str(SOURCE)], check=False, env={**os.environ, **settings}, cwd=directory
        )
        return binary if done.returncode == 0 else None
