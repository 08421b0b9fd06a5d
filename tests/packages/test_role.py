"""The role that installs kokofast on a host from the wheels of a release, without a network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.underlay import Underlay
from tests.hosts.ansible import run_ansible
from tests.packages.bundle import PYTHON

PLACES = {"kokofast_folder": "/run/opt/kokofast", "kokofast_link": "/run/kokofast-here", "kokofast_python": PYTHON}


@pytest.mark.usefixtures("requires_root")
def test_the_role_installs_from_a_folder_of_wheels(release: Path, tmp_path: Path) -> None:
    wheels = release / "build" / "wheels"
    tasks = [{"ansible.builtin.include_role": {"name": "kokofast.lab.install"}}]
    playbook = [{"hosts": "all", "gather_facts": False, "tasks": tasks}]
    (tmp_path / "play.json").write_text(json.dumps(playbook))
    with Underlay(1) as underlay:
        (host,) = underlay.hosts.values()
        variables = {"ansible_host": host.address, **underlay.variables(host), **PLACES, "kokofast_wheels": str(wheels)}
        (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": {host.name: variables}}}))
        command = underlay.controller.command
        changes = []
        for _ in range(2):
            arguments = ("-i", str(tmp_path / "hosts.json"), str(tmp_path / "play.json"))
            done = run_ansible(command, "ansible-playbook", *arguments, folder=tmp_path)
            assert done.returncode == 0, done.stdout + done.stderr
            changes.append(int(done.stdout.rpartition("changed=")[2].split()[0]))
        assert changes[0] >= 3
        assert changes[1] == 0
        script = f"{PLACES['kokofast_link']} generate chain --links 3 | {PLACES['kokofast_link']} batch - --create"
        assert host.run("sh", "-c", script).startswith("chain: applied, 3 links created")
