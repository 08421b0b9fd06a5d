"""A sandbox as the library shows it."""

from __future__ import annotations

import copy
import os
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kokofast.api.calls import check_applied
from kokofast.api.checks import check_lab, check_timeout, check_topology
from kokofast.api.loading import load, loads
from kokofast.api.sandboxes import channel
from kokofast.api.sandboxes.helper import HELPER
from kokofast.api.sandboxes.process import Process, memory
from kokofast.engine.result import INVALID, Result, failure_of
from kokofast.engine.verify import DEFAULT_PATIENCE
from kokofast.host.namespaces import NETNS_DIR
from kokofast.host.sandbox import SandboxError
from kokofast.topology import Problem, model
from kokofast.topology.checks import check_for_sandbox
from kokofast.topology.node_kinds import NODES
from kokofast.topology.values import check_netns_name, quote

if TYPE_CHECKING:
    from kokofast.engine.inspect import SeenLink
    from kokofast.verification.ports import CheckedLink

LAB = "lab"


class Sandbox:
    """Namespaces of its own for labs, without root, which leave nothing: see sandbox().

    The program stays where it is. A lab of a sandbox may have the name of a lab of the machine. Several threads may use
    a sandbox; calls wait for each other. An exception that interrupts one, such as KeyboardInterrupt, ends the
    sandbox.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._processes: list[Process] = []
        self._nodes: dict[str, str | None] = {}  # by name: the path of its namespace
        self._labs = 0
        self._channel = HELPER.make_worker()
        try:
            refused = channel.receive(self._channel)[0]
        except BaseException as error:
            self._channel.close()
            if isinstance(error, (EOFError, OSError)):
                raise SandboxError("the sandbox cannot be made: its process ended, see standard error") from None
            raise
        if refused is not None:
            self._channel.close()
            raise refused

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the sandbox, with all that is in it: processes, namespaces and links."""
        for process in self._processes:
            process._control.close()
            if process.returncode is None:
                process.returncode = -9
        self._processes.clear()
        self._channel.close()

    def up(
        self,
        source: model.Topology | str | os.PathLike[str] | Mapping[str, object] | Sequence[object],
        *,
        name: str | None = None,
        **options: Any,
    ) -> Result:
        """Bring a lab up: a topology, the path of a file, or a dict or list as for loads(). Return what was done.

        Raises ApplyError when it cannot be brought up; otherwise as load(), loads() and apply().

        Args:
            source: The lab. Its namespaces are made.
            name: The lab's name, of what is no Topology; by default that in the data, that of the file, or "lab".
            options: Those of apply().
        """
        if isinstance(source, model.Topology):
            topology: model.Topology = source
        elif isinstance(source, (str, os.PathLike)):
            topology = load(source, name=name, create=True)
        else:
            if name is None and not (isinstance(source, Mapping) and "name" in source):
                self._labs += 1
                name = LAB if self._labs == 1 else f"{LAB}{self._labs}"
            topology = loads(source, name=name, create=True)
        result = self.apply(topology, **options)
        check_applied(result, keep_going=options.get("keep_going", False))
        return result

    def apply(
        self,
        topology: model.Topology,
        *,
        keep_going: bool = False,
        dry_run: bool = False,
        prune: bool = False,
        replace: bool = False,
    ) -> Result:
        """Make the sandbox match the topology, and return what was done. Missing namespaces are always made.

        keep_going, dry_run, prune and replace are those of kokofast.apply(). As there, refusals raise no exception.

        Raises:
            TypeError: An argument has another type.
            RuntimeError: The sandbox has ended.
        """
        check_topology(topology)
        problems: list[Problem] = []
        check_for_sandbox(topology.nodes.values(), lambda place, text: problems.append(Problem(place, text)))
        if problems:
            result = Result(topology.name, INVALID)
            result.errors = [failure_of(problem) for problem in topology.in_order(problems)]
            return result
        found: Result = self._ask(
            "apply", _sent(topology), keep_going=keep_going, dry_run=dry_run, prune=prune, replace=replace
        )
        _locate(found, topology)
        for node in topology.nodes.values():
            self._nodes[node.name] = f"{NETNS_DIR}/{node.target}" if NODES[node.kind].is_named else None
        return found

    def destroy(self, lab: str | model.Topology, *, force: bool = False) -> Result:
        """Remove a lab, given by its name or topology, from the sandbox, and return what was done.

        force is that of kokofast.destroy(). Raises TypeError, ValueError and RuntimeError as apply().
        """
        name = lab.name if isinstance(lab, model.Topology) else lab
        result: Result = self._ask("destroy", check_lab(name), force=force)
        return result

    def inspect(self, lab: str | None = None) -> list[SeenLink]:
        """Return the links of one lab of the sandbox, or of all. Raises TypeError and RuntimeError as apply()."""
        links: list[SeenLink] = self._ask("inspect", check_lab(lab))
        return links

    def verify(
        self, source: model.Topology | str | None = None, *, patience: float = DEFAULT_PATIENCE
    ) -> list[CheckedLink]:
        """Send frames over links of the sandbox, both ways, and return the links, each with what is wrong with it.

        source and patience are those of kokofast.verify(). Raises TypeError, ValueError and RuntimeError as apply().
        """
        given = _sent(check_topology(source)) if isinstance(source, model.Topology) else check_lab(source)
        check_timeout(patience, "patience")
        links: list[CheckedLink] = self._ask("verify", given, patience=patience)
        return links

    def run(
        self,
        node: str | None,
        command: Sequence[str | os.PathLike[str]],
        *,
        input: str = "",
        timeout: float | None = None,
        check: bool = False,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a node, or in the sandbox's own namespace (None), and return what it wrote.

        Args:
            node: The name of a node, or of a namespace.
            command: Its words; there is no shell.
            input: Its standard input.
            timeout: Seconds after which it is killed.
            check: Raise an error unless it exits with 0.
            env: Its environment, by default that of the program.
            cwd: Its directory, by default that of the program.

        Raises:
            subprocess.CalledProcessError: It exits with another code, and check is set.
            subprocess.TimeoutExpired: It was killed after timeout seconds.
            LookupError: There is no such node.
            OSError: It could not be started: FileNotFoundError and others.
        """
        with self.start(node, command, input=input, env=env, cwd=cwd) as process:
            try:
                code = process.wait(timeout)
            except subprocess.TimeoutExpired as expired:
                process.close()
                expired.output, expired.stderr = process.stdout, process.stderr  # type: ignore[assignment]
                raise
            finally:
                self._processes.remove(process)
            done = subprocess.CompletedProcess(process.args, code, process.stdout, process.stderr)
        if check:
            done.check_returncode()
        return done

    def start(
        self,
        node: str | None,
        command: Sequence[str | os.PathLike[str]],
        *,
        input: str = "",
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
    ) -> Process:
        """Start a command, and return at once.

        node, command, input, env and cwd are those of run(). Errors of the start are raised by Process.wait().

        Raises:
            TypeError: The command is a string.
            RuntimeError: The sandbox has ended.
        """
        if isinstance(command, (str, bytes)) or not command:
            raise TypeError(f"a command is a list of words, not {quote(command)}")
        words = [os.fspath(word) for word in command]
        namespace = None
        if node is not None:
            namespace = self._nodes[node] if node in self._nodes else f"{NETNS_DIR}/{check_netns_name(node)}"
        streams = [memory("stdin", input), memory("stdout"), memory("stderr")]
        ours, theirs = socket.socketpair()
        process = Process(words, ours, *streams[1:])
        environment = dict(os.environ if env is None else env)
        directory = os.getcwd() if cwd is None else os.path.abspath(cwd)
        with theirs, self._lock:
            try:
                arguments = (namespace, words, environment, directory)
                channel.send(self._channel, ("start", arguments, {}), [*streams, theirs.fileno()])
            except OSError:
                ours.close()
                raise RuntimeError("the sandbox has ended") from None
            finally:
                os.close(streams[0])
        self._processes.append(process)
        return process

    def _ask(self, name: str, *arguments: object, **options: object) -> Any:
        with self._lock:
            try:
                channel.send(self._channel, (name, arguments, options))
                answer = channel.receive(self._channel)[0]
            except (EOFError, OSError):
                raise RuntimeError("the sandbox has ended") from None
            except BaseException:  # the answer would be taken for that of the next call
                self.close()
                raise
        if isinstance(answer, Exception):
            raise answer
        return answer


def sandbox() -> Sandbox:
    """Make a sandbox: user, network, mount and pid namespaces of its own, for labs without root.

    It ends with the block, with close(), and with the program, however that ends. Only netns and host nodes can be in
    it; host is the sandbox's own namespace. Its calls block; from an event loop make them in a thread.

    Raises SandboxError when the system does not let users make one; the message says why.

    Examples:
        >>> with kokofast.sandbox() as sandbox:
        ...     sandbox.up({"links": [["a:eth0:10.0.0.1/24", "b:eth0:10.0.0.2/24"]]})
        ...     sandbox.run("a", ["ping", "-c1", "10.0.0.2"], check=True)
    """
    return Sandbox()


def _sent(topology: model.Topology) -> model.Topology:
    # A sandbox begins with nothing: all namespaces are made.
    nodes = {name: copy.copy(node) for name, node in topology.nodes.items()}
    for node in nodes.values():
        node.create = NODES[node.kind].is_named
    sent = model.Topology(topology.name, nodes, topology.links, topology.routing)
    sent.defaults = topology.defaults
    return sent


def _locate(result: Result, topology: model.Topology) -> None:
    """Set the positions of the errors of a run, which only this process knows."""
    located = {failure: Problem(failure.source, failure.message) for failure in result.errors}
    topology.in_order(located.values())
    for failure, problem in located.items():
        failure.position = problem.position
