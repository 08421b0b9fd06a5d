"""kokofast and all that it depends on in one folder, as the zipapp and the Debian package have it."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests import ROOT

# The C extensions are for one version of Python. The system's own is the one that all users of the system have.
PYTHON = "/usr/bin/python3"
# -I: neither the environment nor the user's folders say what is imported. -S: nor does what else is installed.
OPTIONS = "-IS"
# With the libraries that print the man page and the completions. Not "graph": igraph is under the GPL, and whoever
# hands on its compiled code has to hand on its source.
EXTRAS = "shell"
# What is in the packages, as it came from the index.
WHEELS = ROOT / "build" / "wheels"
# Scripts and data of the dependencies, and what pip writes about this installation, with paths of this machine.
LEFT_OUT = ("bin", "share", "*.dist-info/RECORD", "*.dist-info/REQUESTED", "*.dist-info/direct_url.json")


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Runs a command; its output. A failure ends the program."""
    try:
        done = subprocess.run([*map(str, command)], stdout=subprocess.PIPE, text=True, cwd=cwd, check=False)
    except FileNotFoundError as error:
        sys.exit(f"There is no {error.filename} here: install it (make setup installs all that this needs but git).")
    if done.returncode != 0:
        sys.exit(f"{done.stdout}{' '.join(map(str, command))}: failed with exit code {done.returncode}")
    return done.stdout


def start(folder: str) -> str:
    """The program that starts the kokofast of a folder."""
    return f"import sys\n\nsys.path.insert(0, {folder!r})\nfrom kokofast.__main__ import main\n\nmain()\n"


@dataclass(frozen=True)
class Licence:
    """A distribution in the bundle, and its licence."""

    name: str
    version: str
    licence: str
    texts: tuple[Path, ...]  # relative to the bundle


@dataclass(frozen=True)
class Bundle:
    folder: Path
    version: str  # of kokofast
    python: tuple[int, int]  # the version of Python that it is for
    suffix: str  # of its C extensions, which names the kind of machine, too

    @classmethod
    def install(cls, wheel: Path, folder: Path) -> Bundle:
        """Has pip install the wheel, and what it depends on, for the system's Python."""
        pip = (sys.executable, "-m", "pip", "--python", PYTHON, "--disable-pip-version-check")
        shutil.rmtree(WHEELS, ignore_errors=True)
        run(*pip, "wheel", "--quiet", "--wheel-dir", WHEELS, f"{wheel}[{EXTRAS}]")
        from_wheels = ("--no-index", "--find-links", WHEELS, "--no-compile")
        run(*pip, "install", "--quiet", *from_wheels, "--target", folder, f"{wheel}[{EXTRAS}]")
        for pattern in LEFT_OUT:
            for path in folder.glob(pattern):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        question = "import _imp, sys; print(*sys.version_info[:2], _imp.extension_suffixes()[0])"
        major, minor, suffix = run(PYTHON, "-c", question).split()
        return cls(folder, wheel.name.split("-")[1], (int(major), int(minor)), suffix)

    def copy_to(self, folder: Path) -> None:
        shutil.copytree(self.folder, folder)

    def kokofast(self, *arguments: str) -> str:
        """The output of a command of this kokofast."""
        return run(PYTHON, OPTIONS, "-B", "-c", start(str(self.folder)), *arguments)

    def licences(self) -> Iterator[Licence]:
        """Yields each distribution with its licence. One without a text of its licence ends the program."""
        for info in sorted(self.folder.glob("*.dist-info")):
            files = (path for path in sorted(info.rglob("*")) if path.is_file())
            words = ("licen", "copying", "notice")
            texts = [path.relative_to(self.folder) for path in files if path.name.lower().startswith(words)]
            if not texts:
                sys.exit(f"{info.name}: no text of the licence, which has to come with each copy")
            one = importlib.metadata.Distribution.at(info)
            licence = one.metadata["License-Expression"] or one.metadata["License"] or "see its text"
            yield Licence(one.metadata["Name"], one.version, licence.splitlines()[0], tuple(texts))
