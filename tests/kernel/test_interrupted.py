"""A batch that is interrupted takes back what it made; one that is killed leaves what the next one understands."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from kokofast.drivers.work_queue import CHUNK
from kokofast.host.lock import LabLock
from tests.conftest import ip_batch, links, run
from tests.kernel.conftest import (
    ATTEMPTS,
    COMMAND,
    Lab,
    Start,
    Watch,
    batch,
    kill_midway,
    ping,
    present,
    refused_by_the_kernel,
    stand_still,
    state,
    until,
)
from tests.terminals import EAGER, on_a_terminal, read_until, screen
from tests.vm.marker import IN_GUEST

pytestmark = [pytest.mark.usefixtures("requires_root"), pytest.mark.native]

# As many as take long enough to be interrupted; a guest is slow.
LINKS = 120 if IN_GUEST else 400
# More than are done in the calling thread while it imports trio.
MANY = 3 * CHUNK


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


# kokofast, with signals to itself in the midst of importing trio, when the first links are there.
WHILE_IMPORTING = """
import faulthandler, os, subprocess, sys, time
faulthandler.dump_traceback_later(100, exit=True)  # should two threads ever wait for each other
import kokofast.cli.main

class Finder:
    def find_spec(self, name, *_):
        if name != "trio":
            return
        *numbers, namespace = sys.argv[-1].split()
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if " e0@" in subprocess.run(["ip", "-n", namespace, "-o", "link"], capture_output=True, text=True).stdout:
                break
            time.sleep(0.01)
        else:
            os._exit(77)  # somebody removes all labs just now, and the run waits for him under trio
        for number in numbers:
            os.kill(os.getpid(), int(number))
            time.sleep(0.2)
        if not numbers:
            raise {error}

sys.meta_path.insert(0, Finder())
sys.exit(kokofast.cli.main.run(sys.argv[1:-1]))
"""


def while_importing(
    lab: Lab, namespace: str, *numbers: signal.Signals, error: str = "ImportError(name)", options: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    script = WHILE_IMPORTING.replace("{error}", error)
    # With two workers, as a plan of more than a few links has it.
    command = [sys.executable, "-c", script, "batch", lab.file, "--format", "json", "--jobs", "2", *options]
    for _ in range(3):
        done = run([*command, " ".join([*(str(int(number)) for number in numbers), namespace])])
        if done.returncode != 77:
            break
    return done


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_while_trio_is_imported(lab: Lab, number: signal.Signals) -> None:
    a, b = lab.bundle(MANY)
    before = state(a, b)
    done = while_importing(lab, a, number)
    assert done.returncode == 1, done.stderr
    result = json.loads(done.stdout)
    assert (result["status"], "left" in result) == ("rolled_back", False)
    assert done.stderr == f"kokofast: interrupted by {number.name}; what was made has been taken back\n"
    assert state(a, b) == before


def test_a_second_signal_while_trio_is_imported_is_answered(lab: Lab) -> None:
    a, b = lab.bundle(MANY)
    before = state(a, b)
    done = while_importing(lab, a, signal.SIGINT, signal.SIGTERM)
    assert done.returncode == 1, done.stderr
    said = done.stderr.splitlines()
    assert "still ending what has begun" in said[0]
    assert "interrupted by SIGINT; what was made has been taken back" in said[1]
    assert state(a, b) == before


def test_a_third_signal_while_trio_is_imported_ends_it(lab: Lab) -> None:
    a, b = lab.bundle(MANY)
    before = state(a, b)
    done = while_importing(lab, a, signal.SIGINT, signal.SIGINT, signal.SIGINT)
    assert done.returncode == 3, done.stderr
    assert "aborted by SIGINT: 'kokofast destroy" in done.stderr
    assert lab.destroy()["status"] == "destroyed"
    assert state(a, b) == before


def test_a_signal_that_is_ignored_while_trio_is_imported(lab: Lab) -> None:
    a, _ = lab.bundle(20)
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        done = while_importing(lab, a, signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, former)
    assert (done.returncode, json.loads(done.stdout)["status"]) == (0, "applied"), done.stderr


@pytest.mark.parametrize("error", ["ImportError('trio')", "EOFError('marshal data too short')"])
def test_without_trio_nothing_stays(lab: Lab, error: str) -> None:
    a, b = lab.bundle(20)
    before = state(a, b)
    done = while_importing(lab, a, error=error)
    assert done.returncode == 1
    kind, _, text = error.removesuffix("')").partition("('")
    assert done.stderr == f"kokofast: the event loop cannot be imported: {kind}: {text}\n"
    assert json.loads(done.stdout)["status"] == "rolled_back"
    assert state(a, b) == before


# kokofast, where the rollback of a link that the kernel refuses breaks off.
WITHOUT_ROLLBACK = """
import sys
import kokofast.cli.main
import kokofast.engine.rollback

async def break_off(*_):
    raise ImportError("mmap: cannot open shared object file: Too many open files")

kokofast.engine.rollback.roll_back = break_off
sys.exit(kokofast.cli.main.run(sys.argv[1:]))
"""


def test_a_module_that_cannot_be_imported_in_a_rollback_is_no_run_that_was_taken_back(lab: Lab) -> None:
    a, _ = lab.bundle(2)
    lab.write([{"endpoints": [f"{a}:e0", f"{lab.node('new')}:e1"]}, refused_by_the_kernel(a)])
    done = run([sys.executable, "-c", WITHOUT_ROLLBACK, "batch", lab.file, "--create", "--format", "json"])
    result = json.loads(done.stdout)
    assert (done.returncode, result["status"]) == (3, "partial"), done.stderr
    assert "mmap: cannot open" in done.stderr
    assert "removes what is left" in result["left"][0]
    assert lab.destroy()["status"] == "destroyed"


WITHOUT_TRIO = """
import sys
sys.modules["trio"] = None
import kokofast.cli.main
sys.exit(kokofast.cli.main.run(sys.argv[1:]))
"""


def test_few_links_need_no_trio(lab: Lab) -> None:
    names = lab.chain(20)
    for status, created in (("applied", 20), ("unchanged", 0)):
        done = run([sys.executable, "-c", WITHOUT_TRIO, "batch", lab.file, "--create", "--format", "json"])
        result = json.loads(done.stdout)
        assert (done.returncode, result["status"], result["links"]["created"]) == (0, status, created), done.stderr
        assert result.get("workers", 1) == 1
    assert len(lab.inspect()) == 20
    ping(names[0], "10.0.0.1")


# kokofast, with a signal to itself behind its first requests.
BEHIND_THE_FIRST = """
import os, sys, time
import kokofast.cli.main
from kokofast.ops.executor import Executor

def execute(self, operations):
    answers = real(self, operations)
    if not seen:
        seen.append(1)
        for number in sys.argv[-1].split():
            os.kill(os.getpid(), int(number))
            time.sleep(0.2)
    return answers

seen = []
real, Executor.execute = Executor.execute, execute
{first}
sys.exit(kokofast.cli.main.run(sys.argv[1:-1]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_while_few_links_are_made(lab: Lab, number: signal.Signals) -> None:
    a, b = lab.bundle(20)
    before = state(a, b)
    script = BEHIND_THE_FIRST.replace("{first}", "")
    done = run([sys.executable, "-c", script, "batch", lab.file, "--format", "json", str(int(number))])
    result = json.loads(done.stdout)
    assert (done.returncode, result["status"], "left" in result) == (1, "rolled_back", False)
    assert done.stderr == f"kokofast: interrupted by {number.name}; what was made has been taken back\n"
    assert state(a, b) == before


def test_a_signal_while_few_links_are_made_and_no_trio(lab: Lab) -> None:
    names = lab.chain(5)
    script = BEHIND_THE_FIRST.replace("{first}", 'sys.modules["trio"] = None')
    number = str(int(signal.SIGTERM))
    done = run([sys.executable, "-c", script, "batch", lab.file, "--create", "--format", "json", number])
    assert (done.returncode, json.loads(done.stdout)["status"]) == (1, "rolled_back")
    assert done.stderr == "kokofast: interrupted by SIGTERM; what was made has been taken back\n"
    assert present(names) == 0


def test_nothing_to_do_needs_no_trio(lab: Lab) -> None:
    lab.bundle(20)
    lab.batch()
    for option in ([], ["--dry-run"]):
        done = run([sys.executable, "-c", WITHOUT_TRIO, "batch", lab.file, "--format", "json", *option])
        assert (done.returncode, json.loads(done.stdout)["status"]) == (0, "unchanged"), done.stderr


def test_namespaces_go_without_trio(lab: Lab) -> None:
    names = lab.chain(20)
    lab.batch("--create")
    shown = run([sys.executable, "-c", WITHOUT_TRIO, "inspect", lab.name, "--format", "json"])
    assert len(json.loads(shown.stdout)) == 20, shown.stderr
    for status, removed in (("destroyed", (20, 21)), ("unchanged", (0, 0))):
        done = run([sys.executable, "-c", WITHOUT_TRIO, "destroy", lab.file, "--format", "json"])
        result = json.loads(done.stdout)
        assert (done.returncode, result["status"]) == (0, status), done.stderr
        assert (result["links"]["removed"], result["namespaces"]["removed"]) == removed
        assert list(result["seconds"]) == ["read", "survey", "delete", "total"]
    assert present(names) == 0


# kokofast, with a signal to itself while it looks into the first namespace.
WHILE_LOOKING = """
import os, sys, time
import kokofast.cli.main
import kokofast.engine.snapshot

def look_into(*arguments):
    if not seen:
        seen.append(1)
        for number in sys.argv[-1].split():
            os.kill(os.getpid(), int(number))
            time.sleep(0.2)
    return real(*arguments)

seen = []
real, kokofast.engine.snapshot.look_into = kokofast.engine.snapshot.look_into, look_into
sys.exit(kokofast.cli.main.run(sys.argv[1:-1]))
"""


def test_a_signal_while_looking(lab: Lab) -> None:
    lab.bundle(20)
    lab.batch()
    for command, code in ((["inspect", lab.name], 1), (["destroy", lab.file], 3), (["batch", lab.file], 1)):
        done = run([sys.executable, "-c", WHILE_LOOKING, *command, "--format", "json", str(int(signal.SIGTERM))])
        assert done.returncode == code, (command, done.stderr)
        assert "interrupted" in done.stderr
        assert len(lab.inspect()) == 20


def test_an_urgent_signal_is_nothing(lab: Lab) -> None:
    lab.bundle(20)
    lab.batch()
    numbers = f"{int(signal.SIGURG)} {int(signal.SIGTERM)}"
    done = run([sys.executable, "-c", WHILE_LOOKING, "inspect", lab.name, numbers])
    assert (done.returncode, "interrupted" in done.stderr) == (1, True)


def test_without_trio_links_in_namespaces_that_stay_go_all_the_same(lab: Lab) -> None:
    names = lab.chain(12)
    ip_batch(None, *(f"netns add {name}" for name in names))
    lab.batch()
    done = run([sys.executable, "-c", WITHOUT_TRIO, "destroy", lab.file, "--format", "json"])
    assert (done.returncode, json.loads(done.stdout)["links"]) == (0, {"removed": 12, "failed": 0}), done.stderr
    assert [set(links(name)) for name in names] == [set()] * len(names)


def test_a_run_waits_for_the_lab_without_trio(lab: Lab, start: Start) -> None:
    lab.bundle(20)
    lock = LabLock(lab.name)
    assert lock.acquire()
    try:
        command = [sys.executable, "-c", WITHOUT_TRIO, "batch", lab.file, "--format", "json"]
        process = start(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stderr is not None
        assert "another run works on the lab" in process.stderr.readline()
    finally:
        lock.release()
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, json.loads(output)["status"]) == (0, "applied"), errors


def test_ctrl_c_on_a_terminal_that_shows_progress(lab: Lab, start: Start) -> None:
    names = lab.chain(LINKS)
    process, terminal = on_a_terminal(start, *EAGER, "batch", lab.file, "--create")
    seen = read_until(terminal, b"apply")
    os.write(terminal, b"\x03")
    seen += read_until(terminal, b"")
    os.close(terminal)
    assert process.wait(60) == 1, seen
    assert b"rollback" in seen
    *messages, last = screen(seen.replace(b"^C", b""))
    assert messages[0].startswith("kokofast: interrupted by SIGINT")
    assert [line for line in messages if "%|" in line] == []
    assert last == ""
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
