"""Commands that play starts in namespaces."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from kokofast.host import commands
from kokofast.host.commands import Children, start
from kokofast.host.namespaces import HERE, open_namespace

pytestmark = pytest.mark.usefixtures("requires_root")

NO_UTF8 = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
PRINT = """
import os
from kokofast.host.commands import start
from kokofast.host.namespaces import HERE, open_namespace
os.waitpid(start(open_namespace(HERE), ["printf", "%s", "\\u65e5"]), 0)
"""


def test_words_reach_a_command_as_they_are_whatever_the_locale() -> None:
    done = subprocess.run([sys.executable, "-c", PRINT], env={**os.environ, **NO_UTF8}, capture_output=True, check=True)
    assert done.stderr == "\u65e5".encode()


def test_a_parent_that_ignores_the_ends_of_children() -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    namespace = open_namespace(HERE)
    try:
        with Children() as children:
            children.add(start(namespace, ["sh", "-c", "exit 3"]), "it")
            while not (found := children.ended()):
                time.sleep(0.01)
            assert found == [("it", 3)]
        assert signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN
    finally:
        os.close(namespace)
        signal.signal(signal.SIGCHLD, before)


def test_a_command_that_cannot_be_ended_keeps_no_other_one(monkeypatch: pytest.MonkeyPatch) -> None:
    namespace = open_namespace(HERE)
    kill = os.killpg

    def refuse(pid: int, number: int) -> None:
        if pid == first and number == signal.SIGTERM:
            raise PermissionError(errno.EPERM, "Operation not permitted")
        kill(pid, number)

    monkeypatch.setattr(commands, "PATIENCE_SECONDS", 0.2)
    try:
        with Children() as children:
            first, second = (start(namespace, ["sleep", "100"]) for _ in range(2))
            children.add(first, "first")
            children.add(second, "second")
            monkeypatch.setattr(os, "killpg", refuse)
        assert not os.path.exists(f"/proc/{first}")
        assert not os.path.exists(f"/proc/{second}")
    finally:
        os.close(namespace)
