"""Print lines to the standard streams. Text from outside is escaped before it reaches the terminal.

koko's command line imports this module, so it imports little.
"""

from __future__ import annotations

import io
import os
import sys

from kokofast.cli.status_line import LINE, Hidden

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def clean(text: str) -> str:
    """Escape what a terminal might act on, and what is not UTF-8."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def sentence_of(error: BaseException) -> str:
    """Describe an error of the machine, without Python's errno."""
    if isinstance(error, MemoryError):
        return "not enough memory"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def wait_printer(lab: str | None, quiet: bool) -> Callable[..., None] | None:
    """Return a function that prints what the run waits for; None with quiet.

    By default that is another run, which holds the lock of the lab (None: of any lab).
    """
    what = f"works on the lab {lab}, or on all labs" if lab else "is at work"
    default = f"another run {what}; waiting until it ends"
    return None if quiet else lambda text=default: print_error(f"kokofast: {text}")


def lacking(capabilities: Sequence[str]) -> str:
    """Say that these capabilities are missing, and how this user gets them."""
    names = " and ".join(capabilities)
    if os.geteuid() == 0:
        options = " ".join(f"--cap-add {name.removeprefix('CAP_')}" for name in capabilities)
        return (
            f"this needs {names}, which root does not have here: a container gets it with {options}, and the system "
            "calls setns, unshare and mount from its seccomp and AppArmor profiles"
        )
    from shlex import quote

    program = quote(os.path.abspath(sys.argv[0]))
    command = f"{quote(sys.executable)} -m kokofast" if program.endswith("/__main__.py") else program
    # The full path: sudo looks for commands in its own secure_path only.
    return f"this needs root, or {names}: run it with sudo, as 'sudo {command} ...'"


class OutputError(Exception):
    """Standard output cannot be written."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


class _Writing:
    # Turns an OSError into OutputError. The block does nothing but write to standard output.
    def __init__(self) -> None:
        self._hidden: Hidden | None = None

    def __enter__(self) -> None:
        # Hide the line of progress. Without a line take no lock: other threads would wait for it while stdout blocks.
        self._hidden = Hidden() if LINE.render is not None else None
        if self._hidden is not None:
            self._hidden.__enter__()

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if self._hidden is not None:
            self._hidden.__exit__()
        if isinstance(error, OSError):
            raise OutputError(error) from error


WRITING = _Writing()


def prepare_streams() -> None:
    """Make the standard streams writable, even when we were started with closed ones."""
    for fd in range(3):
        # Otherwise the next file or socket gets the number of a closed stream, and our output.
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or open(0)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def with_streams(job: Callable[[], int]) -> int:
    """Run a command that prints, and return its exit code; 1 when its data cannot be written."""
    prepare_streams()
    try:
        try:
            return job()
        finally:
            with WRITING:
                sys.stdout.flush()
    except OutputError as lost:
        if isinstance(lost.error, BrokenPipeError):  # the reader has ended, such as head
            _give_up(1)
        else:
            lose_output("the output cannot be written", lost.error)
        return 1
    except (OSError, MemoryError) as error:
        print_error(f"kokofast: {sentence_of(error)}")
        return 1
    except SystemError as error:
        from kokofast.host.threads import is_lost_exception  # rarely needed

        if not is_lost_exception(error):
            raise
        print_error(f"kokofast: {sentence_of(MemoryError())}")
        return 1


def lose_output(sentence: str, error: OSError) -> None:
    """Report that standard output cannot be written, and drop all further output."""
    where = _output_file()
    _give_up(1)
    print_error(f"kokofast: {where}{sentence}: {error.strerror}")


def _output_file() -> str:
    try:
        path = os.readlink("/proc/self/fd/1")
    except OSError:
        return ""
    return f"{path}: " if path.startswith("/") else ""


def _give_up(fd: int) -> None:
    # Otherwise Python fails to flush its buffers at exit, complains, and changes the exit code.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, fd)
    os.close(null)


def print_line(text: str) -> None:
    """Print a line of data to standard output."""
    with WRITING:
        sys.stdout.write(clean(text) + "\n")


def print_error(text: str) -> None:
    """Print a line for the user to standard error. A closed stderr changes neither the run nor its exit code."""
    with Hidden():
        try:
            sys.stderr.write(clean(text) + "\n")
            sys.stderr.flush()
        except OSError:
            _give_up(2)
