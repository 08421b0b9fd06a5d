"""The hosts of a topology, as an inventory of Ansible."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from kokofast.topology.problems import Problem, TopologyError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kokofast.topology.model import Host

SUPERUSER = "root"
GROUPS = ("all", "ungrouped")  # that each inventory has


def inventory(hosts: Iterable[Host]) -> dict[str, Any]:
    """Return the inventory of hosts.

    Ansible reaches a host by its address unless its variables say otherwise, and becomes root there unless it logs in
    as root. Raises TopologyError for a host whose name Ansible cannot take.
    """
    hosts = list(hosts)
    taken = [host for host in hosts if host.name in GROUPS]
    if taken:
        words = "is the name of a group in Ansible; give the host another name"
        raise TopologyError(Problem(host.place, f"'{host.name}' {words}") for host in taken)
    return {"all": {"hosts": {host.name: _variables(host) for host in hosts}}}


def _variables(host: Host) -> dict[str, Any]:
    found: dict[str, Any] = {"ansible_host": host.address.text.partition("/")[0], **host.variables}
    user = found.get("ansible_user", SUPERUSER if os.geteuid() == 0 else None)
    if user != SUPERUSER:
        found.setdefault("ansible_become", True)
    return found
