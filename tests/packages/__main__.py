"""Builds the files of a release: ``python -m tests.packages [FOLDER]``, which is ``make packages``.

The sdist, the wheel from that sdist, the program in one file, the Debian package, the manual page and the completions.
Needs the extra "test" and the network, from which pip gets what kokofast depends on. Builds are reproducible: with the
same dependencies the same bytes. SOURCE_DATE_EPOCH is the time of the last commit if it is not set.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tests import ROOT
from tests.packages.bundle import PYTHON, Bundle, run
from tests.packages.deb import build_deb
from tests.packages.zipapp import build_zipapp

HATCH_EPOCH = 1580601600  # what hatchling takes by default


def source_date_epoch() -> str:
    """The time of all files in the packages."""
    if (ROOT / ".git").exists():
        return run("git", "-C", ROOT, "log", "-1", "--format=%ct").strip()
    return str(HATCH_EPOCH)


def build(output: Path) -> None:
    # Each step uses only what the steps before it have made.
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", output, ROOT)
    (wheel,) = output.glob("kokofast-*.whl")
    with tempfile.TemporaryDirectory() as folder:
        bundle = Bundle.install(wheel, Path(folder) / "bundle")
        pages = {
            "kokofast.1": ("man",),
            **{f"kokofast.{name}": ("completion", name) for name in ("bash", "zsh", "fish")},
        }
        for name, arguments in pages.items():
            (output / name).write_text(bundle.kokofast(*arguments))
        build_deb(bundle, output)
        build_zipapp(bundle, output)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.packages", description="Builds the files of a release.")
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "dist", help="where to put them (dist)")
    output: Path = parser.parse_args().folder.resolve()
    if not os.access(PYTHON, os.X_OK):
        sys.exit(f"There is no {PYTHON}: the packages are for the Python of Debian or Ubuntu, and built there.")
    if output.is_dir() and any(output.iterdir()):
        sys.exit(f"{output} is not empty: remove what is in it. A release has the files of one build.")
    output.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("SOURCE_DATE_EPOCH", source_date_epoch())
    build(output)
    for path in sorted(output.iterdir()):
        print(f"{path.stat().st_size:>12,} {path}")


if __name__ == "__main__":
    main()
