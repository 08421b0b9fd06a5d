"""The Debian package: what is in it, and its life on a fresh system, from the first installation to the end."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.packages.conftest import the
from tests.packages.deb import DOCUMENTS, LIBRARY, SHELLS
from tests.packages.system import System
from tests.packages.test_packages import INSTALLING, MAIN_JOB, MAIN_JOB_DONE

COMMAND = "sudo apt install"
UNASKED = "apt-get install -q -y"


@pytest.fixture(scope="session")
def unpacked(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the package has, in a folder."""
    folder = tmp_path_factory.mktemp("unpacked") / "deb"
    subprocess.run(["dpkg-deb", "--raw-extract", the(packages, "*.deb"), folder], check=True)
    return folder


def test_everything_is_in_its_place(unpacked: Path, packages: Path) -> None:
    for path, shell in SHELLS.items():
        assert (unpacked / path).read_bytes() == (packages / f"kokofast.{shell}").read_bytes()
    page = gzip.decompress((unpacked / "usr/share/man/man1/kokofast.1.gz").read_bytes())
    assert page == (packages / "kokofast.1").read_bytes()
    changes = gzip.decompress((unpacked / DOCUMENTS / "changelog.Debian.gz").read_bytes()).decode()
    version = re.findall(r"^Version: (.*)$", (unpacked / "DEBIAN/control").read_text(), re.MULTILINE)
    assert re.findall(r"^kokofast \((.*)\) stable;", changes) == version
    modes = {path.stat().st_mode & 0o7777 for path in unpacked.rglob("*") if path.is_file()}
    assert modes == {0o644, 0o755}
    assert [path.name for path in (unpacked / "usr/bin").iterdir()] == ["kokofast"]


def test_every_licence_is_named_and_there(unpacked: Path) -> None:
    text = (unpacked / DOCUMENTS / "copyright").read_text()
    named = re.findall(r"^  /(\S+)$", text, re.MULTILINE)
    assert all((unpacked / path).stat().st_size for path in named)
    folders = {path.name for path in (unpacked / LIBRARY).glob("*.dist-info")}
    assert {path.split("/")[3] for path in named} == folders
    for name in ("kokofast", "msgspec", "trio", "grpcio"):
        assert re.search(rf"^{name} [0-9.]+: \S", text, re.MULTILINE), name


def older(unpacked: Path, folder: Path) -> Path:
    """The package as it was before: with another version, and a module that is no longer there."""
    tree = folder / "older"
    shutil.copytree(unpacked, tree)
    control = tree / "DEBIAN/control"
    control.write_text(re.sub(r"^Version: .*$", "Version: 0.0.1-1+py311", control.read_text(), flags=re.MULTILINE))
    (tree / LIBRARY / "kokofast/gone.py").write_text("")
    package = folder / "older.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, package], check=True)
    return package


def test_the_life_of_the_package(fresh_system: System, packages: Path, unpacked: Path, tmp_path: Path) -> None:
    system, package = fresh_system, the(packages, "*.deb")
    before = system.files()
    (script,) = re.findall(r"```bash\n(.*?)```", INSTALLING, re.DOTALL)
    assert script == f"{COMMAND} ./kokofast_*.deb\n"
    shutil.copy(older(unpacked, tmp_path), system.folder / "tmp")
    shutil.copy(package, system.folder / "tmp")

    system.output("sh", "-c", f"cd /tmp && {UNASKED} ./older.deb")
    assert any(path.startswith(f"/{LIBRARY}/kokofast/__pycache__/gone.") for path in system.files())
    system.output("sh", "-c", f"cd /tmp && {script.replace(COMMAND, UNASKED)}")
    installed = system.files()
    assert not [path for path in installed if "/gone." in path]
    sources = [path for path in installed if path.startswith(f"/{LIBRARY}/kokofast/") and path.endswith(".py")]
    assert len(sources) == len([path for path in installed if re.match(f"/{LIBRARY}/kokofast/.*\\.pyc$", path)])

    # The command ignores PYTHONPATH, and needs no byte code written: the user nobody may not write any.
    assert MAIN_JOB_DONE in system.output("sh", "-e", "-c", f"cd /tmp\nexport PYTHONPATH=/nowhere\n{MAIN_JOB}")
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    # Ubuntu lets users make no namespaces unless root allows it.
    restricted = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
    if not restricted.exists() or restricted.read_text().strip() == "0":
        command = ("kokofast", "batch", "/tmp/chain.json", "--sandbox", "--", "kokofast", "verify")
        assert MAIN_JOB_DONE in system.output(*nobody, *command)
    on_the_machine = "kokofast batch chain.json --create\nkokofast verify chain\nkokofast destroy chain.json\n"
    assert "20 links removed" in system.output("sh", "-e", "-c", f"cd /tmp\n{on_the_machine}")
    assert system.files() == installed

    system.output("apt-get", "purge", "-q", "-y", "kokofast")
    assert system.files() == before
    assert system.run("false").returncode == 1
    assert str(system.folder) not in Path("/proc/self/mountinfo").read_text()
