"""The files of a release: what is in them, that they install, and that the main job then works."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import sys
import tarfile
import textwrap
import zipfile
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from kokofast import __version__
from tests import ROOT
from tests.packages.bundle import OPTIONS, PYTHON, Bundle, run
from tests.packages.conftest import the
from tests.packages.deb import build_deb, debian_version
from tests.packages.zipapp import build_zipapp
from tests.test_docs import INSTALL, private

INSTALLING = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
RELEASING = (ROOT / "docs" / "releasing.md").read_text(encoding="utf-8")
BUILD = "make packages\n"
# pip compiles what it installs, which takes as long as the rest.
QUICK = "unset PYTHONPATH\nexport PIP_NO_COMPILE=1 PIP_DISABLE_PIP_VERSION_CHECK=1\n"
# From what the build has got from the index, which is for the system's Python.
FROM_WHEELS = f'{QUICK}export PATH=/usr/bin:"$PATH" PIP_NO_INDEX=1 PIP_FIND_LINKS=%s/build/wheels\n'
CHAIN = "kokofast generate chain --links 20 > chain.json\n"
# The main job; that each link carries is seen in there.
MAIN_JOB = f"{CHAIN}kokofast batch chain.json --sandbox -- kokofast verify\n"
MAIN_JOB_DONE = "\n20 links: 20 ok\n"


def sources() -> set[str]:
    """The files that a wheel must have, from this checkout."""
    files = {path.relative_to(ROOT) for path in (ROOT / "kokofast").rglob("*") if path.is_file()}
    return {str(path) for path in files if "__pycache__" not in path.parts} - {"kokofast/cli/kokofast"}


def test_the_wheel_has_the_program_and_no_more(packages: Path) -> None:
    with zipfile.ZipFile(the(packages, "*.whl")) as wheel:
        names = set(wheel.namelist())
        info = f"kokofast-{__version__}.dist-info"
        assert {f"{info}/licenses/LICENSE", f"{info}/entry_points.txt", "kokofast/py.typed"} <= names
        script = f"kokofast-{__version__}.data/scripts/kokofast"
        assert wheel.read(script).startswith(b"#!python\n")  # which installers replace
    assert {name for name in names if not name.startswith(info)} == sources() | {script}


def test_the_sdist_makes_the_same_wheel_as_the_checkout(release: Path, packages: Path, tmp_path: Path) -> None:
    # That of the release is made from the sdist.
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(release)]
    subprocess.run(command, capture_output=True, timeout=120, check=True)
    wheel = the(packages, "*.whl")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(tmp_path / wheel.name) as other:
        assert one.namelist() == other.namelist()
        assert all(one.read(name) == other.read(name) for name in one.namelist())
    with tarfile.open(the(packages, "*.tar.gz")) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"README.md", "LICENSE", "CHANGELOG.md", "docs/install.md", "tests/run.py", "Makefile"} <= names
    assert not {name for name in names if name.split("/")[0] in ("dist", "build", ".venv", ".git")}


@pytest.mark.usefixtures("requires_root")
def test_the_release_checklist_works(release: Path, packages: Path) -> None:
    for before, language in re.findall(r"((?:.+\n)*)\n *```(\w+)\n", RELEASING):
        assert ("By hand" in before) == (language == "bash"), before
    script = textwrap.dedent("".join(re.findall(r"```sh\n(.*?)```", RELEASING, re.DOTALL)))
    pipx, _ = re.findall(r"```sh\n(.*?)```", INSTALLING, re.DOTALL)
    assert BUILD in script
    assert pipx.replace("./", "dist/") in script
    # pipx has a pip of its own, the newest one of the index.
    pip = "python3 -m venv build/pipx/shared\n"
    done = private(FROM_WHEELS % release + pip + script.replace(BUILD, ""), release, online=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert MAIN_JOB_DONE in done.stdout
    made = {path.suffix for path in packages.iterdir() if path.stat().st_size}
    assert made == {".whl", ".gz", ".pyz", ".deb", ".bash", ".zsh", ".fish", ".1"}


@pytest.mark.usefixtures("requires_root")
def test_the_commands_that_install_work(release: Path, packages: Path, tmp_path: Path) -> None:
    assert "pip install .\n" in INSTALL
    script = INSTALL.replace("install .\n", f"install {the(packages, '*.whl')}\n")
    done = private(f"{FROM_WHEELS % release}{script}PATH=$PWD/.venv/bin:$PATH\n{MAIN_JOB}", tmp_path, online=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert MAIN_JOB_DONE in done.stdout


@pytest.mark.usefixtures("requires_root")
def test_the_one_file_does_the_main_job_and_writes_nothing(packages: Path, tmp_path: Path) -> None:
    _, script = re.findall(r"```sh\n(.*?)```", INSTALLING, re.DOTALL)
    shutil.copy(the(packages, "*.pyz"), tmp_path)
    picture = "./kokofast-*.pyz graph chain.json --no-state -o chain.dot\n"
    done = private(f"umask 0\nexport HOME=$PWD TMPDIR=$PWD\n{script}{picture}", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert MAIN_JOB_DONE in done.stdout
    assert {path.suffix for path in tmp_path.rglob("*")} == {".pyz", ".json", ".dot"}


# Runs the file with another main().
EXTENSIONS = """
import fcntl, importlib, runpy, sys, zipfile
archive, found = sys.argv[1], []
sys.path.insert(0, archive)
import kokofast.__main__
def main():
    for name in zipfile.ZipFile(archive).namelist():
        if name.endswith(".so"):
            found.append(importlib.import_module(name.partition(".")[0].replace("/", ".")))
kokofast.__main__.main = main
runpy.run_path(archive, run_name="__main__")
for module in found:
    with open(module.__file__) as file:
        print(module.__name__, module.__file__, fcntl.fcntl(file, fcntl.F_GET_SEALS) & fcntl.F_SEAL_WRITE)
"""


def test_the_one_file_loads_its_extensions_from_memory(packages: Path) -> None:
    command = [PYTHON, OPTIONS, "-c", EXTENSIONS, str(the(packages, "*.pyz"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    names, files, sealed = zip(*(line.split() for line in done.stdout.splitlines()), strict=True)
    assert {"msgspec._core", "grpc._cython.cygrpc", "google._upb._message"} <= set(names), done.stderr
    assert all(file.startswith("/proc/self/fd/") for file in files)
    assert len(set(files)) == len(files)
    assert "0" not in sealed


def test_the_one_file_names_the_python_that_it_is_for(packages: Path, tmp_path: Path) -> None:
    other = tmp_path / "kokofast.pyz"
    with zipfile.ZipFile(the(packages, "*.pyz")) as archive, zipfile.ZipFile(other, "w") as changed:
        changed.writestr("__main__.py", archive.read("__main__.py"))
        changed.writestr("SUFFIX", ".cpython-310-x86_64-linux-gnu.so")
    done = subprocess.run([PYTHON, other, "-v"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"kokofast: {other} is for cpython-310-x86_64-linux-gnu, and {PYTHON}")
    assert done.stderr.endswith(" use the file for this Python, or install kokofast with pip\n")


@pytest.fixture
def small(tmp_path: Path) -> Bundle:
    """A bundle with one module and one C extension."""
    folder = tmp_path / "small"
    info = folder / "small-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Name: small\nVersion: 1\nLicense: MIT\n")
    (info / "LICENSE").write_text("do as you like\n")
    (folder / "small.py").write_text("print('a' in {'a', 'b', 'c', 'd'})\n")
    shutil.copy(msgspec._core.__file__, folder / "core.so")
    for name in ("1", "bash", "zsh", "fish"):
        (tmp_path / f"kokofast.{name}").write_text("a page\n")
    return Bundle(folder, "0.2.0rc1", (3, 11), ".so")


def test_builds_are_reproducible(small: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    built = []
    for zone, mask in (("UTC-3", 0o022), ("UTC+9", 0o077)):
        monkeypatch.setenv("TZ", zone)
        before = os.umask(mask)
        try:
            built.append([build(small, tmp_path).read_bytes() for build in (build_deb, build_zipapp)])
        finally:
            os.umask(before)
    assert built[0] == built[1]


def test_no_package_names_the_folder_where_it_was_built(release: Path, packages: Path) -> None:
    with zipfile.ZipFile(the(packages, "*.pyz")) as archive:
        for name in archive.namelist():
            assert str(release.parent).encode() not in archive.read(name), name
            assert not name.endswith(("/RECORD", "/direct_url.json"))


def test_versions_sort_as_those_of_python_do(small: Bundle) -> None:
    order = [("0.1.0", 13), ("0.2.0a1", 11), ("0.2.0rc1", 11), ("0.2.0", 11), ("0.2.0", 12), ("0.2.1", 11)]
    versions = [debian_version(replace(small, version=version, python=(3, minor))) for version, minor in order]
    assert versions[2] == "0.2.0~rc1-1+py311"
    for older, newer in itertools.pairwise(versions):
        subprocess.run(["dpkg", "--compare-versions", older, "lt", newer], check=True)


def test_a_distribution_without_its_licence_is_refused(small: Bundle) -> None:
    (small.folder / "small-1.dist-info" / "LICENSE").unlink()
    with pytest.raises(SystemExit, match=r"^small-1\.dist-info: no text of the licence"):
        list(small.licences())


def test_files_of_two_builds_are_not_mixed(tmp_path: Path) -> None:
    (tmp_path / "old.whl").write_text("")
    command = [sys.executable, "-m", "tests.packages", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    message = f"{tmp_path} is not empty: remove what is in it. A release has the files of one build.\n"
    assert (done.returncode, done.stderr) == (1, message)


def test_a_missing_program_is_named() -> None:
    with pytest.raises(SystemExit, match=r"^There is no dpkg-nothing here: install it"):
        run("dpkg-nothing")
    with pytest.raises(SystemExit, match=r"^yes\nsh -c .*: failed with exit code 3$"):
        run("sh", "-c", "echo yes; exit 3")
