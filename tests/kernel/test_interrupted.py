"""A batch that is interrupted takes back what it made; one that is killed leaves what the next one understands."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import random
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from typing import Any

import pytest

from kokofast.engine.pace import CHUNK
from tests.conftest import links
from tests.kernel.conftest import COMMAND, Lab, Watch, present, stand_still, state, until
from tests.vm.marker import IN_GUEST

pytestmark = pytest.mark.usefixtures("requires_root")

Start = Callable[..., subprocess.Popen[str]]
# As many as take long enough to be interrupted; a guest is slow.
LINKS = 120 if IN_GUEST else 400
ATTEMPTS = 10


def batch(start: Start, lab: Lab, *arguments: str) -> subprocess.Popen[str]:
    return start(*COMMAND, "batch", lab.file, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_while_namespaces_are_made(lab: Lab, start: Start, number: signal.Signals) -> None:
    names = lab.chain(LINKS)
    process = batch(start, lab, "--create", "--format", "json")
    until(lambda: present(names) > 20, "the batch has begun")
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 1, errors
    result = json.loads(output)
    assert result["status"] == "rolled_back"
    assert "left" not in result
    assert number.name in errors
    assert present(names) == 0


def test_a_signal_while_links_are_made(lab: Lab, start: Start, watch: Callable[[str], Watch]) -> None:
    # Several chunks of links: the ends of one, in two sends, are done before a signal can come.
    a, b = lab.bundle(3 * CHUNK)
    before = state(a, b)
    sight = watch(a)
    for _ in range(6):
        process = batch(start, lab)
        until(lambda: sight.count() > 10, "the batch has begun")
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
        if process.returncode != 0:
            break
        lab.destroy()  # it was done before the signal came: again
    assert process.returncode == 1, errors
    assert "interrupted by SIGTERM; what was made has been taken back" in errors
    assert "Traceback" not in errors
    assert state(a, b) == before


# kokofast, with signals to itself in the midst of importing trio: the first links are being made by then.
WHILE_IMPORTING = """
import os, sys
import kokofast.cli.main

class Finder:
    def find_spec(self, name, *_):
        if name == "trio":
            for number in sys.argv[-1].split():
                os.kill(os.getpid(), int(number))
            if not sys.argv[-1]:
                raise ImportError(name)

sys.meta_path.insert(0, Finder())
sys.exit(kokofast.cli.main.run(sys.argv[1:-1]))
"""


def while_importing(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WHILE_IMPORTING, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    "numbers",
    [
        (signal.SIGTERM,),
        (signal.SIGINT,),
        (signal.SIGHUP,),
        (signal.SIGTERM, signal.SIGTERM, signal.SIGTERM),
        (signal.SIGINT, signal.SIGTERM, signal.SIGHUP),
    ],
)
def test_signals_while_trio_is_imported(lab: Lab, numbers: tuple[signal.Signals, ...]) -> None:
    a, b = lab.bundle(20)
    before = state(a, b)
    done = while_importing("batch", lab.file, "--format", "json", " ".join(str(int(number)) for number in numbers))
    assert done.returncode == 1, done.stderr
    result = json.loads(done.stdout)
    assert (result["status"], "left" in result) == ("rolled_back", False)
    said = done.stderr.splitlines()
    assert len(said) == 1
    assert any(f"interrupted by {number.name}; what was made has been taken back" in said[0] for number in set(numbers))
    assert state(a, b) == before


def test_without_trio_nothing_stays(lab: Lab) -> None:
    a, b = lab.bundle(20)
    before = state(a, b)
    done = while_importing("batch", lab.file, "--format", "json", "")
    assert done.returncode == 1
    assert done.stderr == "kokofast: the event loop cannot be imported: trio\n"
    assert json.loads(done.stdout)["status"] == "rolled_back"
    assert state(a, b) == before


def test_nothing_to_do_needs_no_trio(lab: Lab) -> None:
    a, b = lab.bundle(20)
    assert while_importing("batch", lab.file, "--quiet", str(int(signal.SIGWINCH))).returncode == 0
    before = state(a, b)
    # trio is not imported.
    done = while_importing("batch", lab.file, "--format", "json", "")
    assert (done.returncode, json.loads(done.stdout)["status"]) == (0, "unchanged")
    assert state(a, b) == before


def test_ctrl_c_on_a_terminal_that_shows_progress(lab: Lab, start: Start) -> None:
    names = lab.chain(LINKS)
    terminal, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))  # on one without a size no bar fits
    process = start(*COMMAND, "batch", lab.file, "--create", stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    seen = b""
    while b"apply" not in seen:
        seen += os.read(terminal, 4096)
    process.send_signal(signal.SIGINT)
    try:
        while piece := os.read(terminal, 4096):
            seen += piece
    except OSError:  # EIO: the other side is closed
        pass
    os.close(terminal)
    assert process.wait(60) == 1, seen
    assert b"interrupted by SIGINT" in seen
    assert b"Traceback" not in seen
    assert present(names) == 0


def test_a_signal_after_the_work_is_done_changes_nothing(lab: Lab) -> None:
    lab.chain(1)
    lab.batch("--create")
    assert lab.batch()["status"] == "unchanged"


@pytest.fixture
def chance() -> random.Random:
    seed = int(os.environ.get("KOKOFAST_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"seed {seed}")  # pytest shows it when the test fails
    return random.Random(seed)


def kill_midway(lab: Lab, start: Start, begun: Callable[[], object], *arguments: str) -> None:
    """Kills a batch with SIGKILL when begun() holds, and a dry run says that it has more to do."""
    for _ in range(ATTEMPTS):
        process = batch(start, lab, *arguments)
        until(begun, "the batch has begun")
        midway = stand_still(process) and lab.batch("--dry-run", *arguments)["status"] == "planned"
        process.kill()
        process.communicate()
        if midway:
            assert process.returncode == -signal.SIGKILL
            return
        lab.destroy()  # this batch was faster than we: once more from the start
    pytest.fail(f"{ATTEMPTS} batches were done before they could be killed")


def check_complete(lab: Lab, total: int) -> None:
    seen: list[dict[str, Any]] = lab.inspect()
    assert len(seen) == total
    assert all(link["lab"] == lab.name and len(link["endpoints"]) == 2 for link in seen)
    assert all(end["up"] and end["addresses"] for link in seen for end in link["endpoints"])


@pytest.mark.parametrize("attempt", range(2))
def test_killed_while_namespaces_are_made(lab: Lab, start: Start, chance: random.Random, attempt: int) -> None:
    names = lab.chain(LINKS)
    moment = chance.randrange(0, LINKS // 2)
    kill_midway(lab, start, lambda: present(names) > moment, "--create")
    assert present(names) > 0
    if attempt:
        lab.destroy()
        assert present(names) == 0
    else:
        assert lab.batch("--create")["status"] == "applied"
        check_complete(lab, LINKS)
        assert lab.batch("--create")["status"] == "unchanged"
        assert lab.destroy()["namespaces"]["removed"] == LINKS + 1


@pytest.mark.parametrize("attempt", range(4))
def test_killed_while_links_are_made(
    lab: Lab, start: Start, watch: Callable[[str], Watch], chance: random.Random, attempt: int
) -> None:
    a, b = lab.bundle(LINKS)
    before = state(a, b)
    sight = watch(a)
    moment = chance.randrange(2, LINKS // 2)
    kill_midway(lab, start, lambda: sight.count() > moment)
    assert links(a)
    if attempt % 2:
        assert lab.batch()["status"] == "applied"
        check_complete(lab, LINKS)
        assert lab.batch()["status"] == "unchanged"
        assert {link["txqlen"] for link in links(a).values()} == {1000}
    lab.destroy()
    assert state(a, b) == before


def test_killed_while_destroying(lab: Lab, start: Start, chance: random.Random) -> None:
    names = lab.chain(LINKS)
    moment = chance.randrange(LINKS // 3, LINKS)
    for _ in range(ATTEMPTS):
        lab.batch("--create")
        process = start(*COMMAND, "destroy", lab.file, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        until(lambda: present(names) <= moment, "destroy has begun")
        midway = stand_still(process) and present(names)
        process.kill()
        process.communicate()
        if midway:
            break
    else:
        pytest.fail(f"{ATTEMPTS} times destroy was done before it could be killed")
    assert process.returncode == -signal.SIGKILL
    lab.destroy()
    assert present(names) == 0
