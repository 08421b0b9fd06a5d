"""Run koko's command line: argv -> exit code. All or nothing, as batch."""

from __future__ import annotations

# The C module: the enums of signal would cost 2 ms.
import _signal  # type: ignore[import-not-found]

from kokofast import __version__
from kokofast.cli.output import lacking, print_error, print_line, sentence_of, wait_printer, with_streams
from kokofast.koko.grammar import HELP, Create, Delete, Show, UsageError, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from kokofast.drivers import Stop
    from kokofast.drivers.inline import InlineDriver
    from kokofast.host.kernel import Kernel
    from kokofast.topology.model import Topology

OK, FAILED, INVALID, PARTIAL = 0, 1, 2, 3

# A link needs its two namespaces, the caller's, and one to send from, each with a few sockets and files.
DESCRIPTORS = 32


def run(argv: Sequence[str]) -> int:
    """Run a command line in koko's grammar, print errors, and return the exit code."""
    return with_streams(lambda: _run(list(argv)))


def _run(argv: list[str]) -> int:
    try:
        action = parse(argv)
    except UsageError as error:
        print_error(f"kokofast: {error}; see kokofast -h")
        return INVALID
    if isinstance(action, Show):
        return _show(action)
    from kokofast.host.limits import missing_capabilities

    missing = missing_capabilities()
    if missing:
        print_error(f"kokofast: {lacking(missing)}")
        return FAILED
    from kokofast.drivers import Stop, Stopped
    from kokofast.drivers.inline import InlineDriver
    from kokofast.host.kernel import LinuxKernel
    from kokofast.wire.message import KernelError

    kernel = LinuxKernel(DESCRIPTORS)
    stop = Stop()
    driver = InlineDriver(stop)
    try:
        _heed_signals(stop)
        return (
            _create(driver, kernel, action.topology) if isinstance(action, Create) else _delete(driver, kernel, action)
        )
    except Stopped:
        print_error("kokofast: interrupted")
        return FAILED
    except (OSError, KernelError, MemoryError, ImportError) as error:
        print_error(f"kokofast: {sentence_of(error)}")
        return FAILED
    finally:
        kernel.close()


def _show(action: Show) -> int:
    if action.what == HELP:
        from kokofast.koko import help

        for line in help.HELP.splitlines():
            print_line(line)
    else:
        print_line(f"kokofast {__version__}")
    return OK


def _heed_signals(stop: Stop) -> None:
    """Make signals stop the run between two steps, which take a millisecond each: no step is left half done."""
    for number in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP):
        if _signal.getsignal(number) is not _signal.SIG_IGN:  # nohup
            _signal.signal(number, lambda signum, _: stop.on_signal(signum))


def _create(driver: InlineDriver, kernel: Kernel, topology: Topology) -> int:
    from kokofast.drivers import Stopped
    from kokofast.drivers.inline import drive
    from kokofast.engine.apply import apply
    from kokofast.engine.result import APPLIED, UNCHANGED, Result
    from kokofast.wire.message import KernelError

    result = Result(topology.name, UNCHANGED)
    waits = wait_printer(topology.name, quiet=False)
    try:
        drive(apply(topology, driver, kernel, create_only=True, result=result, waits=waits))
    except Stopped:
        if result.status == UNCHANGED:  # nothing was made
            raise
        print_error("kokofast: interrupted; what was made has been taken back")
    except (OSError, KernelError, MemoryError, ImportError) as error:
        print_error(f"kokofast: {sentence_of(error)}")
        if result.status == UNCHANGED:
            return FAILED
    for note in result.notes:
        print_error(f"kokofast: {note}")
    for failure in result.errors:
        print_error(f"kokofast: {failure}")
    for line in result.left:
        print_error(f"kokofast: could not be taken back: {line}")
    if result.status == UNCHANGED:
        print_error(f"kokofast: {topology.links[0].title()} is there already; nothing to do")
    if result.status in (APPLIED, UNCHANGED):
        return OK
    return INVALID if result.status == "invalid" else PARTIAL if result.left else FAILED


def _delete(driver: InlineDriver, kernel: Kernel, action: Delete) -> int:
    from kokofast.drivers.inline import drive
    from kokofast.koko.delete import delete
    from kokofast.wire.message import words_of

    notes, problems, refusal = drive(delete(driver, kernel, action, lambda lab: wait_printer(lab, quiet=False)))
    for note in notes:
        print_error(f"kokofast: {note}")
    for problem in problems:
        print_error(f"kokofast: {problem}")
    if refusal is not None:
        print_error(f"kokofast: {action.place}: {action.ifname} cannot be deleted: {words_of(refusal)}")
        return FAILED
    return INVALID if problems else OK
