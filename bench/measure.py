"""One command, from its start to its exit: time, processor time, memory."""

from __future__ import annotations

import os
import resource
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile


class ContenderFailed(Exception):
    """It exited with an error; the message has the end of its standard error."""


@dataclass(frozen=True)
class Measurement:
    seconds: float
    cpu_seconds: float  # user + system, of the command and all that it waited for
    peak_kib: int
    # A process inherits the mark of the one that started it (ru_maxrss survives exec): not above ours, it says only
    # that its own peak was no higher.
    peak_is_bound: bool


def run(command: list[str], cwd: Path) -> Measurement:
    with TemporaryFile() as complaints:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=complaints
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)  # Popen must not wait for a pid that is gone
        if process.returncode != 0:
            complaints.seek(0)
            text = complaints.read().decode(errors="replace").strip()[-500:]
            raise ContenderFailed(f"{' '.join(command[:4])} ...: exit {process.returncode}: {text}")
    own_peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Measurement(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, usage.ru_maxrss <= own_peak)
