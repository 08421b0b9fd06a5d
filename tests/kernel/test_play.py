"""play on the real kernel: ip and tc as witnesses, its lines as their schema says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from kokofast.cli.result_schema import schema_of_played
from kokofast.timeline.json_schema import schema
from tests.conftest import ip, ip_json, run
from tests.kernel.conftest import COMMAND, Lab, Start, ping, state, until
from tests.kernel.test_session import Triangle, rate
from tests.terminals import on_a_terminal, read_until, screen

pytestmark = [pytest.mark.usefixtures("requires_root"), pytest.mark.native]

PLAYED = Draft202012Validator(schema_of_played())
TIMELINE = Draft202012Validator(schema())

Lines = list[dict[str, Any]]


class Theatre(Triangle):
    """A triangle, and the file of a timeline."""

    def write(self, *epochs: object) -> str:
        file = Path(self.lab.file).with_name("t.jsonl")
        for epoch in epochs:
            TIMELINE.validate(epoch)
        file.write_text("".join(json.dumps(epoch) + "\n" for epoch in epochs))
        return str(file)

    def play(self, timeline: str, *options: str, code: int = 0, input: str | None = None) -> tuple[Lines, str]:
        command = [*COMMAND, "play", self.lab.file, timeline, *options]
        done = subprocess.run(command, capture_output=True, text=True, input=input, timeout=60, check=False)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return lines_of(done.stdout), done.stderr

    def sky(self, rate: str) -> dict[str, Any]:
        return {"set": [{"endpoint": f"{self.ground}:sky", "rate": rate}]}


def lines_of(output: str) -> Lines:
    found = [json.loads(line) for line in output.splitlines()]
    for line in found:
        PLAYED.validate(line)
    return found


@pytest.fixture
def theatre(lab: Lab) -> Theatre:
    return Theatre(lab)


def test_rates_handovers_and_commands(theatre: Theatre, tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    there = theatre.handover(theatre.first, theatre.second)
    timeline = theatre.write(
        {"at": 0, **theatre.sky("20mbit")},
        {"at": 0.2, **there, "run": {"node": theatre.two, "command": ["cp", "/proc/self/net/dev", str(witness)]}},
        {"at": 0.4, "set": [{"select": f"{theatre.two}:*", "mtu": 1400}]},
        {"at": 2},
    )
    lines, errors = theatre.play(timeline, "--late", "all")
    assert errors == ""
    assert [(line["at"], line["status"], line["changes"]) for line in lines[:-1]] == [
        (0, "applied", {"updated": 1}),
        (0.2, "applied", {"created": 1, "removed": 1}),
        (0.4, "applied", {"updated": 1}),
        (2, "unchanged", {}),
    ]
    assert lines[-1]["summary"]["epochs"] == 4
    assert all(line["at"] <= line["begun"] <= line["done"] for line in lines[:-1])
    ping(theatre.ground, "10.0.0.3")
    assert " gs:" in witness.read_text()
    assert ip_json(theatre.two, "link", "show", "gs")[0]["mtu"] == 1400
    # Again: it begins with what the file says.
    lines, _ = theatre.play(timeline, "--until", "0.4", "--late", "all", "--destroy")
    assert [line["status"] for line in lines[:-1]] == ["applied"] * 3
    assert theatre.lab.inspect() == []


def test_a_bad_line_is_named_before_the_start(theatre: Theatre) -> None:
    theatre.lab.batch()
    before = state(theatre.ground, theatre.one)
    file = theatre.write({"at": 0, **theatre.sky("20mbit")})
    with open(file, "a") as more:
        more.write('{"at": 1, "set": [{"endpoint": "x:y", "rate": "1mbit"}]}\n{"at": 1\n')
    lines, errors = theatre.play(file, code=2)
    assert lines == []
    assert errors.splitlines() == [
        f"kokofast: {file}:2 set[0].endpoint: there is no link 'x:y' at this time",
        f"kokofast: {file}:3:10: not JSON: expecting ',' delimiter",
    ]
    assert state(theatre.ground, theatre.one) == before


def test_a_lab_that_it_could_not_bring_up_is_not_destroyed(theatre: Theatre) -> None:
    theatre.lab.batch()
    before = state(theatre.ground, theatre.one)
    ip(theatre.two, "link", "add", "gs", "type", "veth", "peer", "name", "theirs")
    other = theatre.second | {"endpoints": [f"{theatre.ground}:sea", f"{theatre.two}:gs"]}
    theatre.lab.write([theatre.first, other])
    timeline = theatre.write({"at": 0, **theatre.sky("20mbit")})
    lines, errors = theatre.play(timeline, "--destroy", code=2)
    assert lines == []
    assert "already has an interface gs, not ours" in errors
    assert state(theatre.ground, theatre.one) == before


def test_a_timeline_that_can_be_read_only_once_is_refused(theatre: Theatre, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    lines, errors = theatre.play(str(fifo), code=2)
    assert lines == []
    assert errors.startswith(f"kokofast: {fifo}: can be read only once: write it to a file, or give - to play what")
    assert theatre.lab.inspect() == []


def test_it_starts_at_a_moment_when_the_lab_is_up(theatre: Theatre) -> None:
    timeline = theatre.write({"at": 0, **theatre.sky("20mbit")}, {"at": 0.2, **theatre.sky("30mbit")})
    moment = time.time() + 10
    command = [*COMMAND, "play", theatre.lab.file, timeline, f"--start-at={moment:.6f}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert process.stderr.readline().startswith(f"kokofast: {theatre.lab.name}: up; the timeline begins in ")
    assert rate(theatre.ground, "sky") != 2_500_000
    output, _ = process.communicate(timeout=60)
    assert time.time() >= moment + 0.2
    assert [line["status"] for line in lines_of(output)[:-1]] == ["applied"] * 2
    assert lines_of(output)[0]["begun"] >= 0
    assert process.returncode == 0


def test_a_signal_ends_the_wait_for_the_start(theatre: Theatre) -> None:
    timeline = theatre.write({"at": 0, **theatre.sky("20mbit")})
    command = [*COMMAND, "play", theatre.lab.file, timeline, "--start-at=2999-01-01T00:00:00Z"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert ": up; " in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=60)
    assert errors == "kokofast: interrupted by SIGTERM; the lab is as the last epoch left it\n"
    assert (lines_of(output)[0]["summary"]["epochs"], process.returncode) == (0, 1)
    assert rate(theatre.ground, "sky") != 2_500_000


def test_a_start_that_is_over_is_refused(theatre: Theatre) -> None:
    timeline = theatre.write({"at": 0, **theatre.sky("20mbit")})
    lines, errors = theatre.play(timeline, f"--start-at={time.time() - 3:.6f}", code=2)
    assert lines == []
    assert errors.startswith("kokofast: --start-at was ")
    assert theatre.lab.inspect() == []
    _, errors = theatre.play("-", "--start-at=2999-01-01T00:00:00Z", code=2)
    assert errors.startswith("kokofast: --start-at is for a file or a folder")


def test_an_end_before_the_first_epoch_is_refused(theatre: Theatre) -> None:
    timeline = theatre.write({"at": 5, **theatre.sky("20mbit")})
    for options in ((), ("--loop",)):
        lines, errors = theatre.play(timeline, "--until", "4", *options, code=2)
        assert lines == []
        assert errors == "kokofast: --until ends before the first epoch: nothing would be played\n"
    assert theatre.lab.inspect() == []


def test_a_command_that_fails_is_named_and_the_exit_code_stays(theatre: Theatre) -> None:
    failing = {"node": theatre.ground, "command": ["false"]}
    timeline = theatre.write({"at": 0, "run": failing}, {"at": 1})
    _, errors = theatre.play(timeline)
    assert errors == f"kokofast: {timeline}:1 run: false: ended with 1\n"


def test_a_dry_run_needs_no_lab(theatre: Theatre) -> None:
    timeline = theatre.write({"at": 0, **theatre.sky("20mbit")}, {"at": 60, "remove": [{"select": "*"}]})
    lines, _ = theatre.play(timeline, "--dry-run")
    assert lines == [{"at": 0, "changes": {"set": 1}}, {"at": 60, "changes": {"remove": 1}}]
    assert theatre.lab.inspect() == []


@pytest.mark.parametrize(("on_error", "code"), [("stop", 1), ("continue", 3)])
def test_what_the_kernel_refuses_leaves_the_state_before(theatre: Theatre, on_error: str, code: int) -> None:
    ip(theatre.two, "link", "add", "gs", "type", "veth", "peer", "name", "theirs")
    bad = {**theatre.handover(theatre.first, theatre.second), **theatre.sky("1mbit")}
    bad["set"] = [{"endpoint": f"{theatre.one}:gs", "rate": "1mbit"}]
    bad["remove"], bad["add"] = [], [theatre.second | {"endpoints": [f"{theatre.one}:new", f"{theatre.two}:gs"]}]
    timeline = theatre.write(
        {"at": 0, **theatre.sky("20mbit")}, {"at": 0.1, **bad}, {"at": 0.2, **theatre.sky("5mbit")}
    )
    lines, errors = theatre.play(timeline, "--on-error", on_error, code=code)
    assert f"{timeline}:2 add[0].endpoints[1]: {theatre.two} already has an interface gs, not ours" in errors
    assert lines[1]["status"] == "invalid"
    assert rate(theatre.one, "gs") == 1_250_000
    assert rate(theatre.ground, "sky") == (2_500_000 if on_error == "stop" else 625_000)
    assert "theirs" in ip(theatre.two, "link", "show")


def test_another_program_drives_it_by_standard_input(theatre: Theatre, start: Start) -> None:
    command = [*COMMAND, "play", theatre.lab.file, "-"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    found = []
    for number in (3, 4, 5):
        epoch = theatre.sky(f"{number}mbit")
        process.stdin.write(
            json.dumps(epoch if number == 3 else {"at": 0, **epoch}) + "\n"
        )  # late, but it is the newest
        process.stdin.flush()
        found.append(process.stdout.readline())
        assert rate(theatre.ground, "sky") == number * 125_000
    rest, _ = process.communicate(timeout=30)
    lines = lines_of("".join([*found, rest]))
    assert [line["status"] for line in lines[:-1]] == ["applied"] * 3
    assert process.returncode == 0


def test_a_folder_of_netsatbench(theatre: Theatre, tmp_path: Path) -> None:
    folder = tmp_path / "epochs"
    folder.mkdir()
    ends = {"endpoint1": theatre.ground, "endpoint2": theatre.one}
    new = {"endpoint1": theatre.one, "endpoint2": theatre.two, "rate": "3mbit"}
    epochs: list[dict[str, Any]] = [
        {"time": "2026-01-31T12:00:00Z", "links-update": [{**ends, "rate": "7mbit"}], "links-add": [new]},
        {"time": "2026-01-31T12:00:00.2Z", "links-del": [ends]},
    ]
    for number, epoch in zip((9, 10), epochs, strict=True):
        (folder / f"epoch{number}.json").write_text(json.dumps(epoch, indent=1))
    lines, _ = theatre.play(str(folder))
    assert [line["changes"] for line in lines[:-1]] == [{"created": 1, "updated": 1}, {"removed": 1}]
    (link,) = theatre.lab.inspect()
    assert {end["node"] for end in link["endpoints"]} == {theatre.one, theatre.two}


def played(process: subprocess.Popen[str], lines: int) -> Sequence[str]:
    assert process.stdout is not None
    return [process.stdout.readline() for _ in range(lines)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_between_two_epochs(theatre: Theatre, start: Start, number: int) -> None:
    sleeper = {"node": theatre.ground, "command": ["sleep", "1000"]}
    timeline = theatre.write({"at": 0, **theatre.sky("20mbit"), "run": sleeper}, {"at": 1000, **theatre.sky("30mbit")})
    process = start(*COMMAND, "play", theatre.lab.file, timeline, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    (first,) = played(process, 1)
    pid = json.loads(first)["run"][0]["pid"]
    process.send_signal(number)
    rest, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    name = signal.Signals(number).name
    assert errors == f"kokofast: interrupted by {name}; the lab is as the last epoch left it\n"
    assert lines_of(first + rest)[-1]["summary"]["epochs"] == 1
    assert rate(theatre.ground, "sky") == 2_500_000
    assert not os.path.exists(f"/proc/{pid}")


def test_rounds_without_end(theatre: Theatre, start: Start) -> None:
    sleep = {"node": theatre.ground, "command": ["sleep", "100"]}
    timeline = theatre.write(
        {"at": 0, **theatre.handover(theatre.first, theatre.second)}, {"at": 0.1, **theatre.sky("5mbit"), "run": sleep}
    )
    options = ("--loop", "--until", "0.2", "--late", "all")
    process = start(*COMMAND, "play", theatre.lab.file, timeline, *options, stdout=subprocess.PIPE)
    lines = lines_of("".join(played(process, 6)))
    assert [line["round"] for line in lines] == [0, 0, 1, 1, 2, 2]
    assert {line["status"] for line in lines} == {"applied"}
    # The commands of a round end with it.
    pids = [line["run"][0]["pid"] for line in lines[1:-1:2]]
    assert [os.path.exists(f"/proc/{pid}") for pid in pids] == [False, False]
    process.terminate()
    process.communicate(timeout=30)


def test_the_output_that_nobody_reads_ends_it(theatre: Theatre, start: Start) -> None:
    timeline = theatre.write(*({"at": number / 10, **theatre.sky(f"{number + 1}mbit")} for number in range(100)))
    process = start(*COMMAND, "play", theatre.lab.file, timeline, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    played(process, 1)
    assert process.stdout is not None
    process.stdout.close()
    until(lambda: process.poll() is not None, "it ends")
    assert process.stderr is not None
    assert "the result cannot be written" in process.stderr.read()
    assert process.returncode == 3


def test_the_example() -> None:
    command = ["unshare", "--mount", "--net", "--propagation", "private", "sh", "-c"]
    line = 'mount -t tmpfs tmpfs /run && exec "$@"'
    play = ["play", "examples/handover.json", "examples/handover.jsonl", "--destroy", "--late", "all"]
    done = run([*command, line, "sh", *COMMAND, *play])
    assert done.returncode == 0, done.stderr
    assert [line["status"] for line in lines_of(done.stdout)[:-1]] == ["applied"] * 3 + ["unchanged"]
    assert "1 received" in done.stderr


@pytest.mark.guest
def test_delays_change_with_time(theatre: Theatre) -> None:
    """The round trip through both ends of a link: netem is in the guest only."""
    timeline = theatre.write(
        *(
            {"at": n / 10, "set": [{"endpoints": [theatre.ground, theatre.one], "delay": f"{5 * n}ms"}]}
            for n in range(1, 6)
        )
    )
    lines, _ = theatre.play(timeline, "--late", "all")
    assert [line["status"] for line in lines[:-1]] == ["applied"] * 5
    done = run(["ip", "netns", "exec", theatre.ground, "ping", "-c", "3", "-W", "5", "10.0.0.2"])
    least = float(done.stdout.rpartition("=")[2].split("/")[0])
    assert least >= 50


def test_a_terminal_shows_how_far_it_is(theatre: Theatre, start: Start) -> None:
    hello = {"at": 0.2, "run": [{"node": theatre.one, "command": ["echo", "hello"]}]}
    timeline = theatre.write({"at": 0, **theatre.sky("20mbit")}, hello, {"at": 1.2})
    process, terminal = on_a_terminal(start, *COMMAND, "play", theatre.lab.file, timeline)
    shown = read_until(terminal, b"")
    os.close(terminal)
    assert process.wait(60) == 0
    assert b"at 0.0 of 1.2 s: 1 epoch, 1 change, " in shown
    assert b" of 1.2 s, next at 1.2 s: 2 epochs, 1 change, " in shown
    lines = screen(shown)
    assert "hello" in lines
    lines_of("\n".join(line for line in lines if line != "hello"))
