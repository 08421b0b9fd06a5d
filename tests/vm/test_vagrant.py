"""The Vagrant lab: its files are sound. The machines themselves are for ``vagrant/test``."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import ROOT

VAGRANT = ROOT / "vagrant"


@pytest.mark.skipif(shutil.which("vagrant") is None, reason="vagrant is not installed, and not needed")
def test_the_vagrantfile_is_valid(tmp_path: Path) -> None:
    shutil.copy(VAGRANT / "Vagrantfile", tmp_path)
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "payload.tar").touch()
    done = subprocess.run(
        ["vagrant", "validate", "--ignore-provider"],
        cwd=tmp_path,
        env={**os.environ, "VAGRANT_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_scripts_can_be_run() -> None:
    for name in ("box", "test"):
        assert os.access(VAGRANT / name, os.X_OK), name
    done = subprocess.run(["bash", "-n", str(VAGRANT / "box")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ast.parse((VAGRANT / "test").read_text(encoding="utf-8"))


def test_both_files_know_the_machines_by_the_same_addresses() -> None:
    text = (VAGRANT / "Vagrantfile").read_text(encoding="utf-8")
    machines = dict(re.findall(r'"(\w+)" => "([0-9a-f]{12})"', text))
    script = (VAGRANT / "test").read_text(encoding="utf-8")
    addresses = dict(re.findall(r'"(\w+)": "([0-9a-f:]{17})"', script))
    assert machines == {name: address.replace(":", "") for name, address in addresses.items()}
    assert len(machines) == 2
