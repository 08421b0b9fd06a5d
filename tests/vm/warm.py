"""kokofast's command line without the start of an interpreter, which takes a second in a guest.

A process that has everything imported is given one command line after another. Each has its own arguments,
environment and standard streams, and must leave the process as it was: same namespaces, no descriptor more. A sandbox,
which changes the process it is in, gets a child. Used by the fixture ``kokofast`` in the guest only; natively each run
is a process.
"""

from __future__ import annotations

import gc
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from tests import ROOT

LENGTH = 4  # bytes in front of each request and answer


def _receive(line: socket.socket) -> tuple[object, list[int]]:
    """The next message, None at the end, and the descriptors that came with it."""
    head, fds, _, _ = socket.recv_fds(line, LENGTH, 3)
    if not head:
        return None, []
    text = b""
    while len(text) < int.from_bytes(head, "big"):
        text += line.recv(1 << 16)
    return json.loads(text), fds


def _send(line: socket.socket, message: object, fds: Sequence[int] = ()) -> None:
    text = json.dumps(message).encode()
    socket.send_fds(line, [len(text).to_bytes(LENGTH, "big")], list(fds))
    line.sendall(text)


def serve(control: int) -> None:
    """Runs what is asked for on this descriptor until its other side is closed."""
    # What a batch imports in the end; containers' libraries stay out, as in a run without them.
    import kokofast.cli.main
    import kokofast.engine.apply
    import kokofast.engine.destroy
    import kokofast.koko.command
    import kokofast.ops.mirror  # noqa: F401

    gc.collect()
    gc.freeze()  # a child then shares what it does not change
    with socket.socket(fileno=control) as line:
        while True:
            request, fds = _receive(line)
            if not isinstance(request, dict):
                return
            code = _in_child(request, fds) if "--sandbox" in request["arguments"] else _here(request, fds)
            for fd in fds:
                os.close(fd)
            _send(line, code)


def _in_child(request: dict[str, Any], fds: list[int]) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = _run(request, fds)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _here(request: dict[str, Any], fds: list[int]) -> int:
    before = _shape()
    try:
        code = _run(request, fds)
    finally:
        gc.collect()
        gc.enable()
    assert _shape() == before, f"{request['arguments']}: {before} became {_shape()}"
    return code


def _shape() -> tuple[list[str], list[str]]:
    """What a run may not change of the process it is in: its descriptors and its namespaces."""
    namespaces = [os.readlink(f"/proc/thread-self/ns/{kind}") for kind in ("net", "mnt")]
    return sorted(os.listdir("/proc/self/fd")), namespaces


def _run(request: dict[str, Any], fds: list[int]) -> int:
    """One run, as __main__ does it, but for its end: that is the end of a process."""
    import kokofast.cli.main
    import kokofast.koko.command

    for number, fd in enumerate(fds):
        os.dup2(fd, number)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    arguments: list[str] = request["arguments"]
    sys.argv = ["kokofast", *arguments]
    sys.stdin, sys.stdout, sys.stderr = (open(fd, mode, closefd=False) for fd, mode in enumerate(("r", "w", "w")))  # noqa: SIM115
    gc.disable()
    try:
        if arguments and arguments[0].startswith("-") and not arguments[0].startswith("--"):
            return kokofast.koko.command.run(arguments)
        return kokofast.cli.main.run(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


class Warm:
    """The warm process. run() is one run of kokofast; not for two threads at a time."""

    def __enter__(self) -> Self:
        self._line, theirs = socket.socketpair()
        program = f"from tests.vm.warm import serve; serve({theirs.fileno()})"
        with theirs:
            command = [sys.executable, "-c", program]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], cwd=ROOT)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._line.close()
        self._process.wait(60)

    def run(
        self, arguments: Sequence[str], *, input: str, timeout: float, env: dict[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """As subprocess.run(), with the output as text."""
        with (
            tempfile.TemporaryFile() as given,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            given.write(input.encode())
            given.seek(0)
            request = {"arguments": list(arguments), "env": env, "cwd": os.getcwd()}
            _send(self._line, request, [file.fileno() for file in (given, out, err)])
            self._line.settimeout(timeout)
            code, _ = _receive(self._line)
            assert isinstance(code, int), "the warm process is gone: it has said why on standard error"
            said = []
            for file in (out, err):
                file.seek(0)
                said.append(file.read().decode())
        return subprocess.CompletedProcess(["kokofast", *arguments], code, *said)
