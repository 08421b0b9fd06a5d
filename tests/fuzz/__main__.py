"""``python -m tests.fuzz TARGET [libFuzzer arguments]``: see the package."""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path

TARGETS = ("wire", "topology")
# An input that takes longer (seconds) or more memory (MiB) than this is a finding, too.
LIMITS = ("-timeout=10", "-rss_limit_mb=1024", "-max_len=4096")


def main(arguments: list[str]) -> None:
    if not arguments or arguments[0] not in TARGETS:
        sys.exit(f"usage: python -m tests.fuzz {{{','.join(TARGETS)}}} [libFuzzer arguments]")
    import atheris

    # Only what is imported in here counts its branches; some modules are imported when they are first needed.
    with atheris.instrument_imports(include=["kokofast"]):
        target = importlib.import_module(f"tests.fuzz.{arguments[0]}")
        for seed in target.SEEDS:
            target.run_one(seed)
    with tempfile.TemporaryDirectory() as seeds:
        for number, seed in enumerate(target.SEEDS):
            (Path(seeds) / str(number)).write_bytes(seed)
        given = arguments[1:]
        one_file = any(Path(argument).is_file() for argument in given)
        # libFuzzer writes into the first directory it is given and only reads the others.
        atheris.Setup(["tests.fuzz", *LIMITS, *given, *([] if one_file else [seeds])], target.run_one)
        atheris.Fuzz()


main(sys.argv[1:])
