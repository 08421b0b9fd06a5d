"""The command: ``kokofast`` and ``python -m kokofast``."""

from __future__ import annotations

import gc
import os
import sys


def _stop(*_: object) -> None:
    os.write(2, b"kokofast: interrupted\n")
    os._exit(1)


def main() -> int:
    """Runs the command line of this process and returns the exit code."""
    argv = sys.argv[1:]
    # An option of one letter in front is koko's command line; all else, --help too, is for the commands.
    if argv and argv[0].startswith("-") and not argv[0].startswith("--"):
        # Looking for garbage, at exit as well, takes longer than the link, and there is none to speak of.
        gc.disable()
        from kokofast.koko.command import run as run_koko

        code = run_koko(argv)
        gc.freeze()
        return code
    import signal

    # Until the engine listens for it, Ctrl-C ends us at once: nothing is made yet, and a KeyboardInterrupt in the midst
    # of an import or of msgspec's C code would be a traceback, or worse.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _stop)
    from kokofast.cli.main import run

    # Looking for garbage among hundreds of thousands of objects that all stay costs a tenth of a large batch.
    gc.disable()
    code = run(argv)
    # Nor is there a use in freeing them one by one: what was to be written is written, what was open is closed.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
