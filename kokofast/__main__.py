"""The command: ``kokofast`` and ``python -m kokofast``."""

from __future__ import annotations

import sys


def main() -> int:
    """Runs the command line of this process and returns the exit code."""
    from kokofast.cli.main import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
