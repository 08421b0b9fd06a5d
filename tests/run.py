#!/usr/bin/env python3
"""From a bare machine to the passed tests: ``python3 tests/run.py [--python 3.12] [--no-lint] [pytest arguments]``.

Installs the system packages of the table below when they are missing, makes a venv, runs ruff, mypy and pytest. All
of them run even when one fails. pytest comes last, and a summary is the end of the output.

Without arguments for pytest there are two runs of it side by side: that of the folders that need the machine mostly
waits for the kernel.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)  # tests/ itself would offer its modules under a second name

from examples import quickstart  # noqa: E402


class Need(NamedTuple):
    package: str
    probe: str  # a command, or the path of a file: the package is installed only when this is missing
    reason: str


# Every system package the tests need, apart from the interpreter's own venv package (quickstart.venv_packages).
NEEDS = (
    Need("iproute2", "ip", "makes the tests' namespaces, and is the independent witness of what kokofast made in them"),
    Need("iputils-ping", "ping", "proves that a link carries traffic"),
    Need("gcc", "gcc", "compiles bench/floor.c, the fastest the kernel can be asked, and tests/vm/xstate.c"),
    Need("libc6-dev", "/usr/include/stdio.h", "the headers for them"),
    Need("make", "make", "runs the commands of CONTRIBUTING.md"),
    Need("golang-go", "go", "compiles bench/peers/links.go, the Go program that kokofast is compared with"),
    Need(
        "golang-github-vishvananda-netlink-dev",
        "/usr/share/gocode/src/github.com/vishvananda/netlink/link.go",
        "the netlink library of that program; comes with what it needs",
    ),
    Need("docker.io", "dockerd", "docker nodes: the tests start a daemon of their own, with real containers"),
    Need("containerd", "containerd", "cri nodes: it speaks Kubernetes' CRI; comes with docker.io, too"),
    Need("runc", "runc", "what all three engines start containers with"),
    Need("containernetworking-plugins", "/usr/lib/cni/ptp", "containerd gives its pods a network with these"),
    Need("busybox-static", "busybox", "the one file of the containers' image: no registry is asked"),
    Need("podman", "podman", "podman nodes: the tests start its Docker-compatible service"),
    Need("openssh-server", "/usr/sbin/sshd", "Ansible reaches the simulated hosts of tests/hosts by SSH"),
    Need("user-mode-linux", "linux.uml", "another kernel, as a process: the guest that tests/vm boots"),
    Need("zsh", "zsh", "completes a command line by the script that kokofast prints"),
    Need("fish", "fish", "completes one, too"),
    Need("man-db", "lexgrog", "formats the man page and looks for mistakes in it"),
    Need("chromium", "chromium", "uses the page that graph writes as its reader does"),
    Need("graphviz", "dot", "reads the file for Graphviz that graph writes"),
    Need("kmod", "modprobe", "lets the guest's kernel load its modules"),
    Need("busybox-static", "busybox", "turns the guest off"),
    Need("dpkg-dev", "dpkg-shlibdeps", "finds what the Debian package depends on"),
    Need("mmdebstrap", "mmdebstrap", "makes the fresh system on which that is installed"),
    Need("pipx", "pipx", "installs the wheel as a user does"),
)


def is_there(probe: str) -> bool:
    if probe.startswith("/"):
        return Path(probe).exists()
    # An ordinary user's PATH lacks the sbin directories.
    return shutil.which(probe, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin") is not None


def interpreter(choice: str | None) -> tuple[str, Path]:
    """The interpreter to use (a path, a command, or a version) and the directory of its venv."""
    if choice is None:
        quickstart.require_python()
        return sys.executable, ROOT / ".venv"
    python = shutil.which(choice) or shutil.which(f"python{choice}")
    if python is None:
        sys.exit(f"There is no interpreter {choice} here.")
    return python, ROOT / f".venv-{quickstart.require_python(python)}"


# What starts container engines and guests, makes thousands of namespaces, or runs the commands of the documents. Hosts,
# packages and the bench are among the others, as they wait for SSH and for installers: so both runs take about as long.
MACHINE = (
    *("tests/bench/test_contenders.py", "tests/faults", "tests/kernel", "tests/runtimes", "tests/vm"),
    "tests/test_docs.py",
)
# For the others a directory of named namespaces of their own: ip(8) takes longer, the more namespaces there are.
APART = 'mkdir -p /run/netns && mount -t tmpfs tmpfs /run/netns && mount --make-shared /run/netns && exec "$@"'


class Run:
    """A run of pytest. One in the background has its output in a file of the folder."""

    def __init__(self, command: list[str], folder: Path, *, beside: bool = False, background: bool = False) -> None:
        self._output = folder / "output" if background else None
        self._counts = folder / f"counts{beside:d}"  # see pytest_unconfigure() of conftest.py
        env = {**os.environ, "KOKOFAST_TESTS_COUNTS": str(self._counts)}
        if beside:
            command = [*command, *(f"--ignore={path}" for path in MACHINE)]
            env["KOKOFAST_TESTS_BESIDE"] = "1"
        quickstart.show(command)
        if beside and os.geteuid() == 0:
            command = ["unshare", "--mount", "--propagation", "private", "--", "sh", "-c", APART, "sh", *command]
        with open(self._output or os.devnull, "wb") as file:
            output = file if background else None
            self.process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=output, stderr=output)

    def wait(self) -> tuple[int, dict[str, int]]:
        """Its exit code (-n when signal n ended it), and the number of tests by outcome. Prints its output."""
        code = self.process.wait()
        if self._output is not None:
            print(self._output.read_text(errors="replace"), flush=True)
        words = self._counts.read_text().split() if self._counts.exists() else []
        return code, {word: int(number) for number, word in zip(words[::2], words[1::2], strict=True)}


def run_pytest(command: list[str], part: str | None, *, whole: bool) -> int:
    """Runs pytest; returns its exit code, -n when signal n ended it. Signals are passed on to pytest: its fixtures then
    remove what they have made, such as container engines."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if part is None and whole:
            runs = [Run([*command, *MACHINE], folder), Run([*command, "-q"], folder, beside=True, background=True)]
        else:
            runs = [Run([*command, *(MACHINE if part == "machine" else ())], folder, beside=part == "rest")]

        def pass_on(number: int, _: object) -> None:
            # A terminal's Ctrl-C has reached pytest already, and a second one would interrupt its fixtures.
            if number != signal.SIGINT or not has_the_terminal():
                for run in runs:
                    run.process.send_signal(number)

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, pass_on)
        ended = [run.wait() for run in runs]
    if len(runs) > 1:
        words = dict.fromkeys(word for _, counts in ended for word in counts)
        total = (f"{sum(counts.get(word, 0) for _, counts in ended)} {word}" for word in words)
        print(f"==== both runs of pytest: {', '.join(total)}", flush=True)
    # pytest also answers 5, no tests, which is no success either.
    return next((code for code, _ in ended if code != 0), 0)


def has_the_terminal() -> bool:
    """Whether we are in a terminal's foreground."""
    try:
        with open("/dev/tty") as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Sets up what the tests need and runs them.",
        epilog="All other arguments go to pytest.",
        allow_abbrev=False,
    )
    parser.add_argument("--python", help="another interpreter: a path, a command or a version; it has its own venv")
    parser.add_argument("--no-lint", action="store_true", help="leave out ruff and mypy")
    parser.add_argument("--part", choices=["machine", "rest"], help=f"machine: {', '.join(MACHINE)}; rest: all others")
    options, pytest_arguments = parser.parse_known_args()
    # The tests start kokofast a thousand times, which takes thrice as long where each has to compile its modules.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    python, venv = interpreter(options.python)

    missing = [need.package for need in NEEDS if not is_there(need.probe)]
    if not (venv / "bin" / "python").exists():
        missing += quickstart.venv_packages(python)
    if missing:
        quickstart.apt_install(missing)
    inside = quickstart.ensure_venv(venv, python=python, extra="test")

    failed = False
    if not options.no_lint:
        for tool in (["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]):
            if quickstart.run([inside, "-m", *tool]) != 0:
                print(f"FAILED: {' '.join(tool)} (pytest follows all the same)", flush=True)
                failed = True
    code = run_pytest([inside, "-m", "pytest", *pytest_arguments], options.part, whole=not pytest_arguments)
    return code if code > 0 else int(failed or code != 0)


if __name__ == "__main__":
    sys.exit(main())
