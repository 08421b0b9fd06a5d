"""Hosts whose clocks are ahead. A time namespace shifts no CLOCK_REALTIME, so what reads it there is shifted."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.underlay import Host

SHIFT = "import time\n_read = time.time\ntime.time = lambda: _read() + {seconds}\n"
DATE = "/usr/bin/date"


@contextmanager
def ahead(host: Host, folder: Path, seconds: int) -> Iterator[None]:
    """Shift `date` on a host, and what its kokofast takes for the time."""
    shutil.copy(DATE, folder / "real-date")
    wrapper = folder / "date"
    wrapper.write_text(f"#!/bin/sh\nexec {folder}/real-date -d '{seconds:+d} seconds' \"$@\"\n")
    wrapper.chmod(0o755)
    (folder / "sitecustomize.py").write_text(SHIFT.format(seconds=seconds))
    host.run("mount", "--bind", str(wrapper), DATE)
    host.set_command(f"export PYTHONPATH={folder}")
    try:
        yield
    finally:
        host.set_command()
        host.run("umount", DATE)
