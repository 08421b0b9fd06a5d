"""A Go program of github.com/vishvananda/netlink, the library of koko and of container engines, in one process."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
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
        return build(str(SOURCE), directory / "links-go", [GOPATH]) if LIBRARY.is_dir() else None


def build(source: str, binary: Path, gopath: Sequence[Path]) -> Path | None:
    """Compile a Go program, without modules and so without a network; None when this machine cannot.

    Args:
        source: A file, or the import path of a package.
        binary: The program to write.
        gopath: Where packages are looked for.
    """
    if shutil.which("go") is None:
        return None
    settings = {
        "GO111MODULE": "off",
        "GOPATH": os.pathsep.join(map(str, gopath)),
        "GOFLAGS": "",
        "CGO_ENABLED": "0",
        "GOTOOLCHAIN": "local",
    }
    command = ["go", "build", "-o", str(binary), source]
    done = subprocess.run(command, check=False, env={**os.environ, **settings}, cwd=binary.parent)
    return binary if done.returncode == 0 else None
