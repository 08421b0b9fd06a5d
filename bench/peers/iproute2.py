"""iproute2, the way a careful user scripts it, links made in place: a process a command, or a few with -batch."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from bench.contender import VETH, Contender, write
from bench.links import UPLINK, Link
from bench.scenario import Scenario

QUEUES = "numtxqueues 1 numrxqueues 1"
HOOKS = ("ingress", "egress")


def make(link: Link) -> tuple[str | None, str]:
    """Return (namespace, command that creates the link in place); None is the namespace of the caller."""
    a, b = link.a, link.b
    if link.tunnel is not None:
        where, remote, vni = link.tunnel
        kind = f"type vxlan id {vni} remote {remote} dstport 4789 dev {UPLINK}"
        return where, f"link add {a.interface} netns {a.namespace} {QUEUES} {kind}"
    assert b is not None
    peer = f"peer name {b.interface} netns {b.namespace} {QUEUES}"
    return None, f"link add {a.interface} netns {a.namespace} {QUEUES} type veth {peer}"


def bring_up(link: Link) -> list[tuple[str, str]]:
    """Return (namespace, command) of all that follows the creation."""
    return [
        (end.namespace, command)
        for end in link.ends
        for command in (f"link set {end.interface} up", f"address add {end.address}/31 dev {end.interface}")
    ]


def mirror(link: Link) -> list[str]:
    """Return the commands of tc for the namespace of the first end.

    The hooks of clsact share the tables of u32, so each has a priority of its own.
    """
    if not link.mirror:
        return []
    copy = f"u32 match u32 0 0 action mirred egress mirror dev {link.a.interface}"
    filters = [f"filter add dev lo {hook} pref {one} protocol all {copy}" for one, hook in enumerate(HOOKS, start=1)]
    return ["qdisc add dev lo clsact", *filters]


class Ip(Contender):
    """A process of ``ip`` for each command."""

    name = "ip"
    scenarios = VETH | {"chain-create", "vxlan", "mirror"}
    estimate = 56.0

    def missing(self) -> str | None:
        lacking = [tool for tool in ("ip", "tc") if shutil.which(tool) is None]
        return f"no {' and '.join(lacking)} here (apt-get install iproute2)" if lacking else None

    def up(self, scenario: Scenario, directory: Path) -> list[str]:
        script = [f"ip netns add {name}" for name in scenario.namespaces()] if scenario.creates else []
        for link in scenario.links():
            where, command = make(link)
            script.append(f"ip {command}" if where is None else f"ip -n {where} {command}")
            script += [f"ip -n {namespace} {command}" for namespace, command in bring_up(link)]
            script += [f"tc -n {link.a.namespace} {command}" for command in mirror(link)]
        return _shell(directory / "up.sh", script)

    def destroy(self, scenario: Scenario, directory: Path) -> list[str]:
        if scenario.creates:
            return _shell(directory / "destroy.sh", [f"ip netns delete {name}" for name in scenario.namespaces()])
        script = [f"ip -n {link.a.namespace} link delete {link.a.interface}" for link in scenario.links()]
        script += [f"tc -n {link.a.namespace} qdisc delete dev lo clsact" for link in scenario.links() if link.mirror]
        return _shell(directory / "destroy.sh", script)


class IpBatch(Ip):
    """One ``ip -batch`` makes all links, one ``ip -n NS -batch`` a namespace does the rest."""

    name = "ip-batch"
    estimate = 31.0

    def up(self, scenario: Scenario, directory: Path) -> list[str]:
        made: dict[str | None, list[str]] = {None: []}
        inside: dict[str, list[str]] = {}
        copied: dict[str, list[str]] = {}
        if scenario.creates:
            made[None] = [f"netns add {name}" for name in scenario.namespaces()]
        for link in scenario.links():
            where, command = make(link)
            made.setdefault(where, []).append(command)
            for namespace, command in bring_up(link):
                inside.setdefault(namespace, []).append(command)
            copied.setdefault(link.a.namespace, []).extend(mirror(link))
        script = []
        for number, (where, lines) in enumerate(made.items()):
            script += _batch("ip", where, lines, directory / f"links{number}")
        for where, lines in inside.items():
            script += _batch("ip", where, lines, directory / where)
        for where, lines in copied.items():
            script += _batch("tc", where, lines, directory / f"{where}.tc")
        return _shell(directory / "up.sh", script)

    def destroy(self, scenario: Scenario, directory: Path) -> list[str]:
        if scenario.creates:
            lines = [f"netns delete {name}" for name in scenario.namespaces()]
            return _shell(directory / "destroy.sh", _batch("ip", None, lines, directory / "gone"))
        inside: dict[str, list[str]] = {}
        for link in scenario.links():
            inside.setdefault(link.a.namespace, []).append(f"link delete {link.a.interface}")
        script = [
            one for where, lines in inside.items() for one in _batch("ip", where, lines, directory / f"{where}.gone")
        ]
        script += [f"tc -n {link.a.namespace} qdisc delete dev lo clsact" for link in scenario.links() if link.mirror]
        return _shell(directory / "destroy.sh", script)


def _batch(tool: str, where: str | None, lines: Sequence[str], file: Path) -> list[str]:
    if not lines:
        return []
    namespace = "" if where is None else f"-n {where} "
    return [f"{tool} {namespace}-batch {write(file, list(lines))}"]


def _shell(file: Path, script: list[str]) -> list[str]:
    return ["/bin/sh", "-e", write(file, script)]
