"""The worker of a sandbox: the first process of its pid namespace, which does what the program asks for."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import traceback
from contextlib import closing
from typing import TYPE_CHECKING, Any, NoReturn

from kokofast.api.sandboxes import channel
from kokofast.drivers.inline import InlineDriver, drive
from kokofast.engine.apply import apply
from kokofast.engine.destroy import destroy
from kokofast.engine.inspect import inspect
from kokofast.engine.survey import DEFAULT_RUNTIME_TIMEOUT
from kokofast.engine.verify import verify
from kokofast.host import libc
from kokofast.host.kernel import kernel_for
from kokofast.host.sandbox import SandboxError, enter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kokofast.engine.inspect import SeenLink
    from kokofast.engine.result import Result
    from kokofast.topology.model import Topology
    from kokofast.verification.ports import CheckedLink

NO_NODE, NO_COMMAND, ENDED = "no node", "no command", "ended"


def work(descriptor: int, helper: int) -> NoReturn:
    """Be the worker of a new sandbox, until the program closes its end of the channel."""
    code = 1
    try:
        libc.die_with_parent(signal.SIGKILL)
        if os.getppid() == helper:
            requests = socket.socket(fileno=descriptor)
            try:
                enter()
            except SandboxError as error:
                channel.send(requests, error)
            else:
                channel.send(requests, None)
                _serve(requests)
            code = 0
    except (EOFError, OSError):  # the program is gone
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _serve(requests: socket.socket) -> None:
    while True:
        (name, arguments, options), descriptors = channel.receive(requests)
        with contextlib.suppress(ChildProcessError):  # the first process of a pid namespace inherits all orphans
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if name == "start":
            if os.fork() == 0:
                requests.close()
                _run(*arguments, *descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
            continue
        answer: object
        try:
            answer = JOBS[name](*arguments, **options)
        except Exception as error:
            answer = error
        channel.send(requests, answer)


def _apply(topology: Topology, **options: Any) -> Result:
    with closing(kernel_for(len(topology.nodes))) as kernel:
        return drive(apply(topology, InlineDriver(), kernel, exclusive=False, **options))


def _destroy(lab: str | None, **options: Any) -> Result:
    with closing(kernel_for(0)) as kernel:
        return drive(destroy(lab, InlineDriver(), kernel, **options))


def _inspect(lab: str | None) -> list[SeenLink]:
    with closing(kernel_for(0)) as kernel:
        return drive(inspect(lab, InlineDriver(), kernel))


def _verify(source: Topology | str | None, **options: Any) -> list[CheckedLink]:
    with closing(kernel_for(0)) as kernel:
        return drive(verify(source, InlineDriver(), kernel, runtime_timeout=DEFAULT_RUNTIME_TIMEOUT, **options)).wires


JOBS: dict[str, Callable[..., object]] = {
    "apply": _apply,
    "destroy": _destroy,
    "inspect": _inspect,
    "verify": _verify,
}


def _run(
    namespace: str | None,
    command: Sequence[str],
    env: Mapping[str, str],
    cwd: str,
    stdin: int,
    stdout: int,
    stderr: int,
    status: int,
) -> NoReturn:
    """Run a command in a namespace, and tell the program how it ended. It ends with the program's handle."""
    try:
        with socket.socket(fileno=status) as control:
            pid = _spawn(control, namespace, command, env, cwd, (stdin, stdout, stderr))
            if pid is not None:
                for descriptor in (stdin, stdout, stderr):  # so that their ends show when the command closes them
                    os.close(descriptor)
                _attend(control, pid)
    finally:
        os._exit(0)


def _spawn(
    control: socket.socket,
    namespace: str | None,
    command: Sequence[str],
    env: Mapping[str, str],
    cwd: str,
    streams: tuple[int, ...],
) -> int | None:
    what = NO_NODE
    try:
        if namespace is not None:
            _enter_node(namespace)
        what = NO_COMMAND
        os.chdir(cwd)
        pid = os.posix_spawnp(
            command[0],
            list(command),
            env,
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(streams)],
            setsid=True,
            setsigmask=(),
            setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
        )
    except OSError as error:
        channel.send(control, (what, (error.errno, error.strerror, error.filename)))
        return None
    return pid


def _enter_node(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    libc.setns(fd, libc.CLONE_NEWNET)
    os.close(fd)
    # As ip netns exec: /sys/class/net has the interfaces of the namespace that mounted it.
    with contextlib.suppress(OSError):
        libc.unshare(libc.CLONE_NEWNS)
        libc.mount("sysfs", "/sys", "sysfs", libc.MS_NOSUID | libc.MS_NODEV | libc.MS_NOEXEC)


def _attend(control: socket.socket, pid: int) -> None:
    ended = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(ended, select.POLLIN)
    while ended not in (ready := [fd for fd, _ in poll.poll()]):
        if control.fileno() in ready:
            numbers = control.recv(1)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, numbers[0] if numbers else signal.SIGKILL)
            if not numbers:
                break
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(OSError):
        channel.send(control, (ENDED, code))
