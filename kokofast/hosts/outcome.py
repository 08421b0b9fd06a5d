"""What a playbook came to: on each host, and on all together."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

from kokofast.engine.result import Failure

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kokofast.hosts.ansible import Answer
    from kokofast.hosts.places import Location

HostStatus = Literal[
    "applied",
    "unchanged",
    "rolled_back",
    "partial",
    "invalid",
    "planned",
    "destroyed",
    "unasked",
    "waiting",
    "unreachable",
    "failed",
]
"""How it ended on a host: as of kokofast.Status, and

- "unasked": nothing was done there.
- "waiting": its links are made, and taken back if nobody confirms them.
- "unreachable": it did not answer, or not any more.
- "failed": kokofast could not be run there.
"""

# The tasks of our playbooks; others install.
CHECK, WIRE, WAIT, KEEP, REVERT, REMOVE = "Check", "Wire", "Still wait", "Keep", "Take back", "Remove"
SSH = re.compile(r"(?:via|over) ssh: ")  # what Ansible says of it comes before, what ssh says behind
SUMMARIES = ("Nothing was kept", "Not kept")  # these fail on every host when something failed on one


def why_lost(answer: Answer) -> str:
    """Return why a host cannot be reached, as ssh says it if it does."""
    return SSH.split(str(answer.found.get("msg", "")).strip())[-1]


class HostError:
    """An error on a host.

    Attributes:
        host: Its name.
        source: The place in the part of the host: ``$.links[3].mtu``; empty if there is none.
        message: A sentence.
        errno: The kernel's errno, if the kernel refused it.
        position: file:line:column, once the place is that in the user's file; else empty.
    """

    __slots__ = ("errno", "host", "message", "position", "source")

    def __init__(self, host: str, message: str, source: str = "", errno: int | None = None) -> None:
        self.host = host
        self.message = " ".join(message.split())
        self.source = source
        self.errno = errno
        self.position = ""

    def relocate(self, found: Location | None) -> None:
        """Set the place to that in the user's file; None: it has none."""
        if found is not None:
            self.source, self.position = found.place, found.position
            self.message = f"{found.what}: {self.message}"
        elif self.source:
            self.source, self.message = "", f"{self.source} of its part: {self.message}"

    def as_failure(self) -> Failure:
        """Return the error as all commands print it."""
        return Failure(self.source, f"on {self.host}: {self.message}", self.errno, self.position)

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON object; ``kokofast schema hosts``."""
        found = {"host": self.host, "source": self.source, "message": self.message, "errno": self.errno}
        return found | ({"position": self.position} if self.position else {})


class HostOutcome:
    """What a playbook came to on a host.

    Attributes:
        host: Its name.
        status: How it ended there.
        result: What kokofast printed there last: ``kokofast schema result``.
        steps: The plan of a dry run, a line each.
        errors: Why it failed.
    """

    def __init__(self, host: str) -> None:
        self.host = host
        self.status: HostStatus = "unasked"
        self.result: dict[str, Any] = {}
        self.steps: list[str] = []
        self.errors: list[HostError] = []

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON object, without the errors: those of all hosts are together."""
        kept = ("links", "namespaces", "seconds", "left", "notes", "plan")
        return {"status": self.status, **{key: self.result[key] for key in kept if key in self.result}}

    def take(self, answer: Answer, confirm_within: float) -> None:
        """Take the answer of a task. After confirm_within seconds a batch that is not confirmed takes all back."""
        if answer.state == "unreachable":
            self._lose(answer, confirm_within)
        elif answer.state == "failed" and answer.task == WAIT:
            why = f"its {confirm_within:g} seconds were nearly over before the last host was wired"
            self.errors.append(HostError(self.host, f"{why}; give more by --confirm-within"))
        elif answer.state == "failed" and answer.task == REVERT and "result" not in answer.found:
            self.status = "rolled_back"  # it waits no more: it has done so by itself
        elif answer.state == "failed":
            self._fail(answer)
        elif answer.found.get("waiting"):
            self.status = "waiting"
        elif answer.task in (CHECK, WIRE, KEEP, REVERT, REMOVE):
            self.steps = answer.found.get("diff", {}).get("prepared", "").splitlines()
            self.result = answer.found["result"]
            self.status = self.result["status"]

    def _lose(self, answer: Answer, confirm_within: float) -> None:
        message = f"cannot be reached: {why_lost(answer)}"
        if answer.task in (WIRE, WAIT, REVERT):
            message += f"; what was made there is taken back within {confirm_within:g} s, by the host itself"
        elif answer.task == KEEP:
            message += "; whether its links stay is not known: run deploy again"
        # The message of the task that lost it is the one that says why.
        if self.status != "unreachable":
            self.errors.append(HostError(self.host, message))
        self.status = "unreachable"

    def _fail(self, answer: Answer) -> None:
        result = answer.found.get("result")
        if isinstance(result, dict) and result.get("errors"):
            self.result = result
            self.status = result["status"]
            self.errors += [
                HostError(self.host, one["message"], one.get("source", ""), one.get("errno"))
                for one in result["errors"]
            ]
        elif answer.task in (CHECK, WIRE, WAIT, KEEP, REVERT, REMOVE) or not self.errors:
            self.status = "failed"
            self.errors.append(HostError(self.host, str(answer.found.get("msg", "the task failed")).strip()))


class Outcomes:
    """What a playbook came to on all hosts.

    Args:
        hosts: Their names, as far as they are known; others are added when they answer.
        confirm_within: After this many seconds a batch that is not confirmed takes all back by itself.
    """

    def __init__(self, hosts: Iterable[str], confirm_within: float = 0.0) -> None:
        self.hosts = {name: HostOutcome(name) for name in hosts}
        self._confirm_within = confirm_within
        self._tasks: set[str] = set()

    def take(self, answer: Answer) -> None:
        """Take what a task came to on a host."""
        self._tasks.add(answer.task)
        if answer.task not in SUMMARIES:
            self.hosts.setdefault(answer.host, HostOutcome(answer.host)).take(answer, self._confirm_within)

    def errors(self) -> list[HostError]:
        """Return the errors of all hosts."""
        return [error for outcome in self.hosts.values() for error in outcome.errors]

    def status(self) -> HostStatus:
        """Return the status of all hosts together."""
        found = {outcome.status for outcome in self.hosts.values()}
        for status in ("planned", "applied", "destroyed", "unchanged"):
            if status in found and found <= {status, "unchanged"}:
                return status
        if KEEP in self._tasks or REMOVE in self._tasks or "partial" in found:
            return "partial"
        # Before the first link is made, a host that refuses its part makes the whole file one that does not fit.
        return "invalid" if "invalid" in found and WIRE not in self._tasks else "rolled_back"
