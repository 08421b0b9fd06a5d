"""kokofast's command line without the start of an interpreter, which takes a second in a guest.

A process that has everything imported forks for each run; the child is then what ``python -m kokofast`` would be: its
own arguments, environment, standard streams and exit status. Used by the fixture ``kokofast`` in the guest only.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from tests.vm.marker import ROOT

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


def serve(line: socket.socket) -> None:
    """Forks for each request until the other side is closed."""
    # What a batch imports in the end; containers' libraries stay out, as in a run without them.
    import kokofast.__main__
    import kokofast.cli.main
    import kokofast.engine.apply
    import kokofast.engine.destroy
    import kokofast.engine.mirror
    import kokofast.koko.command  # noqa: F401

    while True:
        request, fds = _receive(line)
        if not isinstance(request, dict):
            return
        child = os.fork()
        if child == 0:
            line.close()
            _become(request, fds)
        for fd in fds:
            os.close(fd)
        _, status = os.waitpid(child, 0)
        _send(line, os.waitstatus_to_exitcode(status))


def _become(request: dict[str, object], fds: list[int]) -> None:
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
    for fd in fds:
        os.close(fd)
    code = 1
    try:
        os.chdir(str(request["cwd"]))
        os.environ.clear()
        os.environ.update(request["env"])  # type: ignore[call-overload]
        sys.argv = ["kokofast", *request["arguments"]]  # type: ignore[misc]
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.stdin, sys.stdout, sys.stderr = (open(fd, mode, closefd=False) for fd, mode in enumerate(("r", "w", "w")))  # noqa: SIM115
        from kokofast.__main__ import main

        code = main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(code)


class Warm:
    """The warm process. run() is one run of kokofast; not for two threads at a time."""

    def __enter__(self) -> Self:
        self._line, theirs = socket.socketpair()
        program = "import socket; from tests.vm.warm import serve; serve(socket.socket(fileno=0))"
        with theirs:
            self._process = subprocess.Popen([sys.executable, "-c", program], stdin=theirs.fileno(), cwd=ROOT)
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
            assert isinstance(code, int), "the warm process is gone"
            said = []
            for file in (out, err):
                file.seek(0)
                said.append(file.read().decode())
        return subprocess.CompletedProcess(["kokofast", *arguments], code, *said)
