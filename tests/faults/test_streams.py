"""Signals, and standard streams that cannot be read or written: a clean end, the exit code of the contract, no
traceback; and either all of the lab is there or nothing."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from tests import ROOT
from tests.conftest import RunKokofast, ip, links, namespaces
from tests.kernel.conftest import COMMAND, Lab, children_of, present, refused_by_the_kernel, run, until
from tests.runtimes.engines import mounts_below, processes_of
from tests.terminals import EAGER, on_a_terminal, open_terminal, read_until, screen

pytestmark = pytest.mark.usefixtures("requires_root")

Start = Callable[..., subprocess.Popen[str]]
CHAIN = '{"endpoints": ["r0:e0:10.0.0.0/31", "r1:e0:10.0.0.1/31"]}\n'


def shell(script: str, *arguments: str, input: str = "") -> subprocess.CompletedProcess[str]:
    """A bash script in which ``kokofast`` is the command; its arguments are $1, $2 ..."""
    kokofast = f'kokofast() {{ "{sys.executable}" -m kokofast "$@"; }}\n'
    done = run(["bash", "-c", kokofast + script, "bash", *arguments], input=input)
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    return done


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file on a full file system."""
    place = tmp_path / "full"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "none", str(place)], check=True)
    try:
        (place / "filler").write_bytes(bytes(4096))
        yield place / "result"
    finally:
        subprocess.run(["umount", str(place)], check=True)


def closed_pipe() -> int:
    """The writing end of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def prefix(fault: str, full_disk: Path) -> str:
    """What a sentence about that output begins with: a pipe has no path."""
    return {"device": "kokofast: /dev/full: ", "disk": f"kokofast: {full_disk}: "}.get(fault, "kokofast: ")


def into(fault: str, full_disk: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """kokofast with a standard output that cannot be written."""
    place = {"device": "/dev/full", "disk": str(full_disk)}.get(fault)
    fd = closed_pipe() if place is None else os.open(place, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        done = subprocess.run(
            [*COMMAND, *arguments], stdin=subprocess.DEVNULL, stdout=fd, stderr=subprocess.PIPE, text=True, timeout=60,
            check=False,
        )  # fmt: skip
    finally:
        os.close(fd)
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    return done


@pytest.mark.parametrize("fault", ["device", "disk", "pipe"])
def test_a_result_that_cannot_be_written(lab: Lab, full_disk: Path, counts: Counter[str], fault: str) -> None:
    a, b = lab.node("a"), lab.node("b")
    lab.write([{"endpoints": [f"{a}:e0", f"{b}:e0"]}])
    why = "Broken pipe" if fault == "pipe" else "No space left on device"
    start = prefix(fault, full_disk)
    counts["faults injected"] += 5

    planned = into(fault, full_disk, "batch", lab.file, "--dry-run", "--exit-code")
    assert (planned.returncode, planned.stderr) == (1, f"{start}the result cannot be written: {why}\n")
    assert not links(a)

    done = into(fault, full_disk, "batch", lab.file, "--format", "json")
    stays = f"what was done stays ({lab.name}: applied, 1 link created), but the result cannot be written"
    assert (done.returncode, done.stderr) == (3, f"{start}{stays}: {why}\n")
    assert set(links(a)) == {"e0"}

    again = into(fault, full_disk, "batch", lab.file)
    assert (again.returncode, again.stderr) == (1, f"{start}the result cannot be written: {why}\n")

    quiet = into(fault, full_disk, "batch", lab.file, "--quiet")
    assert (quiet.returncode, quiet.stderr) == (0, "")

    gone = into(fault, full_disk, "destroy", lab.file)
    stays = f"what was done stays ({lab.name}: destroyed, 1 link removed), but the result cannot be written"
    assert (gone.returncode, gone.stderr) == (3, f"{start}{stays}: {why}\n")
    assert not links(a)


def test_a_refused_batch_whose_result_cannot_be_written(lab: Lab, full_disk: Path, counts: Counter[str]) -> None:
    a, b = lab.node("a"), lab.node("b")
    refused = refused_by_the_kernel(a, "e1")
    before = links(a)
    lab.write([{"endpoints": [f"{a}:e0", f"{b}:e0"]}, refused])
    done = into("disk", full_disk, "batch", lab.file, "--format", "json")
    counts["faults injected"] += 1
    assert done.returncode == 1
    assert "IPv6 needs an mtu of at least 1280" in done.stderr
    assert "the result cannot be written" in done.stderr
    assert links(a).keys() == before.keys()
    lab.write([{"endpoints": ["nowhere:e0", f"{b}:e0"]}])
    assert into("disk", full_disk, "batch", lab.file, "--format", "json").returncode == 2


@pytest.mark.parametrize("fault", ["device", "disk", "pipe"])
def test_data_that_cannot_be_written(full_disk: Path, counts: Counter[str], fault: str) -> None:
    start = prefix(fault, full_disk)
    message = "" if fault == "pipe" else f"{start}the output cannot be written: No space left on device\n"
    commands = [["schema"], ["generate", "chain", "--links", "2000"], ["inspect"], ["-h"]]
    for command in commands:
        done = into(fault, full_disk, *command)
        counts["faults injected"] += 1
        assert (command, done.returncode, done.stderr) == (command, 1, message)


def test_a_reader_that_has_enough(counts: Counter[str]) -> None:
    for command in ("generate chain --links 5000", "inspect", "schema"):
        done = shell(f"kokofast {command} | head -n 1 >/dev/null; echo ${{PIPESTATUS[0]}}")
        counts["faults injected"] += 1
        assert done.stderr == ""
        assert done.stdout in (("1\n",) if "5000" in command else ("0\n", "1\n"))


@pytest.mark.parametrize("fault", ["2>/dev/full", "2>&-", "2> >(exec true)"])
def test_complaints_that_cannot_be_written_change_no_exit_code(lab: Lab, counts: Counter[str], fault: str) -> None:
    a, b = lab.node("a"), lab.node("b")
    lab.write([{"endpoints": [f"{a}:e0", f"{b}:e0"]}])
    commands = {
        "kokofast validate /missing": 2,
        "kokofast batch --no-such-option": 2,
        "kokofast -x": 2,
        f"kokofast -n {a},x -n {b}-not-there,x": 2,
        'kokofast batch "$1"': 0,
        'kokofast destroy "$1"': 0,
    }
    for command, code in commands.items():
        done = shell(f"{command} {fault}; echo $?", lab.file)
        counts["faults injected"] += 1
        assert (command, done.stdout.splitlines()[-1], done.stderr) == (command, str(code), "")


def test_closed_streams(lab: Lab, counts: Counter[str]) -> None:
    a, b = lab.node("a"), lab.node("b")
    lab.write([{"endpoints": [f"{a}:e0", f"{b}:e0"]}])
    for streams in (">&-", "<&-", "<&- >&- 2>&-"):
        done = shell(f'kokofast batch "$1" {streams}', lab.file)
        assert (done.returncode, done.stderr) == (0, "")
        assert set(links(a)) == {"e0"}
        done = shell(f'kokofast inspect {streams} && kokofast destroy "$1" {streams}', lab.file)
        assert (done.returncode, done.stderr) == (0, "")
        assert not links(a)
        counts["faults injected"] += 3
    for command in ("batch -", "validate -", "destroy -"):
        done = shell(f"kokofast {command} <&-")
        assert done.returncode == 2
        assert done.stderr.startswith("kokofast: ")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 1), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGHUP, -signal.SIGHUP)]
)
def test_a_signal_while_the_file_is_read(start: Start, counts: Counter[str], number: signal.Signals, code: int) -> None:
    for command in ("validate", "batch"):
        reading, writing = os.pipe()
        process = subprocess.Popen(
            [*COMMAND, command, "-"], stdin=reading, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        os.close(reading)
        try:
            os.write(writing, CHAIN.encode())
            until(partial(waits_for_input, process.pid, writing), "the file is read")
            process.send_signal(number)
            output, errors = process.communicate(timeout=60)
        finally:
            process.kill()
            process.communicate()
            os.close(writing)
        counts["faults injected"] += 1
        assert (process.returncode, output) == (code, "")
        assert errors == ("kokofast: interrupted\n" if number == signal.SIGINT else "")


def waits_for_input(pid: int, writing: int) -> bool:
    """Whether the process has read what was written to its standard input, and sleeps for more."""
    import fcntl
    import struct
    import termios

    (left,) = struct.unpack("i", fcntl.ioctl(writing, termios.FIONREAD, b"\0" * 4))
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return left == 0 and state == "S"


@pytest.fixture
def chance() -> random.Random:
    seed = int(os.environ.get("KOKOFAST_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"KOKOFAST_SEED={seed}")  # pytest shows it when the test fails
    return random.Random(seed)


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def has_begun(names: Sequence[str], moment: int) -> bool:
    return present(names) > moment


def has_gone(names: Sequence[str], moment: int) -> bool:
    return present(names) < len(names) - moment


def test_signals_at_any_moment(lab: Lab, start: Start, chance: random.Random, counts: Counter[str], long: bool) -> None:
    names = lab.chain(40)
    for round in range(40 if long else 3):
        number, moment = SIGNALS[round % 3], chance.randrange(0, 40)
        process = start(
            *COMMAND, "batch", lab.file, "--create", "--format", "json", stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        until(partial(has_begun, names, moment), "the batch has begun")
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
        counts["faults injected"] += 1
        counts["rounds"] += 1
        assert "Traceback" not in errors
        if process.returncode in (0, -number):  # it was faster, or the signal came after the work was done
            assert present(names) == 41
            assert len(lab.inspect()) == 40
        else:
            assert process.returncode == 1
            assert json.loads(output)["status"] == "rolled_back"
            left = present(names)
            counts["left over"] += left
            assert left == 0
            assert f"interrupted by {number.name}; what was made has been taken back" in errors
            lab.batch("--create")
        process = start(*COMMAND, "destroy", lab.file, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        until(partial(has_gone, names, moment), "destroy has begun")
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        counts["faults injected"] += 1
        assert process.returncode in (0, 3, -number)
        assert "Traceback" not in errors
        if process.returncode == 3:
            assert errors == f"kokofast: interrupted by {number.name}; run destroy again to remove the rest\n"
        lab.destroy()
        counts["left over"] += present(names)
        assert present(names) == 0


@pytest.mark.parametrize("impatient", [False, True])
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("links", [3, 400])
def test_a_signal_while_the_result_is_told(
    lab: Lab, start: Start, counts: Counter[str], number: signal.Signals, impatient: bool, links: int
) -> None:
    """With an event loop and without: the work is done, and the first signal ends nothing."""
    names = lab.chain(links)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    os.set_blocking(writing, True)
    process = start(*COMMAND, "batch", lab.file, "--create", stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    try:
        until(lambda: present(names) == links + 1 and waits_for_its_reader(process.pid), "the result is written")
        process.send_signal(number)
        time.sleep(0.05)
        assert process.poll() is None
        if impatient:
            process.send_signal(number)
            assert process.wait(timeout=60) == -number
        else:
            with open(reading, "rb", closefd=False) as file:
                told = file.read().lstrip(b"x").decode()
            assert process.wait(timeout=60) == 0
            assert f"{lab.name}: applied, {links} links created" in told
        counts["faults injected"] += 1
    finally:
        os.close(reading)
    assert len(lab.inspect()) == links


def waits_for_its_reader(pid: int) -> bool:
    """Whether the process sleeps in a system call on standard output."""
    return Path(f"/proc/{pid}/syscall").read_text().split()[1:2] == ["0x1"]


@pytest.mark.parametrize("impatience", [2, 3])
def test_one_signal_after_the_other(lab: Lab, start: Start, counts: Counter[str], impatience: int) -> None:
    names = lab.chain(120)
    process = start(*COMMAND, "batch", lab.file, "--create", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until(lambda: present(names) > 60, "the batch has begun")
    for number in (signal.SIGTERM, signal.SIGHUP):
        process.send_signal(number)
    assert process.stderr is not None
    first = process.stderr.readline()
    assert first == (
        "kokofast: still ending what has begun and taking back what was made; one more signal ends this at once, and "
        f"'kokofast destroy --name {lab.name}' removes what is left\n"
    )
    if impatience == 3:
        process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    counts["faults injected"] += impatience
    if impatience == 2:
        assert process.returncode == 1
        assert "what was made has been taken back" in errors
        counts["left over"] += present(names)
        assert present(names) == 0
    elif process.returncode == 3:
        rest = f"'kokofast destroy --name {lab.name}' removes what is left"
        assert errors == f"kokofast: aborted by SIGINT: {rest}\n"
    else:  # all was taken back before the third came
        assert process.returncode in (1, -signal.SIGINT)
        assert present(names) == 0
    lab.batch("--create")
    assert len(lab.inspect()) == 120
    lab.destroy()
    assert present(names) == 0


def test_a_terminal_that_goes_away_hangs_up(lab: Lab, start: Start, counts: Counter[str]) -> None:
    names = lab.chain(120)
    process, terminal = on_a_terminal(start, *EAGER, "batch", lab.file, "--create")
    read_until(terminal, b"apply")
    os.close(terminal)
    code = process.wait(60)
    counts["faults injected"] += 1
    # Nobody can be told any more; SIGHUP has it taken back.
    assert code == 1
    counts["left over"] += present(names)
    assert present(names) == 0


def test_a_terminal_that_goes_away_behind_nohup(lab: Lab, start: Start, counts: Counter[str]) -> None:
    names = lab.chain(100)
    command = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *COMMAND, "batch", lab.file, "--create", "--quiet"]
    process, terminal = on_a_terminal(start, *command)
    until(lambda: present(names) > 10, "the batch has begun")
    os.close(terminal)
    assert process.wait(60) == 0
    counts["faults injected"] += 1
    assert len(lab.inspect()) == 100


def test_a_progress_bar_without_its_terminal(lab: Lab, start: Start, counts: Counter[str]) -> None:
    names = lab.chain(120)
    ours, theirs = open_terminal()
    # Not its controlling terminal: no SIGHUP tells of the end.
    command = ["env", "TERM=xterm", *EAGER, "batch", lab.file, "--create"]
    process = start(*command, stdout=subprocess.DEVNULL, stderr=theirs, start_new_session=True)
    os.close(theirs)
    read_until(ours, b"apply")
    os.close(ours)
    assert process.wait(60) == 0
    counts["faults injected"] += 1
    assert present(names) == 121
    assert len(lab.inspect()) == 120


def test_a_watch_shows_what_it_keeps_and_leaves_nothing_of_it(lab: Lab, start: Start, counts: Counter[str]) -> None:
    a, b = lab.node("a"), lab.node("b")
    lab.write([{"endpoints": [f"{a}:e0", f"{b}:e0"]}])
    process, terminal = on_a_terminal(start, *COMMAND, "watch", lab.file)
    seen = read_until(terminal, f"{lab.name}: 1 link of 2 nodes, 0 links made or changed since; last: ".encode())
    ip(a, "link", "delete", "e0")
    seen += read_until(terminal, f"{lab.name}: 1 link of 2 nodes, 1 link made or changed since; last: ".encode())
    os.write(terminal, b"\x03")
    seen += read_until(terminal, b"")
    os.close(terminal)
    assert process.wait(60) == 0
    counts["faults injected"] += 1
    *events, last = screen(seen.replace(b"^C", b""))
    assert all(re.match(r"\d\d:\d\d:\d\d ", event) for event in events), events
    assert events[-1].endswith("ended; the links stay")
    assert last == ""


def test_a_watch_shows_no_line_beside_a_program_that_reads_its_events(lab: Lab, start: Start) -> None:
    lab.write([{"endpoints": [f"{lab.node('a')}:e0", f"{lab.node('b')}:e0"]}])
    script = '"$@" | cat'
    process, terminal = on_a_terminal(start, "sh", "-c", script, "sh", *COMMAND, "watch", lab.file, "--once")
    seen = read_until(terminal, b"")
    os.close(terminal)
    assert process.wait(60) == 0
    *events, last = screen(seen)
    assert [json.loads(event)["event"] for event in events] == ["applied", "watching"]
    assert last == ""


def sandbox(start: Start, lab: Lab, script: str) -> subprocess.Popen[str]:
    """A script in a sandbox, which has begun: it has said "ready"."""
    Path(f"{lab.file}l").write_text(CHAIN)
    command = [*COMMAND, "batch", f"{lab.file}l", "--sandbox", "--quiet", "--", "sh", "-c", f"echo ready; {script}"]
    process = start(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def processes_with(word: str) -> list[int]:
    """The processes that have this word in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if word.encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_sandboxs_command(
    lab: Lab, start: Start, counts: Counter[str], number: signal.Signals
) -> None:
    unique = f"{100000 + os.getpid()}.{int(number)}"
    process = sandbox(start, lab, f"exec sleep {unique}")
    until(lambda: processes_with(unique), "the command runs")
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    counts["faults injected"] += 1
    assert not processes_with(unique)


def test_the_sandboxs_command_deals_with_signals_itself(lab: Lab, start: Start) -> None:
    process = sandbox(start, lab, "trap 'exit 7' TERM; echo set; while :; do sleep 0.01; done")
    assert process.stdout is not None
    assert process.stdout.readline() == "set\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 7


def test_a_sandbox_that_is_killed_takes_its_command_with_it(lab: Lab, start: Start, counts: Counter[str]) -> None:
    unique = f"{200000 + os.getpid()}.5"
    process = sandbox(start, lab, f"exec sleep {unique}")
    until(lambda: processes_with(unique), "the command runs")
    process.kill()
    counts["kills"] += 1
    until(lambda: not processes_with(unique), "the command is gone")


def test_ctrl_c_reaches_the_sandboxs_command_once(lab: Lab, start: Start, counts: Counter[str]) -> None:
    Path(f"{lab.file}l").write_text(CHAIN)
    script = "trap 'echo got-it' INT; trap 'exit 9' TERM; echo ready; while :; do sleep 0.01; done"
    process, terminal = on_a_terminal(
        start, *COMMAND, "batch", f"{lab.file}l", "--sandbox", "--quiet", "--", "sh", "-c", script
    )
    read_until(terminal, b"ready")
    os.write(terminal, b"\x03")
    seen = read_until(terminal, b"got-it")
    process.send_signal(signal.SIGTERM)
    seen += read_until(terminal, b"")
    os.close(terminal)
    assert process.wait(60) == 9
    counts["faults injected"] += 2
    assert seen.count(b"got-it") == 1


def test_exit_codes_of_the_sandboxs_command(
    lab: Lab, kokofast: RunKokofast, counts: Counter[str], tmp_path: Path
) -> None:
    text = tmp_path / "text"
    text.write_text("no program\n")
    commands = [
        (["no-such-command-at-all"], 127, "kokofast: no-such-command-at-all: No such file or directory\n"),
        ([str(text)], 126, f"kokofast: {text}: Permission denied\n"),
        ([str(tmp_path)], 126, f"kokofast: {tmp_path}: Permission denied\n"),
        (["sh", "-c", "kill -KILL $$"], 137, ""),
        (["sh", "-c", "kill -PIPE $$"], 141, ""),  # which Python ignores, and its children should not
        (["sh", "-c", "exit 3"], 3, ""),
    ]
    for command, code, message in commands:
        done = kokofast("batch", "-", "--sandbox", "--quiet", "--", *command, input=CHAIN)
        counts["faults injected"] += 1
        assert (command, done.returncode, done.stderr) == (command, code, message)


def test_a_test_run_that_is_told_to_end_cleans_up(start: Start, counts: Counter[str], long: bool) -> None:
    for number in (signal.SIGTERM, signal.SIGHUP) if long else (signal.SIGTERM,):
        before = namespaces()
        command = [sys.executable, "tests/run.py", "--no-lint", "-q", "tests/faults/endless.py"]
        process = start(*command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        until(partial(made_by_child_of, process, before), "its tests have begun")
        # The names of its namespaces begin with the pid of pytest.
        (prefix,) = {name[: name.index("-", 4) + 1] for name in made_by_child_of(process, before)}
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
        counts["faults injected"] += 1
        assert process.returncode == 2, output  # pytest's exit code of an interrupted run
        left = [name for name in namespaces() if name.startswith(prefix)]
        counts["left over"] += len(left)
        assert not left


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_test_run_that_is_told_to_end_ends_its_container_engine(
    start: Start, counts: Counter[str], number: signal.Signals
) -> None:
    command = [sys.executable, "tests/run.py", "--no-lint", "-q", "tests/runtimes/test_docker_podman.py"]
    process = start(*command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    until(lambda: engine_below(process), "its engine has begun")
    directory = engine_below(process)
    assert directory is not None
    process.send_signal(number)
    time.sleep(0.3)  # into its cleaning up
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    counts["faults injected"] += 2
    assert process.returncode != 0, output
    left = [*processes_of(directory), *mounts_below(directory), *([directory] if directory.exists() else [])]
    counts["left over"] += len(left)
    assert not left


def engine_below(process: subprocess.Popen[str]) -> Path | None:
    """The directory of the container engine that a grandchild is."""
    for child in children_of(process.pid):
        for grandchild in children_of(child):
            with contextlib.suppress(OSError):
                found = re.search(rb"/[^\0=]*/kft-engine-[^/\0]+", Path(f"/proc/{grandchild}/cmdline").read_bytes())
                if found:
                    return Path(found[0].decode())
    return None


def made_by_child_of(process: subprocess.Popen[str], before: set[str]) -> set[str]:
    children = children_of(process.pid)
    return {name for name in namespaces() - before for child in children if name.startswith(f"kft-{child}-")}
