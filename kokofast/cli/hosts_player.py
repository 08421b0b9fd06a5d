"""How a playbook is played for a command: its stages, its signals, and the hosts of a file."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Any

from kokofast.cli.command import FAILED, INVALID, CommandError
from kokofast.cli.progress import Bar

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sized
    from typing import Protocol

    from kokofast.hosts.ansible import Answer, Play
    from kokofast.hosts.outcome import HostError
    from kokofast.hosts.places import Location
    from kokofast.splitting.split import Split
    from kokofast.topology.model import Topology

    class Taker(Protocol):
        """Takes what the tasks of a playbook return."""

        @property
        def hosts(self) -> Sized:
            """Those that are known."""

        def take(self, answer: Answer) -> None:
            """Take what a task came to on a host."""


# Tasks of the playbooks and what their time counts as. Others install.
STAGES = {
    "Check": "check",
    "Wire": "wire",
    "Are all wired?": "wire",
    "Still wait": "wait",
    "Do all wait?": "wait",
    "Keep": "keep",
    "Take back": "rollback",
    "Nothing was kept": "rollback",
    "Not kept": "keep",
    "Remove": "delete",
    "Verify": "verify",
}


def inventory_of(topology: Topology) -> dict[str, Any]:
    """Return the inventory of a file's hosts. Raises CommandError."""
    from kokofast.hosts.inventory import inventory
    from kokofast.topology.problems import TopologyError

    try:
        return inventory(topology.hosts.values())
    except TopologyError as error:
        raise CommandError(INVALID, *topology.in_order(error.problems)) from None


def find(error: HostError, whole: Split) -> Location | None:
    """Return where in the user's file is what a host calls wrong; None if that is no place of its part."""
    from kokofast.hosts.places import locate

    if not error.source:
        return None
    return locate(error.source, whole.parts[error.host].tree(), whole.topology)


class Caught:
    """A block in which signals are noted, each but those that were ignored before."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Caught:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _take(self, number: int, _: object) -> None:
        self.names.append(signal.Signals(number).name)


class Player:
    """A playbook that is played: takers get what its tasks return, and know the hosts."""

    def __init__(self, options: argparse.Namespace, taker: Taker, began: float) -> None:
        self._options = options
        self._taker = taker
        self._seconds: dict[str, float] = {}
        self._last = began
        self.signals: list[str] = []

    def end_stage(self, name: str) -> None:
        """Add the time since the last stage to this one."""
        now = time.perf_counter()
        self._seconds[name] = self._seconds.get(name, 0.0) + now - self._last
        self._last = now

    def seconds(self) -> dict[str, float]:
        """Return the time of each stage, and of all."""
        found = {**self._seconds, "total": sum(self._seconds.values())}
        return {stage: round(value, 6) for stage, value in found.items()}

    def play(self, this: Play) -> None:
        """Play it. Raises CommandError if Ansible did not get as far as to a host."""
        from kokofast.hosts.ansible import AnsibleError, play

        stage, last, asked = "start", "start", 0
        with Bar(self._options.quiet or self._options.format == "json", {}) as progress:

            def begin(task: str) -> None:
                nonlocal stage, last, asked
                last = stage if asked else last  # a task that was skipped everywhere has no time of its own
                self.end_stage(last)
                stage, asked = STAGES.get(task, "install"), 0

            def take(answer: Answer) -> None:
                nonlocal asked
                self._taker.take(answer)
                asked += 1
                if progress is not None:
                    progress(stage, asked, len(self._taker.hosts))

            try:
                with Caught() as caught:
                    play(this, begin, take, lambda: bool(caught.names))
            except AnsibleError as error:
                raise CommandError(FAILED, str(error)) from None
            self.signals = caught.names
        self.end_stage(stage if asked else last)
