"""Labs on real namespaces: unique names, and destroyed whatever the test did."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from kokofast.cli.result_schema import schema as result_schema
from kokofast.host.kernel import Handle, LinuxKernel
from kokofast.wire.link import RTM_GETLINK
from kokofast.wire.message import Request
from tests.conftest import PREFIX, NamespaceFactory, RunKokofast, ip, namespaces
from tests.conftest import run as run

COMMAND = [sys.executable, "-m", "kokofast"]
PATIENCE = 30.0
# How often a test starts anew when the run was over before it could be interrupted.
ATTEMPTS = 10

Start = Callable[..., subprocess.Popen[str]]

RESULT = Draft202012Validator(result_schema())

_numbers = itertools.count()


def until(condition: Callable[[], object], what: str, patience: float = PATIENCE, pause: float = 0.002) -> None:
    """Waits for something that another process or the kernel does and tells nobody of."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {patience:.0f} s"
        time.sleep(pause)


def refused_by_the_kernel(node: str, ifname: str = "x", address: str = "2001:db8::1/64") -> dict[str, object]:
    """A link of which only the kernel finds out that it cannot be, when its interface is there: IPv6 needs an MTU of
    1280, and its parent, which is made here, leaves 1000."""
    if "narrow" not in ip(node, "-o", "link", "show"):
        # Without IPv6, which would make link-local addresses that are tentative for a while.
        peer = ("peer", "name", "narrow-peer", "mtu", "1000")
        ip(node, "link", "add", "narrow", "mtu", "1000", "up", "type", "veth", *peer)
        ip(node, "link", "set", "narrow-peer", "up")
        for name in ("narrow", "narrow-peer"):
            until(lambda name=name: "state UP" in ip(node, "link", "show", name), "it is up")  # type: ignore[misc]
    return {"type": "macvlan", "endpoint": f"{node}:{ifname}:{address}", "parent": f"{node}:narrow"}


def stand_still(process: subprocess.Popen[str]) -> bool:
    """Stops a process with all its threads (SIGSTOP); False when it has ended before."""
    process.send_signal(signal.SIGSTOP)
    if process.returncode is not None:
        return False
    # WNOWAIT: should it have ended, that is left for Popen to learn.
    found = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    return found is not None and found.si_code == os.CLD_STOPPED


def result_of(output: str) -> dict[str, Any]:
    """Parse what ``--format json`` printed, which must be as its schema says."""
    found: dict[str, Any] = json.loads(output)
    RESULT.validate(found)
    return found


class Lab:
    """A lab of a test: its name, its file, its namespaces."""

    def __init__(self, directory: Path, netns: NamespaceFactory, kokofast: RunKokofast) -> None:
        self.name = f"{PREFIX}lab{next(_numbers)}"
        self.file = str(directory / "links.json")
        self.netns = netns
        self.kokofast = kokofast

    def node(self, suffix: str) -> str:
        """A namespace that is there."""
        return self.netns(suffix)

    def new(self, suffix: str) -> str:
        """The name of a namespace that is not there yet."""
        return self.netns.reserve(suffix)

    def write(self, links: Sequence[object], **more: object) -> str:
        """The lab's file with these links."""
        Path(self.file).write_text(json.dumps({"name": self.name, "links": links, **more}))
        os.chmod(self.file, 0o644)  # other users read it in some tests, whatever the umask
        return self.file

    def batch(self, *arguments: str) -> dict[str, Any]:
        """Runs batch, which must go well, and returns its JSON result."""
        done = self.kokofast("batch", self.file, "--format", "json", *arguments)
        assert done.returncode == 0, done.stderr
        found = result_of(done.stdout)
        assert found["errors"] == []
        return found

    def inspect(self) -> list[dict[str, Any]]:
        done = self.kokofast("inspect", self.name, "--format", "json")
        assert done.returncode == 0 or "nothing of the lab" in done.stderr, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    def destroy(self) -> dict[str, Any]:
        done = self.kokofast("destroy", "--name", self.name, "--format", "json")
        assert done.returncode == 0, done.stderr
        return result_of(done.stdout)

    def chain(self, links: int, suffix: str = "r") -> list[str]:
        """Writes a chain between namespaces that are not there yet; returns their names."""
        names = [self.new(f"{suffix}{i}") for i in range(links + 1)]
        self.write(
            [
                {
                    "endpoints": [
                        f"{names[i]}:eth1:10.{i >> 8}.{i & 255}.0/31,2001:db8:{i:x}::/127",
                        f"{names[i + 1]}:eth0:10.{i >> 8}.{i & 255}.1/31,2001:db8:{i:x}::1/127",
                    ]
                }
                for i in range(links)
            ]
        )
        return names

    def bundle(self, links: int) -> tuple[str, str]:
        """Writes many links between two namespaces that are there; returns their names."""
        a, b = self.node("a"), self.node("b")
        at = [f"10.{i >> 8}.{i & 255}" for i in range(links)]
        self.write([{"endpoints": [f"{a}:e{i}:{at[i]}.0/31", f"{b}:e{i}:{at[i]}.1/31"]} for i in range(links)])
        return a, b


@pytest.fixture
def lab(tmp_path: Path, netns: NamespaceFactory, kokofast: RunKokofast) -> Iterator[Lab]:
    made = Lab(tmp_path, netns, kokofast)
    try:
        yield made
    finally:
        made.destroy()


def state(*names: str) -> str:
    """All that ``ip`` shows of these namespaces, to be compared byte for byte.

    But for "tentative", which the kernel takes away by itself after a second or two. A carrier that has come or gone
    it acts on up to a second later (net/core/link_watch.c): that is waited for.
    """
    shown = "link show\naddress show\nroute show\n"
    patience = time.monotonic() + 3
    while True:
        text = "\n".join(f"{name}:\n{ip(name, '-d', '-batch', '-', input=shown)}" for name in names)
        if time.monotonic() > patience or not any(map(_is_pending, re.findall(r"<([A-Z0-9,_-]+)> mtu", text))):
            return text.replace(" tentative", "")
        time.sleep(0.01)


def _is_pending(flags: str) -> bool:
    """Whether an interface that is up shows a carrier and none, or neither: ip(8) makes NO-CARRIER of what the kernel
    has acted on, LOWER_UP is the carrier itself."""
    found = flags.split(",")
    return "UP" in found and ("LOWER_UP" in found) is ("NO-CARRIER" in found)


def are_unique(*names: str) -> bool:
    """Whether the kernel has found out that no IPv6 address of these namespaces is anyone else's."""
    return not any("tentative" in ip(name, "address", "show") for name in names)


def answers(namespace: str, address: str) -> bool:
    """Whether there is an answer to a packet, within a second."""
    return run(["ip", "netns", "exec", namespace, "ping", "-c", "1", "-W", "1", address]).returncode == 0


def ping(namespace: str, address: str) -> None:
    """A packet there and back, within five seconds: one a second until it is answered, as ping(8) does with -w."""
    done = run(["ip", "netns", "exec", namespace, "ping", "-c", "1", "-w", "5", address])
    assert done.returncode == 0, done.stdout + done.stderr


class Watch:
    """Counts the interfaces of a namespace fast enough to hit a command in the middle."""

    def __init__(self, name: str) -> None:
        self.kernel = LinuxKernel(16)
        (handle,) = self.kernel.open_all([f"/run/netns/{name}"])
        assert isinstance(handle, Handle)
        self.handle = handle

    def count(self) -> int:
        with self.kernel.using([self.handle]):
            return len(self.kernel.dump(self.handle, Request(RTM_GETLINK, {})))

    def close(self) -> None:
        self.kernel.close()


@pytest.fixture
def watch() -> Iterator[Callable[[str], Watch]]:
    """``watch(name)``: see Watch."""
    made: list[Watch] = []

    def start(name: str) -> Watch:
        made.append(Watch(name))
        return made[-1]

    yield start
    for one in made:
        one.close()


def present(names: Sequence[str]) -> int:
    """How many of these namespaces have their name."""
    return len(namespaces() & set(names))


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a command in the background; killed at the end if it still runs."""
    running: list[subprocess.Popen[str]] = []

    def begin(*command: str, **options: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(command, text=True, stdin=subprocess.DEVNULL, **options)
        running.append(process)
        return process

    yield begin
    for process in running:
        end(process)


def end(process: subprocess.Popen[str]) -> None:
    """Kill a process with all its descendants, which may hold its standard streams.

    One that has children is told to end first: a test run cleans up.
    """
    if process.poll() is None and descendants_of(process.pid):
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
    if process.poll() is None:
        for pid in descendants_of(process.pid):
            print(f"killed: {what_it_does(pid)}")  # pytest shows it of a test that fails
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    process.kill()
    process.communicate(timeout=60)


def children_of(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def descendants_of(pid: int) -> list[int]:
    found = children_of(pid)
    return [*found, *(one for child in found for one in descendants_of(child))]


def what_it_does(pid: int) -> str:
    """A process's command, its state, and the kernel function in which it sleeps."""
    try:
        directory = Path(f"/proc/{pid}")
        command = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        state = (directory / "stat").read_text().rpartition(")")[2].split()[0]
        return f"{pid} {command[:200]}: {state} {(directory / 'wchan').read_text()}"
    except OSError:
        return f"{pid} (has ended)"


def batch(start: Start, lab: Lab, *arguments: str, command: Sequence[str] = COMMAND) -> subprocess.Popen[str]:
    return start(*command, "batch", lab.file, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def kill_midway(lab: Lab, start: Start, begun: Callable[[], object], *arguments: str) -> None:
    """Kill a batch with SIGKILL when ``begun()`` holds and a dry run finds more to do.

    A batch that is over before that is destroyed, and another one started. With one processor a batch may not let
    anyone look before it is over: then the next ones end themselves, each after more changes.
    """
    by_the_clock: list[int | None] = [None] * 3
    by_changes = [int(32 * 1.4**n) for n in range(14)]  # to 2,500
    for changes in [*by_the_clock, *by_changes]:
        command = COMMAND if changes is None else [sys.executable, "-m", "tests.kernel.dying", str(changes)]
        process = batch(start, lab, *arguments, command=command)
        if changes is not None:
            process.communicate()
        else:
            until(lambda process=process: begun() or process.poll() is not None, "the batch has begun")  # type: ignore[misc]
            stand_still(process)
        if begun() and lab.batch("--dry-run", *arguments)["status"] == "planned":
            process.kill()
            process.communicate()
            assert process.returncode == -signal.SIGKILL
            return
        process.kill()
        process.communicate()
        lab.destroy()
    pytest.fail("all batches were done before they could be killed")


def identity(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


@pytest.fixture
def without(tmp_path: Path) -> Iterator[Callable[..., None]]:
    """``without("sch_ingress")``: the guest's kernel neither has these modules nor loads them, until the test ends."""
    file = Path("/etc/modprobe.d") / f"{tmp_path.name}.conf"

    def forbid(*modules: str) -> None:
        file.parent.mkdir(exist_ok=True)
        file.write_text("".join(f"install {name} /bin/false\n" for name in modules))
        for name in modules:
            run(["modprobe", "-r", name])
        loaded = {line.split()[0] for line in Path("/proc/modules").read_text().splitlines()}
        assert not loaded & set(modules), "cannot be unloaded"

    yield forbid
    file.unlink(missing_ok=True)
