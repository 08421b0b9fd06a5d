"""Run one command, and measure it from start to exit: time, processor time, memory."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile


class ContenderFailed(Exception):
    """It exited with an error, or says itself that it did not do its part."""


@dataclass(frozen=True)
class Measurement:
    """What one run of a command took. Processor time and memory include the processes that it waited for."""

    seconds: float
    cpu_seconds: float  # user + system, of the command and all that it waited for
    peak_kib: int  # resident, of the largest of these processes
    # A process inherits the mark of the one that started it (ru_maxrss survives exec): not above ours, it says only
    # that its own peak was no higher.
    peak_is_bound: bool
    stages: dict[str, float] = field(default_factory=dict)  # seconds, by the command's own account


def allow_open_files(number: int) -> None:
    """Raise the hard limit on open files to this number, where that is allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < number:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, number))


def run(command: list[str], cwd: Path, stages: Callable[[str], dict[str, float]] | None = None) -> Measurement:
    """Run a command and measure it.

    Args:
        command: The command.
        cwd: Where to run it.
        stages: Gets the output, and returns the seconds of each stage. Its ValueError means that the command did not do
            its part.

    Raises:
        ContenderFailed: The command failed, or did not do its part.
    """
    with TemporaryFile() as output, TemporaryFile() as complaints:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=complaints, start_new_session=True
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # a script's current command as well
            process.wait()
            raise
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)  # Popen must not wait for a pid that is gone
        name = f"{' '.join(command[:4])} ..."
        if process.returncode != 0:
            complaints.seek(0)
            text = complaints.read().decode(errors="replace").strip()[-500:]
            raise ContenderFailed(f"{name}: exit {process.returncode}: {text}")
        try:
            output.seek(0)
            found = stages(output.read().decode(errors="replace")) if stages else {}
        except ValueError as error:
            raise ContenderFailed(f"{name}: {error}") from error
    own_peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    bound = usage.ru_maxrss <= own_peak
    return Measurement(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, bound, found)
