"""The files of a release, and a fresh system to install them on. Each is made once for all tests that use it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from tests.packages.system import NoSystemError, System
from tests.test_docs import checkout


def lacks_network(what: str) -> NoReturn:
    """Skips the test. On CI, a silent hole: fails it."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what}, and CI=true allows no skipping for lack of a network")
    pytest.skip(what)


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which `make packages` has run."""
    folder = checkout(tmp_path_factory.mktemp("release") / "k")
    done = subprocess.run(
        ["make", "packages", f"PYTHON={sys.executable}"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode != 0:
        probe = ["download", "--quiet", "--no-deps", "--dest", str(folder / "probe"), "sniffio"]
        if subprocess.run([sys.executable, "-m", "pip", *probe], timeout=600, check=False).returncode != 0:
            lacks_network("pip cannot get what kokofast depends on")
        pytest.fail(done.stdout + done.stderr)
    return folder


@pytest.fixture(scope="session")
def packages(release: Path) -> Path:
    """The folder with the files of a release."""
    return release / "dist"


def the(folder: Path, pattern: str) -> Path:
    """The one file of that pattern."""
    (path,) = folder.glob(pattern)
    return path


@pytest.fixture(scope="session")
def fresh_system(packages: Path, requires_root: None) -> Iterator[System]:
    """A system of this machine's distribution that has what the Debian package depends on, and nothing else."""
    with tempfile.TemporaryDirectory(prefix="kokofast-system-") as folder:
        try:
            yield System.install(Path(folder) / "root", the(packages, "*.deb"))
        except NoSystemError as error:
            lacks_network(str(error))
