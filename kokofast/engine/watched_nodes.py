"""The nodes of a watched lab: which have a namespace, which are waited for, and which are gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kokofast.topology.node_kinds import NODES

if TYPE_CHECKING:
    from collections.abc import Callable

    from kokofast.engine.result import Result
    from kokofast.engine.snapshot import Survey
    from kokofast.topology.model import Topology
    from kokofast.watching.judge import Judge
    from kokofast.watching.senses import Senses


class WatchedNodes:
    """Where the nodes of a topology are.

    Args:
        topology: The lab.
        senses: Watches the namespaces that were found.
        judge: Told which interfaces they have.
        say: Reports an event, by its name and fields.

    Attributes:
        waiting: Why a node has no namespace yet, by its name.
        gone: The nodes of processes that are not there.
        places: The namespaces of nodes: (path, identity) by the node's name.
    """

    def __init__(self, topology: Topology, senses: Senses, judge: Judge, say: Callable[..., None]) -> None:
        self.waiting: dict[str, str] = {}
        self.gone: set[str] = set()
        self.places: dict[str, tuple[str, tuple[int, int]]] = {}
        self._topology = topology
        self._senses = senses
        self._judge = judge
        self._say = say

    def end(self, name: str) -> None:
        """Take note that the process in a node's namespace has ended."""
        self.places.pop(name, None)  # it is in no namespace until a run finds it in one
        if NODES[self._topology.nodes[name].kind].is_process:
            self._give_up(name, "process {} has ended")

    def note(self, survey: Survey, result: Result) -> None:
        """Take note of which nodes a run found, and report what is new in that."""
        reasons = {problem.place: problem.message for problem in survey.problems}
        missing = set(survey.unresolved)
        messages = {error.source: error.message for error in result.errors}
        for name in missing:
            node = self._topology.nodes.get(name)
            if node is not None and NODES[node.kind].is_process and not self._senses.appeared([name]):
                self._give_up(name, "there is no process {}")
                continue
            place = node.place if node is not None else ""
            message = reasons.get(place) or messages.get(place) or "it is not there"
            message = message.removeprefix(f"node {name}: ")
            if name not in self.waiting:
                self._say("waiting", node=name, message=message)
            self.waiting[name] = message
        for name, number in survey.places.items():
            if self.waiting.pop(name, None) is not None:
                self._say("found", node=name)
            handle = survey.handles[number]
            if handle is not None:
                self.places[name] = survey.paths[name], handle.identity
        self._learn(survey)
        self._senses.attend(self.places)

    def _learn(self, survey: Survey) -> None:
        """Update the judge: which namespaces the nodes are in, and which interfaces these have."""
        nodes: dict[int, list[str]] = {}
        for name, (_, identity) in self.places.items():
            number = self._senses.number_of(identity)
            if number is not None:
                nodes.setdefault(number, []).append(name)
        for handle, namespace in zip(survey.handles, survey.observed, strict=True):
            number = self._senses.number_of(handle.identity) if handle is not None else None
            if number is not None:
                interfaces = namespace.interfaces.values() if namespace is not None else ()
                names = {interface.ifindex: interface.ifname for interface in interfaces}
                self._judge.learn(number, nodes.pop(number, ()), names)
        for number, names_of_nodes in nodes.items():
            self._judge.learn(number, names_of_nodes, {})

    def _give_up(self, name: str, why: str) -> None:
        """Leave a node alone whose process is not there: the number may be another process's soon."""
        if name not in self.gone:
            self.gone.add(name)
            message = f"{why.format(self._topology.nodes[name].target)}: the node is gone until the file is read again"
            self._say("waiting", node=name, message=message)
