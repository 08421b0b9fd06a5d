"""What `hosts verify` has found: on each host, and of each link that fails on one or on both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from kokofast.hosts.outcome import HostError, why_lost
from kokofast.topology.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kokofast.hosts.ansible import Answer
    from kokofast.topology.model import Link, Topology

CheckState = Literal["ok", "failed", "unreachable", "unasked"]
"""What is known of a host: "failed" if a link failed, or could not be looked at."""

VERIFY = "Verify"  # the task of the playbook
ENDS = " -- "


class CheckedHost:
    """What was found on a host.

    Attributes:
        host: Its name.
        state: What is known of it.
        counts: Its links by their state; one to another host counts on both.
        failed: Links that failed, as ``kokofast verify --format json`` prints them.
        errors: Why links could not be looked at.
    """

    def __init__(self, host: str) -> None:
        self.host = host
        self.state: CheckState = "unasked"
        self.counts: dict[str, int] = {}
        self.failed: list[dict[str, Any]] = []
        self.errors: list[HostError] = []

    def take(self, answer: Answer) -> None:
        """Take the answer of a task."""
        found = answer.found
        if answer.state == "unreachable":
            self.state = "unreachable"
            self.errors.append(HostError(self.host, f"cannot be reached: {why_lost(answer)}"))
        elif answer.task == VERIFY and "counts" in found:
            self.state = "ok" if answer.state == "ok" else "failed"
            self.counts = found["counts"]
            self.failed = found["links"]
            self.errors += [
                HostError(self.host, one["message"], one.get("source", ""), one.get("errno"))
                for one in found.get("errors", ())
            ]
            if self.state == "failed" and not self.failed and not self.errors:
                self.errors.append(HostError(self.host, str(found.get("msg", ""))))
        elif answer.state == "failed":
            self.state = "failed"
            self.errors.append(HostError(self.host, str(found.get("msg", "the task failed")).strip()))

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {"state": self.state, **({"links": self.counts} if self.counts else {})}


class FailedLink:
    """A link that failed, in the words of the user's file if there is one.

    Attributes:
        title: Its ends.
        kind: Its type on the host.
        source: Its place in the file; "" without a file.
        position: file:line:column of it.
        problems: (host, check, message).
    """

    def __init__(self, title: str, kind: str, source: str = "", position: str = "") -> None:
        self.title = title
        self.kind = kind
        self.source = source
        self.position = position
        self.problems: list[tuple[str, str, str]] = []

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON object."""
        found: dict[str, Any] = {"link": self.title, "type": self.kind, "source": self.source}
        if self.position:
            found["position"] = self.position
        problems = [{"host": host, "check": check, "message": message} for host, check, message in self.problems]
        return {**found, "problems": problems}


class Checks:
    """What was found on all hosts. hosts are their names, as far as they are known."""

    def __init__(self, hosts: Iterable[str]) -> None:
        self.hosts = {name: CheckedHost(name) for name in hosts}

    def take(self, answer: Answer) -> None:
        """Take what a task came to on a host."""
        self.hosts.setdefault(answer.host, CheckedHost(answer.host)).take(answer)

    def ok(self) -> bool:
        """Return whether no link of any host failed, and all could be looked at."""
        return bool(self.hosts) and all(host.state == "ok" for host in self.hosts.values())

    def errors(self) -> list[HostError]:
        """Return the errors of all hosts."""
        return [error for host in self.hosts.values() for error in host.errors]

    def failed(self, topology: Topology | None) -> list[FailedLink]:
        """Return the links that failed, with what both hosts say of one between them; by their place in the file."""
        links = {} if topology is None else _by_end(topology)
        found: dict[tuple[str, str], FailedLink] = {}
        for host in self.hosts.values():
            for one in host.failed:
                link = links.get(one["link"].split(ENDS)[0])
                if link is None or topology is None:
                    key, fresh = (host.host, one["link"]), FailedLink(one["link"], one["type"])
                else:
                    (problem,) = topology.in_order([Problem(link.place, "")])
                    title = ENDS.join(f"{end.node}:{end.ifname}" for end in link.ends)
                    key, fresh = ("", link.place), FailedLink(title, one["type"], link.place, problem.position)
                problems = found.setdefault(key, fresh).problems
                problems += [(host.host, each["check"], each["message"]) for each in one["problems"]]
        order = {} if topology is None else {link.place: number for number, link in enumerate(topology.links)}
        return sorted(found.values(), key=lambda one: order.get(one.source, len(order)))


def _by_end(topology: Topology) -> dict[str, Link]:
    return {f"{end.node}:{end.ifname}": link for link in topology.links for end in link.ends}
