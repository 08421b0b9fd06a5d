"""Runs the programs of Ansible, with our collection and with a home that is removed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests import ROOT

ABOVE = ROOT / "kokofast" / "ansible"
COLLECTION = ABOVE / "ansible_collections" / "kokofast" / "lab"


def environment(home: Path) -> dict[str, str]:
    """For Ansible, and for what starts it."""
    return {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(ABOVE),
        "ANSIBLE_HOME": str(home),
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_PIPELINING": "true",
        "ANSIBLE_TIMEOUT": "60",  # of ssh, on a busy machine
        "LC_ALL": "C.UTF-8",
        "TMPDIR": str(home),  # what is killed leaves its folder
    }


def here(*command: str) -> list[str]:
    """A command in the namespaces of the tests."""
    return list(command)


def run_ansible(
    where: Callable[..., list[str]], program: str, *arguments: str, folder: Path
) -> subprocess.CompletedProcess[str]:
    """Run a program that is installed beside the interpreter. where() says where: here, or Host.command."""
    command = where(str(Path(sys.executable).with_name(program)), *arguments)
    return subprocess.run(
        command, env=environment(folder), cwd=folder, capture_output=True, text=True, timeout=240, check=False
    )


def says_unreachable(messages: str, host: str, address: str) -> bool:
    """Whether messages say that a host cannot be reached.

    Usually they have the reason that ssh gave. When ssh ends while Ansible still sends it the module, Ansible reports
    the broken pipe instead of that reason.
    """
    refused = f"ssh: connect to host {address} port 22: Connection refused"
    lost = f"Data could not be sent to remote host '{address}'"
    lines = [line for line in messages.splitlines() if line.startswith(f"kokofast: on {host}: cannot be reached: ")]
    return any(refused in line or lost in line for line in lines)
