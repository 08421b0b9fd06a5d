"""Run a command for each epoch at its time, one after the other, and print when each began and was done.

python -m bench.peers.play_epochs FILE    FILE: a line of JSON for each epoch, {"at": seconds, "work": command}
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def read(file: str) -> list[dict[str, Any]]:
    """Return the epochs of a file."""
    return [json.loads(line) for line in Path(file).read_text().splitlines()]


def play(epochs: list[dict[str, Any]], work: Callable[[Any], object]) -> None:
    """Do the work of each epoch at its time, or as soon as the one before is done."""
    start = time.monotonic()
    for epoch in epochs:
        time.sleep(max(0.0, start + epoch["at"] - time.monotonic()))
        begun = time.monotonic() - start
        work(epoch["work"])
        print(json.dumps({"at": epoch["at"], "begun": begun, "done": time.monotonic() - start}))


def run(command: list[str]) -> None:
    """Run a command, and exit as it does when it fails."""
    if code := subprocess.run(command, check=False).returncode:
        sys.exit(code)


if __name__ == "__main__":
    play(read(sys.argv[1]), run)
