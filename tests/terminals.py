"""Terminals of a test's own, and what is seen on them."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Callable

# kokofast with a bar from the beginning of a run, however short that is.
EAGER = [
    sys.executable,
    "-c",
    "import kokofast.cli.progress, kokofast.__main__ as main; kokofast.cli.progress.SHOWN_AFTER = 0; main.main()",
]


def resize(terminal: int, columns: int) -> None:
    """Give a terminal 24 rows of so many columns."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))


def open_terminal(columns: int = 100) -> tuple[int, int]:
    """A terminal: our side and that of a program."""
    ours, theirs = pty.openpty()
    resize(theirs, columns)
    return ours, theirs


def on_a_terminal(
    start: Callable[..., subprocess.Popen[str]], *command: str, columns: int = 100
) -> tuple[subprocess.Popen[str], int]:
    """Starts a command with a terminal of its own, in its foreground; the terminal's other side."""
    ours, theirs = open_terminal(columns)
    script = f'exec setsid --ctty "$@" <{os.ttyname(theirs)}'
    process = start(
        "sh", "-c", script, "sh", *command, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"}
    )
    os.close(theirs)
    return process, ours


def read_until(terminal: int, wanted: bytes) -> bytes:
    """What is shown on the terminal, up to what is wanted at least; b"" as wanted: up to its end."""
    seen = b""
    while not wanted or wanted not in seen:
        assert select.select([terminal], [], [], 30)[0], seen
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # EIO: the other side is closed
            break
        if not piece:
            break
        seen += piece
    assert wanted in seen
    return seen


def screen(written: bytes) -> list[str]:
    """The lines that are seen after this was written to a terminal, the one with the cursor last.

    Fails at what it does not know.
    """
    lines, column = [""], 0
    text = written.decode()
    while text:
        if text.startswith("\x1b[K"):
            lines[-1], text = lines[-1][:column], text[3:]
            continue
        char, text = text[0], text[1:]
        if char == "\r":
            column = 0
        elif char == "\n":
            lines.append("")
        else:
            assert char.isprintable(), (char, text)
            lines[-1] = lines[-1][:column].ljust(column) + char + lines[-1][column + 1 :]
            column += 1
    return lines
