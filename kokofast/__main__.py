"""The command: ``kokofast`` and ``python -m kokofast``."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found] # the C part of signal alone
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def _stop(*_: object) -> None:
    os.write(2, b"kokofast: interrupted\n")
    os._exit(1)


# Until the engine listens for it, Ctrl-C ends us at once: nothing is made yet, and a KeyboardInterrupt in the midst of
# an import or of msgspec's C code would be a traceback, or worse. So this comes before imports that take time.
if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, _stop)

import gc  # noqa: E402
import sys  # noqa: E402

# Threads import and talk to the kernel. By default each would map 8 MB, or all that the limit on the stack says.
THREAD_STACK = 1 << 20
# With less this program ends by SIGSEGV; with less than some 80 kB the interpreter itself does, on its way here.
STACK_MIN = 1 << 17


def main() -> NoReturn:
    """Runs the command line of this process, and ends it with the exit code."""
    argv = sys.argv[1:]
    _make_stacks()
    if sys.getfilesystemencoding() == "ascii":
        _begin_again_in_utf8()
    # An option of one letter in front is koko's command line; all else, --help too, is for the commands.
    if argv and argv[0].startswith("-") and not argv[0].startswith("--"):
        # Looking for garbage, at exit as well, takes longer than the link, and there is none to speak of.
        gc.disable()
        from kokofast.koko.command import run as run_koko

        _exit(run_koko(argv))
    from kokofast.cli.main import run

    # Looking for garbage among hundreds of thousands of objects that all stay costs a tenth of a large batch.
    gc.disable()
    _exit(run(argv))


def _begin_again_in_utf8() -> None:
    # The C locale with PYTHONUTF8=0: names of files and namespaces could be ASCII only. -X goes before the environment.
    try:  # noqa: SIM105 - see below
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    except OSError:  # then names that are ASCII have to do
        pass


def _make_stacks() -> None:
    import _thread
    import resource

    _thread.stack_size(THREAD_STACK)
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    if soft == resource.RLIM_INFINITY or soft >= THREAD_STACK:
        return
    most = THREAD_STACK if hard == resource.RLIM_INFINITY else min(THREAD_STACK, hard)
    if most < STACK_MIN:
        os.write(2, b"kokofast: the limit on the stack is %d kB; raise it: ulimit -s 1024\n" % (most >> 10))
        os._exit(1)
    # The kernel asks for the limit whenever the stack grows. What cannot be set stays: it may well be enough.
    try:  # noqa: SIM105 - see below
        resource.setrlimit(resource.RLIMIT_STACK, (most, hard))
    except (OSError, ValueError):
        pass


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
