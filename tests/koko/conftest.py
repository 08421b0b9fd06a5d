"""kokofast by koko's options, on real namespaces. What must not meet the machine's own interfaces runs in a namespace
that plays the machine ("here")."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence

import pytest

from tests.conftest import NamespaceFactory, ip, ip_json

KOKO = [sys.executable, "-m", "kokofast"]

PATIENCE = 30.0

Done = subprocess.CompletedProcess[str]


def inside(namespace: str, command: Sequence[str]) -> Done:
    """A command whose own network namespace is this named one; its exit code is the test's to check."""
    whole = ["ip", "netns", "exec", namespace, *command]
    return subprocess.run(whole, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)


def koko(here: str, *arguments: str) -> Done:
    """kokofast with these arguments, in the namespace here."""
    return inside(here, [*KOKO, *arguments])


def done(here: str, *arguments: str) -> str:
    """As koko(), and it must go well; returns what it said on standard error."""
    answer = koko(here, *arguments)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout == ""
    return answer.stderr


def ping(namespace: str, address: str, *options: str) -> None:
    answer = inside(namespace, ["ping", "-n", "-c", "1", "-W", "5", *options, address])
    assert answer.returncode == 0, answer.stdout + answer.stderr


def state(*namespaces: str) -> dict[str, object]:
    """All that `ip -d` and `tc` show of these namespaces, to be compared."""
    return {
        name: (
            ip_json(name, "address", "show"),
            inside(
                name, ["sh", "-c", "tc qdisc show; tc filter show dev lo ingress; tc filter show dev lo egress"]
            ).stdout,
        )
        for name in namespaces
    }


def make_here(netns: NamespaceFactory) -> str:
    """A namespace that plays the machine: it has a parent interface, up0, with 10.99.0.1/24."""
    name = netns("here")
    # Nothing in it changes by itself: no addresses of the kernel's own, and the states have settled.
    inside(name, ["sysctl", "-q", "net.ipv6.conf.default.disable_ipv6=1"])
    ip(name, "link", "add", "up0", "type", "veth", "peer", "name", "far0")
    for interface in ("lo", "up0", "far0"):
        ip(name, "link", "set", interface, "up")
    ip(name, "address", "add", "10.99.0.1/24", "dev", "up0")
    deadline = time.monotonic() + PATIENCE
    while {link["operstate"] for link in ip_json(name, "link", "show", "type", "veth")} != {"UP"}:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return name


@pytest.fixture
def here(netns: NamespaceFactory) -> str:
    """A namespace that plays the machine, see make_here()."""
    return make_here(netns)


@pytest.fixture
def pair(netns: NamespaceFactory) -> tuple[str, str]:
    """Two namespaces to connect."""
    first, second = netns("a"), netns("b")
    for name in (first, second):
        ip(name, "link", "set", "lo", "up")
    return first, second
