"""A User-mode Linux guest: another kernel as an ordinary process, on a copy-on-write view of this machine's root.

``with Guest() as guest: guest.run(["ip", "link"])``. A guest is its process group and one private folder; closing it
ends the first and removes the second, whatever happened. Nothing here knows of pytest or kokofast.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple, Self

INIT = Path(__file__).resolve().with_name("init.sh")
SHIM = Path(__file__).resolve().with_name("xstate.c")
MODULES = Path("/usr/lib/uml/modules")
EXCHANGE = "/run/exchange"  # the one folder that guest and host both write to, as the guest sees it

BOOT_SECONDS = 120.0  # takes 2 to 4 when the machine is idle
POWER_OFF_SECONDS = 10.0
LOOK_SECONDS = 0.1  # how often the output of a running command is looked at

# What init's end by SIGSEGV most likely means.
_REGISTERS = (
    "the guest's kernel cannot restore this processor's register state, which is larger than it knows (AMX); "
    f"{SHIM.name} completes it: unset KOKOFAST_GUEST_SHIM"
)

# "out" or "err", and what the command wrote to it since the last time.
OnOutput = Callable[[str, bytes], None]

_processors = itertools.count()


class GuestError(Exception):
    """The guest did not do what a machine does: it did not boot, or it is gone. Says what its console said."""


class GuestTimeout(GuestError):
    """A command took too long, and the guest was killed for it."""


class Card(NamedTuple):
    """The guest's vec0. ``socket.socketpair(AF_UNIX, SOCK_DGRAM)`` is a cable: one end for each of two guests.

    The socket stays the caller's; it can be closed once the guest is started.
    """

    end: socket.socket
    mac: str


@contextlib.contextmanager
def two_guests() -> Iterator[tuple[Guest, Guest]]:
    """Two guests with a cable between them."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with (
        left,
        right,
        Guest(name="left", card=Card(left, "02:00:00:00:00:01")) as one,
        Guest(name="right", card=Card(right, "02:00:00:00:00:02")) as other,
    ):
        yield one, other


def missing() -> list[str]:
    """The Debian packages that a guest needs and that are not here."""
    probes = {
        "user-mode-linux": shutil.which("linux.uml") is not None and MODULES.is_dir(),
        "gcc": not _uses_shim() or shutil.which("gcc") is not None,
        "libc6-dev": not _uses_shim() or Path("/usr/include/stdio.h").exists(),
        "kmod": Path("/sbin/modprobe").exists(),
        "busybox-static": Path("/usr/bin/busybox").exists(),
    }
    return [package for package, found in probes.items() if not found]


def _uses_shim() -> bool:
    """Whether xstate.c goes with the guest. KOKOFAST_GUEST_SHIM=off leaves it out, to test without."""
    return os.environ.get("KOKOFAST_GUEST_SHIM") != "off"


def _build_shim(folder: Path) -> Path:
    """Compile xstate.c into a folder. Returns the library, for LD_PRELOAD."""
    library = folder / "xstate.so"
    command = ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", str(SHIM), "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise GuestError(f"{shlex.join(command)} failed:\n{done.stderr}")
    return library


def cause_of(console: str) -> str:
    """Why a guest died, in one sentence, as far as its console tells; empty where it does not."""
    for line in console.splitlines():
        _, panic, cause = line.partition("Kernel panic - not syncing: ")
        if panic and "exitcode=0x0000000b" in cause and not _uses_shim():
            return f"{cause}: {_REGISTERS}"
        if panic:
            return cause
        if line.startswith(("init: ", "taskset: ")):
            return line
    return ""


def _scratch(memory_bytes: int) -> str:
    """A folder for the guest's memory, which is mapped executable: in memory where it can be."""
    for folder in ("/dev/shm", tempfile.gettempdir()):
        with contextlib.suppress(OSError):
            facts = os.statvfs(folder)
            if not facts.f_flag & os.ST_NOEXEC and facts.f_bavail * facts.f_frsize > memory_bytes:
                return folder
    raise GuestError(f"no folder for {memory_bytes >> 20} MB of guest memory: /dev/shm and {tempfile.gettempdir()}")


def _script(command: Sequence[str], cwd: str, env: Mapping[str, str]) -> bytes:
    variables = [f"{name}={value}" for name, value in env.items()]
    return os.fsencode(f"exec {shlex.join(['env', '-i', '-C', cwd, *variables, *command])}\n")


class Guest:
    """One guest, booted by ``with``. ``run`` may be called any number of times; commands share the guest."""

    def __init__(self, *, memory_mb: int = 768, name: str = "guest", card: Card | None = None) -> None:
        self.name = name
        self._memory_mb = memory_mb
        self._card = card
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._heard = b""
        self._numbers = itertools.count(1)

    @property
    def exchange(self) -> Path:
        """The host's name of the folder that is ``EXCHANGE`` in the guest. Gone with the guest."""
        assert self._folder is not None, "the guest is not running"
        return self._folder / "exchange"

    def __enter__(self) -> Self:
        try:
            self._boot()
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Somebody who is interrupted does not want to wait.
        if kind is None:
            self.close()
        else:
            self._kill()

    def run(
        self,
        command: Sequence[str],
        *,
        timeout: float = 600.0,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        on_output: OnOutput | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command as it would run here: this folder, this environment. Standard input is empty."""
        number = next(self._numbers)
        where = os.getcwd() if cwd is None else os.fspath(cwd)
        script = _script(command, where, os.environ if env is None else env)
        (self.exchange / f"{number}.sh").write_bytes(script)
        with (
            (self.exchange / f"{number}.out").open("w+b") as out,
            (self.exchange / f"{number}.err").open("w+b") as err,
        ):
            read = {"out": b"", "err": b""}

            def look() -> None:
                for stream, file in (("out", out), ("err", err)):
                    if new := file.read():
                        read[stream] += new
                        if on_output is not None:
                            on_output(stream, new)

            try:
                status = self._ask(number, time.monotonic() + timeout, look)
            except TimeoutError:
                self._kill()
                said = (read["out"] + read["err"]).decode(errors="replace")
                raise GuestTimeout(
                    f"{shlex.join(command)} took more than {timeout:g} s in the guest:\n{said}"
                ) from None
        return subprocess.CompletedProcess(
            list(command), status, read["out"].decode(errors="replace"), read["err"].decode(errors="replace")
        )

    def close(self) -> None:
        """Turns the guest off. Commands that still run in it end with it."""
        if self._control is not None:
            self._control.close()  # what init waits for
        if self._process is not None:
            # Sees the end without taking the exit status, which would give the number of the group away: see _kill.
            handle = os.pidfd_open(self._process.pid)
            try:
                select.select([handle], [], [], POWER_OFF_SECONDS)
            finally:
                os.close(handle)
        self._kill()

    def _boot(self) -> None:
        if lacking := missing():
            raise GuestError(f"a guest needs the Debian packages {' '.join(lacking)}")
        if any(character.isspace() for character in str(INIT)):
            raise GuestError(f"a guest cannot boot from a checkout with white space in its path: {INIT}")
        self._folder = Path(tempfile.mkdtemp(prefix="kokofast-guest-", dir=_scratch(self._memory_mb << 20)))
        self.exchange.mkdir()
        self._control, theirs = socket.socketpair()
        with theirs, self._console().open("wb") as console:
            self._process = self._start(theirs.fileno(), console)
        try:
            line = self._line(time.monotonic() + BOOT_SECONDS)
        except TimeoutError:
            raise GuestError(f"the guest did not boot in {BOOT_SECONDS:g} s.{self._complaint()}") from None
        if line != "ready":
            raise GuestError(f"the guest said {line!r} instead of ready.{self._complaint()}")

    def _start(self, control: int, console: IO[bytes]) -> subprocess.Popen[bytes]:
        # More than one processor only makes it slower: it is one thread that hands over to itself.
        allowed = sorted(os.sched_getaffinity(0))
        processor = allowed[next(_processors) % len(allowed)]
        inherited, network = [control], []
        if self._card is not None:
            inherited.append(self._card.end.fileno())
            network = [f"vec0:transport=fd,fd={self._card.end.fileno()},mac={self._card.mac}"]
        assert self._folder is not None
        preload = {"LD_PRELOAD": str(_build_shim(self._folder))} if _uses_shim() else {}
        return subprocess.Popen(
            [
                *("taskset", "--cpu-list", str(processor), "linux.uml", f"mem={self._memory_mb}M"),
                *("umid=guest", f"uml_dir={self._folder}/", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro"),
                *(f"init={INIT}", "quiet", "loglevel=3", "console=tty1", "con=null", "ssl=null"),
                *("con0=null,fd:1", "con1=null,fd:1", f"con2=fd:{control}"),
                *network,
                # Unknown to the kernel: init finds them in its environment.
                *(f"guest_exchange={self.exchange}", f"guest_name={self.name}"),
            ],
            env={**os.environ, **preload, "TMPDIR": str(self._folder)},
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            pass_fds=inherited,
            # Out of reach of the terminal's Ctrl-C, and one group to be killed: it has a process for each of its own.
            start_new_session=True,
        )

    def _ask(self, number: int, deadline: float, look: Callable[[], None]) -> int:
        """Starts a script of the exchange folder and waits for its exit status, looking at its output meanwhile."""
        assert self._control is not None
        with contextlib.suppress(BrokenPipeError):  # the guest is gone; its console, read next, says why
            self._control.sendall(b"%d\n" % number)
        while True:
            try:
                line = self._line(min(deadline, time.monotonic() + LOOK_SECONDS))
            except TimeoutError:
                look()
                if time.monotonic() >= deadline:
                    raise
                continue
            look()
            done, _, status = line.partition(" ")
            if done == str(number):
                return int(status)

    def _line(self, deadline: float) -> str:
        """The next line of the control line; TimeoutError when it is not there in time."""
        assert self._control is not None
        while b"\n" not in self._heard:
            ready, _, _ = select.select([self._control], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError
            with contextlib.suppress(ConnectionResetError):
                if new := self._control.recv(4096):
                    self._heard += new
                    continue
            raise GuestError(f"the guest is gone.{self._complaint()}")
        line, _, self._heard = self._heard.partition(b"\n")
        return line.decode(errors="replace").strip()

    def _console(self) -> Path:
        assert self._folder is not None
        return self._folder / "console"

    def _complaint(self) -> str:
        said = self._console().read_text(errors="replace").strip()
        cause = cause_of(said)
        console = f"Its console:\n{said[-4000:]}" if said else "Its console is empty."
        return f" {cause}. {console}" if cause else f" {console}"

    def _kill(self) -> None:
        if self._process is not None:
            # Not the leader alone: the guest's processes are processes of their own and would stay. Nobody has waited
            # for the leader yet, so the number is still this group's.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
