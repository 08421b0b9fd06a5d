"""``python -m tests.vm.shares FILE ARGUMENT...``: pytest in two guests side by side, with its outcome in FILE.

The suite runs it in the background, as most of its own tests wait for the kernel.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tests import ROOT
from tests.vm.__main__ import leave
from tests.vm.inside import run_shares
from tests.vm.uml import Guest

GUESTS = 2
# Starting processes is slow in a guest, so this is some minutes of work; the limit is for a test that hangs.
SECONDS = 1300
NICENESS = 5  # the tests outside come first
PR_SET_PDEATHSIG = 1


class Background:
    """This program, running in the background."""

    def __init__(self, selection: Sequence[str | Path]) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="kokofast-shares-"))
        self.result, self.output = self._folder / "result", self._folder / "output"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.vm.shares", self.result, *selection],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # out of reach of the terminal's Ctrl-C
            )

    def close(self) -> None:
        """Ends it, and with it the guests."""
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def main() -> None:
    file, *selection = sys.argv[1:]
    signal.signal(signal.SIGTERM, leave)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    os.nice(NICENESS)
    with ExitStack() as stack:
        guests = [stack.enter_context(Guest(name=f"guest{number}")) for number in range(1, GUESTS + 1)]
        run = run_shares(guests, selection, timeout=SECONDS)
    Path(file).write_bytes(pickle.dumps(run))


if __name__ == "__main__":
    main()
