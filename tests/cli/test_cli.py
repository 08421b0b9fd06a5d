"""The command line as users meet it; nothing here needs root or touches the kernel."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from jsonschema import Draft202012Validator

from kokofast.cli import batch
from kokofast.cli.arguments import Parser
from kokofast.cli.main import _COMMANDS
from kokofast.cli.main import run as run_in_process
from kokofast.cli.output import lacking
from kokofast.cli.parser import build_parser
from kokofast.engine.result import Failure, Result
from kokofast.engine.result_types import Status
from kokofast.topology import load
from tests.conftest import RunKokofast

COMMANDS = [
    "batch",
    "destroy",
    "watch",
    "inspect",
    "play",
    "validate",
    "schema",
    "generate",
    "generate chain",
    "generate walker",
]
WALKER = [
    *("generate", "walker", "--planes", "6", "--satellites", "11", "--altitude", "780", "--inclination", "86.4"),
    *("--pattern", "star"),
]
GOOD = '{"endpoints": ["a:e0", "b:e0"]}\n'
SHELL = shlex.join([sys.executable, "-m", "kokofast"])


def shell(script: str, **options: object) -> subprocess.CompletedProcess[str]:
    """A shell script in which ``kokofast`` is the command, with bash's $PIPESTATUS."""
    command = ["bash", "-c", f'kokofast() {{ {SHELL} "$@"; }}\n{script}']
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)  # type: ignore[call-overload,no-any-return]


def check_sentence(done: subprocess.CompletedProcess[str], code: int) -> None:
    """Ended with a sentence for people."""
    assert done.returncode == code, done.stderr
    assert done.stderr
    assert "Traceback" not in done.stderr
    for text in (done.stdout, done.stderr):
        assert all(line.isprintable() for line in text.splitlines()), text


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help(kokofast: RunKokofast, command: str) -> None:
    done = kokofast(*command.split(), "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: kokofast")


def test_help_of_the_whole_tells_the_exit_codes(kokofast: RunKokofast) -> None:
    assert "exit codes: 0 done" in kokofast("--help").stdout


def test_the_options_of_a_shape_are_made_when_they_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    add: Any = Parser.add_argument

    def noted(self: Parser, *names: str, **more: Any) -> object:
        made.extend(names)
        return add(self, *names, **more)

    monkeypatch.setattr(Parser, "add_argument", noted)
    parser = build_parser()
    assert "--prune" in made
    assert not {"--links", "--planes"} & set(made)
    assert parser.parse_args(WALKER).planes == 6
    assert "--links" not in made


def test_every_command_is_tested_here() -> None:
    text = build_parser().format_help()
    assert all(f"\n    {command.split()[0]} " in text for command in COMMANDS)


def test_the_console_script_and_the_module_are_the_same(kokofast: RunKokofast) -> None:
    script = Path(sys.executable).with_name("kokofast")
    if not script.exists():
        pytest.skip("kokofast is not installed beside this interpreter")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, kokofast("--version").stdout)
    assert done.stdout.startswith("kokofast ")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["batch"],
        ["batch", "a", "b"],
        ["batch", "a", "--jobs", "0"],
        ["batch", "a", "--jobs", "-1"],
        ["batch", "a", "--jobs", "\u0663"],
        ["batch", "a", "--format", "xml"],
        ["batch", "a", "--dry"],
        ["batch", "a", "--", "true"],
        ["destroy"],
        ["destroy", "--name", "x", "--all"],
        ["destroy", "f", "--all"],
        ["validate", "-", "--name"],
        ["generate"],
        ["generate", "ring"],
        ["generate", "chain"],
        ["generate", "chain", "--links", "1e3"],
        ["generate", "chain", "--links", "9", "--subnet", "10.0.0.0/30"],
        ["generate", "chain", "--links", "9", "--subnet", "nonsense"],
        ["generate", "walker"],
        [*WALKER, "--altitude", "high"],
        [*WALKER, "--altitude", "1"],
        [*WALKER, "--phasing", "6"],
        [*WALKER, "--phasing", "-1"],
        [*WALKER, "--pattern", "flower"],
        [*WALKER, "--ground", "paris"],
        [*WALKER, "--ground", "\x1b[31m:0:0"],
        [*WALKER, "--rate", "\x1b[31m"],
        [*WALKER, "--step", "1"],
        [*WALKER, "--timeline", "0"],
        [*WALKER, "--satellites", "100000"],
        ["validate", "-", "--\x1b[31mred"],
        ["\x1b]0;title\x07"],
        ["generate", "chain", "--links", "\x1b[31m"],
        ["generate", "chain", "--links", "1", "--subnet", "\x1b[31m"],
    ],
    ids=repr,
)
def test_wrong_usage(capfd: pytest.CaptureFixture[str], arguments: Sequence[str]) -> None:
    try:
        code = run_in_process(arguments)
    except SystemExit as end:
        code = int(end.code or 0)
    output, errors = capfd.readouterr()
    check_sentence(subprocess.CompletedProcess(arguments, code, output, errors), 2)


BAD_INPUT = {
    "empty": b"",
    "white space": b" \n\n",
    "garbage": bytes(range(256)) * 3,
    "zeros": bytes(100),
    "half a document": b'{"links": [{"endpoints": ["a:e0"',
    "utf-16": '{"links": []}'.encode("utf-16"),
    "not UTF-8": b'{"name": "\xff\xfe"}',
    "deep": b"[" * 100_000,
    "a number": b"7",
    "null": b"null",
    "a huge number": b'{"links": [{"endpoints": ["a:e0", "b:e0"], "mtu": 1' + b"0" * 5000 + b"}]}",
    "NaN": b'{"links": [{"endpoints": ["a:e0", "b:e0"], "mtu": NaN}]}',
    "control characters": b'{"name": "\\u001b[31m", "links": [{"endpoints": ["\\u001b]0\\u0007:e0", "b:\\u009b31m"]}]}',
    "bad keys": b'{"\\u001b[31m": 1, "links": []}',
}


@pytest.mark.parametrize("suffix", ["json", "yaml", "csv", "jsonl", "nonsense"])
@pytest.mark.parametrize("content", BAD_INPUT.values(), ids=list(BAD_INPUT))
def test_bad_files(capfd: pytest.CaptureFixture[str], tmp_path: Path, suffix: str, content: bytes) -> None:
    file = tmp_path / f"x.{suffix}"
    file.write_bytes(content)
    code = run_in_process(["validate", str(file)])
    output, errors = capfd.readouterr()
    check_sentence(subprocess.CompletedProcess([], code, output, errors), 2)
    assert output == ""


@pytest.mark.parametrize("command", [["validate"], ["batch", "--dry-run"], ["destroy"]], ids=lambda part: part[0])
@pytest.mark.parametrize("kind", ["directory", "missing", "in a file", "empty name", "long name", "name with escapes"])
def test_files_that_cannot_be_read(kokofast: RunKokofast, tmp_path: Path, command: list[str], kind: str) -> None:
    (tmp_path / "file").write_text("")
    path = {
        "directory": str(tmp_path),
        "missing": str(tmp_path / "missing.json"),
        "in a file": str(tmp_path / "file" / "x.json"),
        "empty name": "",
        "long name": "x" * 5000,
        "name with escapes": "\x1b[31m\udcff.json",
    }[kind]
    check_sentence(kokofast(*command, path), 2)


def test_a_file_that_may_not_be_read(kokofast: RunKokofast, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        path = "/proc/self/mem"  # even root's read fails
    else:
        secret = tmp_path / "secret.json"
        secret.write_text(GOOD)
        secret.chmod(0)
        path = str(secret)
    check_sentence(kokofast("validate", path), 2)


def test_a_fifo() -> None:
    done = shell(f"kokofast validate <(printf %s {shlex.quote(GOOD)})")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_good_file_says_nothing(kokofast: RunKokofast) -> None:
    done = kokofast("validate", "-", input=GOOD)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_all_errors_with_their_places(kokofast: RunKokofast) -> None:
    bad = '{"endpoints": ["a:e0", "b:e0"], "mtu": 10}\n{"endpoints": ["a:e1"], "mut": 1400}\n'
    done = kokofast("validate", "-", input=bad)
    check_sentence(done, 2)
    assert "$.links[0].mtu" in done.stderr or "mtu" in done.stderr.splitlines()[0]
    assert "mut" in done.stderr
    assert len(done.stderr.splitlines()) >= 2


def test_the_json_of_a_refused_file_has_the_contracts_keys(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "bad.json"
    file.write_text('{"links": [{"endpoints": ["a:e0", "b:e0"], "mtu": 10}]}')
    assert run_in_process(["batch", str(file), "--sandbox", "--format", "json"]) == 2
    result = json.loads(capfd.readouterr().out)
    assert result["status"] == "invalid"
    assert {"lab", "status", "links", "namespaces", "seconds", "errors"} <= result.keys()
    assert {"total", "created", "unchanged", "failed"} <= result["links"].keys()
    assert "created" in result["namespaces"]
    assert "total" in result["seconds"]
    (error,) = result["errors"]
    assert error.keys() == {"source", "message", "errno", "position"}
    assert error["source"] == "$.links[0].mtu"


@pytest.mark.usefixtures("requires_root")
def test_the_json_of_a_run_has_the_contracts_keys(kokofast: RunKokofast) -> None:
    done = kokofast("batch", "-", "--sandbox", "--name", "lab", "--format", "json", input=GOOD)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["lab"], result["status"], result["errors"]) == ("lab", "applied", [])
    assert result["links"] == {"total": 1, "created": 1, "updated": 0, "unchanged": 0, "failed": 0}
    assert result["namespaces"] == {"created": 2}
    seconds = result["seconds"]
    assert {"survey", "plan", "apply", "total"} <= seconds.keys()
    assert sum(value for stage, value in seconds.items() if stage != "total") == pytest.approx(
        seconds["total"], abs=1e-4
    )


def test_the_schema_is_one_and_accepts_what_we_accept(kokofast: RunKokofast) -> None:
    done = kokofast("schema")
    assert (done.returncode, done.stderr) == (0, "")
    schema = json.loads(done.stdout)
    jsonschema.validators.validator_for(schema).check_schema(schema)
    jsonschema.validate({"links": [json.loads(GOOD)]}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"links": [{**json.loads(GOOD), "mut": 1}]}, schema)


@pytest.mark.usefixtures("requires_root")
def test_the_schema_of_the_result(kokofast: RunKokofast, tmp_path: Path) -> None:
    done = kokofast("schema", "result")
    schema = json.loads(done.stdout)
    Draft202012Validator.check_schema(schema)
    valid = Draft202012Validator(schema).validate
    (tmp_path / "bad.json").write_text('{"links": [{"endpoints": ["a:e0"]}]}')
    refused = json.loads(kokofast("batch", str(tmp_path / "bad.json"), "--format", "json").stdout)
    valid(refused)
    (tmp_path / "new.json").write_text('{"defaults": {"create": true}, "links": [["kft-a:e0:10.0.0.1/31", "kft-b"]]}')
    planned = json.loads(kokofast("batch", str(tmp_path / "new.json"), "--format", "json", "--dry-run").stdout)
    valid(planned)
    assert [step["kind"] for step in planned["plan"]] == ["namespace", "namespace", "link"]
    assert planned["plan"][2]["endpoints"][0]["addresses"] == ["10.0.0.1/31"]
    for wrong in ({**refused, "more": 1}, {**planned, "plan": [{**planned["plan"][2], "action": "update"}]}):
        with pytest.raises(jsonschema.ValidationError):
            valid(wrong)


@pytest.mark.parametrize("more", ["", "--format csv", "--subnet 2001:db8::/32"])
def test_what_is_generated_is_valid(more: str, tmp_path: Path) -> None:
    name = "x.csv" if "csv" in more else "x.json"
    done = shell(f"kokofast generate chain --links 20 {more} >{tmp_path}/{name} && kokofast validate {tmp_path}/{name}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_constellation_and_its_timeline(kokofast: RunKokofast) -> None:
    more = ["--ground", "lima:-12.05:-77.04", "--elevation", "8", "--rate", "10mbit", "--subnet", "2001:db8::/64"]
    topology = kokofast(*WALKER, *more).stdout
    assert len(load(topology.encode(), filename="w.json").links) == 6 * 11 + 5 * 11 + 1
    lines = kokofast(*WALKER, *more, "--timeline", "5", "--step", "0.5").stdout.splitlines()
    assert [json.loads(line)["at"] for line in lines] == [number / 2 for number in range(1, 11)]


def test_generate_into_validate() -> None:
    done = shell("kokofast generate chain --links 3 | kokofast validate -; echo ${PIPESTATUS[*]}")
    assert (done.stdout, done.stderr) == ("0 0\n", "")


# yes, in its endlessness, would wait for the reader as well; nobody reads more than a line of these.
@pytest.mark.parametrize(
    "command",
    ["generate chain --links 20000", f"{' '.join(WALKER)} --timeline 600", "schema", "--help", "batch --help"],
)
@pytest.mark.parametrize("reader", ["head -1 >/dev/null", "true"])
def test_a_reader_that_has_enough(command: str, reader: str) -> None:
    done = shell(f"kokofast {command} | {reader}")
    assert done.stderr == ""


def test_a_reader_of_errors_that_has_enough() -> None:
    done = shell("{ kokofast validate /missing 2>&1; echo $? >&3; } 3>&2 | true")
    assert done.stderr.strip() in {"1", "2"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk() -> None:
    check_sentence(shell("kokofast schema >/dev/full"), 1)
    assert shell("kokofast validate /missing 2>/dev/full").returncode == 2


@pytest.mark.parametrize(("streams", "code"), [(">&-", 0), ("2>&-", 0), (">&- 2>&- <&-", 0)])
def test_closed_streams(streams: str, code: int) -> None:
    done = shell(f"kokofast schema {streams}")
    assert (done.returncode, done.stderr) == (code, "")


def test_closed_standard_input() -> None:
    check_sentence(shell("kokofast validate - <&-"), 2)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_an_output_that_cannot_take_every_character(kokofast: RunKokofast, encoding: str) -> None:
    bad = '{"endpoints": ["\u00fc\u4e2d:e0", "b:e0"], "\u4e2d": 1}\n'
    done = kokofast("validate", "-", input=bad, env={"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"})
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "\\u4e2d" in done.stderr


def test_interrupting_before_anything_is_done(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    process = subprocess.Popen(
        [sys.executable, "-m", "kokofast", "validate", str(fifo)], stderr=subprocess.PIPE, text=True
    )
    with open(fifo, "wb"):  # from here on it reads, and waits for more
        process.send_signal(2)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (1, "kokofast: interrupted\n")


@pytest.mark.parametrize(
    ("status", "left", "said"),
    [
        ("rolled_back", [], "what was made has been taken back"),
        ("partial", [], "what failed has been taken back, the links that work stay"),
        ("partial", ["link x"], "what is left is listed below"),
    ],
)
def test_what_became_of_an_interrupted_run(status: Status, left: list[str], said: str) -> None:
    result = Result("lab", status)
    result.left = left
    batch._note_interruption(result, "SIGTERM")
    assert [str(error) for error in result.errors] == [f"interrupted by SIGTERM; {said}"]


@pytest.mark.parametrize(("status", "code"), [("unchanged", 0), ("applied", 0), ("invalid", 2), ("rolled_back", 1)])
def test_a_signal_that_comes_when_all_is_done_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str], status: Status, code: int
) -> None:
    async def apply(_: object, driver: Any, __: object, *, result: Result, **___: object) -> Result:
        driver._stop.on_signal(signal.SIGTERM)
        result.status = status
        if code:
            result.errors = [Failure("$.links[0]", "a fault")]
        return result

    file = tmp_path / "lab.json"
    file.write_text('{"links": [{"endpoints": ["a:x", "b:x"]}]}')
    monkeypatch.setattr("kokofast.engine.apply.apply", apply)
    monkeypatch.setattr("kokofast.host.limits.missing_capabilities", lambda *_: [])
    assert run_in_process(["batch", str(file), "--format", "json"]) == code
    output, errors = capfd.readouterr()
    assert json.loads(output)["status"] == status
    assert "interrupted" not in errors


def test_generate_makes_no_more_than_a_file_may_have(kokofast: RunKokofast) -> None:
    done = kokofast("generate", "chain", "--links", "1000001")
    check_sentence(done, 2)
    assert "1000000" in done.stderr


@pytest.mark.parametrize(
    ("program", "command"), [("/a b/kokofast", "'/a b/kokofast'"), ("/x/kokofast/__main__.py", "{python} -m kokofast")]
)
def test_what_to_run_by_sudo_is_named_in_full(monkeypatch: pytest.MonkeyPatch, program: str, command: str) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(sys, "argv", [program, "batch"])
    said = lacking(["CAP_NET_ADMIN"])
    assert said == (
        f"this needs root, or CAP_NET_ADMIN: run it with sudo, as 'sudo {command.format(python=sys.executable)} ...'"
    )


def test_memory_that_runs_out_before_a_run_is_an_error_of_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run_out(*_: object) -> int:
        raise MemoryError

    monkeypatch.setitem(_COMMANDS, "schema", run_out)
    assert run_in_process(["schema"]) == 1
    assert capsys.readouterr().err == "kokofast: not enough memory\n"


def test_a_full_disk_is_told_with_its_path() -> None:
    done = shell("kokofast schema > /dev/full")
    assert (done.returncode, done.stderr) == (
        1,
        "kokofast: /dev/full: the output cannot be written: No space left on device\n",
    )


@pytest.mark.parametrize("command", ["validate", "batch", "destroy", "verify"])
def test_a_command_that_reads_a_file_imports_nothing_that_it_can_do_without(tmp_path: Path, command: str) -> None:
    file = tmp_path / "links.json"
    file.write_text('{"links": [{"endpoints": ["r1:eth0", "not-there:eth0"]}, 7]}')
    script = (
        "import os, sys\n"
        "end = os._exit\n"
        "os._exit = lambda code: (print(*sys.modules, code, flush=True), end(code))\n"
        "from kokofast.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script, command, file], check=False, capture_output=True, text=True)
    *modules, code = done.stdout.split()
    assert (code, "msgspec" in modules) == ("2", True)
    assert not {"typing_extensions", "inspect", "shutil", "trio"}.intersection(modules)
