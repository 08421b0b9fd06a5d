"""The command: ``kokofast`` and ``python -m kokofast``."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found] # the C module: faster to import than signal
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def _stop(*_: object) -> None:
    os.write(2, b"kokofast: interrupted\n")
    os._exit(1)


# Ctrl-C ends the process at once until the engine handles it: nothing is made yet, and a KeyboardInterrupt during an
# import or in msgspec's C code would print a traceback, or worse. So this comes before the slow imports.
if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, _stop)

import gc  # noqa: E402
import sys  # noqa: E402

THREAD_STACK = 1 << 20  # bytes; by default a thread maps RLIMIT_STACK, 8 MB
STACK_MIN = 1 << 17  # bytes; with less this program ends by SIGSEGV (with less than some 80 kB, before it gets here)


def main() -> NoReturn:
    """Run the command line of this process, and exit with its code."""
    argv = sys.argv[1:]
    _prepare_threads()
    if sys.getfilesystemencoding() == "ascii":
        _begin_again_in_utf8()
    # koko's command line begins with an option of one letter.
    if argv and argv[0].startswith("-") and not argv[0].startswith("--"):
        gc.disable()  # a collection, also at exit, takes longer than the link
        from kokofast.koko.command import run as run_koko

        _exit(run_koko(argv))
    from kokofast.cli.main import run

    gc.disable()  # collections take a tenth of the time of a large batch, and find nothing
    _exit(run(argv))


def _begin_again_in_utf8() -> None:
    # With the C locale and PYTHONUTF8=0 names could be ASCII only. -X overrides the environment.
    try:  # noqa: SIM105 - see below
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    except OSError:  # go on, with ASCII names only
        pass


def _prepare_threads() -> None:
    import _thread
    import resource

    _thread.stack_size(THREAD_STACK)
    if resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
        try:
            from kokofast.host.libc import share_heap

            share_heap()
        except (ImportError, MemoryError):  # too little for what follows, too, which reports it
            pass
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    if soft == resource.RLIM_INFINITY or soft >= THREAD_STACK:
        return
    most = THREAD_STACK if hard == resource.RLIM_INFINITY else min(THREAD_STACK, hard)
    if most < STACK_MIN:
        os.write(2, b"kokofast: the limit on the stack is %d kB; raise it: ulimit -s 1024\n" % (most >> 10))
        os._exit(1)
    # The kernel checks the limit each time the stack grows. If it cannot be raised, the present one may be enough.
    try:  # noqa: SIM105 - see below
        resource.setrlimit(resource.RLIMIT_STACK, (most, hard))
    except (OSError, ValueError):
        pass


def _exit(code: int) -> NoReturn:
    # Skip the interpreter's clean-up, which takes a tenth of the time of a single link: all is closed and written.
    for stream in (sys.stdout, sys.stderr):
        try:  # noqa: SIM105 - contextlib costs koko's command line more than this module
            stream.flush()
        except OSError:  # reported already, or standard error is closed
            pass
    os._exit(code)


if __name__ == "__main__":
    main()
