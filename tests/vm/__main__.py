"""``python -m tests.vm [--timeout SECONDS] [--memory MB] -- COMMAND...``: runs a command in a guest, as if it ran here.

Its output and its exit status are passed on. Like timeout(1): 124 is too long, 125 is a guest that failed.
"""

from __future__ import annotations

import argparse
import signal
import sys
from types import FrameType

from tests.vm.uml import Guest, GuestError, GuestTimeout


def pass_on(stream: str, text: bytes) -> None:
    file = (sys.stdout if stream == "out" else sys.stderr).buffer
    file.write(text)
    file.flush()


def leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.vm",
        description="Runs a command in a User-mode Linux guest that sees this machine's files and changes none.",
    )
    parser.add_argument("--timeout", type=float, default=600.0, metavar="SECONDS", help="kill the guest after that")
    parser.add_argument("--memory", type=int, default=768, metavar="MB", help="the guest's memory (default: 768)")
    parser.add_argument("command", nargs="+", metavar="COMMAND", help="put -- before it")
    options = parser.parse_args()

    signal.signal(signal.SIGTERM, leave)
    try:
        with Guest(memory_mb=options.memory) as guest:
            return guest.run(options.command, timeout=options.timeout, on_output=pass_on).returncode
    except KeyboardInterrupt:
        return 130
    except GuestError as error:
        print(f"tests.vm: {error}", file=sys.stderr)
        return 124 if isinstance(error, GuestTimeout) else 125


if __name__ == "__main__":
    sys.exit(main())
