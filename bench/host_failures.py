"""What a host that refuses costs: three failures of one host, each at full size.

Before and after each of them all hosts have the same interfaces and namespaces, the error names the host and the
cause, and the second deployment is complete.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from bench.host_lab import HostLab, Ran, check_same
from bench.links import WrongState
from bench.underlay import Host

CONFIRM_WITHIN = 60.0  # seconds after which a host that was lost has taken all back
POLL = 0.05


class Failure(NamedTuple):
    """A failure: what failed, after how many seconds that was said, and how long the second deployment took.

    ``recovered``: seconds from then until the lost host was as before, by itself; 0 where nothing was made.
    """

    what: str
    failed: float
    recovered: float
    second: float

    def __str__(self) -> str:
        by_itself = f", and the host was as before {self.recovered:.1f} s later" if self.recovered else ""
        return f"{self.what}: deploy fails after {self.failed:.1f} s{by_itself}; a second one takes {self.second:.1f} s"


def failures(lab: HostLab) -> Iterator[Failure]:
    """Yield each failure of the host in the middle. Raises WrongState, ContenderFailed."""
    for what, fail in FAILURES.items():
        before = lab.pictures()
        failed, recovered = fail(lab, before)
        check_same(before, lab.pictures(), what)
        second = lab.run("deploy").seconds
        lab.verify()
        lab.run("destroy")
        check_same(before, lab.pictures(), f"{what}, after destroy")
        yield Failure(what, failed, recovered, second)


def _unreachable(lab: HostLab, before: Mapping[str, str]) -> tuple[float, float]:
    host = lab.host_in_the_middle
    host.cut_off()
    try:
        ran = lab.start("deploy").end()
    finally:
        host.listen()
    check_error(ran, host.name, "cannot be reached")
    return ran.seconds, 0.0


def _name_taken(lab: HostLab, before: Mapping[str, str]) -> tuple[float, float]:
    host, number = lab.host_in_the_middle, lab.inside // 2
    with stranger(host, f"{host.name}n{number}", "right"):
        taken = lab.pictures()
        ran = lab.start("deploy").end()
        check_same(taken, lab.pictures(), "a name taken")
    link = f"{host.name}n{number}:right -- {host.name}n{number + 1}:left: "
    error = check_error(ran, host.name, link)
    if error["source"] != f"$.links[{lab.link_in_the_middle}]" or "already has" not in error["message"]:
        raise WrongState(f"a name taken: the error is {error}")
    return ran.seconds, 0.0


@contextmanager
def stranger(host: Host, node: str, ifname: str) -> Iterator[None]:
    """Keep a namespace of somebody else, with an interface of that name."""
    host.run("ip", "netns", "add", node)
    host.run("ip", "-n", node, "link", "add", ifname, "type", "bridge")
    try:
        yield
    finally:
        host.run("ip", "netns", "delete", node)


def _killed(lab: HostLab, before: Mapping[str, str]) -> tuple[float, float]:
    host = lab.host_in_the_middle
    running = lab.start("deploy", f"--confirm-within={CONFIRM_WITHIN:g}")
    while not running.is_over and len(host.run("ls", "/run/netns").split()) <= lab.inside // 2:
        time.sleep(POLL)
    host.cut_off()
    try:
        ran = running.end()
        others = {name: picture for name, picture in before.items() if name != host.name}
        check_same(others, lab.pictures(but=host), "sshd killed")
        check_error(ran, host.name, "cannot be reached")
        began = time.perf_counter()
        while not host.is_as(before[host.name]):
            if time.perf_counter() - began > 2 * CONFIRM_WITHIN:
                raise WrongState(f"sshd killed: {host.name} has not taken all back")
            time.sleep(1)
    finally:
        host.listen()
    return ran.seconds, time.perf_counter() - began


FAILURES: dict[str, Callable[[HostLab, Mapping[str, str]], tuple[float, float]]] = {
    "a host that cannot be reached": _unreachable,
    "a name that is taken on a host": _name_taken,
    "sshd of a host killed while it makes its links": _killed,
}


def check_error(ran: Ran, host: str, words: str) -> dict[str, Any]:
    """Return the error that names a host and a cause. Raises WrongState if there is none, or if it is not the first."""
    error: dict[str, Any] = (ran.found["errors"] or [{}])[0]
    if ran.code == 0 or error.get("host") != host or words not in error["message"] or host not in ran.messages:
        raise WrongState(f"a deployment that must fail on {host} ({words}): exit {ran.code}: {ran.messages[-1000:]}")
    return error
