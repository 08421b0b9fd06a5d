"""The checks of doctor, by tables: facts and needs in, findings out."""

from __future__ import annotations

import dataclasses

import pytest

from kokofast.cli.doctor import summary
from kokofast.doctor.checks import CHECKS, diagnose
from kokofast.doctor.facts import Daemon, Facts, Finding
from kokofast.doctor.needs import Needs, needs_of
from kokofast.kinds import KINDS
from kokofast.topology import load

WORKING = (*KINDS, "netem", "tbf", "ipv6", "ethtool", "clsact", "prio", "matchall", "u32", "mirred")
ALL = frozenset(("CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_NET_BROADCAST"))
FOUND = Facts(
    kernel=dict.fromkeys(WORKING, ""),
    capabilities=ALL,
    limits={
        "user.max_net_namespaces": 1000,
        "user.max_user_namespaces": 1000,
        "fs.mount-max": 1000,
        "net.ipv4.neigh.default.gc_thresh3": 1024,
        "net.ipv6.neigh.default.gc_thresh3": 1024,
        "open files": 1024,
        "memory": 1 << 30,
        "pids.max": 500,
    },
    used={"fs.mount-max": 30, "user.max_net_namespaces": 500},
    writable={"/run/netns": True, "/run/kokofast": True},
    packages={"trio": ("0.30.1", "0.25"), "msgspec": ("0.18.6", "0.18")},
)
LAB = Needs("links.json", frozenset(("veth",)), links=100, namespaces=100)
USER = dataclasses.replace(FOUND, capabilities=frozenset(), is_root=False)
REFUSED = "the sandbox cannot be made: Operation not permitted; this system"


def with_limit(name: str, value: int | None, facts: Facts = FOUND) -> Facts:
    return dataclasses.replace(facts, limits={**facts.limits, name: value})


def without(*names: str) -> Facts:
    return dataclasses.replace(FOUND, kernel={**FOUND.kernel, **dict.fromkeys(names, "unknown")})


def found(facts: Facts, needs: Needs, check: str) -> Finding:
    (finding,) = (one for one in diagnose(facts, needs) if one.check == check)
    return finding


def test_where_nothing_lacks_all_is_ok() -> None:
    findings = diagnose(FOUND, LAB)
    assert {finding.state for finding in findings} == {"ok"}
    assert not any(finding.cure for finding in findings)
    assert len({finding.check for finding in findings}) == len(findings)


@pytest.mark.parametrize(
    ("facts", "needs", "check", "state", "needed", "cure"),
    [
        (without("vlan"), LAB, "vlan", "missing", False, "modprobe 8021q;"),
        (without("veth"), LAB, "veth", "missing", True, "modprobe veth;"),
        (
            without("netem"),
            dataclasses.replace(LAB, facilities=frozenset(("netem",))),
            "netem",
            "missing",
            True,
            "modprobe sch_n",
        ),
        (without("ethtool"), LAB, "ethtool", "missing", False, "CONFIG_ETHTOOL_NETLINK=y"),
        (without("matchall"), LAB, "mirror classifier", "ok", False, ""),
        (without("matchall", "u32"), LAB, "mirror classifier", "missing", False, "modprobe cls_matchall;"),
        (without("clsact"), dataclasses.replace(LAB, mirrors=True), "mirror qdisc", "warning", True, "sch_ingress"),
        (without("mirred"), dataclasses.replace(LAB, mirrors=True), "mirror action", "missing", True, "act_mirred"),
        (dataclasses.replace(FOUND, kernel={}, untested="x"), LAB, "kernel", "warning", True, "rights"),
        (USER, LAB, "CAP_NET_ADMIN", "missing", True, "sudo"),
        (USER, LAB, "CAP_SYS_PTRACE", "warning", False, "sudo"),
        (dataclasses.replace(USER, is_root=True), LAB, "CAP_SYS_ADMIN", "missing", True, "--cap-add SYS_ADMIN"),
        (
            dataclasses.replace(FOUND, writable={"/run/netns": False}, to_make=1),
            *(LAB, "/run/netns", "missing", True, "--cap-add DAC_OVERRIDE"),
        ),
        (dataclasses.replace(FOUND, writable={"/run/netns": False}), LAB, "/run/netns", "warning", False, "--cap-add"),
        (dataclasses.replace(USER, sandbox=REFUSED), LAB, "sandbox", "warning", False, "as root"),
        (
            with_limit("user.max_user_namespaces", 0, dataclasses.replace(USER, sandbox=REFUSED)),
            *(Needs(sandbox=True), "sandbox", "missing", True, "sysctl -w user.max_user_namespaces=15000"),
        ),
        (
            with_limit("kernel.apparmor_restrict_unprivileged_userns", 1, dataclasses.replace(USER, sandbox=REFUSED)),
            *(Needs(sandbox=True), "sandbox", "missing", True, "sysctl -w kernel.apparmor_restrict"),
        ),
        (FOUND, Needs(sandbox=True, not_in_sandbox=("web",)), "nodes", "missing", True, "leave out --sandbox"),
        (
            dataclasses.replace(FOUND, to_make=1000),
            *(LAB, "user.max_net_namespaces", "missing", True, "sysctl -w user.max_net_namespaces=4096"),
        ),
        (
            dataclasses.replace(FOUND, to_make=500),
            *(LAB, "user.max_net_namespaces", "warning", True, "sysctl -w user.max_net_namespaces=2048"),
        ),
        (dataclasses.replace(FOUND, to_make=499), LAB, "user.max_net_namespaces", "ok", True, ""),
        (
            dataclasses.replace(FOUND, copies=2, to_make=486),
            *(LAB, "fs.mount-max", "missing", True, "sysctl -w fs.mount-max=2048"),
        ),
        (dataclasses.replace(FOUND, copies=2, to_make=485), LAB, "fs.mount-max", "ok", True, ""),
        (dataclasses.replace(FOUND, private=True), LAB, "names in /run/netns", "warning", True, "rshared"),
        (with_limit("open files", 39), LAB, "open files", "missing", True, "ulimit -Hn 1024"),
        (with_limit("open files", 200), LAB, "open files", "warning", True, "ulimit -Hn 264"),
        (with_limit("open files", None), LAB, "open files", "ok", True, ""),
        (with_limit("pids.max", 63), LAB, "threads", "warning", True, "TasksMax"),
        (with_limit("pids.max", 0), LAB, "threads", "missing", True, "TasksMax"),
        (with_limit("memory", 50 << 20), LAB, "memory", "warning", True, "split"),
        (
            FOUND,
            *(dataclasses.replace(LAB, ends={"ipv6": 1025}), "net.ipv6.neigh.default.gc_thresh3", "warning", True),
            "sysctl -w net.ipv6.neigh.default.gc_thresh3=2048",
        ),
        (
            with_limit("net.ipv4.neigh.default.gc_thresh3", None),
            *(dataclasses.replace(LAB, ends={"ipv4": 2}), "net.ipv4.neigh.default.gc_thresh3", "warning", True),
            "on the machine: sysctl",
        ),
        (
            dataclasses.replace(FOUND, daemons=(Daemon("docker", "docker", "no such file", needed=True),)),
            *(LAB, "docker", "missing", True, "systemctl start docker"),
        ),
        (
            dataclasses.replace(FOUND, daemons=(Daemon("cri", "cri", "refused", needed=False),)),
            *(LAB, "cri", "warning", False, "systemctl start containerd"),
        ),
        (
            dataclasses.replace(FOUND, daemons=(Daemon("docker", "docker", "refused", True, "denied"),)),
            *(LAB, "docker", "missing", True, "group of the socket"),
        ),
        (
            dataclasses.replace(FOUND, daemons=(Daemon("docker", "docker", "far away", True, "network"),)),
            *(LAB, "docker", "warning", True, "--dry-run"),
        ),
        (
            dataclasses.replace(FOUND, packages={"trio": ("0.24.0", "0.25")}),
            *(LAB, "package trio", "missing", True, "pip install 'trio>=0.25'"),
        ),
        (
            dataclasses.replace(FOUND, packages={"grpcio": ("", "1.73")}),
            *(LAB, "package grpcio", "missing", True, "pip install 'grpcio>=1.73'"),
        ),
    ],
)
def test_what_lacks_is_found(facts: Facts, needs: Needs, check: str, state: str, needed: bool, cure: str) -> None:
    finding = found(facts, needs, check)
    assert (finding.state, finding.needed) == (state, needed)
    assert cure in finding.cure
    assert bool(finding.cure) == (state != "ok")


def test_a_sandbox_needs_neither_rights_nor_daemons() -> None:
    facts = dataclasses.replace(USER, daemons=(Daemon("docker", "docker", "no such file", needed=True),))
    assert all(finding.state == "ok" for finding in diagnose(facts, dataclasses.replace(LAB, sandbox=True)))


def test_limits_that_do_not_exist_are_passed_over() -> None:
    for needs in (LAB, Needs()):
        findings = diagnose(dataclasses.replace(FOUND, limits={}), needs)
        assert {finding.state for finding in findings} == {"ok"}


def test_what_a_file_needs() -> None:
    text = """{"nodes": {"p": {"pid": 1}, "c": {"docker": "web"}}, "links": [
        {"endpoints": ["a:e:10.0.0.1/24", "b:e:2001:db8::1/64"], "delay": "10ms"},
        {"endpoints": ["a:f", "b:f"], "rate": "1gbit"},
        {"endpoints": [{"node": "a", "interface": "g", "offload": false, "mirror": {"from": "e"}}, "p:g"]},
        {"type": "macvlan", "endpoint": "c:m", "parent": "up0"}]}"""
    needs = needs_of(load(text.encode(), filename="x.json"), "x.json", sandbox=True)
    assert needs.facilities == {"veth", "macvlan", "netem", "tbf", "ipv6", "ethtool"}
    assert needs.mirrors
    assert needs.processes
    assert needs.ends == {"ipv4": 1, "ipv6": 1}
    assert needs.links == 4
    assert needs.not_in_sandbox == ("p", "c")


def test_each_check_says_what_it_does() -> None:
    assert all(check.__doc__ for check in CHECKS)


@pytest.mark.parametrize(
    ("facts", "title", "line"),
    [
        (FOUND, "", "nothing that every lab needs is missing"),
        (
            without("netem", "vlan"),
            "",
            "nothing that every lab needs is missing; labs that use vlan, netem do not come up",
        ),
        (without("netem", "vlan"), "x.json", "nothing that x.json needs is missing"),
        (
            dataclasses.replace(FOUND, capabilities=frozenset()),
            "",
            "missing for every lab: CAP_NET_ADMIN, CAP_SYS_ADMIN",
        ),
    ],
)
def test_the_last_line(facts: Facts, title: str, line: str) -> None:
    assert summary(diagnose(facts, Needs(title)), title) == line
