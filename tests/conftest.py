"""Fixtures for tests on real namespaces, and the guard that no test leaves anything behind."""

from __future__ import annotations

import functools
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest
from hypothesis import settings

from tests.faults.counts import pytest_addoption, pytest_terminal_summary  # noqa: F401
from tests.vm.marker import IN_GUEST, pytest_collection_modifyitems  # noqa: F401
from tests.vm.warm import Warm

# No test measures time: on a busy machine an example may take any time.
settings.register_profile("kokofast", deadline=None)
settings.load_profile("kokofast")

# A shell starts background jobs with SIGINT ignored, and what we start would inherit that: the tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# So does nohup with SIGHUP. That must not end us, but what we start has to have it as it is elsewhere: exec(2) sets a
# handler back, and leaves what is ignored.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)


def _interrupt(number: int, _: object) -> None:
    # Once: a second one would interrupt the fixtures that clean up. No SIG_IGN, which what we start would inherit.
    for one in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, lambda *_: None)
    signal.raise_signal(signal.SIGINT)


# As Ctrl-C: the fixtures' namespaces, and their container engines, end with the tests.
for _number in (signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_DFL:
        signal.signal(_number, _interrupt)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish() -> None:
    """From here on fixtures clean up, and one signal more (CI systems send SIGINT, then SIGTERM) must not keep them."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)


# Python that makes nobody of root. The interpreter and this checkout may be where only root can read (a umask of 077):
# everything is imported before root is given up. A process that has given it up does not own its /proc files until it
# is made dumpable again, which exec would do.
BECOME_NOBODY = """
import ctypes, importlib, mmap, os, pkgutil, shlex, sys
import encodings.ascii, encodings.idna, encodings.latin_1, encodings.utf_8_sig
import ipaddress, json, mmap, shlex, subprocess, msgspec, tqdm, trio, yaml, kokofast
for module in pkgutil.walk_packages(kokofast.__path__, "kokofast."):
    importlib.import_module(module.name)
os.chdir("/")
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
"""
NETNS_DIRECTORY = Path("/run/netns")
PREFIX = f"kft-{os.getpid()}-"

# Interfaces that modules make by themselves in every namespace when something first asks for their kind.
FALLBACK_INTERFACES = frozenset(
    {"bond0", "dummy0", "erspan0", "gre0", "gretap0", "ifb0", "ifb1", "ip6gre0", "ip6tnl0", "ip_vti0", "sit0", "tunl0"}
)
# A namespace that is deleted takes its interfaces, and their peers elsewhere, a moment later.
SETTLE_SECONDS = 10.0

_numbers = itertools.count()


which = functools.cache(shutil.which)


def run(command: Sequence[str], *, input: str = "", timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Any command; its exit code is the test's to check."""
    # A path, and descriptors left alone (Python's own are closed by exec): only then subprocess starts it by
    # posix_spawn(3). In a guest that takes 20 ms, and 70 the other way.
    command = [which(command[0]) or command[0], *command[1:]]
    return subprocess.run(
        command, input=input, capture_output=True, text=True, timeout=timeout, check=False, close_fds=False
    )


def ip(namespace: str | None, *arguments: str, input: str = "") -> str:
    """``ip [-n NAMESPACE] ARGUMENTS``: its output. What ip complains of becomes the failure of the test."""
    command = ["ip", *(["-n", namespace] if namespace is not None else []), *arguments]
    done = run(command, input=input, timeout=60)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: exit {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def ip_batch(namespace: str | None, *lines: str) -> None:
    """Many lines of ``ip [-n NAMESPACE] ...`` by one process."""
    ip(namespace, "-batch", "-", input="".join(f"{line}\n" for line in lines))


def ip_json(namespace: str | None, *arguments: str) -> list[dict[str, Any]]:
    """``ip -j -d``, parsed. ip prints nothing, or empty objects among the rest, for what it has nothing to say of."""
    answer: list[dict[str, Any]] = json.loads(ip(namespace, "-d", "-j", *arguments) or "[]")
    return [one for one in answer if one]


def links(namespace: str | None) -> dict[str, dict[str, Any]]:
    """The interfaces of a namespace by name, without lo and the ones that modules make by themselves."""
    found = {link["ifname"]: link for link in ip_json(namespace, "link", "show")}
    return {name: link for name, link in found.items() if name != "lo" and name not in FALLBACK_INTERFACES}


def addresses(namespace: str | None, ifname: str) -> list[str]:
    """The addresses of an interface, ``10.0.0.1/24``, without the link-local ones that the kernel makes."""
    (link,) = ip_json(namespace, "address", "show", "dev", ifname)
    return [f"{info['local']}/{info['prefixlen']}" for info in link["addr_info"] if info["scope"] != "link"]


def namespaces() -> set[str]:
    """The names that ``ip netns list`` shows."""
    return set(os.listdir(NETNS_DIRECTORY)) if NETNS_DIRECTORY.is_dir() else set()


class NamespaceFactory:
    """Makes uniquely named network namespaces: ``netns()``, or ``netns("r1")`` for a name one can recognise."""

    def __init__(self) -> None:
        self._names: list[str] = []

    def reserve(self, suffix: str = "ns") -> str:
        """A name for a namespace that the test has made by someone else; removed afterwards when it is there."""
        name = f"{PREFIX}{next(_numbers)}-{suffix}"
        self._names.append(name)
        return name

    def __call__(self, suffix: str = "ns") -> str:
        name = self.reserve(suffix)
        ip(None, "netns", "add", name)
        return name

    def remove_all(self) -> None:
        if there := [name for name in self._names if name in namespaces()]:
            # -force: when one does not go, the others must all the same.
            ip(None, "-force", "-batch", "-", input="".join(f"netns delete {name}\n" for name in there))


@pytest.fixture(scope="session")
def requires_root() -> None:
    """Skips without root, by ``@pytest.mark.usefixtures("requires_root")``. On CI, a silent hole: fails."""
    if os.geteuid() == 0:
        return
    reason = "needs root: it makes network namespaces"
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}, and CI=true allows no skipping for lack of it")
    pytest.skip(reason)


@pytest.fixture
def netns(requires_root: None) -> Iterator[NamespaceFactory]:
    """A factory of real network namespaces, removed at teardown whatever the test did."""
    if not NETNS_DIRECTORY.exists():
        NETNS_DIRECTORY.mkdir()
        NETNS_DIRECTORY.chmod(0o755)  # other users enter it in some tests, whatever the umask
    factory = NamespaceFactory()
    try:
        yield factory
    finally:
        factory.remove_all()


class RunKokofast(Protocol):
    def __call__(
        self, *arguments: str, input: str | None = None, timeout: float = 120, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture(scope="session")
def kokofast() -> Iterator[RunKokofast]:
    """``kokofast("batch", path)`` runs the command line as a user does; the exit code is the test's to check."""

    def run(
        *arguments: str, input: str | None = None, timeout: float = 120, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "kokofast", *arguments],
            # Never the terminal's own standard input: a test must not wait for it.
            input="" if input is None else input,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=None if env is None else {**os.environ, **env},
            check=False,
        )

    if not IN_GUEST:
        yield run
        return
    with Warm() as warm:

        def run_warm(
            *arguments: str, input: str | None = None, timeout: float = 120, env: dict[str, str] | None = None
        ) -> subprocess.CompletedProcess[str]:
            return warm.run(arguments, input=input or "", timeout=timeout, env={**os.environ, **(env or {})})

        yield run_warm


# Set where another run of the suite works on the same machine: what comes and goes may be of its engines and bridges.
BESIDE = "KOKOFAST_TESTS_BESIDE"


def _left_behind(names_before: set[str], interfaces_before: set[str]) -> list[str]:
    if os.environ.get(BESIDE):
        return [f"namespace {name}" for name in sorted(namespaces() - names_before) if name.startswith(PREFIX)]
    # Another test run on this machine has a prefix of its own, and comes and goes.
    names = {name for name in namespaces() - names_before if name.startswith(PREFIX) or not name.startswith("kft-")}
    interfaces = {name for _, name in socket.if_nameindex()} - interfaces_before - FALLBACK_INTERFACES
    return [f"namespace {name}" for name in sorted(names)] + [f"interface {name}" for name in sorted(interfaces)]


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fails the session when namespaces or interfaces are there that were not there before."""
    names, interfaces = namespaces(), {name for _, name in socket.if_nameindex()}
    yield
    deadline = time.monotonic() + SETTLE_SECONDS
    while (left := _left_behind(names, interfaces)) and time.monotonic() < deadline:
        time.sleep(0.05)
    if left:
        shown = ", ".join(left[:20]) + (f" and {len(left) - 20} others" if len(left) > 20 else "")
        pytest.fail(f"left behind by the tests, or made meanwhile by somebody else: {shown}", pytrace=False)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Writes how many tests ended in which way to the file that run.py asks for."""
    file, reporter = os.environ.get("KOKOFAST_TESTS_COUNTS"), config.pluginmanager.get_plugin("terminalreporter")
    if file and reporter is not None:
        words = ("failed", "error", "passed", "skipped", "xfailed")
        counts = ((len(reporter.stats.get(word, ())), word) for word in words)
        Path(file).write_text("".join(f"{number} {word}\n" for number, word in counts if number))
