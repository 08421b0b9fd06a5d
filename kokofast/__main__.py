"""The command: ``kokofast`` and ``python -m kokofast``."""

from __future__ import annotations

import gc
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def _stop(*_: object) -> None:
    os.write(2, b"kokofast: interrupted\n")
    os._exit(1)


def main() -> NoReturn:
    """Runs the command line of this process, and ends it with the exit code."""
    argv = sys.argv[1:]
    # An option of one letter in front is koko's command line; all else, --help too, is for the commands.
    if argv and argv[0].startswith("-") and not argv[0].startswith("--"):
        # Looking for garbage, at exit as well, takes longer than the link, and there is none to speak of.
        gc.disable()
        from kokofast.koko.command import run as run_koko

        _exit(run_koko(argv))
    import signal

    # Until the engine listens for it, Ctrl-C ends us at once: nothing is made yet, and a KeyboardInterrupt in the midst
    # of an import or of msgspec's C code would be a traceback, or worse.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _stop)
    from kokofast.cli.main import run

    # Looking for garbage among hundreds of thousands of objects that all stay costs a tenth of a large batch.
    gc.disable()
    _exit(run(argv))


def _exit(code: int) -> NoReturn:
    # What was to be written is written, what was open is closed: to free all objects one by one has no use, and takes a
    # single link's run a tenth of its time.
    for stream in (sys.stdout, sys.stderr):
        try:  # noqa: SIM105 - contextlib costs koko's command line more than this module
            stream.flush()
        except OSError:  # told by now; or there is nobody left to be told
            pass
    os._exit(code)


if __name__ == "__main__":
    main()
